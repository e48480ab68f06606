"""Scenes on disk."""

# License: BSD-3-Clause

import json
import os
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skbss.datasets import SceneError, SceneFolder, load_dataset, save_scene
from skbss.io import AudioFileError, read_audio, write_audio

N_SAMPLES, SAMPLE_RATE = 4000, 8000


def make_scene(seed=0, n_sources=2, n_mics=2, n_samples=N_SAMPLES):
    rng = np.random.default_rng(seed)
    # On the grid of 16 bits, so that every format gives back the same samples.
    images = rng.integers(-(2**12), 2**12, size=(n_sources, n_samples, n_mics)) / 2**15
    return {
        "mixture": images.sum(axis=0),
        "references": images[:, :, 0].T,
        "images": images,
        "sample_rate": SAMPLE_RATE,
        "metadata": {"rt60": 0.25, "places": np.eye(3), "speakers": ["a", "b"]},
    }


@pytest.fixture
def folder(tmp_path):
    """Three scenes of two sources on two microphones, in both formats."""
    root = tmp_path / "scenes"
    for k, (suffix, subtype) in enumerate(
        [(".wav", "PCM_16"), (".flac", "PCM_16"), (".wav", "FLOAT")]
    ):
        save_scene(
            root / f"scene_{k:04d}", make_scene(k), suffix=suffix, subtype=subtype
        )
    return root


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
    break_truncated_wav: "has n_samples=[0-9]*, expected 4000 as its metadata",
    break_not_audio: "Cannot read .*source_00.flac as audio: ",
    break_metadata_json: "Cannot read .*metadata.json as JSON: Expecting property",
    break_metadata_bytes: "Cannot read .*metadata.json as JSON: 'utf-8' codec",
    break_metadata_list: "metadata.json: got a list, expected an object",
    break_metadata_is_folder: "Cannot read .*scene_0001: is a directory",
    break_link: "Cannot read .*scene_0001: no such file or directory",
    break_empty_folder: "scene_0001 has no mixture",
}


def test_scenes_are_read_as_they_were_written(folder):
    dataset = SceneFolder(folder, return_images=True, return_metadata=True)
    assert dataset.names == ["scene_0000", "scene_0001", "scene_0002"]
    assert dataset.skipped == {}
    for k, scene in enumerate(dataset):
        expected = make_scene(k)
        assert scene.name == dataset.names[k]
        assert scene.sample_rate == SAMPLE_RATE
        for key in ("mixture", "references", "images"):
            np.testing.assert_array_equal(scene[key], expected[key])
            assert scene[key].flags.c_contiguous
        assert scene.metadata == {
            "sample_rate": SAMPLE_RATE,
            "n_samples": N_SAMPLES,
            "n_mics": 2,
            "n_sources": 2,
            "rt60": 0.25,
            "places": np.eye(3).tolist(),
            "speakers": ["a", "b"],
        }


def test_it_is_a_sequence(folder):
    dataset = SceneFolder(folder)
    assert set(dataset[0]) == {"name", "mixture", "references", "sample_rate"}
    assert len(dataset) == 3
    assert [scene.name for scene in dataset] == dataset.names
    assert dataset[-1].name == dataset[np.int64(2)].name == "scene_0002"
    assert dataset[1:].names == ["scene_0001", "scene_0002"]
    assert dataset[::-1][0].name == "scene_0002"
    assert len(dataset) == 3
    with pytest.raises(IndexError):
        dataset[3]
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy[1].mixture, dataset[1].mixture)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    offset=st.floats(0, 0.49),
    duration=st.none() | st.floats(1e-6, 2, exclude_min=True),
    ref_mic=st.integers(0, 1),
    index=st.integers(0, 2),
)
def test_parts_are_slices_of_the_whole(folder, offset, duration, ref_mic, index):
    part = SceneFolder(
        folder, offset=offset, duration=duration, ref_mic=ref_mic, return_images=True
    )[index]
    whole = make_scene(index)
    start = round(offset * SAMPLE_RATE)
    stop = None
    if duration is not None:
        stop = start + max(1, round(duration * SAMPLE_RATE))
    np.testing.assert_array_equal(part.mixture, whole["mixture"][start:stop])
    np.testing.assert_array_equal(part.images, whole["images"][:, start:stop])
    np.testing.assert_array_equal(
        part.references, whole["images"][:, start:stop, ref_mic].T
    )


def test_single_precision(folder):
    scene = SceneFolder(folder, dtype="float32")[0]
    assert scene.mixture.dtype == scene.references.dtype == np.float32
    np.testing.assert_array_equal(scene.mixture, make_scene(0)["mixture"])


def test_more_than_ten_sources_keep_their_order(tmp_path):
    expected = make_scene(n_sources=102, n_samples=5)
    expected["mixture"] /= 128
    save_scene(tmp_path / "many", expected)
    np.testing.assert_array_equal(
        SceneFolder(tmp_path)[0].references, expected["references"]
    )


def test_sources_of_one_channel(tmp_path):
    scene = make_scene()
    del scene["images"]
    save_scene(tmp_path / "a", scene)
    read = SceneFolder(tmp_path, ref_mic=1)[0]
    np.testing.assert_array_equal(read.references, scene["references"])
    with pytest.raises(SceneError, match=r"a has sources with 1 channel, expected 2"):
        SceneFolder(tmp_path, return_images=True)


def test_a_recording_without_references(tmp_path):
    scene = {"mixture": make_scene()["mixture"], "sample_rate": SAMPLE_RATE}
    save_scene(tmp_path / "a", scene)
    assert set(SceneFolder(tmp_path, return_images=True)[0]) == {
        "name",
        "mixture",
        "sample_rate",
    }


def test_metadata_may_be_missing(folder):
    os.remove(folder / "scene_0000" / "metadata.json")
    assert SceneFolder(folder, return_metadata=True)[0].metadata == {}


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        (None, [0, 1, 2]),
        ("*", [0, 1, 2]),
        ("scene_0001", [1]),
        (["scene_0002", "scene_000[01]"], [2, 0, 1]),
        (["*1", "*1", "*"], [1, 0, 2]),
    ],
)
def test_include(folder, include, expected):
    names = SceneFolder(folder, include=include).names
    assert names == [f"scene_{k:04d}" for k in expected]


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


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"offset": -1.0},
        {"duration": 0},
        {"ref_mic": -1},
        {"ref_mic": 0.5},
        {"on_error": "ignore"},
        {"dtype": "int16"},
        {"include": 3},
    ],
    ids=str,
)
def test_bad_parameters(folder, params):
    (name,) = params
    with pytest.raises(ValueError, match=f"The '{name}' parameter of SceneFolder must"):
        SceneFolder(folder, **params)


def test_a_scene_is_not_overwritten_by_chance(tmp_path):
    save_scene(
        tmp_path / "a", make_scene(n_sources=3), suffix=".flac", subtype="PCM_16"
    )
    with pytest.raises(SceneError, match=r"a, which holds a scene"):
        save_scene(tmp_path / "a", make_scene())
    save_scene(tmp_path / "a", make_scene(), overwrite=True)
    names = {"metadata.json", "mixture.wav", "source_00.wav", "source_01.wav"}
    assert set(os.listdir(tmp_path / "a")) == names
    assert SceneFolder(tmp_path)[0].references.shape == (N_SAMPLES, 2)


def test_a_part_is_saved_with_its_own_length(folder, tmp_path):
    dataset = SceneFolder(folder, duration=0.1, return_metadata=True)
    for scene in dataset:
        save_scene(tmp_path / "parts" / scene.name, scene)
    metadata = json.loads((tmp_path / "parts/scene_0000/metadata.json").read_text())
    assert metadata["n_samples"] == 800
    parts = SceneFolder(tmp_path / "parts")
    np.testing.assert_array_equal(parts[2].references, dataset[2].references)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixture": None}, "without mixture"),
        ({"sample_rate": 0}, "sample_rate=0"),
        ({"mixture": np.zeros(5)}, r"mixture of shape \(5,\)"),
        ({"references": np.zeros((2, N_SAMPLES))}, r"references of shape \(2, 4000\)"),
        ({"images": np.zeros((2, 2, N_SAMPLES))}, r"images of shape \(2, 2, 4000\)"),
    ],
)
def test_what_is_no_scene_is_not_saved(tmp_path, change, message):
    with pytest.raises(ValueError, match=f"Got scene a .*{message}"):
        save_scene(tmp_path / "a", make_scene() | change)
    assert not (tmp_path / "a").exists()


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SceneError, match=r"Cannot write .*file/a: not a directory"):
        save_scene(tmp_path / "file" / "a", make_scene())
    with pytest.raises(AudioFileError, match=r"extension '.mp3'"):
        save_scene(tmp_path / "a", make_scene(), suffix=".mp3")


def test_older_words_in_metadata(folder):
    path = folder / "scene_0000" / "metadata.json"
    for name, value in {"fs": 16000, "n_mic": 3, "n_src": 3}.items():
        path.write_text(json.dumps({name: value}))
        with pytest.raises(SceneError, match=f"expected {value} as its metadata.json"):
            SceneFolder(folder)
    # Others' words for other things do no harm.
    path.write_text(json.dumps({"n_samples": "many", "extra": None, "sources": [1]}))
    assert len(SceneFolder(folder)) == 3


def test_layout_of_torchrir(folder):
    """Six microphones, images, videos, and the number of sources two levels deep."""
    shutil.rmtree(folder)
    scene = make_scene(n_mics=6) | {
        "metadata": {
            "schema": {"name": "torchrir.scene", "version": 1},
            "sources": {"positions": np.zeros((2, 3))},
            "signal": {"sample_rate": 8000.0, "sample_count": N_SAMPLES - 500},
            "dynamic": True,
            "source_info": [{"speaker": "bdl"}, {"speaker": "slt"}],
            "extra": {"scene_id": "scene_0000", "n_sources": 2},
        }
    }
    save_scene(folder / "scene_0000", scene)
    path = folder / "scene_0000" / "metadata.json"
    metadata = json.loads(path.read_text())
    for name in ("sample_rate", "n_samples", "n_mics", "n_sources"):
        del metadata[name]
    path.write_text(json.dumps(metadata))
    for name in ("source_info.json", "room_layout_2d.png", "room_layout_2d.mp4"):
        (folder / "scene_0000" / name).touch()
    assert SceneFolder(folder)[0].mixture.shape == (N_SAMPLES, 6)
    os.remove(folder / "scene_0000" / "source_01.wav")
    with pytest.raises(SceneError, match="has n_sources=1, expected 2"):
        SceneFolder(folder)


@pytest.mark.parametrize("workers", [0, 2])
def test_torch_data_loader(folder, workers):
    torch = pytest.importorskip("torch")
    dataset = SceneFolder(folder, dtype="float32")
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=workers)
    batches = list(loader)
    assert [batch["name"] for batch in batches] == [
        ["scene_0000", "scene_0001"],
        ["scene_0002"],
    ]
    assert batches[0]["mixture"].shape == (2, N_SAMPLES, 2)
    assert batches[0]["mixture"].dtype == torch.float32
    assert batches[0]["sample_rate"].tolist() == [SAMPLE_RATE] * 2
    for batch, first in zip(batches, (0, 2), strict=True):
        for k, references in enumerate(batch["references"].numpy()):
            np.testing.assert_array_equal(references, dataset[first + k].references)
    sampler = torch.utils.data.Subset(dataset, [2, 0])
    assert [scene["name"] for scene in sampler] == ["scene_0002", "scene_0000"]


def test_load_dataset(folder):
    dataset = load_dataset("scenes", folder=str(folder), limit=2, duration=0.1)
    assert dataset.names == ["scene_0000", "scene_0001"]
    assert dataset[0].mixture.shape == (800, 2)
