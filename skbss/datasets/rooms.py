"""Mixtures in simulated rooms."""

# License: BSD-3-Clause

from numbers import Integral, Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_array, check_random_state

from skbss.datasets._rooms import (
    random_array,
    random_room,
    random_sources,
    room_images,
)
from skbss.datasets.synthetic import (
    MIXTURE_CONSTRAINTS,
    mix_images,
    speech_like,
)
from skbss.sklearn_parts import Interval, StrOptions, validate_params

ARRAY_CONSTRAINTS = {
    "array": [StrOptions({"linear", "circular"})],
    "mic_spacing": [Interval(Real, 0, None, closed="neither")],
}


@validate_params(
    MIXTURE_CONSTRAINTS
    | ARRAY_CONSTRAINTS
    | {
        "sources": ["array-like", None],
        "sample_rate": [Interval(Integral, 1, None, closed="left")],
        "room_dim": ["array-like", None],
        "mic_positions": ["array-like", None],
        "source_positions": ["array-like", None],
    },
    prefer_skip_nested_validation=True,
)
def make_room_mixture(
    sources: ArrayLike | None = None,
    *,
    n_samples: int = 80_000,
    n_sources: int = 2,
    n_mics: int | None = None,
    sample_rate: int = 16_000,
    rt60: float = 0.25,
    room_dim: ArrayLike | None = None,
    array: Literal["linear", "circular"] = "linear",
    mic_spacing: float = 0.05,
    mic_positions: ArrayLike | None = None,
    source_positions: ArrayLike | None = None,
    noise: float = 0.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Mix sources in a simulated room.

    The room is a box whose walls reflect (image source method of pyroomacoustics, which
    the extra ``rooms`` installs). Unlike those of `make_convolutive_mixture`, its
    impulse responses have the geometry of a real array: neighboring microphones record
    almost the same at low frequencies, which makes separation harder.

    Parameters
    ----------
    sources : array-like of shape (n_samples, n_sources), default=None
        What the sources say, close up. None stands for speech-like noise.
    n_samples : int, default=80_000
        Length of the recording, 5 s at 16 kHz. Without effect if `sources` are given.
    n_sources : int, default=2
        Number of sources. Without effect if `sources` are given.
    n_mics : int, default=None
        Number of microphones. None stands for as many as sources. Without effect if
        `mic_positions` are given.
    sample_rate : int, default=16_000
        In Hz.
    rt60 : float, default=0.25
        Reverberation time in seconds, 0.25 being a living room's. The walls' absorption
        is set until the impulse responses measure so. Time and memory of the simulation
        grow with its cube. 0 leaves the direct sound only.
    room_dim : array-like of shape (3,), default=None
        Length, width and height in meters. None draws a living room.
    array : {'linear', 'circular'}, default='linear'
        How the microphones lie, horizontally, near the middle of the room.
    mic_spacing : float, default=0.05
        Distance of neighboring microphones in meters.
    mic_positions : array-like of shape (n_mics, 3), default=None
        In the room, in meters, instead of `array` and `mic_spacing`.
    source_positions : array-like of shape (n_sources, 3), default=None
        In the room, in meters. None draws them from 1 to 2 m away and at least 25
        degrees apart, where room and number allow.
    noise : float, default=0.0
        Standard deviation of the sensor noise, white and independent for every
        microphone, relative to that of the mixture at microphone 0.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same recording at every call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        mixture : ndarray of shape (n_samples, n_mics)
            The recording, scaled to a peak of 0.5.
        references : ndarray of shape (n_samples, n_sources)
            The images of the sources at microphone 0, of equal power.
        images : ndarray of shape (n_sources, n_samples, n_mics)
            The same at all microphones. They sum to `mixture`, but for sensor noise.
        early_images : ndarray of shape (n_sources, n_samples, n_mics)
            The early part of the images: the direct sound and what comes up to 50 ms
            later. What dereverberation should leave.
        early_references : ndarray of shape (n_samples, n_sources)
            The same at microphone 0.
        sample_rate : int
            In Hz.
        rt60 : float
            Reverberation time in seconds, measured in the impulse responses.
        room_dim : ndarray of shape (3,)
            In meters.
        mic_positions, source_positions : ndarray of shape (n_mics, 3), (n_sources, 3)
            In the room, in meters.
        metadata : dict
            How the room was simulated, for a file.

    Raises
    ------
    ImportError
        If pyroomacoustics is not installed.
    ValueError
        If a position is outside of the room, if numbers do not agree or if the room is
        too large for so short a reverberation.

    See Also
    --------
    make_convolutive_mixture : Random impulse responses, which need no other package.

    Examples
    --------
    >>> from skbss.datasets import make_room_mixture
    >>> room = make_room_mixture(
    ...     n_samples=16_000, n_mics=3, array="circular", random_state=0
    ... )
    >>> room.mixture.shape, room.references.shape
    ((16000, 3), (16000, 2))
    """
    rng = check_random_state(random_state)
    if sources is not None:
        dry = check_array(sources, dtype=np.float64, input_name="sources").T
        n_sources, n_samples = dry.shape
    room_dim = random_room(rng) if room_dim is None else _check_room(room_dim)
    rotation = 0.0
    if mic_positions is None:
        mics, rotation = random_array(
            n_mics or n_sources, room_dim, rng, array=array, mic_spacing=mic_spacing
        )
    else:
        mics = mic_positions
    mics = _check_positions(mics, "mic_positions", None, room_dim)
    if source_positions is None:
        places, *_ = random_sources(n_sources, mics, room_dim, rng, rotation=rotation)
    else:
        places = source_positions
    places = _check_positions(places, "source_positions", n_sources, room_dim)
    if sources is None:
        # They begin before the recording does, so that it has reverberation throughout.
        n_before = round(rt60 * sample_rate)
        dry = speech_like(n_sources, n_before + n_samples, sample_rate, rng)
    images, early, metadata = room_images(
        dry, sample_rate, room_dim, rt60, mics, places
    )
    mixture, images, gain = mix_images(images[:, -n_samples:], noise, rng)
    early = early[:, -n_samples:] * gain
    return Bunch(
        mixture=mixture,
        references=np.ascontiguousarray(images[:, :, 0].T),
        images=images,
        early_images=early,
        early_references=np.ascontiguousarray(early[:, :, 0].T),
        sample_rate=sample_rate,
        rt60=metadata["rt60_measured_s"],
        room_dim=room_dim,
        mic_positions=mics,
        source_positions=places,
        metadata=metadata,
    )


def _check_room(room_dim):
    room_dim = check_array(room_dim, ensure_2d=False, dtype=np.float64)
    if room_dim.shape != (3,) or not (room_dim > 0).all():
        raise ValueError(
            f"Got room_dim={room_dim.tolist()}, expected length, width and height in "
            "meters."
        )
    return room_dim


def _check_positions(positions, name, n_positions, room_dim):
    positions = check_array(positions, dtype=np.float64, input_name=name)
    expected = len(positions) if n_positions is None else n_positions
    if positions.shape != (expected, 3):
        raise ValueError(
            f"Got {name} of shape {positions.shape}, expected ({expected}, 3)."
        )
    inside = ((positions > 0) & (positions < room_dim)).all(axis=1)
    if not inside.all():
        outside = np.round(positions[~inside][0], 3).tolist()
        raise ValueError(
            f"Got {outside} in {name}, which is outside of the room of "
            f"{' x '.join(f'{d:.3g}' for d in room_dim)} m."
        )
    return positions
