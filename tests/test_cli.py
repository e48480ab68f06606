"""The command."""

# License: BSD-3-Clause

import io
import os
import re
import signal
import subprocess
import sys
from functools import partial
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf

from skbss.cli import main, make_parser
from skbss.commands.pipelines import (
    build_pipeline,
    read_params,
    reference_of,
)
from skbss.datasets import load_cocktail_party, make_convolutive_mixture
from skbss.io import read_audio, write_audio
from skbss.metrics import si_sdr_improvement
from tests.processes import Command

FAST = ["--method", "auxiva", "--set", "auxiva.max_iter=3", "--set", "stft.n_fft=512"]


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def recording(tmp_path):
    """Write rec.wav (2 microphones, 0.5 s) and its sources to rec/."""
    write_recording(tmp_path / "rec.wav", tmp_path / "rec")
    return tmp_path / "rec.wav"


def write_recording(path, folder=None, n=2, rate=8000, subtype="PCM_16", seed=0):
    x, _, images = make_convolutive_mixture(
        4000, n, sample_rate=rate, return_images=True, random_state=seed
    )
    path.parent.mkdir(exist_ok=True)
    write_audio(path, x, rate, subtype=subtype)
    if folder is not None:
        folder.mkdir(exist_ok=True)
        for k, image in enumerate(images):
            write_audio(folder / f"source_{k}{path.suffix}", image, rate)


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def fails(capsys, arguments):
    """Run the command, expect status 2 and one line on stderr, and return the line."""
    assert main(["separate", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("skbss separate: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_demo(tmp_path, capsys):
    assert main(["separate", "--demo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    row = next(line for line in out.splitlines() if line.startswith("demo"))
    assert float(row.split()[5]) >= 10
    outputs = ["cocktail_party_source0.wav", "cocktail_party_source1.wav"]
    assert files_in(tmp_path / "demo") == [
        "cocktail_party",
        "cocktail_party.wav",
        *outputs,
    ]
    data = load_cocktail_party()
    y = []
    for name in outputs:
        source, info = read_audio(tmp_path / "demo" / name)
        assert (info.sample_rate, info.subtype) == (16000, "PCM_16")
        y.append(source[:, 0])
    y = np.stack(y, axis=1)
    assert (si_sdr_improvement(data.references, y, data.mixture) > 10).all()
    # Projected back, the sources sum to the microphone: two roundings to 16 bits.
    np.testing.assert_allclose(y.sum(axis=1), data.mixture[:, 0], atol=2.0**-14)
    # What --demo wrote can be separated again like any recording, to the same bits.
    folder = tmp_path / "demo"
    arguments = [folder / "cocktail_party.wav", "--reference-dir", folder]
    assert main(["separate", *map(str, arguments), "-o", "again"]) == 0
    for name in outputs:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "subtype", "rate", "n"),
    [
        ("a.wav", "PCM_16", 44100, 2),
        ("a.wav", "PCM_24", 16000, 3),
        ("a.wav", "FLOAT", 8000, 2),
        ("a.flac", "PCM_24", 48000, 2),
    ],
)
def test_outputs_are_like_inputs(tmp_path, name, subtype, rate, n):
    path = tmp_path / name
    write_recording(path, n=n, rate=rate, subtype=subtype)
    assert main(["separate", name, "-o", "out/deep", "--ref-mic", "1", *FAST]) == 0
    x, _ = read_audio(path)
    total = 0
    for k in range(n):
        y, info = read_audio(tmp_path / "out/deep" / f"a_source{k}{path.suffix}")
        assert (info.sample_rate, info.subtype) == (rate, subtype)
        assert y.shape == (len(x), 1)
        total = total + y[:, 0]
    # Roundings of n sources to 16 bits at most.
    np.testing.assert_allclose(total, x[:, 1], atol=n * 2.0**-16)


def test_it_is_the_pipeline(tmp_path):
    write_recording(tmp_path / "a.wav", subtype="DOUBLE")
    few = "first.auxiva.max_iter"
    assert main(["separate", "a.wav", "-o", ".", "--set", f"{few}=5"]) == 0
    x, info = read_audio(tmp_path / "a.wav")
    pipeline = build_pipeline("refined", {few: 5}, info.sample_rate)
    expected = pipeline.fit_transform(x)
    for k in range(2):
        y, _ = read_audio(tmp_path / f"a_source{k}.wav")
        np.testing.assert_array_equal(y[:, 0], expected[:, k])


def test_faults_teach_nothing(tmp_path):
    x, rate = np.random.default_rng(0).standard_normal((16_000, 2)), 8000
    x[4000:8000, 1] = 0
    write_audio(tmp_path / "a.wav", x / 8, rate, subtype="DOUBLE")
    assert main(["separate", "a.wav", "-o", ".", "--method", "auxiva"]) == 0
    pipeline = build_pipeline("auxiva", {}, rate)
    expected = pipeline.fit_transform(read_audio(tmp_path / "a.wav")[0])
    assert len(pipeline.prepare(x)[0]) < 12_000
    for k in range(2):
        y, _ = read_audio(tmp_path / f"a_source{k}.wav")
        np.testing.assert_array_equal(y[:, 0], expected[:, k])


@pytest.mark.parametrize(
    ("flag", "parameter"),
    [
        ("denoise", "denoise.noisereducer.quiet=0.5"),
        ("dereverberate", "dereverberate.wpe.taps=1"),
    ],
)
def test_flags(tmp_path, flag, parameter, monkeypatch):
    monkeypatch.setattr("skbss.updates.dereverberation.kernels", lambda name: None)
    write_recording(tmp_path / "a.wav", subtype="DOUBLE")
    (tmp_path / "a.yaml").write_text(f"method: auxiva\n{flag}: true\n")
    command = ["separate", "a.wav", "--config", "a.yaml"]
    assert main([*command, "-o", "config"]) == 0
    command = ["separate", "a.wav", "--method", "auxiva"]
    assert main([*command, "-o", "flag", f"--{flag}"]) == 0
    assert main([*command, "-o", "plain"]) == 0
    more = ["--set", parameter, f"--{flag}"]
    assert main([*command, "-o", "more", *more]) == 0
    x, info = read_audio(tmp_path / "a.wav")
    pipeline = build_pipeline("auxiva", {flag: True}, info.sample_rate)
    expected = pipeline.fit_transform(x)
    for k in range(2):
        for folder in ("config", "flag", "plain", "more"):
            y, _ = read_audio(tmp_path / folder / f"a_source{k}.wav")
            same = folder in ("config", "flag")
            assert np.array_equal(y[:, 0], expected[:, k]) == same


def test_fewer_sources(tmp_path, capsys):
    x, _, images = make_convolutive_mixture(
        12_000, 2, n_mics=4, sample_rate=4000, return_images=True, random_state=0
    )
    write_audio(tmp_path / "a.wav", x, 4000)
    (tmp_path / "a").mkdir()
    for k, image in enumerate(images):
        write_audio(tmp_path / "a" / f"source_{k}.wav", image, 4000)
    command = ["separate", "a.wav", "-o", "out"]
    references = ["--n-sources", "2", "--reference-dir", "a"]
    assert main([*command, *references, "-v"]) == 0
    captured = capsys.readouterr()
    assert files_in(tmp_path / "out") == ["a_source0.wav", "a_source1.wav"]
    assert re.search(r"step 1/\d+: sources", captured.err)
    assert "levels" not in captured.out
    power = [read_audio(path)[0].var() for path in sorted((tmp_path / "out").iterdir())]
    assert power[0] >= power[1]
    # Without the number, levels tell which outputs are talkers.
    assert main(command) == 0
    heading, row, *_ = capsys.readouterr().out.splitlines()
    assert heading.endswith("levels [dB]")
    levels = [float(level) for level in row.split("  ")[-1].split(", ")]
    assert levels == sorted(levels, reverse=True)
    assert len(levels) == 4
    assert levels[1] > -10 > levels[2]


def test_parameters(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "method: auxiva\nauxiva:\n  max_iter: 7\n  tol: 1e-4\nstft: {n_fft: 256}\n"
    )
    arguments = ["separate", "a.wav", "--config", "a.yaml", "--ref-mic", "1"]
    arguments += ["--set", "auxiva.max_iter=8", "--set", "auxiva.max_iter=9"]
    method, params = read_params(make_parser().parse_args(arguments))
    assert method == "auxiva"
    pipeline = build_pipeline(method, params, 16000)
    assert pipeline["auxiva"].max_iter == 9
    assert pipeline["auxiva"].tol == 1e-4
    assert pipeline["stft"].n_fft == 256
    assert pipeline["projectionback"].ref_mic == 1
    assert reference_of(pipeline) == 1
    override = make_parser().parse_args([*arguments, "--method", "ilrma"])
    assert read_params(override)[0] == "ilrma"


@pytest.mark.parametrize(
    ("rate", "n_fft"),
    [(8000, 4096), (16000, 8192), (22050, 8192), (44100, 16384), (96000, 65536)],
)
def test_the_window_is_half_a_second_at_any_rate(rate, n_fft):
    assert build_pipeline("ilrma", {}, rate)["stft"].n_fft == n_fft


@pytest.mark.parametrize(
    ("recordings", "references"),
    [
        (["rec.wav"], "rec"),  # sources in the folder itself
        (["rec.wav"], "."),  # in a folder of the recording's name
        (["s0/mixture.flac", "s1/mixture.flac"], "."),  # beside each recording
    ],
)
def test_scores(tmp_path, capsys, recordings, references):
    write_recording(tmp_path / "rec.wav", tmp_path / "rec")
    for seed in (0, 1):
        folder = tmp_path / f"s{seed}"
        write_recording(folder / "mixture.flac", folder, n=2 + seed, seed=seed)
    arguments = [*recordings, "-o", "out", "--reference-dir", references]
    assert main(["separate", *arguments, *FAST, "--ref-mic", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()[1 : 1 + len(recordings)]
    for name, row in zip(recordings, rows, strict=True):
        path = tmp_path / name
        x, _ = read_audio(path)
        folder = path.parent if name.startswith("s") else tmp_path / "rec"
        sources = sorted(folder.glob("source_*"))
        reference = np.stack([read_audio(s)[0][:, 1] for s in sources], axis=1)
        stem = f"{folder.name}_mixture" if name.startswith("s") else "rec"
        outputs = sorted((tmp_path / "out").glob(f"{stem}_source*"))
        y = np.stack([read_audio(o)[0][:, 0] for o in outputs], axis=1)
        scores = si_sdr_improvement(reference, y, x, ref_mic=1)
        printed = re.findall(r"-?\d+\.\d", re.split(r"[()]", row)[1])
        # Printed to one decimal; the outputs were rounded to 16 bits, too.
        np.testing.assert_allclose(np.array(printed, float), scores, atol=0.06)
        assert float(row.split("(")[0].split()[-1]) == pytest.approx(
            scores.mean(), abs=0.06
        )


def test_table_of_several(recording, tmp_path, capsys):
    write_recording(tmp_path / "b.flac", n=3)
    assert main(["separate", "rec.wav", "b.flac", "-o", "out", *FAST]) == 0
    out, _ = capsys.readouterr()
    heading, first, second, total, wrote = out.splitlines()
    assert heading.split()[:2] == ["recording", "mics"]
    assert "SI-SDRi" not in heading
    assert first.split()[:3] == ["rec.wav", "2", "0.5"]
    assert second.split()[:3] == ["b.flac", "3", "0.5"]
    assert total.split()[:2] == ["all", "1.0"]
    seconds, factor = map(float, total.split()[2:])
    # Both are printed with three significant digits or two decimals.
    assert seconds / 1.0 == pytest.approx(factor, abs=0.006)
    assert wrote == "Wrote 5 files to out/"


def test_namesakes_keep_apart(tmp_path):
    for folder in ("a", "b"):
        write_recording(tmp_path / folder / "x.wav")
    assert main(["separate", "a/x.wav", "b/x.wav", "-o", "out", *FAST]) == 0
    expected = [f"{folder}_x_source{k}.wav" for folder in "ab" for k in (0, 1)]
    assert files_in(tmp_path / "out") == expected


def test_outputs_that_would_overwrite_each_other(tmp_path, capsys):
    write_recording(tmp_path / "x.wav")
    write_recording(tmp_path / "x_source1.wav")
    before = files_in(tmp_path)
    assert "overwrite another" in fails(capsys, ["x.wav", "x.wav", "-o", "out"])
    error = fails(capsys, ["x.wav", "x_source1.wav", "-o", "."])
    assert "x_source1.wav would overwrite another" in error
    assert files_in(tmp_path) == before


def test_progress_if_asked(recording, capsys):
    assert main(["separate", "rec.wav", "-o", "out", "-v", *FAST]) == 0
    checking, *separating = capsys.readouterr().err.splitlines()
    assert checking == "checking rec.wav"
    what = "[1/1] separating rec.wav: 0.5 s, 2 microphones"
    assert separating[0] == f"{what}, step 1/{len(separating)}: stft"
    assert len(separating) >= 4
    assert "istft" in separating[-2]
    assert "loudestfirst" in separating[-1]


def test_progress_within_a_step(recording, capsys, monkeypatch):
    """Lines of 40 characters on a terminal, where each takes the other's place."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    clock = SimpleNamespace(monotonic=partial(next, count(0, 0.003)))  # 3 ms a look
    monkeypatch.setattr("skbss.commands.console.time", clock)
    # As it is all noise, AuxIVA starts twice.
    slow = ["--set", "auxiva.max_iter=200", "--method", "auxiva"]
    assert main(["separate", "rec.wav", "-o", "out", *slow]) == 0
    lines = (
        capsys.readouterr().err.replace("\r", "\n").replace("\033[K", "").split("\n")
    )
    assert max(map(len, lines)) <= 39
    steps = [line for line in lines if "step 2/5: auxiva" in line]
    percents = [int(line.split()[-1][:-1]) for line in steps[1:]]
    assert 10 <= len(percents) <= 12  # every 0.1 s, not every iteration
    assert percents == sorted(set(percents))
    assert percents[-1] <= 100


def test_warnings_are_one_line(tmp_path, capsys):
    # At full scale all the time: the parts of such a sum go beyond it somewhere.
    loud = 0.99 * np.sign(np.random.default_rng(0).standard_normal((4000, 2)))
    write_audio(tmp_path / "loud.wav", loud, 8000)
    assert main(["separate", "loud.wav", "-o", "out", *FAST]) == 0
    err = capsys.readouterr().err.splitlines()
    clipped, *beyond = err
    assert clipped.startswith("skbss: warning: Microphones 0, 1 are clipped in ")
    pattern = r"skbss: warning: loud_source\d.wav: \d+ of 4000 samples are beyond full"
    assert len(beyond) >= 1
    assert all(re.match(pattern, line) for line in beyond)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "ilmra"], "unknown method 'ilmra'. Did you mean 'ilrma'?"),
        (["--set", "first.auxiva.maxiter=2"], "Did you mean 'first.auxiva.max_iter'?"),
        (["--set", "auxiva.max_iter=2"], "Did you mean 'first.auxiva.max_iter' or"),
        (["--set", "sort_iter=2"], "Did you mean 'first.auxiva.sort_iter' or"),
        (["--set", "auxiva.source=gauss"], "unknown parameter 'auxiva.source'"),
        (["--set", "first.auxiva.max_iter"], "expected NAME=VALUE"),
        (["--set", "first.auxiva.max_iter=0"], "'max_iter' parameter of AuxIVA must"),
        (["--set", "first.auxiva.max_iter=x"], "'max_iter' parameter of AuxIVA must"),
        (["--set", "first.auxiva=3"], "unknown parameter 'first.auxiva'"),
        (["--set", "second=3"], "unknown parameter 'second'"),
        (["--set", "first.stft.hop_length=9999"], "hop_length=9999, n_fft=2048"),
        (["--set", "second.stage.stft.window=foo"], "window='foo'"),
        (["--set", "cancel.long.stft.n_fft=100000000000000"], "Unable to allocate"),
        (["--config", "missing.yaml"], "Cannot read missing.yaml: No such file"),
        (["--config", "rec.wav"], "Cannot read rec.wav as YAML"),
        (["--ref-mic", "2"], "ref_mic=2, but rec.wav has 2 microphones (0 to 1)."),
        (["--ref-mic", "-1"], "'ref_mic' parameter of ProjectionBack must be"),
        (
            ["--set", "first.projectionback.ref_mic=sum"],
            "first.projectionback.ref_mic='sum', expected a number",
        ),
        (
            ["--n-sources", "3", "--method", "ilrma"],
            "n_sources=3, but rec.wav has 2 microphones, expected at most",
        ),
        (["--n-sources", "0"], "'n_sources' parameter of LoudestSources must be"),
        (["--set", "denoise=2"], "denoise=2, expected true or false"),
        (["--set", "dereverberate=no-"], "dereverberate='no-', expected true or fa"),
        (["--demo"], "--demo, which takes no recordings"),
        (["-o", "voices.wav"], "-o voices.wav, expected a folder: each source"),
        (["--reference-dir", "missing"], "no source*.wav or source*.flac in missing"),
    ],
)
def test_bad_arguments(recording, tmp_path, capsys, arguments, message):
    before = files_in(tmp_path)
    assert message in fails(capsys, ["rec.wav", "-o", "out", *arguments])
    assert files_in(tmp_path) == before


def test_window_is_checked_at_the_rate_of_the_recording(tmp_path, capsys):
    # At 16 kHz, windows of 256 ms have 4096 samples, which are too few for this hop.
    write_recording(tmp_path / "a.wav", rate=48000)
    hop = ["--set", "stft.hop_length=6000"]
    fast = ["--method", "auxiva", "--set", "auxiva.max_iter=3"]
    assert main(["separate", "a.wav", "-o", "out", *hop, *fast]) == 0


def test_missing_arguments(recording, capsys):
    assert "no recordings. Try --demo." in fails(capsys, ["-o", "out"])
    assert "no output folder, expected -o OUT." in fails(capsys, ["rec.wav"])


def _nan(path):
    x = np.zeros((99, 2))
    x[3] = np.nan
    sf.write(path, x, 8000, "FLOAT")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "Cannot read bad.wav: no such file or directory."),
        (lambda path: path.write_bytes(b""), "Cannot read bad.wav: the file is empty."),
        (lambda path: path.write_text("hello"), "Cannot read bad.wav as audio"),
        (lambda path: path.mkdir(), "Found no audio files in bad.wav."),
        (_nan, "bad.wav: got 2 NaN or infinite samples, the first at 0.000 s"),
        (
            lambda path: sf.write(path, np.zeros((0, 2)), 8000),
            "Cannot read bad.wav: it has no samples.",
        ),
        (
            lambda path: sf.write(path, np.zeros(99), 8000),
            "Got bad.wav with 1 channel, expected at least 2",
        ),
    ],
)
def test_bad_recordings_are_found_before_any_work(
    recording, tmp_path, capsys, make, message
):
    make(tmp_path / "bad.wav")
    assert message in fails(capsys, ["rec.wav", "bad.wav", "-o", "out"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "shape", "rate", "message"),
    [
        ("source_0.wav", (3999, 2), 8000, "3999 samples, but rec.wav has 4000."),
        ("source_0.wav", (4000, 2), 8001, "at 8001 Hz, but rec.wav is at 8000 Hz."),
        ("source_0.wav", (4000, 3), 8000, "of 3 channels, expected 1 or, like"),
        ("source_2.wav", (4000, 2), 8000, "Got 3 references of rec.wav, but its 2"),
    ],
)
def test_bad_references(recording, tmp_path, capsys, name, shape, rate, message):
    write_audio(tmp_path / "rec" / name, np.ones(shape), rate)
    arguments = ["rec.wav", "-o", "out", "--reference-dir", "rec"]
    assert message in fails(capsys, arguments)
    assert not (tmp_path / "out").exists()


def test_one_channel_references(recording, tmp_path, capsys):
    for path in (tmp_path / "rec").iterdir():
        write_audio(path, read_audio(path)[0][:, 1], 8000)
    arguments = ["rec.wav", "-o", "out", "--reference-dir", "rec", "--ref-mic", "1"]
    assert main(["separate", *arguments, *FAST]) == 0
    assert "SI-SDRi" in capsys.readouterr().out


@pytest.mark.parametrize("out", ["file", "file/out", "/proc/out"])
def test_unwritable_folder(recording, tmp_path, capsys, out):
    (tmp_path / "file").write_text("not a folder")
    error = fails(capsys, ["rec.wav", "-o", out, *FAST])
    assert f"Cannot write to folder {out}" in error
    assert (tmp_path / "file").read_text() == "not a folder"


def test_earlier_results_stay(recording, tmp_path, capsys):
    write_recording(tmp_path / "three.wav", n=3)
    identity = "[[1, 0], [0, 1]]"  # fits two microphones only
    arguments = ["--method", "auxiva", "--set", "stft.n_fft=2", "--set"]
    arguments += [f"auxiva.init=[{identity}, {identity}]"]
    names = ["rec.wav", "three.wav"]
    assert main(["separate", *names, "-o", "out", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("skbss separate: Cannot separate three.wav: Got init")
    assert err.count("\n") == 1
    assert "rec.wav" in out
    assert files_in(tmp_path / "out") == ["rec_source0.wav", "rec_source1.wav"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seperate"], "choose from"),
        (["separate", "a.wav", "--keep_going"], "--keep_going. Is --keep-going meant?"),
        (["separate", "--n-source=2", "--nothing"], "2 --nothing. Is --n-sources mea"),
        (["stream", "-", "-", "--chanels", "2"], "2. Is --channels meant?"),
        (["benchmark", "run", "a.yaml", "--what"], "arguments: --what\n"),
    ],
)
def test_misspelt_arguments(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    usage, _, error = capsys.readouterr().err.partition("error: ")
    assert message in error
    if arguments[0] != "seperate":
        assert f"usage: skbss {arguments[0]}" in usage


def test_without_arguments_the_commands_are_told(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "separate recordings into one file per source" in err


def test_module_is_the_command():
    command = [sys.executable, "-m", "skbss", "separate", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("usage: skbss separate")


def test_interrupt(tmp_path):
    write_recording(tmp_path / "a.wav", n=4)
    slow = ["--set", "first.auxiva.max_iter=1000000"]
    process = Command("separate", "a.wav", "-o", "out", "-v", *slow)
    assert process.stderr.readline() == b"checking a.wav\n"
    assert process.stderr.readline().startswith(b"[1/1] separating")
    process.send_signal(signal.SIGINT)
    *progress, last = process.communicate()[1].splitlines()
    assert last == b"skbss: interrupted"
    # It may have begun with the next step before the signal came.
    assert all(line.startswith(b"[1/1] separating") for line in progress)
    assert process.returncode == 130
    assert files_in(tmp_path / "out") == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_stdout_ends_in_a_sentence(capfd, monkeypatch):
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", full)
        assert main(["separate", "--list-methods"]) == 2
    err = capfd.readouterr().err
    assert err == "skbss separate: Cannot write to stdout: No space left on device.\n"


def test_names_that_stdout_cannot_encode_are_escaped(recording, monkeypatch):
    recording.rename("ä.wav")
    stdout = io.TextIOWrapper(io.BytesIO(), "ascii")
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", stdout)
        assert main(["separate", "ä.wav", "-o", "out", *FAST]) == 0
    stdout.seek(0)
    assert r"\xe4.wav" in stdout.read()


def test_warmup_says_what_it_did(capsys, monkeypatch):
    # Where compiling would take half a minute.
    monkeypatch.setattr("skbss.updates.dereverberation.kernels", lambda name: None)
    monkeypatch.setattr("skbss.commands.warmup.kernels", lambda name: None)
    assert main(["warmup"]) == 0
    out, _ = capsys.readouterr()
    assert "All is loaded and works, after " in out
    assert "Nothing is compiled" in out
