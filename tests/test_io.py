"""Audio files."""

# License: BSD-3-Clause

import io
import os
import stat
import time

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from skbss.io import (
    AudioFileError,
    AudioInfo,
    AudioReader,
    AudioWriter,
    read_audio,
    write_audio,
)


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(-0.9, 0.9, size=(500, 3))


@pytest.mark.parametrize(
    ("name", "subtype", "step"),
    [
        ("a.wav", "PCM_U8", 2.0**-7),
        ("a.wav", "PCM_16", 2.0**-15),
        ("a.wav", "PCM_24", 2.0**-23),
        ("a.wav", "PCM_32", 2.0**-31),
        ("a.wav", "FLOAT", 2.0**-24),
        ("a.wav", "DOUBLE", 0.0),
        ("a.FLAC", "PCM_S8", 2.0**-7),
        ("a.flac", "PCM_16", 2.0**-15),
        ("a.flac", "PCM_24", 2.0**-23),
    ],
)
def test_round_trip(tmp_path, x, name, subtype, step):
    write_audio(tmp_path / name, x, 44100, subtype=subtype)
    once, info = read_audio(tmp_path / name)
    assert info.sample_rate == 44100
    assert info.subtype == subtype
    assert info.suffix == name[1:].lower()
    # Rounded to the nearest value, half a step away at most, not truncated.
    np.testing.assert_allclose(once, x, rtol=0, atol=0.5 * step * (1 + 1e-6))
    # What was read is written back bit for bit.
    write_audio(tmp_path / name, once, 44100, subtype=subtype)
    np.testing.assert_array_equal(read_audio(tmp_path / name)[0], once)


def test_one_channel(tmp_path, x):
    write_audio(tmp_path / "a.wav", x[:, 0], 8000, subtype="DOUBLE")
    y, info = read_audio(tmp_path / "a.wav")
    np.testing.assert_array_equal(y, x[:, :1])
    assert info == AudioInfo(sample_rate=8000, format="WAV", subtype="DOUBLE")


def test_dtype(tmp_path, x):
    write_audio(tmp_path / "a.wav", x.astype(np.float32), 8000, subtype="FLOAT")
    y, _ = read_audio(tmp_path / "a.wav", dtype=np.float32)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, x.astype(np.float32))


def test_format_is_read_from_the_content(tmp_path, x):
    write_audio(tmp_path / "a.flac", x, 8000)
    os.rename(tmp_path / "a.flac", tmp_path / "a.wav")
    assert read_audio(tmp_path / "a.wav")[1].suffix == ".flac"


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "ULAW"])
def test_clipping_is_told(tmp_path, subtype):
    x = np.array([0.0, 1.5, -1.25, 0.5])
    with pytest.warns(UserWarning, match=r"a.wav: 2 of 4 samples .* \(peak 1.5\)"):
        write_audio(tmp_path / "a.wav", x, 8000, subtype=subtype)
    y = read_audio(tmp_path / "a.wav")[0][:, 0]
    # 8-bit mu-law is coarse: steps of 1/32 near full scale.
    np.testing.assert_allclose(y, [0, 1, -1, 0.5], atol=2**-5)


@pytest.mark.filterwarnings("error")
def test_no_clipping_without_need(tmp_path):
    write_audio(tmp_path / "a.wav", [1.5, -3.0], 8000, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0][:, 0], [1.5, -3])
    # Full scale itself is one step too much for 16 bits, and no reason to worry.
    write_audio(tmp_path / "a.wav", [1.0, -1.0], 8000)
    expected = [1 - 2.0**-15, -1.0]
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0][:, 0], expected)


def _wav_without_samples(path):
    sf.write(path, np.zeros((0, 2)), 8000)


def _wav_with_nan(path):
    x = np.zeros((8000, 2))
    x[4000, 1] = np.nan
    x[5000, 0] = np.inf
    sf.write(path, x, 8000, "FLOAT")


def _wav():
    file = io.BytesIO()
    sf.write(file, np.zeros((500, 1)), 8000, format="WAV")
    return file.getvalue()


def _half_a_flac(path):
    x = np.random.default_rng(0).uniform(-0.9, 0.9, size=20_000)
    sf.write(path, x, 8000, format="FLAC")
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file or directory."),
        (lambda path: path.mkdir(), "is a directory."),
        (lambda path: path.write_bytes(b""), "the file is empty."),
        (lambda path: path.write_text("hello " * 99), "format not recognised."),
        (_wav_without_samples, "it has no samples."),
        (
            _wav_with_nan,
            "got 2 NaN or infinite samples, the first at 0.500 s in channel 1.",
        ),
        (
            lambda path: path.write_bytes(_wav()[:-100]),
            "it is truncated, 944 of 1044 bytes are there.",
        ),
    ],
)
def test_unreadable_files(tmp_path, make, message):
    path = tmp_path / "a.wav"
    make(path)
    with pytest.raises(AudioFileError) as caught:
        read_audio(path)
    assert str(caught.value).startswith(f"Cannot read {path}")
    assert str(caught.value).endswith(message)
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, ValueError)


def test_damaged_file(tmp_path):
    path = tmp_path / "a.flac"
    _half_a_flac(path)
    with pytest.raises(AudioFileError, match=r"Cannot read .*a\.flac"):
        read_audio(path)


@settings(max_examples=30, deadline=None)
@given(content=st.binary(max_size=300))
def test_random_bytes_never_end_in_another_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("random") / "a.wav"
    for start in (b"", b"fLaC", b"RIFF"):
        path.write_bytes(start + content)
        with pytest.raises(AudioFileError, match="Cannot read"):
            read_audio(path)


@pytest.mark.parametrize(
    ("name", "subtype", "message"),
    [
        ("a.xyz", "PCM_16", "got extension '.xyz', expected one of .wav, .flac"),
        ("a", "PCM_16", "got extension '', expected"),
        ("a.flac", "FLOAT", "got subtype='FLOAT', expected one of PCM_S8, PCM_16"),
        ("a.wav", "PCM_17", "got subtype='PCM_17', expected one of"),
        ("missing/a.wav", "PCM_16", "no such file or directory."),
        ("file/a.wav", "PCM_16", "not a directory."),
    ],
)
def test_unwritable_files(tmp_path, x, name, subtype, message):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(AudioFileError) as caught:
        write_audio(tmp_path / name, x, 8000, subtype=subtype)
    assert f"Cannot write {tmp_path / name}: {message}" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_too_many_channels_leave_nothing(tmp_path):
    with pytest.raises(AudioFileError, match="Cannot write"):
        write_audio(tmp_path / "a.flac", np.zeros((10, 9)), 8000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [np.inf], []])
def test_unwritable_samples(tmp_path, bad):
    with pytest.raises(ValueError, match=r"NaN|infinity|minimum of 1"):
        write_audio(tmp_path / "a.wav", bad, 8000)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_keeps_the_old_file(tmp_path, x):
    path = tmp_path / "a.wav"
    write_audio(path, x, 8000)
    before = path.read_bytes()

    def interrupted():
        with AudioWriter(path, 8000, 3) as file:
            file.write(x)
            assert len(list(tmp_path.glob(".a.wav.*.part"))) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_have_the_usual_permissions(tmp_path, x):
    write_audio(tmp_path / "a.wav", x, 8000)
    (tmp_path / "b").write_text("")
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("a.wav", "b")]
    assert modes[0] == modes[1]


def test_lengths_that_are_not_known_yet(tmp_path):
    path = tmp_path / "a.wav"
    content = bytearray(_wav())
    content[4:8] = content[40:44] = b"\xff" * 4  # as sox writes to a pipe
    path.write_bytes(content)
    assert len(read_audio(path)[0]) == 500


@pytest.mark.parametrize(
    ("name", "format", "subtype"),
    [
        ("a.aiff", "AIFF", "PCM_16"),
        ("a.caf", "CAF", "PCM_24"),
        ("a.w64", "W64", "FLOAT"),
        ("a.au", "AU", "PCM_16"),
        ("a.wav", "RF64", "PCM_16"),
        ("a.ogg", "OGG", "VORBIS"),
        ("a.mp3", "MP3", "MPEG_LAYER_III"),
    ],
)
def test_other_formats(tmp_path, name, format, subtype):
    y = 0.5 * np.sin(np.arange(16_000) / 10)[:, None] * [1, 0.5]
    with AudioWriter(
        tmp_path / name, 16_000, 2, subtype=subtype, format=format
    ) as file:
        for piece in np.array_split(y, 5):
            file.write(piece)
    reader = AudioReader(tmp_path / name)
    assert reader.shape == y.shape
    assert (reader.info.format, reader.info.subtype) == (format, subtype)
    reader.check()
    part = reader[5000:7000]
    assert part.dtype == np.float32
    np.testing.assert_allclose(part, y[5000:7000], atol=0.05)


def test_equal_samples_make_equal_files(tmp_path, x):
    for k, seconds in enumerate([0, 1.1]):
        time.sleep(seconds)  # libsndfile would note the time
        write_audio(tmp_path / f"{k}.wav", x, 8000, subtype="FLOAT")
    contents = [(tmp_path / f"{k}.wav").read_bytes() for k in (0, 1)]
    assert contents[0] == contents[1]
    assert b"PEAK" in contents[0]
    np.testing.assert_array_equal(read_audio(tmp_path / "0.wav")[0], np.float32(x))


def test_files_side_by_side(tmp_path, x):
    write_audio(tmp_path / "a.wav", x[:, :2], 8000, subtype="DOUBLE")
    write_audio(tmp_path / "b.flac", x[:, 2], 8000, subtype="PCM_24")
    reader = AudioReader([tmp_path / "a.wav", tmp_path / "b.flac"], channels=[2, 0])
    assert reader.shape == (len(x), 2)
    assert reader.dtype == np.float64
    np.testing.assert_allclose(reader[10:90], x[10:90, [2, 0]], atol=1e-6)
    with pytest.raises(AudioFileError, match=r"Got channel 4, but .* has 3"):
        AudioReader([tmp_path / "a.wav", tmp_path / "b.flac"], channels=[3])
    write_audio(tmp_path / "c.wav", x[:-1], 8000)
    with pytest.raises(AudioFileError, match=r"Cannot join .*c.wav, .* expected the"):
        AudioReader([tmp_path / "a.wav", tmp_path / "c.wav"])
    with pytest.raises(ValueError, match="slice of successive"):
        reader[::2]


@pytest.mark.skipif(os.name != "posix", reason="needs links and pipes")
def test_links_stay_links_and_pipes_are_refused(tmp_path):
    x = np.zeros((100, 1))
    (tmp_path / "there").mkdir()
    (tmp_path / "link.wav").symlink_to(tmp_path / "there" / "file.wav")
    write_audio(tmp_path / "link.wav", x, 8000)
    assert (tmp_path / "link.wav").is_symlink()
    assert len(read_audio(tmp_path / "there" / "file.wav")[0]) == 100
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioFileError, match="no regular file"):
        write_audio(tmp_path / "pipe.wav", x, 8000)
    assert (tmp_path / "pipe.wav").is_fifo()


def chunk(name, data, size=None):
    size = len(data) if size is None else size
    return name + size.to_bytes(4, "little") + data + b"\0" * (len(data) % 2)


@pytest.mark.parametrize("kind", ["pipe", "chunks"])
def test_headers_as_recorders_and_pipes_write_them(tmp_path, kind):
    samples = np.arange(-100, 100, dtype="<i2").reshape(-1, 2)
    form = bytes.fromhex("0100 0200 401f0000 007d0000 0400 1000")
    parts = [b"WAVE", chunk(b"fmt ", form)]
    if kind == "pipe":  # sox and others don't know the length
        parts += [chunk(b"data", samples.tobytes(), 0xFFFFFFFF)]
    else:
        parts += [chunk(b"bext", bytes(602)), chunk(b"LIST", b"INFOISFT\x03\0\0\0abc")]
        parts += [chunk(b"data", samples.tobytes()), chunk(b"id3 ", b"ID3\x03\0")]
    body = b"".join(parts)
    size = 0xFFFFFFFF if kind == "pipe" else len(body)
    (tmp_path / "a.wav").write_bytes(b"RIFF" + size.to_bytes(4, "little") + body)
    x, info = read_audio(tmp_path / "a.wav")
    np.testing.assert_array_equal(x * 2**15, samples)
    assert info.sample_rate == 8000
