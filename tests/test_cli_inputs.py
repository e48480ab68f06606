"""What the command takes: formats, folders, patterns, pipes, several files at once."""

# License: BSD-3-Clause

import io
import json
import os
import signal
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
from joblib.externals.loky import get_reusable_executor

from skbss import AlignChannels, ResampleChannels
from skbss.cli import main
from skbss.commands.aligned_reader import AlignedReader
from skbss.commands.console import _duration
from skbss.commands.outputs import choose_format
from skbss.commands.pipelines import build_pipeline, reference_of
from skbss.datasets import load_cocktail_party, make_convolutive_mixture
from skbss.io import AudioInfo, AudioReader, AudioWriter, write_audio
from skbss.methods import _OWN as OWN
from skbss.methods import methods
from skbss.updates.delays import at_reference
from tests.processes import Command

FAST = ["--method", "auxiva", "--set", "auxiva.max_iter=2", "--set", "stft.n_fft=512"]
X, _ = make_convolutive_mixture(4000, 4, sample_rate=8000, random_state=0)
X = 0.5 * X / abs(X).max()


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Processes that other tests have begun stay in the folders of those.
    get_reusable_executor().shutdown()
    return tmp_path


def write(path, x=X[:, :2], format="WAV", subtype="PCM_16"):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = AudioWriter(path, 8000, x.shape[1], subtype=subtype, format=format)
    with writer as file:
        file.write(x)


def separate(*arguments, output="out"):
    return main(["separate", *map(str, arguments), "-o", output, *FAST])


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("name", "format", "subtype", "expected"),
    [
        ("a.aiff", "AIFF", "PCM_16", ("aiff", "AIFF", "PCM_16")),
        ("a.caf", "CAF", "PCM_24", ("caf", "CAF", "PCM_24")),
        ("a.w64", "W64", "FLOAT", ("w64", "W64", "FLOAT")),
        ("a.rf64", "RF64", "PCM_16", ("wav", "WAV", "PCM_16")),
        ("a.ogg", "OGG", "VORBIS", ("wav", "WAV", "PCM_16")),
        ("a.mp3", "MP3", "MPEG_LAYER_III", ("wav", "WAV", "PCM_16")),
        ("a.wav", "WAV", "MS_ADPCM", ("wav", "WAV", "PCM_16")),
        ("a.wav", "WAV", "ULAW", ("wav", "WAV", "PCM_16")),
    ],
)
def test_every_format(tmp_path, name, format, subtype, expected):
    write(tmp_path / name, format=format, subtype=subtype)
    assert separate(name) == 0
    suffix, *what = expected
    assert files(tmp_path / "out") == [f"a_source{k}.{suffix}" for k in (0, 1)]
    info = sf.info(tmp_path / "out" / f"a_source0.{suffix}")
    assert [info.format, info.subtype] == what


def test_formats_if_asked(tmp_path):
    write(tmp_path / "a.wav", subtype="FLOAT")
    assert separate("a.wav", "--format", "flac") == 0
    assert sf.info(tmp_path / "out" / "a_source0.flac").subtype == "PCM_24"
    assert separate("a.wav", "--format", "ogg") == 0
    assert sf.info(tmp_path / "out" / "a_source0.ogg").subtype == "VORBIS"


def test_floating_point_if_asked(tmp_path, capsys):
    formats = {"flac": ("WAV", "FLOAT"), "w64": ("W64", "FLOAT")}
    for name, expected in formats.items():
        format = choose_format(AudioInfo(8000, name.upper(), "PCM_16"), 9, floats=True)
        assert (format.container, format.subtype) == expected
    write(tmp_path / "a.wav")
    assert separate("a.wav", "--float") == 0
    assert sf.info(tmp_path / "out" / "a_source0.wav").subtype == "FLOAT"
    assert separate("a.wav", "--float", "--format", "flac") == 2
    assert "--float with --format flac" in capsys.readouterr().err


def test_no_temporary_folder_is_needed_for_files(tmp_path, monkeypatch):
    write(tmp_path / "a.wav")

    def none():  # as in a container that can write to one volume only
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    assert separate("a.wav") == 0


def test_beyond_4_gb_it_is_rf64():
    info = AudioInfo(48_000, "WAV", "PCM_24")
    assert choose_format(info, 10**9).container == "WAV"
    chosen = choose_format(info, 1_500_000_000)
    assert (chosen.container, chosen.suffix) == ("RF64", ".wav")
    assert choose_format(info, 1_500_000_000, "w64").container == "W64"


def test_folders_are_mirrored(tmp_path, capsys):
    for name in ("in/a.wav", "in/b/a.wav", "in/b/c/d.flac"):
        write(tmp_path / name, format=name[-4:].strip(".").upper())
    (tmp_path / "in" / "notes.txt").write_text("not audio")
    assert separate("in", output="in/out") == 0
    expected = ["a_source0.wav", "b/a_source0.wav", "b/c/d_source0.flac"]
    assert files(tmp_path / "in/out")[::2] == expected
    # What was written there is no input of the next run.
    assert separate("in", output="in/out") == 0
    assert len(files(tmp_path / "in/out")) == 6


def test_patterns(tmp_path, capsys):
    for name in ("day1/a.wav", "day2/b.wav", "night/c.wav"):
        write(tmp_path / name)
    assert separate("day?/*.wav") == 0
    assert files(tmp_path / "out")[::2] == ["a_source0.wav", "b_source0.wav"]
    assert separate("dawn?/*.wav") == 2
    assert "no files that match dawn?/*.wav" in capsys.readouterr().err


def test_namesakes_of_all_kinds(tmp_path):
    names = ["x/a.wav", "y/a.wav", "y/a.flac"]
    for name in names:
        write(tmp_path / name, format=name[-4:].strip(".").upper())
    assert separate(*names, "--format", "wav") == 0
    stems = ["x_a", "y_a_flac", "y_a_wav"]
    assert files(tmp_path / "out") == [
        f"{s}_source{k}.wav" for s in stems for k in (0, 1)
    ]


def test_files_are_joined_and_channels_chosen(tmp_path, capsys):
    write(tmp_path / "all.wav")
    for k in range(4):
        write(tmp_path / "mics" / f"{k}.wav", X[:, [k]])
    write(tmp_path / "four.wav", X)
    assert separate("--join", "mics", "--channels", "1,3-4", output="joined") == 0
    assert separate("four.wav", "--channels", "1,3-4", output="four") == 0
    assert files(tmp_path / "joined") == [f"mics_source{k}.wav" for k in range(3)]
    for k in range(3):
        parts = [f"joined/mics_source{k}.wav", f"four/four_source{k}.wav"]
        assert (tmp_path / parts[0]).read_bytes() == (tmp_path / parts[1]).read_bytes()
    mics = [f"mics/{k}.wav" for k in (1, 2)]
    assert separate("--join", *mics) == 0
    assert files(tmp_path / "out") == ["1_source0.wav", "1_source1.wav"]
    for channels in ("0-2", "a", "3-1", "1,,2"):
        assert separate("four.wav", "--channels", channels) == 2
        assert f"Got --channels {channels}, expected" in capsys.readouterr().err
    assert separate("four.wav", "--channels", "5,1") == 2
    assert "Got channel 5, but four.wav has 4" in capsys.readouterr().err


def test_standard_input_and_pipes(tmp_path, monkeypatch):
    write(tmp_path / "a.wav")
    content = (tmp_path / "a.wav").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert separate("-") == 0
    assert files(tmp_path / "out") == ["stdin_source0.wav", "stdin_source1.wav"]
    assert separate("a.wav") == 0
    same = [tmp_path / "out" / f"{name}_source1.wav" for name in ("a", "stdin")]
    assert same[0].read_bytes() == same[1].read_bytes()


def test_truncated_files_are_told(tmp_path, capsys):
    write(tmp_path / "a.wav")
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:-5000])
    assert separate("a.wav") == 2
    assert "a.wav: it is truncated, 11044 of 16044 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", [1, 2])
def test_going_on(tmp_path, capsys, jobs):
    for name in ("a.wav", "c.flac", "d.aiff"):
        write(tmp_path / "in" / name, format=name.split(".")[1].upper())
    (tmp_path / "in" / "b.wav").write_bytes(b"RIFF, or not")
    (tmp_path / "in" / "e.wav").write_bytes(b"")
    command = ["in", "--jobs", jobs]
    assert separate(*command) == 2
    assert not (tmp_path / "out").exists()
    (error,) = capsys.readouterr().err.splitlines()
    assert "in/b.wav: it is truncated" in error
    assert error.endswith(
        "e.wav: the file is empty. With --keep-going they are left out."
    )
    assert separate(*command, "--keep-going", "--json") == 1
    out, err = capsys.readouterr()
    records = {r["recording"]: r for r in map(json.loads, out.splitlines())}
    status = {name[-6:].lstrip("/"): r["status"] for name, r in records.items()}
    assert status == {
        **dict.fromkeys(["b.wav", "e.wav"], "failed"),
        **dict.fromkeys(["a.wav", "c.flac", "d.aiff"], "ok"),
    }
    assert "the file is empty" in records["in/e.wav"]["error"]
    assert records["in/a.wav"]["outputs"] == [f"out/a_source{k}.wav" for k in (0, 1)]
    assert len(records["in/a.wav"]["levels"]) == 2
    assert err.splitlines()[-1] == "skbss separate: 2 of 5 recordings failed"
    assert len(files(tmp_path / "out")) == 6
    assert separate(*command, "--keep-going") == 1
    assert "Wrote 6 files to out" in capsys.readouterr().out


def test_quiet(tmp_path, capsys):
    write(tmp_path / "a.wav")
    assert separate("a.wav", "-q") == 0
    assert capsys.readouterr() == ("", "")
    assert separate("a.wav", "-q", "-v") == 2


def test_blocks_from_file_to_file(tmp_path, capsys):
    x, _ = make_convolutive_mixture(40_000, sample_rate=8000, random_state=0)
    write(tmp_path / "a.wav", x, subtype="FLOAT")
    blocks = ["--block", "2", "--overlap", "0.5"]
    assert separate("a.wav", "--json", *blocks) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["n_blocks"] == 3
    assert sf.info(record["outputs"][0]).frames == 40_000
    assert separate("a.wav", *blocks, "--moving", "-v", output="moving") == 0
    err = capsys.readouterr().err
    assert "a.wav: 5.0 s, 2 microphones, in blocks" in err
    for command in (["--block", "-1"], ["--block", "2", "--overlap", "1.5"]):
        assert separate("a.wav", *command) == 2
        assert "Got" in capsys.readouterr().err
    assert separate("a.wav", "--block", "0", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_blocks"] == 1


def test_nothing_is_left_of_what_is_interrupted(tmp_path):
    x, _ = make_convolutive_mixture(400_000, sample_rate=8000, random_state=0)
    write(tmp_path / "a.wav", x)
    process = Command("separate", "a.wav", "-o", "out", "-v", "--block", "4")
    while b"in blocks" not in process.stderr.readline():
        pass
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    err = process.communicate()[1].decode()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "skbss: interrupted"
    assert "Traceback" not in err
    assert files(tmp_path / "out") == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told(tmp_path, capsys, monkeypatch):
    write(tmp_path / "a.wav")
    opened = open

    def full(path, mode="r", *args):
        path = "/dev/full" if str(path).endswith(".part") else path
        return opened(path, mode, *args)

    monkeypatch.setattr("skbss.io.writing.open", full, raising=False)
    assert separate("a.wav") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "Cannot write out/a_source0.wav: no space left on device." in err
    assert files(tmp_path / "out") == []


def test_all_methods_are_listed_and_built(capsys):
    assert main(["separate", "--list-methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(methods())
    for name in OWN:
        pipeline = build_pipeline(name, {"ref_mic": 1}, 16_000)
        assert reference_of(pipeline, 1) == 1


@pytest.mark.parametrize("method", ["onlineauxiva", "onlineisnmf", "blocks"])
def test_methods_of_all_kinds(tmp_path, method, capsys):
    write(tmp_path / "a.wav", X[:2000, :2])
    assert main(["separate", "a.wav", "-o", "out", "--method", method]) == 0
    assert len(files(tmp_path / "out")) == 2
    command = ["separate", "a.wav", "-o", "out", "--method", method, "--n-sources", "2"]
    if method == "onlineauxiva":
        assert main(command) == 2
        assert "n_sources=2, which method 'onlineauxiva'" in capsys.readouterr().err


def test_a_page_to_look_and_listen(tmp_path):
    write(tmp_path / "in" / "a <b>.wav", X[:, :2])
    (tmp_path / "in" / "c.wav").write_bytes(b"RIFF")
    command = ["in", "--report", "page.html", "--keep-going"]
    assert separate(*command) == 1
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "a &lt;b&gt;.wav" in page
    assert "1 of 2 recordings" in page
    assert "Cannot read" in page
    assert page.count("<audio ") == page.count("<img ") == 3
    assert page.count('src="data:audio/') == 3
    assert "http" not in page.split("</style>")[1]


def test_completion(capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", "bash"])
    assert ended.value.code == 0
    assert "--keep-going" in capsys.readouterr().out


def test_durations_are_said_as_one_would():
    seconds = [42.4, 180, 7800]
    assert list(map(_duration, seconds)) == ["42 s", "3 min", "2 h 10 min"]
    assert np.all(np.array(seconds) > 0)


def test_recorders_are_aligned_part_by_part(tmp_path):
    x = load_cocktail_party().mixture[:96_000]
    drifting = at_reference(x, [0, -4000], [0, 50e-6])
    write_audio(tmp_path / "two.wav", drifting, 16_000, subtype="FLOAT")
    reader = AlignedReader(AudioReader(tmp_path / "two.wav"), 16_000, 0)
    assert abs(reader.delays[1] - 4000) < 20
    assert abs(reader.offsets[1] + 50e-6) < 0.5e-6
    assert str(reader).startswith("microphone 1 is 250 ms late, its clock ")
    y = reader[:]
    assert not AlignChannels().fit(y).delays_.any()
    assert not ResampleChannels().fit(y).offsets_.any()
    parts = [reader[i : i + 10_000] for i in range(0, len(reader), 10_000)]
    np.testing.assert_array_equal(np.concatenate(parts), y)
    assert separate("two.wav", "--align") == 0


def test_recorders_may_be_of_different_lengths(tmp_path):
    write(tmp_path / "a.wav", X[:, :1])
    write(tmp_path / "b.wav", X[:3000, 1:2])
    reader = AudioReader([tmp_path / "a.wav", tmp_path / "b.wav"], pad=True)
    expected = np.column_stack([X[:, 0], np.pad(X[:3000, 1], (0, 1000))])
    np.testing.assert_allclose(reader[:], expected, atol=1e-4)
    np.testing.assert_allclose(reader[3500:], expected[3500:], atol=1e-4)
    parts = np.concatenate(list(reader.parts(1200)))
    np.testing.assert_allclose(parts, expected, atol=1e-4)
    assert separate("a.wav", "b.wav", "--join") == 2
    assert separate("a.wav", "b.wav", "--join", "--align") == 0
