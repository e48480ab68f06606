"""Scenes on disk."""

# License: BSD-3-Clause

import json
import os
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skbss.datasets import SceneError, SceneFolder, load_dataset, save_scene
from skbss.io import AudioFileError
from tests.scene_files import N_SAMPLES, SAMPLE_RATE, make_scene, write_scenes


@pytest.fixture
def folder(tmp_path):
    return write_scenes(tmp_path / "scenes")


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
    with pytest.raises(AudioFileError, match="subtype='FLOAT', expected one of MPEG"):
        save_scene(tmp_path / "a", make_scene(), suffix=".mp3")


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
