"""The command ``skbss benchmark``."""

# License: BSD-3-Clause

import math

import pytest

from skbss.benchmark import read_results
from skbss.benchmark.runner import RunProgress
from skbss.cli import main
from skbss.config import load_yaml

YAML = """\
dataset: {name: convolutive, n_scenes: 2, duration: 0.5, sample_rate: 8000}
stft: {n_fft: 128}
methods:
  auxiva: {params: {auxiva.max_iter: 2}}
  ilrma: {params: {ilrma.max_iter: 2}}
runtime: {save_audio: false}
"""


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voices.yaml").write_text(YAML)


def run(*arguments):
    return main(["benchmark", *arguments])


def fails(capsys, *arguments):
    """Run the command, expect status 2 and one line on stderr, and return the line."""
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("skbss benchmark: ")
    assert err.count("\n") == 1
    return err


def test_from_the_file_to_the_report(tmp_path, capsys):
    overrides = ["--set", "dataset.n_scenes=1", "--grid", "ilrma.n_basis=1,2"]
    assert run("run", "voices.yaml", *overrides) == 0
    out, err = capsys.readouterr()
    heading, *rows = out.splitlines()
    assert heading.split() == [
        "candidate",
        "recordings",
        "failed",
        "si_sdr_improvement",
        "si_sdr",
        "RTF",
    ]
    table = {row.split()[0]: row.split()[1:] for row in rows[:3]}
    assert set(table) == {"auxiva", "ilrma,n_basis=1", "ilrma,n_basis=2"}
    assert all(cells[:2] == ["1", "0"] for cells in table.values())
    assert rows[-1] == "Wrote voices_run/summary.csv"
    assert err.splitlines()[0] == "3 tasks, results in voices_run/"
    assert err.splitlines()[-1].startswith("[3/3] ")
    assert load_yaml("voices_run/experiment.yaml")["name"] == "voices"

    assert run("summarize", "voices_run") == 0
    assert capsys.readouterr().out == out
    assert run("resume", "voices_run", "--n-jobs", "1") == 0
    again = capsys.readouterr()
    assert again.out == out
    assert again.err == "3 tasks, 3 done before, results in voices_run/\n"
    assert run("report", "voices_run") == 0
    page = tmp_path / "voices_run" / "report" / "index.html"
    assert capsys.readouterr().out == f"Wrote {page.relative_to(tmp_path)}\n"
    assert "ilrma,n_basis=2" in page.read_text("utf-8")


def test_template_runs(tmp_path, capsys):
    assert run("init") == 0
    (tmp_path / "new.yaml").write_text(capsys.readouterr().out)
    small = ["dataset.n_scenes=1", "dataset.duration=0.3", "runtime.save_audio=false"]
    overrides = [a for text in small for a in ("--set", text)]
    assert run("run", "new.yaml", "-o", "out", *overrides) == 0
    rows = read_results("out")
    assert len(rows) == 6
    assert {row["status"] for row in rows} == {"ok"}


def test_failures_are_told(tmp_path, capsys):
    # More than half of the block: found when a recording is there.
    overlap = "methods.blockauxiva.params.blockbatch.overlap=5"
    (tmp_path / "voices.yaml").write_text(
        YAML.replace("  auxiva: {params: {auxiva.max_iter: 2}}", "  blockauxiva:")
    )
    assert run("run", "voices.yaml", "--set", overlap) == 0
    out, err = capsys.readouterr()
    assert err.count("blockauxiva failed on convolutive_000") == 2
    assert "ValueError: Got overlap=5, expected at most half" in err
    row = next(line for line in out.splitlines() if line.startswith("blockauxiva"))
    assert row.split() == ["blockauxiva", "0", "2"]


def test_methods_of_a_module_beside_the_file(tmp_path, capsys):
    (tmp_path / "beside_the_file.py").write_text(
        "from sklearn.decomposition import FastICA\n"
        "def ica(random_state):\n    return FastICA(random_state=random_state)\n"
    )
    yaml = YAML.replace("  ilrma:", "  mine: {method: beside_the_file:ica}\n  ilrma:")
    (tmp_path / "voices.yaml").write_text(yaml)
    assert run("run", "voices.yaml") == 0
    assert "\nmine " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.yaml"], "Cannot read nowhere.yaml: No such file"),
        (
            ["run", "voices.yaml", "--set", "ilrma.n_bas=2"],
            "voices.yaml: Got unknown name 'ilrma.n_bas'. Did you mean 'ilrma.n_ba",
        ),
        (
            ["run", "voices.yaml", "--grid", "ilrma.n_basis=0"],
            "voices.yaml: In methods.ilrma: The 'n_basis' parameter of ILRMA must be",
        ),
        (["run", "voices.yaml", "--n-jobs", "0"], "Got runtime.n_jobs=0, expected"),
        (
            ["run", "voices.yaml", "--set", "dataset=scenes"],
            "Got unknown name 'dataset'",
        ),
        (["run", "voices.yaml", "-o", "voices.yaml"], "Cannot write voices.yaml"),
        (["resume", "nowhere"], "Got nowhere, which is no run folder"),
        (["summarize", "nowhere"], "Cannot read nowhere/results.jsonl"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_mistakes(tmp_path, capsys, arguments, message):
    assert message in fails(capsys, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["voices.yaml"]


def test_broken_scenes(tmp_path, capsys):
    (tmp_path / "scenes" / "one").mkdir(parents=True)
    (tmp_path / "scenes" / "one" / "mixture.wav").write_bytes(b"RIFF")
    path = tmp_path / "broken.yaml"
    path.write_text(
        YAML.split("\n", 1)[1] + "dataset: {name: scenes, folder: scenes}\n"
    )
    assert "one" in fails(capsys, "run", "broken.yaml")
    assert not (tmp_path / "broken_run").exists()


def test_another_experiment_in_the_folder(capsys):
    assert run("run", "voices.yaml", "--set", "dataset.n_scenes=1") == 0
    capsys.readouterr()
    message = fails(capsys, "run", "voices.yaml")
    assert "there dataset.n_scenes is 1, here 2" in message


def test_time_left(monkeypatch):
    """At the pace of this run, whatever was done before it."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    progress = RunProgress(1000, n_done=500)
    assert math.isnan(progress.seconds_left())
    for seconds, n_done, text in [
        (60, 900, "15 s left"),
        (60, 510, "49 min left"),
        (3600, 510, "49.0 h left"),
        (1, 999, "1 s left"),
        (1, 1000, ""),
    ]:
        now, progress.n_done = seconds, n_done
        assert str(progress) == f"[{n_done}/1000] {text}".strip()
