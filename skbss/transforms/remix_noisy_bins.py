"""Separate once more what noise has misled."""

# License: BSD-3-Clause

from dataclasses import replace
from numbers import Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skbss.callbacks import FitTask
from skbss.sklearn_parts import Interval, _fit_context
from skbss.spectrogram import Spectrogram
from skbss.transforms._outputs import OutputsTransformer, sample_rate_of
from skbss.updates.noise import quiet_covariance
from skbss.updates.noisy_bins import (
    loudness,
    noise_shares,
    remix_bins,
    remix_canceling,
)
from skbss.updates.recording import level

# Frequency in Hz up to which voices tell how loud they are.
VOICES = 4000.0


class RemixNoisyBins(OutputsTransformer):
    r"""Separate once more the low frequencies that are full of noise.

    Microphones that are near to each other hear nearly the same at low frequencies, and
    in noise their difference is noise. A separator that has as many outputs as
    microphones makes an output of that noise there, and one of all voices. Voices are
    loudest at these frequencies, so that most of what noise spoils is spoiled there.
    This step tells voices apart by when they are loud at other frequencies, with noise
    in its model, and remixes the outputs of such bins. It stands after
    `ProjectionBack` and `SortFrequencies`.

    Parameters
    ----------
    max_frequency : float, default=1000.0
        In Hz. Bins above stay as they are: there directions tell more and voices are
        softer.
    min_share : float, default=0.3
        Least share of noise in the noisiest direction of the outputs of a bin. Of bins
        with less the separator knows better.
    quiet : float, default=0.1
        Fraction of the frames of each bin, the quietest ones, in which there is only
        noise.

    Attributes
    ----------
    remixing_ : ndarray of shape (n_freqs, n_sources, n_sources)
        ``Y[t, f] = remixing_[f] @ X[t, f]``, complex128. Columns sum to one, and most
        are those of an identity matrix.
    noise_share_ : ndarray of shape (n_bins,)
        The share of noise in the noisiest direction of the outputs, of the bins up to
        4 kHz.
    n_features_in_ : int
        Number of outputs.

    See Also
    --------
    AuxIVA : Its `quiet` keeps noisy bins from misleading the others.
    NoiseReducer : Takes noise out of the outputs.

    Notes
    -----
    Of the outputs y of a bin f, in frame t, voices s and noise n are

    .. math:: y_{ft} = A_f s_{ft} + n_{ft}, \quad
        s_{kft} \sim \mathcal{N}(0, g_{kf} a_{kt}), \quad
        n_{ft} \sim \mathcal{N}(0, N_f).

    The covariance N is that of the quietest frames, as for `NoiseReducer`. The loudness
    a of each voice, the same in all bins, is the mean of the bins up to 4 kHz of the
    powers of the outputs without their noise, divided by their mean over time. Bins
    count by :math:`(1 - \sigma_f)^2`, with :math:`\sigma_f` the largest eigenvalue of N
    relative to the covariance of the outputs: the share of noise.

    The mixing matrices A and powers g of the bins are found by maximum likelihood, with
    the EM algorithm for noisy mixtures [1]_, twice: from outputs as they are, and from
    voices that are masked out of the outputs' sum, by powers that explain that of the
    sum. Where the latter ends more likely, the outputs become
    :math:`c_{kf} (A_f^{-1} y_{ft})_k`, with c the sums of the columns of A, so that
    outputs sum to what they summed to.

    Without noise their difference is nearly nothing at low frequencies that a recorder
    leaves out: outputs can become loud there and cancel each other in their sum. Where
    they have more than ten times its power together, they are remixed to the best
    estimates of voices that are uncorrelated and have the same sum:
    :math:`\operatorname{diag}(C_f 1) C_f^{-1} y_{ft}`, with C the covariance of y.

    Outputs hold more noise where A is nearly singular: later steps, such as `AuxIVA`
    with windows that are longer and `NoiseReducer`, find them in the right order.

    References
    ----------
    .. [1] A. Ozerov and C. Févotte, "Multichannel nonnegative matrix factorization in
       convolutive mixtures for audio source separation", IEEE Transactions on Audio,
       Speech, and Language Processing 18(3), 2010. :doi:`10.1109/TASL.2009.2031510`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import RemixNoisyBins
    >>> rng = np.random.default_rng(0)
    >>> shape = 400, 60, 2  # frames, bins, voices
    >>> loud = rng.gamma(0.3, size=(400, 1, 2))
    >>> voices = loud * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
    >>> X = voices + 0.3 * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
    >>> X[:, :4] = X[:, :4] @ [[0.9, 0.1], [0.8, 0.2]]  # of both, a bit less of one
    >>> Y = RemixNoisyBins().fit_transform(X)
    >>> for outputs in (X, Y):
    ...     both = np.corrcoef(outputs[:, 2].T, voices[:, 2].T)
    ...     print(abs(both[:2, 2:]).round(1).tolist())
    [[0.7, 0.5], [0.5, 0.8]]
    [[0.9, 0.0], [0.0, 0.9]]
    """

    _parameter_constraints: dict = {
        "max_frequency": [Interval(Real, 0, None, closed="left")],
        "min_share": [Interval(Real, 0, 1, closed="both")],
        "quiet": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(
        self,
        max_frequency: float = 1000.0,
        *,
        min_share: float = 0.3,
        quiet: float = 0.1,
    ):
        self.max_frequency = max_frequency
        self.min_share = min_share
        self.quiet = quiet

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Spectrogram | ArrayLike, y: object = None) -> Self:
        """Learn how to remix noisy bins.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_sources)
            Separated outputs, scaled by `ProjectionBack`.
        y : None
            Ignored.

        Returns
        -------
        self : RemixNoisyBins
            The fitted transformer.

        Raises
        ------
        ValueError
            If `X` isn't a complex, finite spectrogram.
        """
        task = FitTask(self, X, y)
        data = self._check_X(X, reset=True)
        _, n_freqs, n_sources = data.shape
        frequency = np.linspace(0, sample_rate_of(X) / 2, n_freqs)
        scale = level(data)
        voices = data[:, frequency <= max(VOICES, self.max_frequency)]
        noise = quiet_covariance(voices, scale, self.quiet)
        share = noise_shares(voices, scale, noise)
        remixing = np.tile(np.eye(n_sources, dtype=complex), (n_freqs, 1, 1))
        low = np.count_nonzero(frequency <= self.max_frequency)
        remixing[:low] = remix_canceling(data[:, :low], scale)
        cancels = (remixing[:low] != np.eye(n_sources)).any((1, 2))
        bins = np.flatnonzero((share[:low] > self.min_share) & ~cancels)
        if n_sources > 1 and len(bins):
            loud = loudness(voices, scale, noise, (1 - share) ** 2)
            remixing[bins] = remix_bins(voices, scale, noise, bins, loud)
        self.remixing_, self.noise_share_ = remixing, share
        task.end()
        return self

    def transform(self, X: Spectrogram | ArrayLike) -> Spectrogram | np.ndarray:
        """Remix the outputs of noisy bins.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_sources)
            What was fitted to, or later outputs of the same separator.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_sources)
            The outputs, of the type and precision of `X`.
        """
        check_is_fitted(self)
        data = self._check_X(X, reset=False)
        eye = np.eye(data.shape[2])
        bins = np.flatnonzero((self.remixing_ != eye).any((1, 2)))
        if not len(bins):
            return X if isinstance(X, Spectrogram) else data
        remixing = self.remixing_[bins]
        Y = data.copy()
        Y[:, bins] = (remixing @ data[:, bins, :, None])[..., 0]
        if not isinstance(X, Spectrogram):
            return Y
        mixing = X.mixing
        if mixing is not None:
            mixing = mixing.copy()
            mixing[:, bins] = mixing[:, bins] @ np.linalg.inv(remixing)
        return replace(X, data=Y, mixing=mixing)
