"""More sources than microphones: masks by directions, and Wiener filters."""

# License: BSD-3-Clause

import warnings
from itertools import islice
from numbers import Integral
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skbss.base import BaseSeparator, check_ref_mic
from skbss.callbacks import FitTask
from skbss.parallel import bin_blocks, map_some
from skbss.sklearn_parts import Interval, _fit_context
from skbss.spectrogram import Spectrogram, separated
from skbss.updates.full_rank import by_power, relative_mixing, write_images
from skbss.updates.masks import (
    LEAST,
    Shapes,
    Whitening,
    align,
    masks_of_bins,
    ranges,
    share,
    weigh_frames,
)

# White noise in the spatial covariances of the Wiener filter.
LOADING = 1e-3

# Sources for each microphone that masks can tell apart. Outputs of four on two and of
# six on three were 11.4 and 9.3 dB better than a microphone, of six on two 3.3.
PER_MIC = 2

# Iterations in which the weights of the sources in later frames are found.
N_LATER = 10


class MaskSeparator(BaseSeparator):
    r"""Separate more sources than microphones, by masks.

    In most coefficients of a spectrogram one source is much louder than all others.
    There, microphones differ as that source's position tells. A mixture of as many
    distributions of such differences as there are sources finds, in every frequency
    bin, which source a coefficient belongs to. Sources of all bins are put in the same
    order by when they are active, and a multichannel Wiener filter does the rest.

    With as many microphones as sources, `AuxIVA` and `ILRMA` separate better: their
    filters are constant and leave no artifacts.

    Parameters
    ----------
    n_sources : int, default=2
        Number of sources, also more than there are microphones.
    max_iter : int, default=20
        Number of iterations in each bin by itself.
    n_init : int, default=2
        Number of random starts in each bin, of which the most likely one counts.
    time_iter : int, default=10
        Number of iterations after that, in which all bins of an octave agree on how
        active each source is in a frame.
    ref_mic : int, default=0
        The microphone whose images of the sources the outputs are.
    random_state : int, RandomState instance or None, default=None
        Draws the starts.

    Attributes
    ----------
    shapes_ : ndarray of shape (n_freqs, n_sources, n_mics, n_mics)
        Matrices of the distributions of directions, of whitened microphones.
    covariances_ : ndarray of shape (n_freqs, n_sources, n_mics, n_mics)
        Spatial covariances of the sources, of whitened microphones, with unit mean
        diagonal.
    mixing_ : ndarray of shape (n_freqs, n_mics, n_sources)
        Takes images at microphone `ref_mic` to all microphones, in the sense of least
        squares.
    objective_ : ndarray of shape (time_iter,)
        Negative log-likelihood after each of the last iterations. It never rises, but
        for rounding.
    n_iter_ : int
        `max_iter`.
    n_features_in_ : int
        Number of microphones.

    See Also
    --------
    FullRankRefine : Separates better, from what this one gives.
    make_separator : Does both, if there are more sources than microphones.

    Notes
    -----
    With unit vectors :math:`u = x / \|x\|` of whitened microphones it is a mixture of
    complex angular central Gaussians [1]_ in every bin,

    .. math:: p(u_t) = \sum_k a_k \frac{1}{\det B_k} (u_t^H B_k^{-1} u_t)^{-M},

    fitted by expectation and maximization from random masks. Then the weights become
    those of frames, :math:`a_{kt}`, the same in all bins of an octave. Vectors have
    white noise, of a thousandth of their power, so that no distribution collapses to a
    direction.

    Sources of different bins belong together where their masks rise and fall together
    [2]_. Ranges of bins that grow by factors of two are put in order, then each bin
    with the mean of all, in which bins count as they are loud. A pair of ranges is an
    assignment problem: no permutations are enumerated.

    Where noise is found, frames of a bin count the more the louder they are.

    With the masks :math:`\gamma`, the variances :math:`v_{kt} = \gamma_{kt}
    \|x_t\|^2 / M` and the spatial covariances :math:`R_k`, the normalized means of
    :math:`\gamma_{kt} x_t x_t^H`, the images are

    .. math:: y_{kt} = v_{kt} R_k \Big(\sum_j v_{jt} R_j\Big)^{-1} x_t

    at microphone `ref_mic`. They sum to the microphone. Bins of later audio keep their
    distributions, and frames get weights of their own.

    Windows of 128 ms with hops of a quarter suit speech in living rooms. With 256 ms,
    less of a spectrogram is one source's alone, and masks fail where reverberation is
    0.4 s long.

    References
    ----------
    .. [1] N. Ito, S. Araki and T. Nakatani, "Complex angular central Gaussian mixture
       model for directional statistics in mask-based microphone array signal
       processing", EUSIPCO 2016. :doi:`10.1109/EUSIPCO.2016.7760429`
    .. [2] H. Sawada, S. Araki and S. Makino, "Underdetermined convolutive blind source
       separation via frequency bin-wise clustering and permutation alignment", IEEE
       Transactions on Audio, Speech, and Language Processing 19(3), 2011.
       :doi:`10.1109/TASL.2010.2051355`

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss import ISTFT, STFT, MaskSeparator
    >>> from skbss.datasets import make_convolutive_mixture
    >>> from skbss.metrics import si_sdr_improvement
    >>> x, y = make_convolutive_mixture(
    ...     48_000, n_sources=3, n_mics=2, rt60=0.05, random_state=0
    ... )
    >>> separator = MaskSeparator(3, random_state=0)
    >>> pipeline = make_pipeline(STFT(1024, sample_rate=16_000), separator, ISTFT())
    >>> z = pipeline.fit_transform(x)
    >>> bool(si_sdr_improvement(y, z, x).min() > 3)
    True
    """

    _parameter_constraints: dict = {
        "n_sources": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "time_iter": [Interval(Integral, 1, None, closed="left")],
        "ref_mic": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_sources: int = 2,
        *,
        max_iter: int = 20,
        n_init: int = 2,
        time_iter: int = 10,
        ref_mic: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.n_sources = n_sources
        self.max_iter = max_iter
        self.n_init = n_init
        self.time_iter = time_iter
        self.ref_mic = ref_mic
        self.random_state = random_state

    @property
    def _n_features_out(self):
        return self.shapes_.shape[1]

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Spectrogram | ArrayLike, y: object = None) -> Self:
        """Learn where the sources are.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_mics)
            Complex spectrogram of the recording.
        y : None
            Ignored.

        Returns
        -------
        self : MaskSeparator
            The fitted separator.

        Raises
        ------
        ValueError
            If `X` isn't a complex, finite spectrogram, or there is no such reference.
        """
        task = FitTask(self, X, y, self.time_iter)
        data = self._check_X(X, reset=True)
        T, F, M = data.shape
        check_ref_mic(self.ref_mic, M)
        if self.n_sources > PER_MIC * M:
            warnings.warn(
                f"Got n_sources={self.n_sources} and {M} microphones: with more than "
                f"{PER_MIC} sources for each, outputs are hardly better than these.",
                stacklevel=3,
            )
        rng = check_random_state(self.random_state)
        seeds = rng.randint(2**31 - 1, size=(self.n_init, F))
        whitening = Whitening.of(data)
        masks = masks_of_bins(data, whitening, self.n_sources, self.max_iter, seeds)
        order = align(masks, whitening.loudness)
        masks = np.take_along_axis(masks, order[..., None], 1)
        steps = islice(weigh_frames(data, whitening, masks), self.time_iter)
        all_shapes, objectives = zip(*steps, strict=True)
        self.shapes_ = np.concatenate([some.matrices for some in all_shapes[-1]])
        self.covariances_ = np.empty_like(self.shapes_)
        for bins in bin_blocks(F, 16 * T * (3 * M * M + self.n_sources)):
            x = whitening.apply(data, bins)
            self.covariances_[bins] = by_power(x, masks[bins], LOADING)
        self.objective_, self.n_iter_ = np.array(objectives), self.max_iter
        self.mixing_ = relative_mixing(whitening, self.covariances_, self.ref_mic)
        self._whitening = whitening
        self._n_freqs_in, self.n_features_in_ = F, M
        task.end()
        return self

    def transform(self, X: Spectrogram | ArrayLike) -> Spectrogram | np.ndarray:
        """Separate a recording.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_mics)
            What was fitted to, or later audio of the same room.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_sources)
            Images of the sources at microphone `ref_mic`, of the type and precision of
            `X`.
        """
        check_is_fitted(self)
        data = self._check_X(X, reset=False)
        masks = self._masks(data)

        def variances(bins, x):
            return masks[bins] * (x.real**2 + x.imag**2).mean(0)[:, None]

        Y = write_images(
            data, self._whitening, variances, self.covariances_, self.ref_mic
        )
        return separated(X, Y, self.mixing_[None].astype(data.dtype))

    def _masks(self, data):
        """Masks of frames, (n_freqs, n_sources, n_frames)."""
        T, F, M = data.shape
        K = self._n_features_out
        density = np.empty((F, K, T), data.real.dtype)

        def write(bins):
            shapes = Shapes.of(self.shapes_[bins])
            U = self._whitening.directions(data, bins)
            density[bins] = share(shapes.joint(shapes.quadratic(U), 1.0))[0]

        map_some(write, bin_blocks(F, 16 * T * (M * M + 4 * K)))
        for bins in ranges(F):
            p = density[bins]
            weights = 1.0
            for _ in range(N_LATER):
                masks, _ = share(p * weights)
                weights = np.maximum(masks.mean(0), LEAST)
            density[bins] = share(p * weights)[0]
        return density
