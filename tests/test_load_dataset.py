"""Data sets by name."""

# License: BSD-3-Clause

import pickle
import re
import sys

import numpy as np
import pytest

from skbss.config import ConfigError
from skbss.datasets import (
    check_dataset,
    load_cocktail_party,
    load_dataset,
    make_convolutive_mixture,
    register_dataset,
)
from skbss.datasets.registry import _LOADERS


@pytest.fixture
def names():
    """Forget what a test registers."""
    before = dict(_LOADERS)
    yield
    _LOADERS.clear()
    _LOADERS.update(before)


def one_scene(n_samples=100, **changes):
    scene = {
        "name": "a",
        "mixture": np.ones((n_samples, 2)),
        "references": np.ones((n_samples, 2)),
        "sample_rate": 8000,
    }
    return {**scene, **changes}


def load_two(n_samples=100, folder="x"):
    return [one_scene(n_samples), one_scene(n_samples, name="b")]


class Namesakes(list):
    names = ["a", "a"]


class Loaders:
    """For names with several parts."""

    load = staticmethod(load_two)


def test_cocktail_party():
    data = load_cocktail_party()
    (scene,) = load_dataset("cocktail_party")
    assert scene.name == "cocktail_party"
    assert scene.sample_rate == 16000
    for key in ("mixture", "references", "images"):
        np.testing.assert_array_equal(scene[key], data[key])
    dataset = load_dataset("cocktail_party", duration=0.5, ref_mic=1)
    np.testing.assert_array_equal(dataset[0].mixture, data.mixture[:8000])
    np.testing.assert_array_equal(dataset[0].references, data.images[:, :8000, 1].T)
    assert len(load_dataset("cocktail_party", duration=100.0)[0].mixture) == 126400


def test_convolutive_scenes_are_those_of_their_seeds():
    params = {"n_sources": 3, "rt60": 0.05, "sample_rate": 8000}
    dataset = load_dataset(
        "convolutive", n_scenes=3, duration=0.5, random_state=5, ref_mic=2, **params
    )
    assert dataset.names == [f"convolutive_{seed:04d}" for seed in (5, 6, 7)]
    assert [scene.name for scene in dataset] == dataset.names
    X, _, images = make_convolutive_mixture(
        4000, return_images=True, random_state=6, **params
    )
    scene = dataset[1]
    np.testing.assert_array_equal(scene.mixture, X)
    np.testing.assert_array_equal(scene.images, images)
    np.testing.assert_array_equal(scene.references, images[:, :, 2].T)
    assert (scene.sample_rate, scene.metadata) == (8000, {"rt60": 0.05})
    copy = pickle.loads(pickle.dumps(dataset))[-2]
    np.testing.assert_array_equal(copy.mixture, X)
    assert dataset[1:].names == dataset.names[1:]


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("scene", {}, "unknown data set 'scene'. Did you mean 'scenes'?"),
        ("xyz", {}, "unknown data set 'xyz'. Expected one of cocktail_party, conv"),
        (3, {}, "Got data set 3, expected a name."),
        ("scenes", {}, "without its parameter 'folder'"),
        ("scenes", {"folder": "x", "limits": 2}, "Did you mean 'limit'?"),
        ("cocktail_party", {"n_scenes": 2}, "Expected one of duration, ref_mic."),
        ("convolutive", {"n_scene": 2}, "Did you mean 'n_scenes'?"),
        ("no.such:thing", {}, "Cannot import data set 'no.such:thing': No module"),
        (":thing", {}, "Cannot import data set ':thing': Empty module name."),
        (f"{__name__}:load_too", {}, "Did you mean 'load_two'?"),
        (f"{__name__}:", {}, f"which is not in {__name__}."),
        (f"{__name__}:sys", {}, "which is a module, expected a function or a class"),
        (f"{__name__}:load_two", {"samples": 1}, "Did you mean 'n_samples'?"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(name, params, message):
    assert sys.modules[__name__]
    for call in (
        lambda: check_dataset(name, params),
        lambda: load_dataset(name, **params),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            call()


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("convolutive", {"n_scenes": 0}, "The 'n_scenes' parameter"),
        ("convolutive", {"duration": 0.0}, "The 'duration' parameter"),
        ("convolutive", {"random_state": -1}, "The 'random_state' parameter"),
        ("convolutive", {"ref_mic": 2}, r"Got ref_mic=2, but there are 2 microphones"),
        ("convolutive", {"rt60": "long"}, "The 'rt60' parameter"),
        ("convolutive", {"noise": -1}, "The 'noise' parameter"),
        ("convolutive", {"sample_rate": 0}, "The 'sample_rate' parameter"),
        ("cocktail_party", {"ref_mic": 2}, r"Got ref_mic=2, but there are 2 microphon"),
        ("room", {"array": "square"}, "The 'array' parameter"),
        ("room", {"mic_spacing": 0}, "The 'mic_spacing' parameter"),
        (
            "room",
            {"rt60": 0.1},
            "Got rt60=0.1 s, which no walls reach in a room of 6.5",
        ),
    ],
)
def test_bad_values(name, params, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(name, **params)


def test_a_loader_of_the_user(names):
    register_dataset("mine", load_two)
    register_dataset("mine", load_two)
    for name in ("mine", f"{__name__}:load_two", f"{__name__}:Loaders.load"):
        dataset = load_dataset(name, n_samples=7)
        assert dataset.names == ["a", "b"]
        assert dataset[1].mixture.shape == (7, 2)
        assert [scene.name for scene in dataset] == ["a", "b"]
    # Parameters may have the name of load_dataset's own.
    register_dataset("named", lambda name: [one_scene(name=name)])
    assert load_dataset("named", name="c").names == ["c"]
    register_dataset("any", lambda **params: [one_scene(**params)])
    assert len(load_dataset("any", n_samples=3)[0].mixture) == 3


def test_names_that_are_refused(names):
    with pytest.raises(ConfigError, match=r"'scenes', but skbss has one of this name"):
        register_dataset("scenes", load_two)
    with pytest.raises(ConfigError, match=r"'a:b', expected a name without a colon"):
        register_dataset("a:b", load_two)
    with pytest.raises(ConfigError, match=r"Got \[\] as the loader of data set 'mine'"):
        register_dataset("mine", [])


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([], "Got data set 'mine' without scenes"),
        (3, "is a int without __len__ and __getitem__ and names"),
        ([1, 2], "is a list without names"),
        ([one_scene(), one_scene()], "Got two scenes of the name 'a'"),
        (Namesakes([1, 2]), "with 1 different names, expected 2, one a scene"),
        ([one_scene(name="a/b")], "name='a/b'"),
        ([one_scene(name="..")], "name='..'"),
        ([one_scene(mixture=np.ones(3))], "scene a with a mixture of shape (3,)"),
        ([one_scene(references=np.ones((2, 100)))], "references of shape (2, 100)"),
        ([one_scene(sample_rate=None)], "scene a without sample_rate"),
    ],
)
def test_what_a_loader_returns_is_checked(names, dataset, message):
    register_dataset("mine", lambda: dataset)
    with pytest.raises(ValueError, match=re.escape(message)):
        load_dataset("mine")
