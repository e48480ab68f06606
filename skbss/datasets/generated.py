"""Data sets that need no files: the bundled recording and scenes made from seeds."""

# License: BSD-3-Clause

from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch

from skbss.datasets._rooms import (
    LARGEST_ROOM,
    first_absorption,
    import_pyroomacoustics,
)
from skbss.datasets.cocktail_party import load_cocktail_party
from skbss.datasets.rooms import ARRAY_CONSTRAINTS, make_room_mixture
from skbss.datasets.sequence import GeneratedScenes, SceneList
from skbss.datasets.synthetic import MIXTURE_CONSTRAINTS, make_convolutive_mixture
from skbss.sklearn_parts import Interval, validate_params

_DURATION = [Interval(Real, 0, None, closed="neither")]
_REF_MIC = [Interval(Integral, 0, None, closed="left")]
_CONSTRAINTS = MIXTURE_CONSTRAINTS | {
    "n_scenes": [Interval(Integral, 1, None, closed="left")],
    "duration": _DURATION,
    "sample_rate": [Interval(Integral, 1, None, closed="left")],
    "ref_mic": _REF_MIC,
    "random_state": [Interval(Integral, 0, 2**32 - 1, closed="left")],
}
del _CONSTRAINTS["n_samples"]


@validate_params(
    {"duration": [*_DURATION, None], "ref_mic": _REF_MIC},
    prefer_skip_nested_validation=True,
)
def cocktail_party_scenes(*, duration=None, ref_mic=0):
    """Return the bundled recording as a data set of one scene.

    Parameters
    ----------
    duration : float, default=None
        Its first so many seconds. None stands for all 7.9.
    ref_mic : int, default=0
        The microphone of the references, 0 or 1.

    Returns
    -------
    dataset : SceneList
        See `load_dataset`.
    """
    data = load_cocktail_party()
    n_samples = len(data.mixture)
    if duration is not None:
        n_samples = min(n_samples, _n_samples(duration, data.sample_rate))
    _check_ref_mic(ref_mic, data.mixture.shape[1])
    scene = _scene(
        data.mixture[:n_samples],
        data.images[:, :n_samples],
        ref_mic,
        data.sample_rate,
        rt60=data.rt60,
        transcripts=data.transcripts,
    )
    return SceneList([Bunch(name="cocktail_party", **scene)])


@validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
def convolutive_scenes(
    *,
    n_scenes=4,
    duration=5.0,
    n_sources=2,
    n_mics=None,
    sample_rate=16_000,
    rt60=0.1,
    noise=0.0,
    ref_mic=0,
    random_state=0,
):
    """Return recordings of `make_convolutive_mixture` as a data set.

    Parameters
    ----------
    n_scenes : int, default=4
        Number of scenes, whose seeds follow each other.
    duration : float, default=5.0
        In seconds.
    n_sources, n_mics, sample_rate, rt60, noise
        As of `make_convolutive_mixture`.
    ref_mic : int, default=0
        The microphone of the references.
    random_state : int, default=0
        The seed of the first scene.

    Returns
    -------
    dataset : GeneratedScenes
        See `load_dataset`.
    """
    _check_ref_mic(ref_mic, n_mics or n_sources)
    params = {
        "n_samples": _n_samples(duration, sample_rate),
        "n_sources": n_sources,
        "n_mics": n_mics,
        "sample_rate": sample_rate,
        "rt60": rt60,
        "noise": noise,
    }
    make = partial(_convolutive_scene, ref_mic=ref_mic, **params)
    return GeneratedScenes(make, _seeds("convolutive", n_scenes, random_state))


@validate_params(
    _CONSTRAINTS | ARRAY_CONSTRAINTS | {"early": ["boolean"]},
    prefer_skip_nested_validation=True,
)
def room_scenes(
    *,
    n_scenes=4,
    duration=5.0,
    n_sources=2,
    n_mics=None,
    sample_rate=16_000,
    rt60=0.25,
    array="linear",
    mic_spacing=0.05,
    noise=0.0,
    early=False,
    ref_mic=0,
    random_state=0,
):
    """Return recordings of `make_room_mixture` as a data set.

    Parameters
    ----------
    n_scenes : int, default=4
        Number of scenes, whose seeds follow each other.
    duration : float, default=5.0
        In seconds.
    n_sources, n_mics, sample_rate, rt60, array, mic_spacing, noise
        As of `make_room_mixture`.
    early : bool, default=False
        Whether images and references are the early parts of the sources, which
        dereverberation should leave. They no longer sum to the mixture then.
    ref_mic : int, default=0
        The microphone of the references.
    random_state : int, default=0
        The seed of the first scene.

    Returns
    -------
    dataset : GeneratedScenes
        See `load_dataset`.
    """
    # Now rather than after hours of an experiment.
    import_pyroomacoustics()
    first_absorption(rt60, LARGEST_ROOM)
    _check_ref_mic(ref_mic, n_mics or n_sources)
    params = {
        "n_samples": _n_samples(duration, sample_rate),
        "n_sources": n_sources,
        "n_mics": n_mics,
        "sample_rate": sample_rate,
        "rt60": rt60,
        "array": array,
        "mic_spacing": mic_spacing,
        "noise": noise,
    }
    make = partial(_room_scene, ref_mic=ref_mic, early=early, **params)
    return GeneratedScenes(make, _seeds("room", n_scenes, random_state))


def _convolutive_scene(seed, ref_mic, **params):
    X, _, images = make_convolutive_mixture(
        **params, return_images=True, random_state=seed
    )
    return _scene(X, images, ref_mic, params["sample_rate"], rt60=params["rt60"])


def _room_scene(seed, ref_mic, early, **params):
    room = make_room_mixture(**params, random_state=seed)
    images = room.early_images if early else room.images
    return _scene(room.mixture, images, ref_mic, room.sample_rate, **room.metadata)


def _scene(mixture, images, ref_mic, sample_rate, **metadata):
    return Bunch(
        mixture=mixture,
        references=np.ascontiguousarray(images[:, :, ref_mic].T),
        images=images,
        sample_rate=sample_rate,
        metadata=metadata,
    )


def _seeds(name, n_scenes, first):
    # A scene keeps its name when others are added.
    return {f"{name}_{seed:04d}": seed for seed in range(first, first + n_scenes)}


def _n_samples(duration, sample_rate):
    return max(1, round(duration * sample_rate))


def _check_ref_mic(ref_mic, n_mics):
    if ref_mic >= n_mics:
        raise ValueError(
            f"Got ref_mic={ref_mic}, but there are {n_mics} microphones (0 to "
            f"{n_mics - 1})."
        )
