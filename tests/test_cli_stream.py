"""The command that separates a recording while it comes in."""

# License: BSD-3-Clause

import contextlib
import io
import os
import re
import signal
import tempfile
import time
from argparse import ArgumentTypeError

import numpy as np
import pytest
import soundfile as sf

from skbss import OnlineSeparator
from skbss.cli import main, sample_format
from skbss.commands.early_reader import EarlyReader
from skbss.commands.pcm import PipeReader, decode, encode
from skbss.commands.stream import build
from skbss.io import AudioFileError, read_audio, write_audio
from tests.conftest import make_recording
from tests.processes import Command

RATE = 8000
SMALL = ["--method", "onlineauxiva", "--set", "stft.n_fft=256"]
LONG = [*SMALL[:3], "stft.n_fft=1024"]  # a quarter of the work
RAW = ["--rate", str(RATE), "--channels", "2"]
HOP = 64
# How far the output is behind, with n_fft 256, when whole hops have come in.
LAG = 256 - HOP
# One level of 16 bits, as two roundings may differ by.
LEVEL = 2.0**-15


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mixture():
    """Write in.wav and return what is in it: 2 microphones, 0.5 s."""
    x = make_recording()[0]
    write_audio("in.wav", x / abs(x).max() / 2, RATE)
    return read_audio("in.wav")[0]


@pytest.fixture
def pipe(capfdbinary):
    """Run the command in this process with raw standard input and output."""

    def run(data, *arguments):
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            stdin = os.dup(0)
            os.dup2(file.fileno(), 0)
            try:
                status = main(["stream", *arguments])
            finally:
                os.dup2(stdin, 0)
                os.close(stdin)
        output, err = capfdbinary.readouterr()
        return status, output, err.decode()

    return run


def offline(x, method="onlineauxiva", **params):
    return build(method, {"stft.n_fft": 256} | params, RATE).fit_transform(x)


def fails(capsys, *arguments):
    """Run the command, expect status 2 and one sentence, and return it."""
    assert main(["stream", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    *others, last = captured.err.splitlines()
    assert last.startswith("skbss stream: ")
    assert all(line.startswith("ready, latency") for line in others)
    return last


def start(*arguments):
    """Start the command with pipes and wait until it is ready for input."""
    process = Command("stream", *arguments)
    assert process.stderr.readline().startswith(b"ready, latency")
    return process


def read_until(process, n_bytes):
    """Read so many bytes of the command's output, which may come in pieces."""
    data = b""
    while len(data) < n_bytes:
        piece = process.stdout.read(n_bytes - len(data))
        assert piece, "the output ended early"
        data += piece
    return data


def wait_for_frames(path, n_frames):
    """Wait until a file has so many samples; its header may be read half renewed."""
    for _ in range(500):
        with contextlib.suppress(sf.LibsndfileError):
            if (n := sf.info(path).frames) >= n_frames:
                return n
        time.sleep(0.01)
    raise AssertionError(f"{path} has fewer than {n_frames} samples after 5 s")


# ---- files


@pytest.mark.parametrize("block", [None, 1, 61, 20_000])
def test_file_to_file_is_the_pipeline(mixture, block, capsys):
    blocks = [] if block is None else ["--block", str(block)]
    if block == 1:
        write_audio("in.wav", mixture[:1500], RATE)
    assert main(["stream", "in.wav", "out.wav", *SMALL, *blocks]) == 0
    x = read_audio("in.wav")[0]
    y, info = read_audio("out.wav")
    assert (info.sample_rate, info.subtype) == (RATE, "PCM_16")
    np.testing.assert_allclose(y, offline(x), atol=LEVEL)
    out, err = capsys.readouterr()
    assert out == ""
    latency, summary = err.splitlines()
    assert latency == "ready, latency 255 samples (31.9 ms)"
    numbers = re.fullmatch(
        r"separated (\S+) s in (\S+) s, real-time factor (\S+), slowest block (\S+) ms "
        r"\(of (\S+) ms\)",
        summary,
    ).groups()
    duration, seconds, factor, slowest, length = map(float, numbers)
    assert duration == pytest.approx(len(x) / RATE, abs=0.05)
    # Both are rounded, to 0.01 s and 0.001.
    assert factor == pytest.approx(seconds / (len(x) / RATE), abs=0.01 * RATE / len(x))
    assert 0 < slowest <= 1000 * seconds + 10
    assert length == pytest.approx(1000 * (block or 64) / RATE, abs=0.05)


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT", "DOUBLE", "PCM_U8"])
def test_sample_formats(mixture, subtype):
    write_audio("a.wav", mixture, RATE, subtype=subtype)
    arguments = ["a.wav", "out.wav", *SMALL, "--ref-mic", "1"]
    assert main(["stream", *arguments]) == 0
    y, info = read_audio("out.wav")
    assert info.subtype == ("PCM_16" if subtype == "PCM_U8" else subtype)
    expected = offline(read_audio("a.wav")[0], **{"projectionback.ref_mic": 1})
    atol = LEVEL if info.subtype == "PCM_16" else 2.0**-22
    np.testing.assert_allclose(y, expected, atol=atol)


def test_flac_and_out_format(mixture):
    write_audio("a.flac", mixture, RATE, subtype="PCM_24")
    assert main(["stream", "a.flac", "out.wav", *SMALL, "--out-format", "f32le"]) == 0
    y, info = read_audio("out.wav")
    assert info.subtype == "FLOAT"
    np.testing.assert_allclose(y, offline(read_audio("a.flac")[0]), atol=1e-6)


def test_method(mixture):
    arguments = ["--method", "onlineilrma", "--set", "onlineilrma.n_basis=3"]
    assert main(["stream", "in.wav", "out.wav", *SMALL[2:], *arguments]) == 0
    expected = offline(mixture, "onlineilrma", **{"onlineilrma.n_basis": 3})
    np.testing.assert_allclose(read_audio("out.wav")[0], expected, atol=LEVEL)


def test_default_method(mixture, capsys):
    arguments = ["--latency", "0.05", "--n-sources", "1", "--ref-mic", "1"]
    assert main(["stream", "in.wav", "out.wav", *arguments]) == 0
    separator = OnlineSeparator(RATE, 1, latency=0.05, ref_mic=1)
    expected = separator.fit_transform(mixture)
    np.testing.assert_allclose(read_audio("out.wav")[0], expected, atol=LEVEL)
    assert capsys.readouterr().err.startswith("ready, latency 400 samples (50.0 ms)")


def test_latency_is_not_for_recursive_methods(mixture, capsys):
    message = fails(capsys, "in.wav", "o.wav", "--latency", "0.1", *SMALL)
    assert "Got latency=0.1 for onlineauxiva" in message
    message = fails(capsys, "in.wav", "o.wav", "--latency", "3")
    assert "Got --latency 3, expected seconds from 0.008 to 2" in message


def test_three_microphones():
    x = make_recording(3, 4000)[0]
    write_audio("a.wav", x / abs(x).max() / 2, RATE, subtype="FLOAT")
    assert main(["stream", "a.wav", "out.wav", *SMALL]) == 0
    y = read_audio("out.wav")[0]
    np.testing.assert_allclose(y, offline(read_audio("a.wav")[0]), atol=1e-6)


def test_config(mixture):
    with open("a.yaml", "w") as file:
        file.write(
            "method: onlineauxiva\nstft: {n_fft: 512}\nprojectionback.ref_mic: 1"
        )
    arguments = ["in.wav", "out.wav", "--config", "a.yaml"]
    assert main(["stream", *arguments, "--set", "onlineauxiva.forget=0.95"]) == 0
    params = {
        "stft.n_fft": 512,
        "projectionback.ref_mic": 1,
        "onlineauxiva.forget": 0.95,
    }
    expected = offline(mixture, **params)
    np.testing.assert_allclose(read_audio("out.wav")[0], expected, atol=LEVEL)


def test_default_window():
    for rate, n_fft in [(8000, 1024), (16_000, 2048), (48_000, 8192)]:
        assert build("onlineauxiva", {}, rate)["stft"].n_fft == n_fft


def test_clipping_is_told(mixture, capsys):
    write_audio("a.wav", 8 * mixture, RATE, subtype="FLOAT")
    assert main(["stream", "a.wav", "out.wav", *SMALL, "--out-format", "s16le"]) == 0
    expected = offline(read_audio("a.wav")[0])
    n_beyond = np.count_nonzero(abs(expected) > 1)
    assert n_beyond > 0
    assert f"warning: {n_beyond} samples are beyond full" in capsys.readouterr().err
    y = read_audio("out.wav")[0]
    np.testing.assert_allclose(y, np.clip(expected, -1, 1), atol=LEVEL)


# ---- pipes


@pytest.mark.parametrize(
    ("name", "subtype", "atol"),
    [
        ("s16le", "PCM_16", LEVEL),
        ("s24le", "PCM_24", 2.0**-23),
        ("s32le", "PCM_32", 1e-9),
        ("f32le", "FLOAT", 1e-7),
        ("f64le", "DOUBLE", 1e-10),
    ],
)
def test_raw_formats(mixture, pipe, name, subtype, atol):
    data = encode(mixture, subtype)
    write_audio("a.wav", mixture, RATE, subtype=subtype)
    with open("a.wav", "rb") as file:
        assert file.read().endswith(data)  # as in a file of that format
    status, output, _ = pipe(data, "-", "-", *RAW, "--format", name, *SMALL)
    assert status == 0
    y = decode(output, subtype).reshape(-1, 2)
    np.testing.assert_allclose(y, offline(mixture), atol=atol)


def test_odd_chunks_from_a_slow_writer(mixture):
    process = start("-", "-", *RAW, *SMALL)
    data = encode(mixture[:2000], "PCM_16")
    rng = np.random.default_rng(0)
    position = 0
    output = b""
    while position < len(data):
        n = int(rng.integers(1, 700))  # of bytes, not of samples
        process.stdin.write(data[position : position + n])
        position = min(position + n, len(data))
        # What is due comes before anything more goes in.
        n_due = max(position // 4 - 255, 0) * 4
        output += read_until(process, n_due - len(output)) if n_due else b""
    rest, _ = process.communicate()
    y = decode(output + rest, "PCM_16").reshape(-1, 2)
    np.testing.assert_allclose(y, offline(mixture[:2000]), atol=LEVEL)
    assert process.returncode == 0


def test_signal_flushes(mixture):
    x = mixture[: 47 * HOP]
    process = start("-", "-", *RAW, *SMALL)
    process.stdin.write(encode(x, "PCM_16"))
    output = read_until(process, 4 * (len(x) - LAG))
    process.send_signal(signal.SIGINT)  # while it waits for more
    rest = process.stdout.read()
    err = process.stderr.read().decode()
    assert process.wait() == 0
    y = decode(output + rest, "PCM_16").reshape(-1, 2)
    np.testing.assert_allclose(y, offline(x), atol=LEVEL)
    assert err.startswith("separated 0.4 s")
    for file in (process.stdin, process.stdout, process.stderr):
        file.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_file_is_valid_after_a_signal(mixture, number):
    x = mixture[: 55 * HOP]
    process = start("-", "out.wav", *RAW, *SMALL)
    process.stdin.write(encode(x, "PCM_16"))
    wait_for_frames("out.wav", len(x) - LAG)
    process.send_signal(number)
    process.communicate()
    flushed = number == signal.SIGTERM
    assert process.returncode == (0 if flushed else -signal.SIGKILL)
    y, info = read_audio("out.wav")
    assert (info.sample_rate, info.subtype) == (RATE, "PCM_16")
    assert len(y) == len(x) if flushed else len(x) - LAG
    np.testing.assert_allclose(y, offline(x)[: len(y)], atol=LEVEL)


def test_signal_amid_a_file(mixture):
    write_audio("long.wav", np.tile(mixture, (30, 1)), RATE)
    process = start("long.wav", "out.wav", *SMALL)
    wait_for_frames("out.wav", 1000)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 0
    n_samples = sf.info("out.wav").frames
    assert 1000 <= n_samples < 30 * len(mixture)
    assert n_samples % 64 == 0  # all of the blocks that went in have come out
    assert err.startswith(b"separated")
    expected = offline(np.tile(mixture, (30, 1))[:n_samples])
    np.testing.assert_allclose(read_audio("out.wav")[0], expected, atol=LEVEL)


def test_reader_goes_away(mixture):
    write_audio("long.wav", np.tile(mixture, (20, 1)), RATE)
    process = start("long.wav", "-", *SMALL)
    read_until(process, 1000)
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    process.stdin.close()
    assert process.wait() == 0
    assert err.startswith("separated")
    assert err.count("\n") == 1


def test_incomplete_last_sample(mixture, pipe):
    data = encode(mixture[:1000], "PCM_16") + b"abc"
    status, output, err = pipe(data, "-", "-", *RAW, *SMALL)
    assert status == 0
    assert len(output) == 4000
    assert "ended with 3 of the 4 bytes" in err


def test_not_finite_input_keeps_what_came_before(mixture, pipe):
    data = encode(np.vstack([mixture[:1000], [[0.0, np.nan]]]), "FLOAT")
    status, _, err = pipe(data, "-", "o.wav", *RAW, "--format", "f32le", *SMALL)
    assert status == 2
    assert "1 NaN or infinite samples, the first at 0.125 s in channel 1" in err
    y = read_audio("o.wav")[0]
    # Blocks of a hop before the one with the bad sample.
    n = 1000 // HOP * HOP
    np.testing.assert_allclose(y, offline(mixture[:n]), atol=1e-6)


def test_memory_does_not_grow(mixture):
    process = start("-", "-", *RAW, *LONG)
    data = encode(np.tile(mixture, (5, 1)), "PCM_16")

    def resident():
        with open(f"/proc/{process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    sizes = []
    n_late = 4 * 1023
    for _ in range(4):
        for position in range(0, len(data), 20_000):
            process.stdin.write(data[position : position + 20_000])
            read_until(process, 20_000 - n_late)
            n_late = 0
        sizes.append(resident())
    process.communicate()
    # 7.5 s of it would be 3.7 MB as spectrograms; the allocator needs some leeway.
    assert max(sizes) - sizes[0] < 2**20


# ---- going on


def test_state_is_kept_from_run_to_run(mixture, pipe):
    """Outputs of runs, one after the other, are those of one run."""
    for method in ("onlineauxiva", "onlineseparator"):
        options = [*RAW, "--method", method, "--out-format", "f32le"]
        _, expected, _ = pipe(encode(mixture, "PCM_16"), "-", "-", *options)
        parts = []
        for part in np.split(mixture, [3000, 3001]):
            data = encode(part, "PCM_16")
            status, output, err = pipe(data, "-", "-", *options, "--state", method)
            assert status == 0, err
            parts.append(output)
        y = b"".join(parts)
        assert len(parts[0]) > 0
        assert y == expected[: len(y)]
        assert not [name for name in os.listdir() if name.endswith(".part")]


def test_state_of_a_killed_process(mixture):
    process = start("-", "-", *RAW, *LONG, "--state", "state")
    # A state is written after ten seconds.
    data = encode(np.tile(mixture, (22, 1)), "PCM_16")
    process.stdin.write(data)
    read_until(process, len(data) // 11 * 10)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with np.load("state") as state:
        assert len(state.files) > 3
    process = start("-", "-", *RAW, *LONG, "--state", "state")
    output, err = process.communicate(data[:8192])
    assert process.returncode == 0, err
    assert len(output) == 8192  # nothing is late any more


@pytest.mark.parametrize("damage", [b"", b"PK", "another"])
def test_states_that_cannot_be_used(mixture, capsys, damage):
    if damage == "another":
        assert main(["stream", "in.wav", "a.wav", "--state", "state"]) == 0
    else:
        with open("state", "wb") as file:
            file.write(damage)
    capsys.readouterr()
    message = fails(capsys, "in.wav", "o.wav", *SMALL, "--state", "state")
    assert "Cannot continue from state: " in message
    assert "remove it" in message
    assert ".." not in message
    nowhere = fails(capsys, "in.wav", "o.wav", *SMALL, "--state", "no/state")
    assert "Cannot write no/state: " in nowhere


# ---- what is refused


def test_wrong_arguments(mixture, capsys):
    assert "Got no --rate" in fails(capsys, "-", "-", "--channels", 2)
    assert "Got no --channels" in fails(capsys, "-", "-", "--rate", 8000)
    assert "--rate 0, expected" in fails(capsys, "-", "-", "--rate", 0, "--channels", 2)
    assert "--block 0, expected" in fails(capsys, "in.wav", "o.wav", "--block", 0)
    assert "--format s16le with in.wav" in fails(
        capsys, "in.wav", "o.wav", "--format", "s16le"
    )
    assert "1 channel, expected" in fails(
        capsys, "-", "-", "--rate", 8000, "--channels", 1
    )
    assert "unknown method 'ilrma'" in fails(
        capsys, "in.wav", "o.wav", "--method", "ilrma"
    )
    assert "Did you mean 'onlineauxiva.forget'" in fails(
        capsys, "in.wav", "o.wav", *SMALL, "--set", "onlineauxiva.forge=0.9"
    )
    assert "forget" in fails(
        capsys, "in.wav", "o.wav", *SMALL, "--set", "onlineauxiva.forget=7"
    )
    assert "isn't invertible" in fails(
        capsys, "in.wav", "o.wav", *SMALL, "--set", "stft.hop_length=9999"
    )
    assert "ref_mic=2, but the recording has 2" in fails(
        capsys, "in.wav", "o.wav", *SMALL, "--ref-mic", 2
    )
    assert "ref_mic=2, but the signal has 2" in fails(
        capsys, "in.wav", "o.wav", "--ref-mic", 2
    )
    assert "least_squares" in fails(
        capsys,
        *("in.wav", "o.wav", *SMALL),
        *("--set", "projectionback.method=least_squares"),
    )
    assert not os.path.exists("o.wav")


def test_unusable_files(mixture, capsys):
    assert "Cannot read none.wav" in fails(capsys, "none.wav", "o.wav")
    write_audio("mono.wav", mixture[:, :1], RATE)
    assert "mono.wav with 1 channel" in fails(capsys, "mono.wav", "o.wav")
    with open("text.wav", "w") as file:
        file.write("no audio")
    assert "Cannot read text.wav as audio" in fails(capsys, "text.wav", "o.wav")
    assert "extension '.flac'" in fails(capsys, "in.wav", "o.flac")
    assert "it is the recording" in fails(capsys, "in.wav", "./in.wav")
    assert np.array_equal(read_audio("in.wav")[0], mixture)
    assert "no such file" in fails(capsys, "in.wav", "none/o.wav")
    assert not os.path.exists("o.wav")


def test_empty_input(pipe):
    status, output, err = pipe(b"", "-", "-", *RAW)
    assert (status, output) == (2, b"")
    assert err.endswith("skbss stream: Got no samples from standard input.\n")


def test_full_disk(mixture):
    with open("/dev/full", "wb") as full:
        process = Command("stream", "in.wav", "-", *SMALL, stdout=full)
    _, err = process.communicate()
    assert process.returncode == 2
    assert b"Traceback" not in err
    assert b"Cannot write to standard output: no space left" in err


def test_an_existing_file_stays_unless_told(mixture, capsys):
    write_audio("out.wav", np.zeros((9, 2)), RATE)
    message = fails(capsys, "in.wav", "out.wav", *SMALL)
    assert "out.wav: it is there already" in message
    assert len(read_audio("out.wav")[0]) == 9
    assert main(["stream", "in.wav", "out.wav", *SMALL, "--overwrite"]) == 0
    assert len(read_audio("out.wav")[0]) == len(mixture)


def test_names_of_formats():
    for name in ("S24_3LE", "s24le"):
        assert sample_format(name) == "s24le"
    assert sample_format("FLOAT_LE") == "f32le"
    for name in ("S24_LE", "s17le"):
        with pytest.raises(ArgumentTypeError, match=r"expected .*s24le"):
            sample_format(name)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_the_header_of_a_wav_file_is_no_sound(tmp_path, subtype):
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (3000, 2))
    write_audio(tmp_path / "a.wav", x, RATE, subtype=subtype)
    source = io.BytesIO((tmp_path / "a.wav").read_bytes())
    reader = PipeReader(RATE, 2, subtype, read=lambda _, size: source.read(size))
    y = np.concatenate(list(reader.blocks(100)))
    assert len(y) == 3000
    np.testing.assert_allclose(y, x, atol=2**-15)
    source.seek(0)
    reader = PipeReader(RATE, 3, subtype, read=lambda _, size: source.read(size))
    with pytest.raises(AudioFileError, match="2 channels"):
        next(reader.blocks(100))


def test_all_that_comes_is_read_early():
    descriptor, sender = os.pipe()
    reader = EarlyReader(descriptor)
    sent = np.random.default_rng(0).bytes(300_000)
    os.write(sender, sent[:50_000])
    got = reader.read(0, 20_000)
    for start in range(50_000, len(sent), 50_000):
        os.write(sender, sent[start : start + 50_000])
    os.close(sender)
    while data := reader.read(0, 70_000):
        got += data
    assert got == sent
    os.close(descriptor)


def test_who_cannot_keep_up_says_so_once(mixture, pipe, monkeypatch):
    data = encode(mixture, "PCM_16")
    err = pipe(data, "-", "-", *RAW, *SMALL)[2]
    assert "behind" not in err
    monkeypatch.setattr("skbss.commands.stream.LATE", -np.inf)
    status, _, err = pipe(data, "-", "-", *RAW, *SMALL)
    assert status == 0
    assert err.count("behind the sound") == 1
    assert "2 channels at 8000 Hz" in err
