"""Experiments that run, fail, are interrupted and go on."""

# License: BSD-3-Clause

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin

from skbss.benchmark import (
    OutputError,
    RunError,
    cv_results,
    make_experiment,
    make_method,
    output,
    read_results,
    register_method,
    results,
    resume_experiment,
    run_experiment,
    summarize,
)
from skbss.benchmark.results import ResultsFile
from skbss.config import ConfigError, load_yaml, save_yaml
from skbss.datasets import load_dataset, make_convolutive_mixture, register_dataset
from skbss.io import read_audio
from skbss.metrics import framewise_si_sdr, si_bss_eval, si_sdr
from tests.processes import Command

DATASET = {
    "name": "convolutive",
    "n_scenes": 2,
    "duration": 0.5,
    "sample_rate": 8000,
    "rt60": 0.03,
}
METHODS = {
    "auxiva": {"params": {"auxiva.max_iter": 3}},
    "ilrma": {"params": {"ilrma.max_iter": 2}, "grid": {"ilrma.n_basis": [1, 2]}},
}


SCENES = load_dataset(
    "convolutive", **{k: v for k, v in DATASET.items() if k != "name"}
)


def experiment(methods=METHODS, dataset=DATASET, **runtime):
    config = {
        "dataset": dataset,
        "stft": {"n_fft": 128},
        "methods": methods,
        "metrics": ["si_sdr", "si_sdr_improvement", "si_sir"],
        "runtime": {"save_audio": False} | runtime,
    }
    return make_experiment(config)


def scores(folder):
    """Return the scores by task, and check that there is one row for each."""
    rows = read_results(folder)
    table = {(row["recording"], row["candidate"]): row["scores"] for row in rows}
    assert len(table) == len(rows)
    return table


def lines(folder):
    return (folder / "results.jsonl").read_bytes().splitlines(keepends=True)


class Stop(Exception):
    pass


def stop_after(n_rows):
    """Return a function that interrupts a run."""

    def on_result(progress, row):
        if progress.n_done == n_rows:
            raise Stop

    return on_result


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    run_experiment(experiment(save_audio=True, framewise=True), folder)
    return folder


def test_rows_say_what_a_user_would_compute(finished):
    rows = {(row["recording"], row["candidate"]): row for row in read_results(finished)}
    assert len(rows) == 6
    for scene in SCENES:
        row = rows[scene.name, "ilrma,n_basis=2"]
        assert row["method"] == "ilrma"
        assert row["params"] == {"ilrma.n_basis": 2}
        assert row["status"] == "ok"
        assert row["sample_rate"] == 8000
        assert (row["duration"], row["n_mics"], row["n_sources"]) == (0.5, 2, 2)
        pipeline = make_method("ilrma", sample_rate=8000, random_state=row["seed"])
        pipeline.set_params(ilrma__max_iter=2, ilrma__n_basis=2, stft__n_fft=128)
        y = pipeline.fit_transform(scene.mixture)
        expected = si_bss_eval(scene.references, y, mixture=scene.mixture)
        assert row["permutation"] == expected.permutation.tolist()
        for name, values in row["scores"].items():
            # Only the number of threads differs, and the last digits with it.
            np.testing.assert_allclose(values, expected[name], atol=1e-6)
        y = y[:, row["permutation"]]
        for k, path in enumerate(row["audio"]):
            audio, info = read_audio(finished / path)
            assert info.sample_rate == 8000
            assert abs(audio[:, 0] - y[:, k]).max() <= 2.0**-16 + 1e-9
        windows = np.load(finished / row["framewise"])
        by_hand = framewise_si_sdr(
            scene.references,
            y,
            sample_rate=8000,
            mixture=scene.mixture,
            permute=False,
        )
        for name in ("time", "si_sdr", "si_sdr_improvement"):
            np.testing.assert_allclose(windows[name], by_hand[name], atol=1e-6)


def test_times_add_up(finished):
    for row in read_results(finished):
        seconds = row["seconds"]
        parts = sum(seconds[name] for name in seconds if name != "total")
        # What is left is making the pipeline, and finding the libraries' threads.
        assert 0.5 * parts < seconds["total"]
        assert parts <= seconds["total"]
        assert min(seconds.values()) >= 0
        compute = seconds["stft"] + seconds["separation"] + seconds["istft"]
        assert math.isclose(row["real_time_factor"], compute / 0.5)
        assert math.isclose(sum(row["steps"].values()), compute)
        names = ["stft", row["method"], "projectionback", "istft", "loudestfirst"]
        assert list(row["steps"]) == ["prepare", *names]


def test_folder(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "audio",
        "environment.json",
        "experiment.yaml",
        "framewise",
        "results.jsonl",
        "run.lock",
        "summary.csv",
    }
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["numpy"] == np.__version__
    assert environment["threads"] == 1
    config = load_yaml(finished / "experiment.yaml")
    assert config["dataset"] == DATASET
    assert config["stft"] == {"n_fft": 128}
    assert not list(finished.rglob(".*"))
    for scene in SCENES:
        folder = finished / "audio" / scene.name
        mixture, _ = read_audio(folder / "mixture.wav")
        # To the nearest of 16 bits, and half of a last digit for rounding.
        assert abs(mixture - scene.mixture).max() < 0.51 * 2.0**-15
        for k in range(2):
            reference, _ = read_audio(folder / f"reference_{k:02d}.wav")
            assert abs(reference[:, 0] - scene.references[:, k]).max() < 0.51 * 2.0**-15


def test_summary(finished):
    summary = {row["candidate"]: row for row in summarize(finished)}
    table = scores(finished)
    for candidate, row in summary.items():
        means = [np.mean(s["si_sdr"]) for (_, c), s in table.items() if c == candidate]
        assert row["n_recordings"] == 2
        assert row["n_failed"] == 0
        assert math.isclose(row["si_sdr"], np.mean(means))
        # The quantile 0.975 of Student's t with one degree of freedom is 12.706.
        half = 12.7062 * np.std(means, ddof=1) / math.sqrt(2)
        assert math.isclose(row["si_sdr_high"] - row["si_sdr"], half, rel_tol=1e-4)
        assert math.isclose(row["si_sdr"] - row["si_sdr_low"], half, rel_tol=1e-4)
    order = [row["si_sdr"] for row in summary.values()]
    assert order == sorted(order, reverse=True)
    with open(finished / "summary.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["candidate"] for row in written] == list(summary)
    assert {row["ilrma.n_basis"] for row in written} == {"", "1", "2"}
    assert float(written[0]["si_sdr"]) == order[0]


def test_cv_results(finished):
    results = cv_results(finished)
    assert results["params"][1] == {"method": "ilrma", "ilrma.n_basis": 1}
    table = scores(finished)
    for k, recording in enumerate(results["recordings"]):
        expected = np.mean(table[recording, "auxiva"]["si_sir"])
        assert math.isclose(results[f"split{k}_test_si_sir"][0], expected)
    means = results["mean_test_si_sdr"]
    assert (np.argsort(-means) == np.argsort(results["rank_test_si_sdr"])).all()
    assert (results["mean_fit_time"] > 0).all()


@pytest.mark.parametrize(
    "runtime", [{"n_jobs": 2}, {"n_jobs": 2, "backend": "threading"}]
)
def test_numbers_do_not_depend_on_processes(finished, tmp_path, runtime):
    run_experiment(experiment(save_audio=True, **runtime), tmp_path)
    assert scores(tmp_path) == scores(finished)
    for path in (finished / "audio").rglob("*.wav"):
        again = tmp_path / path.relative_to(finished)
        assert again.read_bytes() == path.read_bytes()


def test_a_run_that_was_interrupted_goes_on(finished, tmp_path):
    with pytest.raises(Stop):
        run_experiment(
            experiment(save_audio=True, framewise=True),
            tmp_path,
            on_result=stop_after(4),
        )
    before = lines(tmp_path)
    assert len(before) == 4
    # As SIGKILL and a full disk leave them.
    with open(tmp_path / "results.jsonl", "ab") as file:
        file.write(b'{"recording": "convolutive_0001", "candid')
    part = tmp_path / "audio" / "convolutive_0001" / ".source_00.wav.1.part"
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(b"RIFF")
    assert len(read_results(tmp_path)) == 4
    done = []
    resume_experiment(tmp_path, on_result=lambda progress, row: done.append(row))
    assert len(done) == 3  # None, and the two that were left
    assert lines(tmp_path)[:4] == before
    assert scores(tmp_path) == scores(finished)
    assert not part.exists()
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert len(environment["resumed"]) == 1
    after = lines(tmp_path)
    run_experiment(experiment(save_audio=True, framewise=True), tmp_path)
    assert lines(tmp_path) == after


def test_killed_at_a_random_moment(tmp_path):
    """A small version of benchmarks/kill_and_resume.py."""
    config = tmp_path / "experiment.yaml"
    several = experiment(dataset=DATASET | {"n_scenes": 5})
    save_yaml(config, several.config)
    folder = tmp_path / "run"
    process = Command("benchmark", "run", str(config), "-o", str(folder))
    while not (folder / "results.jsonl").exists() or not lines(folder):
        assert process.returncode is None
        time.sleep(0.001)
    time.sleep(np.random.default_rng().uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = [line for line in lines(folder) if line.endswith(b"\n")]
    resume_experiment(folder)
    assert lines(folder)[: len(before)] == before
    run_experiment(several, tmp_path / "whole")
    assert scores(folder) == scores(tmp_path / "whole")


def test_another_experiment_is_refused(tmp_path):
    with pytest.raises(Stop):
        run_experiment(experiment(), tmp_path, on_result=stop_after(1))
    before = lines(tmp_path)
    with pytest.raises(RunError, match=r"there runtime\.seed is 0, here 1"):
        run_experiment(experiment(seed=1), tmp_path)
    with pytest.raises(RunError, match=r"methods\.auxiva"):
        run_experiment(experiment({"ilrma": None}), tmp_path)
    path = tmp_path / "experiment.yaml"
    path.write_text(path.read_text().replace("max_iter: 3", "max_iter: 4"))
    with pytest.raises(RunError, match=r"as its experiment\.yaml was changed"):
        resume_experiment(tmp_path)
    assert lines(tmp_path) == before


def test_more_processes_are_the_same_experiment(finished, tmp_path):
    with pytest.raises(Stop):
        run_experiment(experiment(), tmp_path, on_result=stop_after(2))
    resume_experiment(tmp_path, runtime={"n_jobs": 2, "backend": "threading"})
    assert scores(tmp_path) == scores(finished)
    with pytest.raises(ConfigError, match=r"runtime\.n_jobs=0"):
        resume_experiment(tmp_path, runtime={"n_jobs": 0})


def test_folders_that_cannot_be_resumed(finished, tmp_path):
    with pytest.raises(RunError, match="is no run folder"):
        resume_experiment(tmp_path)
    shutil.copy(finished / "results.jsonl", tmp_path)
    with pytest.raises(RunError, match=r"has results but no environment\.json"):
        run_experiment(experiment(), tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    first, *rest = lines(finished)
    for content, message in [
        ([first, b"no JSON\n", *rest], "line 2 that is no result"),
        ([first, b'{"recording": "a"}\n', *rest], "line 2 that is no result"),
        ([first, *rest, first], "two results of convolutive_0000 and auxiva"),
        ([first.replace(b"_0000", b"_0007"), *rest], "Was the data set changed"),
    ]:
        (copy / "results.jsonl").write_bytes(b"".join(content))
        with pytest.raises(RunError, match=message):
            resume_experiment(copy)
        assert (copy / "results.jsonl").read_bytes() == b"".join(content)


def test_two_processes_do_not_run_in_one_folder(tmp_path):
    with (
        ResultsFile(tmp_path),
        pytest.raises(RunError, match="another process is running"),
    ):
        run_experiment(experiment(), tmp_path)
    run_experiment(experiment(), tmp_path)


def test_another_process_begins_while_failed_tasks_are_dropped(
    finished, tmp_path, monkeypatch
):
    shutil.copytree(finished, tmp_path / "copy")

    @contextmanager
    def replacing_and_begin(path):
        with output.replacing(path) as temporary:
            yield temporary
        with pytest.raises(RunError, match="another process is running"):
            ResultsFile(tmp_path / "copy")

    monkeypatch.setattr(results, "replacing", replacing_and_begin)
    with ResultsFile(tmp_path / "copy", retry_failed=True) as file:
        assert len(file.done) == len(lines(finished))


def test_other_versions_are_told(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "environment.json"
    environment = json.loads(path.read_text()) | {"numpy": "1.0"}
    path.write_text(json.dumps(environment))
    with pytest.warns(UserWarning, match=r"other versions: numpy 1\.0 is now"):
        resume_experiment(tmp_path)


class Misbehaving(TransformerMixin, BaseEstimator):
    """Returns its input, unless told to do otherwise."""

    def __init__(self, how="well", random_state=None):
        self.how = how
        self.random_state = random_state

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        if self.how == "raise":
            raise ValueError("no\ngood")
        if self.how == "exhaust":
            raise MemoryError
        if self.how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "write":
            X[0] = 1
        if self.how == "warn":
            import warnings

            warnings.warn("It went badly.")
        return {
            "nan": X * np.nan,
            "short": X[1:],
            "mono": X[:, :1],
            "flat": X[:, 0],
            "loud": 8 * X,
            "three": X[:, [1, 1, 0]],
        }.get(self.how, X)


def misbehave(*how):
    register_method("misbehaving", Misbehaving)
    return {"misbehaving": {"grid": {"misbehaving.how": list(how)}}}


ERRORS = {
    "raise": ("ValueError", "no good", "separation"),
    "exhaust": ("MemoryError", "", "separation"),
    "write": ("ValueError", "read-only", "separation"),
    "nan": ("ValueError", "NaN or infinite", None),
    "short": ("ValueError", "shape (3999, 2), expected (4000, n_sources)", None),
    "flat": ("ValueError", "shape (4000,), expected (4000, n_sources)", None),
    "mono": ("ValueError", "1 estimates of 2 references", "score"),
}


def test_failures_are_rows(tmp_path):
    summary = run_experiment(experiment(misbehave(*ERRORS, "well")), tmp_path)
    rows = read_results(tmp_path)
    assert len(rows) == 2 * (len(ERRORS) + 1)
    for row in rows:
        how = row["params"]["misbehaving.how"]
        assert row["status"] == ("ok" if how == "well" else "failed")
        assert row["seconds"]["total"] > 0
        if how in ERRORS:
            kind, message, during = ERRORS[how]
            assert row["error"]["type"] == kind
            assert message in row["error"]["message"]
            assert during in (row["error"]["during"], None)
    best, *others = summary
    assert (best["n_recordings"], best["n_failed"]) == (2, 0)
    assert abs(best["si_sdr_improvement"]) < 100
    for row in others:
        assert (row["n_recordings"], row["n_failed"]) == (0, 2)
        assert math.isnan(row["si_sdr"])
        assert math.isnan(row["real_time_factor"])
    # They are done; only on request they are tried again.
    before = lines(tmp_path)
    resume_experiment(tmp_path)
    assert lines(tmp_path) == before
    done = []
    resume_experiment(
        tmp_path, retry_failed=True, on_result=lambda progress, row: done.append(row)
    )
    assert len(done) == 1 + 2 * len(ERRORS)
    assert len(scores_of_all(tmp_path)) == len(rows)


def scores_of_all(folder):
    return {(row["recording"], row["candidate"]) for row in read_results(folder)}


def test_a_process_that_dies_fails_alone(tmp_path):
    methods = misbehave("die", "well")
    summary = run_experiment(
        experiment(methods, dataset=DATASET | {"n_scenes": 1}, n_jobs=2), tmp_path
    )
    failed = {row["candidate"]: row["n_failed"] for row in summary}
    assert failed.pop("misbehaving,how=die") == 1
    assert set(failed.values()) == {0}
    (row,) = (row for row in read_results(tmp_path) if row["status"] == "failed")
    assert row["error"]["type"] == "TerminatedWorkerError"


def test_warnings_are_in_the_row(tmp_path, recwarn):
    run_experiment(experiment(misbehave("warn", "well")), tmp_path)
    told = {
        r["params"]["misbehaving.how"]: r.get("warnings")
        for r in read_results(tmp_path)
    }
    assert told == {"warn": ["It went badly."], "well": None}
    assert not recwarn.list


def test_loud_outputs_are_not_clipped(tmp_path):
    run_experiment(experiment(misbehave("loud"), save_audio=True), tmp_path)
    scene = SCENES[0]
    row = read_results(tmp_path)[0]
    audio, info = read_audio(tmp_path / row["audio"][0])
    assert info.subtype == "FLOAT"
    expected = 8 * scene.mixture[:, row["permutation"][0]]
    np.testing.assert_allclose(audio[:, 0], expected, rtol=1e-6)


def test_more_estimates_than_references(tmp_path):
    run_experiment(experiment(misbehave("three"), save_audio=True), tmp_path)
    row = read_results(tmp_path)[0]
    scene = SCENES[0]
    estimate = scene.mixture[:, [1, 1, 0]]
    _, permutation = si_sdr(scene.references, estimate, return_permutation=True)
    assert row["permutation"] == permutation.tolist()
    assert row["n_sources"] == len(row["scores"]["si_sdr"]) == 2
    audio = np.hstack([read_audio(tmp_path / path)[0] for path in row["audio"]])
    rest = list({0, 1, 2} - set(row["permutation"]))
    expected = estimate[:, row["permutation"] + rest]
    assert abs(audio - expected).max() < 0.51 * 2.0**-15


def test_recordings_without_references(tmp_path):
    x, _ = make_convolutive_mixture(4000, sample_rate=8000, random_state=0)
    x.flags.writeable = False
    scene = {"name": "wild", "mixture": x, "sample_rate": 8000}
    register_dataset("wild", lambda: [scene])
    summary = run_experiment(
        experiment(dataset="wild", save_audio=True, framewise=True), tmp_path
    )
    for row in read_results(tmp_path):
        assert row["status"] == "ok"
        assert row["scores"] == {}
        assert row["n_sources"] == len(row["audio"]) == 2
        assert "permutation" not in row
        assert "framewise" not in row
    assert {path.name for path in (tmp_path / "audio" / "wild").glob("*.wav")} == {
        "mixture.wav"
    }
    assert all(row["real_time_factor"] > 0 for row in summary)


def test_silent_references_are_null(tmp_path):
    x, y = make_convolutive_mixture(4000, sample_rate=8000, random_state=0)
    y[:, 1] = 0
    scene = {"name": "half", "mixture": x, "references": y, "sample_rate": 8000}
    register_dataset("half", lambda: [scene])
    summary = run_experiment(
        experiment(METHODS, dataset="half", framewise=True), tmp_path
    )
    for row in read_results(tmp_path):
        first, second = row["scores"]["si_sdr"]
        assert second is None
        assert isinstance(first, float)
        assert any("silent" in warning for warning in row["warnings"])
    assert all(math.isfinite(row["si_sdr"]) for row in summary)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"^Cannot write .*: not a directory\.$"):
        run_experiment(experiment(), tmp_path / "file" / "run")


@pytest.fixture
def full_disk(tmp_path):
    """Mount a disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(path):
    """Write until the disk is full."""
    with suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


# soundfile tells of a full disk from a callback too.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("save_audio", [True, False])
def test_full_disk(full_disk, save_audio):
    """What was done stays, and the rest follows when there is space again."""
    run, filler = full_disk / "run", full_disk / "filler"

    def on_result(progress, row):
        if progress.n_done == 2:
            fill(filler)

    nine = experiment(
        {"auxiva": METHODS["auxiva"]},
        dataset=DATASET | {"n_scenes": 9},
        save_audio=save_audio,
    )
    with pytest.raises(OutputError, match=r"^Cannot write .*: no space left on device"):
        run_experiment(nine, run, on_result=on_result)
    before = lines(run)
    assert len(before) >= 2
    assert all(line.endswith(b"\n") for line in before)
    filler.unlink()
    resume_experiment(run)
    assert lines(run)[: len(before)] == before
    assert len(scores(run)) == 9
    assert {row["status"] for row in read_results(run)} == {"ok"}


def test_recordings_with_faults_are_prepared(tmp_path):
    """As `make_separator` does it: what a broken plug left teaches nothing."""
    (scene,) = load_dataset("cocktail_party", duration=5.0)
    x = scene["mixture"].copy()
    x[50_000:58_000, 1] = 0
    register_dataset("gap", lambda: [{**scene, "name": "gap", "mixture": x}])
    few = {"params": {"auxiva.max_iter": 3}}
    config = {"dataset": "gap", "methods": {"auxiva": few}}
    run_experiment(make_experiment(config), tmp_path)
    (row,) = read_results(tmp_path)
    separator = make_method("auxiva", random_state=row["seed"])
    separator.set_params(auxiva__max_iter=3)
    y = separator.fit_transform(x)
    np.testing.assert_allclose(
        row["scores"]["si_sdr"], si_sdr(scene["references"], y), atol=1e-6
    )


@pytest.mark.parametrize("memory", [None, "kept"])
def test_steps_are_reused(tmp_path, memory):
    """A grid over a later step takes what comes before it from the memory."""
    config = {
        "dataset": {"name": "convolutive", "n_scenes": 1, "duration": 1.0},
        "stft": {"n_fft": 512},
        "methods": {
            "ilrma": {
                "pipeline": ["STFT", "ILRMA", "ProjectionBack", "ISTFT"],
                "params": {"ilrma.max_iter": 3},
                "grid": {"projectionback.ref_mic": [0, 1]},
            }
        },
        "runtime": {"memory": memory and str(tmp_path / memory)},
    }
    run_experiment(make_experiment(config), tmp_path / "run")
    first, second = read_results(tmp_path / "run")
    seconds = [row["steps"]["ilrma"] for row in (first, second)]
    # The time is that of the fit, also where nothing is fitted.
    assert (seconds[0] == seconds[1]) == (memory is not None)
    assert first["cpu_seconds"] > 0
    again = tmp_path / "without"
    run_experiment(make_experiment(config | {"runtime": {}}), again)
    assert [row["scores"] for row in read_results(again)] == [
        row["scores"] for row in (first, second)
    ]
