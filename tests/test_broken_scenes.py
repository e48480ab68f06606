"""Scenes on disk that cannot be used: named, skipped or fatal, never dropped."""

# License: BSD-3-Clause

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skbss.datasets import SceneError, SceneFolder, save_scene
from skbss.io import read_audio, write_audio
from tests.scene_files import N_SAMPLES, SAMPLE_RATE, make_scene, write_scenes


@pytest.fixture
def folder(tmp_path):
    return write_scenes(tmp_path / "scenes")


def break_mixture_missing(scene):
    os.remove(scene / "mixture.flac")


def break_mixture_twice(scene):
    shutil.copy(scene / "mixture.flac", scene / "mixture.wav")


def break_last_source_missing(scene):
    os.remove(scene / "source_01.flac")


def break_first_source_missing(scene):
    os.remove(scene / "source_00.flac")


def break_source_gap(scene):
    os.rename(scene / "source_01.flac", scene / "source_02.flac")


def break_source_twice(scene):
    shutil.copy(scene / "source_01.flac", scene / "source_01.wav")


def break_sample_rate(scene):
    x, _ = read_audio(scene / "source_01.flac")
    write_audio(scene / "source_01.flac", x, 16000)


def break_channels(scene):
    x, _ = read_audio(scene / "source_01.flac")
    write_audio(scene / "source_01.flac", np.c_[x, x[:, :1]], SAMPLE_RATE)


def break_some_mono(scene):
    x, _ = read_audio(scene / "source_01.flac")
    write_audio(scene / "source_01.flac", x[:, :1], SAMPLE_RATE)


def break_length(scene):
    x, _ = read_audio(scene / "source_00.flac")
    write_audio(scene / "source_00.flac", x[:-1], SAMPLE_RATE)


def break_truncated_flac(scene):
    os.truncate(scene / "source_00.flac", os.path.getsize(scene / "source_00.flac") - 9)


def break_truncated_header(scene):
    os.truncate(scene / "source_00.flac", 20)


def break_empty_file(scene):
    os.truncate(scene / "mixture.flac", 0)


def break_truncated_wav(scene):
    """All files alike: only the metadata tell."""
    for path in scene.glob("*.flac"):
        x, _ = read_audio(path)
        write_audio(path.with_suffix(".wav"), x, SAMPLE_RATE)
        path.unlink()
        os.truncate(path.with_suffix(".wav"), 4000)


def break_not_audio(scene):
    (scene / "source_00.flac").write_text("hello")


def break_metadata_json(scene):
    (scene / "metadata.json").write_text("{'fs': 16000}")


def break_metadata_bytes(scene):
    (scene / "metadata.json").write_bytes(b"\xff\xfe\x00{")


def break_metadata_list(scene):
    (scene / "metadata.json").write_text("[]")


def break_metadata_is_folder(scene):
    os.remove(scene / "metadata.json")
    (scene / "metadata.json").mkdir()


def break_link(scene):
    shutil.rmtree(scene)
    scene.symlink_to("nowhere")


def break_empty_folder(scene):
    shutil.rmtree(scene)
    scene.mkdir()


BREAKS = {
    break_mixture_missing: "scene_0001 has no mixture, expected mixture.wav or",
    break_mixture_twice: "scene_0001 has two mixtures",
    break_last_source_missing: "scene_0001 has n_sources=1, expected 2 as its ",
    break_first_source_missing: "scene_0001 has n_sources=1, expected 2 as its ",
    break_source_gap: "scene_0001 has sources 0 and 2, but none between",
    break_source_twice: "scene_0001 has two sources of number 1",
    break_sample_rate: "source_01.flac has 16000 Hz, expected 8000 as mixture.flac",
    break_channels: "source_01.flac has 3 channels, expected 2 as mixture.flac",
    break_some_mono: "has sources with 1 and 2 channels, expected as many in all",
    break_length: "source_00.flac has 3999 samples, expected 4000 as mixture.flac",
    break_truncated_flac: "source_00.flac: it is truncated or damaged",
    break_truncated_header: "Cannot read .*source_00.flac as audio: ",
    break_empty_file: "mixture.flac: the file is empty",
    break_truncated_wav: r"it is truncated, \d+ of \d+ bytes are there",
    break_not_audio: "Cannot read .*source_00.flac as audio: ",
    break_metadata_json: "Cannot read .*metadata.json as JSON: Expecting property",
    break_metadata_bytes: "Cannot read .*metadata.json as JSON: 'utf-8' codec",
    break_metadata_list: "metadata.json: got a list, expected an object",
    break_metadata_is_folder: "Cannot read .*scene_0001: is a directory",
    break_link: "Cannot read .*scene_0001: no such file or directory",
    break_empty_folder: "scene_0001 has no mixture",
}


def test_include_that_matches_nothing(folder):
    with pytest.raises(
        SceneError,
        match=r"include='scene_01', which matches no scene. Did you mean 'scene_0001'",
    ):
        SceneFolder(folder, include=["scene_0000", "scene_01"], on_error="skip")
    with pytest.raises(SceneError, match=r"Got include=\[\]"):
        SceneFolder(folder, include=[])


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(["mixture.flac", "source_01.flac", "metadata.json"]),
    at=st.integers(0, 2**12),
    removed=st.integers(0, 2**14),
    inserted=st.binary(max_size=8),
)
def test_any_damage_ends_in_a_sentence(folder, name, at, removed, inserted):
    path = folder / "scene_0001" / name
    data = path.read_bytes()
    at %= len(data)
    path.write_bytes(data[:at] + inserted + data[at + removed :])
    sentence = ""
    try:
        scene = SceneFolder(folder, include="scene_0001", return_metadata=True)[0]
    except SceneError as error:
        sentence = str(error)
    path.write_bytes(data)
    if sentence:
        assert "scene_0001" in sentence
        assert sentence.endswith(".")
        assert "\n" not in sentence
    else:
        assert scene.mixture.shape == scene.references.shape == (N_SAMPLES, 2)
        assert np.isfinite(scene.mixture).all()


@pytest.mark.parametrize("breaking", BREAKS, ids=lambda f: f.__name__)
def test_broken_scenes_are_named(folder, breaking):
    breaking(folder / "scene_0001")
    with pytest.raises(SceneError, match=BREAKS[breaking]) as error:
        SceneFolder(folder)
    assert "scene_0001" in str(error.value)
    with pytest.warns(
        UserWarning, match="Skipped 1 broken scene of .*: scene_0001 "
    ) as w:
        dataset = SceneFolder(folder, on_error="skip")
    assert len(w) == 1
    assert str(error.value).rstrip(".") in str(w[0].message)
    assert dataset.names == ["scene_0000", "scene_0002"]
    assert dataset.skipped == {"scene_0001": str(error.value)}


def test_limit_counts_usable_scenes_and_looks_no_further(folder):
    break_length(folder / "scene_0001")
    assert SceneFolder(folder, limit=1).names == ["scene_0000"]
    with pytest.warns(UserWarning, match="scene_0001"):
        dataset = SceneFolder(folder, limit=2, on_error="skip")
    assert dataset.names == ["scene_0000", "scene_0002"]


def test_all_broken(folder):
    for scene in folder.iterdir():
        shutil.rmtree(scene)
        scene.mkdir()
    with pytest.raises(
        SceneError, match=r"all 3 are broken, the first is scene_0000: "
    ):
        SceneFolder(folder, on_error="skip")


def test_many_broken_scenes_are_all_named(tmp_path):
    save_scene(tmp_path / "z", make_scene())
    for k in range(15):
        (tmp_path / f"broken_{k}").mkdir()
    with pytest.warns(UserWarning, match="Skipped 15 broken scenes") as w:
        SceneFolder(tmp_path, on_error="skip")
    assert all(f"broken_{k}" in str(w[0].message) for k in range(15))


def test_a_scene_without_the_microphone_or_the_time(folder):
    save_scene(folder / "short", make_scene(n_samples=100, n_mics=3))
    with pytest.raises(SceneError, match=r"ref_mic=2, but .*scene_0000.* has 2"):
        SceneFolder(folder, ref_mic=2)
    with pytest.raises(SceneError, match=r"=0.1 s, but .*short.* ends at 0.013 s"):
        SceneFolder(folder, offset=0.1)


def damage(path):
    """Spoil the middle of a FLAC file, which its header doesn't show."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)


def test_damage_is_found_when_a_scene_is_read(tmp_path):
    for name in "abc":
        scene = make_scene(n_samples=40_000)
        save_scene(tmp_path / name, scene, suffix=".flac", subtype="PCM_16")
    damage(tmp_path / "b" / "source_00.flac")
    dataset = SceneFolder(tmp_path)
    assert dataset.names == ["a", "b", "c"]
    with pytest.raises(SceneError, match=r"Cannot read .*b/source_00.flac"):
        dataset[1]
    with pytest.raises(SceneError, match=r"Cannot read .*b/source_00.flac"):
        list(dataset)
    dataset = SceneFolder(tmp_path, on_error="skip")
    with pytest.warns(UserWarning, match="Skipped 1 broken scene of .*: b "):
        assert [scene.name for scene in dataset] == ["a", "c"]


def test_a_scene_that_is_gone_when_it_is_read(folder):
    dataset = SceneFolder(folder)
    shutil.rmtree(folder / "scene_0001")
    with pytest.raises(SceneError, match=r"^Cannot read .*scene_0001: no such file"):
        dataset[1]


def test_samples_that_are_not_finite(tmp_path):
    scene = make_scene()
    save_scene(tmp_path / "a", scene)
    x = np.zeros((N_SAMPLES, 2), dtype=np.float32)
    x[17] = np.nan
    sf.write(tmp_path / "a" / "source_01.wav", x, SAMPLE_RATE, "FLOAT")
    with pytest.raises(SceneError, match=r"source_01.wav: got 2 NaN or infinite"):
        SceneFolder(tmp_path)[0]


def test_folders_that_hold_no_scenes(tmp_path, folder):
    with pytest.raises(SceneError, match=r"^Cannot read .*/no: no such file"):
        SceneFolder(tmp_path / "no")
    (tmp_path / "file").touch()
    with pytest.raises(SceneError, match=r"^Cannot read .*/file: not a directory.$"):
        SceneFolder(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").mkdir()
    with pytest.raises(SceneError, match=r"in which there are no folders of scenes.$"):
        SceneFolder(tmp_path / "empty", on_error="skip")
    with pytest.raises(SceneError, match=r"which is a scene, expected the folder that"):
        SceneFolder(folder / "scene_0000")


@pytest.fixture
def as_somebody_else(folder):
    """Read as a user who isn't root, for whom there are no forbidden folders."""
    if os.geteuid() != 0:
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(folder, f"{place}/scenes")
        for path in (Path(place), *Path(place).rglob("*")):
            os.chown(path, 65534, 65534)
        os.seteuid(65534)
        yield Path(place) / "scenes"
        os.seteuid(0)


def test_folders_that_may_not_be_read(as_somebody_else):
    folder = as_somebody_else
    assert len(SceneFolder(folder)) == 3
    for mode in (0, 0o400, 0o100):
        (folder / "scene_0001").chmod(mode)
        with pytest.raises(SceneError, match=r"scene_0001"):
            SceneFolder(folder)
        (folder / "scene_0001").chmod(0o700)
    for mode in (0, 0o400, 0o100):
        folder.chmod(mode)
        with pytest.raises(SceneError, match=r"^Cannot read .*: permission denied.$"):
            SceneFolder(folder)
        folder.chmod(0o700)


def test_older_words_in_metadata(folder):
    path = folder / "scene_0000" / "metadata.json"
    for name, value in {"fs": 16000, "n_mic": 3, "n_src": 3}.items():
        path.write_text(json.dumps({name: value}))
        with pytest.raises(SceneError, match=f"expected {value} as its metadata.json"):
            SceneFolder(folder)
    # Others' words for other things do no harm.
    path.write_text(json.dumps({"n_samples": "many", "extra": None, "sources": [1]}))
    assert len(SceneFolder(folder)) == 3
