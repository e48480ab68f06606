"""Synthetic convolutive mixtures of any size."""

# License: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
from scipy.signal import fftconvolve
from sklearn.utils import check_random_state

from skbss.sklearn_parts import Interval, validate_params

_N_COMPONENTS = 4
_SYLLABLE = 0.12  # seconds
_DIRECT_TO_REVERBERANT = 2.0  # ratio of energies, 3 dB
_MAX_DELAY = 5e-4  # seconds, 17 cm of sound: microphones a hand apart
_PEAK = 0.5


# What all recordings that are made have, in rooms too.
MIXTURE_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "n_sources": [Interval(Integral, 1, None, closed="left")],
    "n_mics": [Interval(Integral, 1, None, closed="left"), None],
    "sample_rate": [Interval(Real, 0, None, closed="neither")],
    "rt60": [Interval(Real, 0, None, closed="left")],
    "noise": [Interval(Real, 0, None, closed="left")],
    "random_state": ["random_state"],
}


@validate_params(
    MIXTURE_CONSTRAINTS | {"return_images": ["boolean"]},
    prefer_skip_nested_validation=True,
)
def make_convolutive_mixture(
    n_samples: int = 80_000,
    n_sources: int = 2,
    n_mics: int | None = None,
    *,
    sample_rate: float = 16_000,
    rt60: float = 0.1,
    noise: float = 0.0,
    return_images: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, ...]:
    """Mix speech-like random sources in a random reverberant room.

    Each source is a sum of four noises of different color, whose loudness goes up and
    down at the pace of syllables: like speech it is super-Gaussian, not stationary and
    of low rank in time and frequency. The impulse responses are a direct sound and a
    noise tail that decays exponentially, which is how a diffuse room sounds.

    Parameters
    ----------
    n_samples : int, default=80_000
        Length of the recording, 5 s at 16 kHz.
    n_sources : int, default=2
        Number of sources.
    n_mics : int, default=None
        Number of microphones. None stands for as many as sources.
    sample_rate : float, default=16_000
        In Hz. Nothing but the unit of the times below and of the spectra.
    rt60 : float, default=0.1
        Reverberation time in seconds, in which the tail falls by 60 dB. 0 leaves the
        direct sound only. A window of the STFT that is shorter than the impulse
        response limits what any demixing of single frames can reach.
    noise : float, default=0.0
        Standard deviation of the sensor noise, white and independent for every
        microphone, relative to that of the mixture at microphone 0.
    return_images : bool, default=False
        Whether to return the images of the sources at all microphones too.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same recording at every call.

    Returns
    -------
    X : ndarray of shape (n_samples, n_mics)
        The mixture, scaled to a peak of 0.5.
    y : ndarray of shape (n_samples, n_sources)
        The references: the images of the sources at microphone 0, of equal power.
    images : ndarray of shape (n_sources, n_samples, n_mics)
        ``X == images.sum(axis=0)`` up to sensor noise and rounding. Only returned if
        `return_images` is True.

    See Also
    --------
    load_cocktail_party : Two voices in a simulated room.

    Examples
    --------
    >>> from skbss.datasets import make_convolutive_mixture
    >>> X, y = make_convolutive_mixture(n_samples=16_000, n_sources=3, random_state=0)
    >>> X.shape, y.shape
    ((16000, 3), (16000, 3))
    """
    rng = check_random_state(random_state)
    n_mics = n_sources if n_mics is None else n_mics
    filters = _impulse_responses(n_sources, n_mics, sample_rate, rt60, rng)
    # The sources begin before the recording does, so that the reverberation is there
    # from the first sample on.
    n_before = filters.shape[-1] - 1
    sources = speech_like(n_sources, n_before + n_samples, sample_rate, rng)
    images = fftconvolve(sources[:, None], filters, mode="full", axes=-1)
    images = images[..., n_before : n_before + n_samples].transpose(0, 2, 1)
    X, images, _ = mix_images(images, noise, rng)
    y = np.ascontiguousarray(images[:, :, 0].T)
    return (X, y, np.ascontiguousarray(images)) if return_images else (X, y)


def mix_images(images, noise, rng):
    """Sum images with equal power at microphone 0, add noise, scale to a peak of 0.5.

    Parameters
    ----------
    images : ndarray of shape (n_sources, n_samples, n_mics)
        Those that are silent stay so.
    noise : float
        Relative to the mixture at microphone 0.
    rng : RandomState
        Draws the noise.

    Returns
    -------
    X : ndarray of shape (n_samples, n_mics)
        The mixture.
    images : ndarray of shape (n_sources, n_samples, n_mics)
        As they are in it.
    gain : ndarray of shape (n_sources, 1, 1)
        What they were multiplied by.
    """
    level = np.sqrt(np.mean(images[:, :, :1] ** 2, axis=1, keepdims=True))
    level = np.where(level > 0, level, 1)
    images = images / level
    X = images.sum(axis=0)
    X += noise * np.sqrt(np.mean(X[:, 0] ** 2)) * rng.standard_normal(X.shape)
    peak = np.abs(X).max()
    scale = _PEAK / peak if peak > 0 else 1.0
    return X * scale, images * scale, scale / level


def speech_like(n_sources, n_samples, sample_rate, rng):
    """Return noises of different color, modulated at the pace of syllables."""
    frequencies = np.fft.rfftfreq(n_samples, 1 / sample_rate)
    shape = (n_sources, _N_COMPONENTS)
    # Spectra: a resonance each, over a slope of 6 dB per octave above 500 Hz.
    center = np.exp(rng.uniform(np.log(200), np.log(5000), size=(*shape, 1)))
    resonance = 1 / (1 + ((frequencies - center) / (0.3 * center)) ** 2)
    spectra = (resonance + 0.03) / np.hypot(1, frequencies / 500)
    white = np.fft.rfft(rng.standard_normal((*shape, n_samples)))
    colored = np.fft.irfft(white * spectra, n_samples)
    colored /= np.sqrt(np.mean(colored**2, axis=-1, keepdims=True))
    # Loudness: a gamma variable of small shape is near zero most of the time.
    knots = np.arange(0, n_samples / sample_rate + 2 * _SYLLABLE, _SYLLABLE)
    time = np.arange(n_samples) / sample_rate
    syllables = rng.gamma(1.0, size=(n_sources, 1, len(knots)))
    loudness = syllables * rng.gamma(0.5, size=(*shape, len(knots)))
    envelopes = np.apply_along_axis(lambda v: np.interp(time, knots, v), -1, loudness)
    return np.sum(envelopes * colored, axis=1)


def _impulse_responses(n_sources, n_mics, sample_rate, rt60, rng):
    """Direct sound and exponential tail, of shape (n_sources, n_mics, n_taps)."""
    max_delay = max(1, round(_MAX_DELAY * sample_rate))
    n_taps = max_delay + 1 + round(rt60 * sample_rate)
    shape = (n_sources, n_mics)
    delay = rng.randint(max_delay + 1, size=shape)[..., None]
    # Gains too: sources that differ in neither delay nor gain could not be separated.
    gain = rng.uniform(0.3, 1.0, size=shape)[..., None]
    after = np.arange(n_taps) - delay
    filters = gain * (after == 0)
    if rt60 > 0:
        tail = rng.standard_normal((*shape, n_taps)) * (after > 0)
        tail *= 10 ** (-3 * np.maximum(after, 0) / (rt60 * sample_rate))
        energy = np.sum(tail**2, axis=-1, keepdims=True)
        filters += gain * tail / np.sqrt(_DIRECT_TO_REVERBERANT * energy)
    return filters
