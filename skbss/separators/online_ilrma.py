"""Online independent low-rank matrix analysis."""

# License: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state

from skbss.separators._online import FLOOR, RecursiveSeparator
from skbss.sklearn_parts import Interval
from skbss.updates.protocols import SpatialUpdate

# Least variance of a bin, relative to an output's mean power (-20 dB).
BIN_FLOOR = 1e-2
# Least entry of a spectrum of mean one. An entry at zero could never leave it.
BASIS_FLOOR = 1e-3
# Updates of the activations before each update of the demixing matrices.
N_ACTIVATION_UPDATES = 2


def update_activations(basis, power, h):
    """Fit activations of one frame, by multiplicative updates for Itakura-Saito.

    Parameters
    ----------
    basis : ndarray of shape (n_sources, n_basis, n_freqs)
        Spectra.
    power : ndarray of shape (n_sources, n_freqs)
        Powers of the outputs.
    h : ndarray of shape (n_sources, n_basis)
        Activations to start from.

    Returns
    -------
    h : ndarray of shape (n_sources, n_basis)
        The new activations.
    variance : ndarray of shape (n_sources, n_freqs)
        What they make of the basis.
    """
    variance = np.vecmat(h, basis)
    for _ in range(N_ACTIVATION_UPDATES):
        u, v = inverse_variance(variance, power)
        ratio = np.matvec(basis, v) / np.matvec(basis, u)
        h = np.maximum(h * np.sqrt(ratio), FLOOR * BIN_FLOOR)
        variance = np.vecmat(h, basis)
    return h, variance


def inverse_variance(variance, power):
    """Return one over the variances, limited, and the powers over their squares."""
    u = 1 / np.maximum(variance, BIN_FLOOR)
    return u, power * u * u


class OnlineILRMA(RecursiveSeparator):
    r"""Separate by ILRMA while the recording is being made.

    `OnlineAuxIVA` with spectra: each source also has a few spectra, learned by online
    nonnegative matrix factorization [1]_, that tell how its power is spread over
    frequency in each frame [2]_. Spectra that are learned before the sources are
    separated would hold separation back, so it starts as `OnlineAuxIVA`, and the
    spectra gain influence with what they have seen. In reverberant speech it separated
    as well as `OnlineAuxIVA` but not better: both 6.3 dB in the mean of 35 scenes. With
    ``blend=0.5`` it was a little worse.

    Parameters
    ----------
    n_basis : int, default=2
        Number of spectra per source.
    forget : float, default=0.994
        Weight of the past, per frame, in the covariances: as in `OnlineAuxIVA` a time
        constant of ``hop_length / (sample_rate * (1 - forget))`` seconds.
    inner_iter : int, default=1
        Updates of activations and demixing matrices per frame.
    spatial : {'ip1', 'iss1'} or SpatialUpdate, default='ip1'
        The update of the demixing matrices, as in `OnlineAuxIVA`.
    lookback : int, default=64
        Number of past frames whose loudness is computed anew for every fourth frame, as
        in `OnlineAuxIVA`. What the spectra said of them stays.
    blend : float, default=0.25
        Share of the spectra in the weights, between 0 (`OnlineAuxIVA`) and 1. The
        variance is the geometric mean of the frame's power and the factorization's.
    basis_forget : float, default=0.999
        Weight of the past, per frame, in the spectra: a time constant of
        ``hop_length / (sample_rate * (1 - basis_forget))``, 32 s by default. Their
        share is full after half of it.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial spectra.
    ref_mic : int, default=0
        The microphone that outputs of a record are images at, as in `OnlineAuxIVA`.

    Attributes
    ----------
    demixing_ : ndarray of shape (n_freqs, n_sources, n_mics)
        Demixing matrices W after the last frame, y = W x.
    mixing_ : ndarray of shape (n_freqs, n_mics, n_sources)
        Mixing matrices after the last frame, by least squares as in `OnlineAuxIVA`.
    basis_ : ndarray of shape (n_sources, n_freqs, n_basis)
        Spectra, each of mean one.
    n_frames_seen_ : int
        Number of frames learned from.
    n_features_in_ : int
        Number of microphones.

    See Also
    --------
    OnlineAuxIVA : Models the loudness of the sources only; faster.
    ILRMA : With all of the recording at hand.

    Notes
    -----
    With the frame's power :math:`r_k`, the spectra :math:`b_{kfl}`, the activations
    :math:`h_{kl}` and the share :math:`\beta` the variance is

    .. math:: r_k^{1 - \beta} \Big(\sum_l b_{kfl} h_{kl}\Big)^\beta.

    Activations start in each frame at its power, so that no silence can lock them at
    zero, and keep their progress during the inner iterations. The statistics of the
    spectra take each frame once, after the last of them, with the power
    :math:`|y_{kf}|^2` of the outputs.

    References
    ----------
    .. [1] A. Lefèvre, F. Bach and C. Févotte, "Online algorithms for nonnegative matrix
       factorization with the Itakura-Saito divergence", WASPAA 2011.
       :doi:`10.1109/ASPAA.2011.6082314`
    .. [2] T. Nakashima and N. Ono, "Online independent low-rank matrix analysis as a
       lightweight and trainable model", 2026.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss import ISTFT, STFT, OnlineILRMA, ProjectionBack
    >>> from skbss.datasets import make_convolutive_mixture
    >>> x, _ = make_convolutive_mixture(32000, random_state=0)
    >>> separator = OnlineILRMA(n_basis=2, random_state=0)
    >>> pipe = make_pipeline(STFT(n_fft=1024), separator, ProjectionBack(), ISTFT())
    >>> pipe.fit_transform(x).shape
    (32000, 2)
    """

    _parameter_constraints: dict = {
        **RecursiveSeparator._parameter_constraints,
        "n_basis": [Interval(Integral, 1, None, closed="left")],
        "blend": [Interval(Real, 0, 1, closed="both")],
        "basis_forget": [Interval(Real, 0, 1, closed="left")],
        "random_state": ["random_state"],
    }

    _sizes = RecursiveSeparator._sizes | {"n_basis": ("basis", 1)}

    _least = RecursiveSeparator._least | dict.fromkeys(
        ["basis", "numerator", "denominator", "spectral_weights", "spectral_factor"], 0
    )

    def __init__(
        self,
        n_basis: int = 2,
        *,
        forget: float = 0.994,
        inner_iter: int = 1,
        spatial: str | SpatialUpdate = "ip1",
        lookback: int = 64,
        blend: float = 0.25,
        basis_forget: float = 0.999,
        random_state: int | np.random.RandomState | None = None,
        ref_mic: int = 0,
    ):
        self.n_basis = n_basis
        self.forget = forget
        self.inner_iter = inner_iter
        self.spatial = spatial
        self.lookback = lookback
        self.blend = blend
        self.basis_forget = basis_forget
        self.random_state = random_state
        self.ref_mic = ref_mic

    @property
    def basis_(self) -> np.ndarray:
        """Spectra of the outputs, each of mean one."""
        return self._state["basis"].transpose(0, 2, 1).copy()

    def _blank_state(self, n_mics, n_freqs, dtype):
        basis = np.ones((n_mics, self.n_basis, n_freqs), dtype)
        return super()._blank_state(n_mics, n_freqs, dtype) | {
            "basis": basis,
            "numerator": basis,
            "denominator": basis,
            # Weights of past frames by the spectra, up to a factor per source.
            "spectral_weights": np.ones((n_mics, self.lookback, n_freqs), dtype),
            "spectral_factor": np.ones((n_mics, 1), dtype),
        }

    def _first_state(self, n_mics, n_freqs, dtype):
        rng = check_random_state(self.random_state)
        basis = rng.uniform(0.5, 1.5, (n_mics, n_freqs, self.n_basis)).astype(dtype)
        basis = np.ascontiguousarray(basis.transpose(0, 2, 1))
        spectra = {"basis": basis, "numerator": basis, "denominator": 1 / basis}
        return super()._first_state(n_mics, n_freqs, dtype) | spectra

    def _slots(self, state):
        slot = state["n_frames"] % self.lookback
        return [*super()._slots(state), state["spectral_weights"][:, slot]]

    def _frame(self, x):
        self._h = None  # activations of the frame
        return super()._frame(x)

    def _exponent(self):
        """Share of the factorization in the weights: it grows with what it has seen."""
        progress = 2 * self._state["n_frames"] * (1 - self.basis_forget)
        return self.blend * min(1.0, progress)

    def _loudness_weight(self, mean):
        return np.maximum(mean, FLOOR) ** (self._exponent() - 1)

    def _past_weights(self, power, decay):
        state = self._state
        factor = state["spectral_factor"]
        state["spectral_weights"] = state["spectral_weights"] * factor[:, :, None]
        state["spectral_factor"] = np.ones_like(factor)
        loudness = self._loudness_weight(power) * decay
        return loudness[:, :, None] * state["spectral_weights"][:, : len(decay)]

    def _weigh(self, power):
        """Weights of the frame in each bin, from the powers (n_sources, n_freqs)."""
        mean = np.maximum(power.mean(axis=1, keepdims=True), FLOOR)
        if self._h is None:
            self._h = np.repeat(mean / self.n_basis, self.n_basis, axis=1)
        self._h, variance = update_activations(self._state["basis"], power, self._h)
        variance = np.maximum(variance, BIN_FLOOR * mean)
        self._spectral_weight = variance ** -self._exponent()
        return self._loudness_weight(mean) * self._spectral_weight

    def _commit(self, power, slot):
        state, forget = self._state, self._real(self.basis_forget)
        loudness = self._loudness_weight(power.mean(axis=1, keepdims=True))
        basis = state["basis"]
        h, variance = update_activations(basis, power, self._h)
        u, v = inverse_variance(variance, power)
        h = h[:, :, None]
        numerator = forget * state["numerator"] + basis**2 * (v[:, None] * h)
        denominator = forget * state["denominator"] + u[:, None] * h
        basis = np.sqrt(numerator / denominator)
        size = basis.mean(axis=2, keepdims=True)
        state["basis"] = np.maximum(basis / size, BASIS_FLOOR)
        state["numerator"], state["denominator"] = numerator / size, denominator * size
        scaled = self._spectral_weight / state["spectral_factor"]
        state["spectral_weights"][:, slot] = scaled
        return loudness * self._spectral_weight

    def _divide_powers(self, gain):
        factor = self._state["spectral_factor"]
        self._state["spectral_factor"] = factor * gain ** self._exponent()
