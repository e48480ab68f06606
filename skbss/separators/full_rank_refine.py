"""A second pass over estimates of sources, with spatial covariances of full rank."""

# License: BSD-3-Clause

from numbers import Integral, Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skbss.base import BaseSeparator, check_ref_mic
from skbss.callbacks import FitTask
from skbss.parallel import bin_blocks
from skbss.separators._batch import run
from skbss.sklearn_parts import Interval, _fit_context
from skbss.spectrogram import Spectrogram
from skbss.updates.full_rank import (
    adapt_activations,
    by_power,
    iterate_full_rank,
    relative_mixing,
    start_factors,
    write_images,
)
from skbss.updates.masks import Whitening

# Iterations in which powers of the estimates are factored.
START_ITER = 30

# White noise in the spatial covariances to start from.
LOADING = 1e-2


class FullRankRefine(BaseSeparator):
    r"""Refine estimates of sources, also of more sources than microphones.

    Each source is modeled by a few spectra with their loudness over time, and in every
    frequency bin by a covariance of the microphones: of full rank, as reverberation
    comes from everywhere. Estimates of the sources, as from `MaskSeparator`, are what
    it starts from; from anywhere else it would get lost.

    Its input has the estimates and the microphones, side by side.

    Parameters
    ----------
    n_sources : int, default=2
        How many of the channels are estimates of sources; they come first. All others
        are microphones.
    n_basis : int, default=16
        Number of spectra of a source.
    max_iter : int, default=60
        Number of iterations, of spectra, loudness and covariances in turn.
    tol : float, default=0.0
        Stop when the objective falls by less than this per value of the microphones.
        0 runs all iterations.
    ref_mic : int, default=0
        The microphone whose images of the sources the outputs are, counted from the
        first one.
    random_state : int, RandomState instance or None, default=None
        Draws the spectra to start from.

    Attributes
    ----------
    basis_ : ndarray of shape (n_sources, n_freqs, n_basis)
        Spectra.
    activations_ : ndarray of shape (n_sources, n_basis, n_frames)
        Their loudness over time.
    covariances_ : ndarray of shape (n_freqs, n_sources, n_mics, n_mics)
        Spatial covariances of the sources, of whitened microphones, with unit mean
        diagonal.
    mixing_ : ndarray of shape (n_freqs, n_mics, n_sources)
        Takes images at microphone `ref_mic` to all microphones, in the sense of least
        squares.
    objective_ : ndarray of shape (`n_iter_`,)
        Negative log-likelihood after each iteration, up to a constant. It never rises,
        but for rounding.
    n_iter_ : int
        Number of iterations.
    n_features_in_ : int
        Number of channels, `n_sources` more than microphones.

    See Also
    --------
    MaskSeparator : Gives estimates to start from.
    make_separator : Does both, if there are more sources than microphones.

    Notes
    -----
    Whitened microphones are Gaussian, with the covariances [1]_ [2]_

    .. math:: \hat X_{ft} = \sum_k v_{kft} R_{kf} + \sigma I, \quad
        v_{kft} = \sum_l b_{kfl} c_{klt},

    and a noise :math:`\sigma` of 60 dB below them. Shares of the estimates in the power
    of the microphones give the first spectra and covariances. Iterations then minimize
    :math:`\sum_{ft} x_{ft}^H \hat X_{ft}^{-1} x_{ft} + \log\det \hat X_{ft}` by
    multiplicative updates of b and c, and by the solution of a Riccati equation for R.
    Outputs are images by the multichannel Wiener filter,
    :math:`v_{kft} R_{kf} \hat X_{ft}^{-1} x_{ft}`.

    Windows of 256 ms suit it, twice those of masks. Of later audio, loudness is
    learned anew from the estimates that come with it.

    References
    ----------
    .. [1] N. Q. K. Duong, E. Vincent and R. Gribonval, "Under-determined reverberant
       audio source separation using a full-rank spatial covariance model", IEEE
       Transactions on Audio, Speech, and Language Processing 18(7), 2010.
       :doi:`10.1109/TASL.2010.2050716`
    .. [2] H. Sawada, H. Kameoka, S. Araki and N. Ueda, "Multichannel extensions of
       non-negative matrix factorization with complex-valued data", IEEE Transactions on
       Audio, Speech, and Language Processing 21(5), 2013.
       :doi:`10.1109/TASL.2013.2239990`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss import ISTFT, STFT, FullRankRefine, MaskSeparator
    >>> from skbss.datasets import make_convolutive_mixture
    >>> x, _ = make_convolutive_mixture(
    ...     32_000, n_sources=3, n_mics=2, rt60=0.05, random_state=0
    ... )
    >>> masks = make_pipeline(STFT(1024), MaskSeparator(3, random_state=0), ISTFT())
    >>> refine = FullRankRefine(3, max_iter=15, random_state=0)
    >>> refine = make_pipeline(STFT(2048), refine, ISTFT())
    >>> refine.fit_transform(np.hstack([masks.fit_transform(x), x])).shape
    (32000, 3)
    """

    _parameter_constraints: dict = {
        "n_sources": [Interval(Integral, 1, None, closed="left")],
        "n_basis": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "ref_mic": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_sources: int = 2,
        *,
        n_basis: int = 16,
        max_iter: int = 60,
        tol: float = 0.0,
        ref_mic: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.n_sources = n_sources
        self.n_basis = n_basis
        self.max_iter = max_iter
        self.tol = tol
        self.ref_mic = ref_mic
        self.random_state = random_state

    @property
    def _n_features_out(self):
        return self.covariances_.shape[1]

    def fit(self, X: Spectrogram | ArrayLike, y: object = None) -> Self:
        """Learn how the sources look and where they are.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_sources + n_mics)
            Complex spectrogram of the estimates and of the microphones.
        y : None
            Ignored.

        Returns
        -------
        self : FullRankRefine
            The fitted separator.

        Raises
        ------
        ValueError
            If `X` isn't a complex, finite spectrogram, has no microphones, or not that
            reference.
        """
        self.fit_transform(X)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(
        self, X: Spectrogram | ArrayLike, y: object = None
    ) -> Spectrogram | np.ndarray:
        """Learn how the sources look and where they are, and separate them.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_sources + n_mics)
            Complex spectrogram of the estimates and of the microphones.
        y : None
            Ignored.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_sources)
            Images of the sources at microphone `ref_mic`, of the type and precision of
            `X`.
        """
        task = FitTask(self, X, y, self.max_iter)
        data = self._check_X(X, reset=True)
        estimates, mics = self._divide(data)
        self._whitening = whitening = Whitening.of(mics)
        power, R = self._start(estimates, mics)
        rng = check_random_state(self.random_state)
        W, H = start_factors(power, self.n_basis, START_ITER, rng)
        x = whitening.apply(mics, slice(None))
        iterations = iterate_full_rank(x, W, H, R)
        iterations = task.iterations(iterations, self._learned)
        self.__dict__.update(self._learned(*run(self, iterations, mics.size)))
        _, self._n_freqs_in, self.n_features_in_ = data.shape
        task.end()
        return self._images(X, mics, self.activations_)

    def transform(self, X: Spectrogram | ArrayLike) -> Spectrogram | np.ndarray:
        """Separate a recording.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_sources + n_mics)
            Complex spectrogram of the estimates and of the microphones: those that were
            fitted to, or later ones of the same room.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_sources)
            Images of the sources at microphone `ref_mic`, of the type and precision of
            `X`.
        """
        check_is_fitted(self)
        estimates, mics = self._divide(self._check_X(X, reset=False))
        power, _ = self._start(estimates, mics)
        W, x = self.basis_, self._whitening.apply(mics, slice(None))
        _, H = start_factors(power, W.shape[2], START_ITER, None, W)
        H = adapt_activations(x, W, H, self.covariances_)
        return self._images(X, mics, H)

    def _divide(self, data):
        """Divide channels into estimates and microphones."""
        n_mics = data.shape[2] - self.n_sources
        if n_mics < 1:
            raise ValueError(
                f"Got {data.shape[2]} channels, but {self.n_sources} estimates of "
                "sources and at least one microphone are expected."
            )
        check_ref_mic(self.ref_mic, n_mics)
        return np.split(data, [self.n_sources], axis=2)

    def _start(self, estimates, mics):
        """Powers of the microphones that belong to sources, and their covariances."""
        T, F, K = estimates.shape
        M = mics.shape[2]
        power, R = np.empty((K, F, T)), np.empty((F, K, M, M), complex)
        peak = max(abs(estimates.real).max(), abs(estimates.imag).max()) or 1.0
        for bins in bin_blocks(F, 16 * T * (3 * M * M + K)):
            y = (estimates[:, bins] / peak).astype(complex).transpose(1, 2, 0)
            share = y.real**2 + y.imag**2
            total = share.sum(1, keepdims=True)
            # Where nothing is known all sources are alike.
            np.divide(share, total, out=share, where=total > 0)
            share[np.broadcast_to(total == 0, share.shape)] = 1 / K
            x = self._whitening.apply(mics, bins)
            R[bins] = by_power(x, share, LOADING)
            power[:, bins] = share.swapaxes(0, 1) * (x.real**2 + x.imag**2).mean(0)
        return power, R

    def _learned(self, state, objectives):
        """Return the fitted attributes by name."""
        W, H, R = state
        return {
            "basis_": W,
            "activations_": H,
            "covariances_": R,
            "mixing_": relative_mixing(self._whitening, R, self.ref_mic),
            "objective_": np.array(objectives),
            "n_iter_": len(objectives),
        }

    def _images(self, X, mics, H):
        def variances(bins, x):
            return (self.basis_[:, bins] @ H).swapaxes(0, 1)

        R, ref_mic = self.covariances_, self.ref_mic
        Y = write_images(mics, self._whitening, variances, R, ref_mic)
        if not isinstance(X, Spectrogram):
            return Y
        mixing = self.mixing_[None].astype(mics.dtype)
        return Spectrogram(Y, X.stft_params, X.n_samples, mixing)
