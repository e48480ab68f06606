"""Take stationary noise out of separated outputs."""

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
from skbss.transforms._outputs import OutputsTransformer
from skbss.updates.noise import quiet_covariance, reduce_noise
from skbss.updates.recording import level


class NoiseReducer(OutputsTransformer):
    r"""Take stationary noise out of separated outputs, by a multichannel Wiener filter.

    A separator has as many outputs as microphones, or fewer, and none for noise that
    comes from everywhere, such as that of fans or of the microphones themselves: it is
    in all outputs, often louder than it was in the recording. This step learns how much
    noise there is, and how outputs have it in common, while a frequency is quiet, and
    weakens what looks like it. It stands last, after `CrosstalkCanceller`.

    Parameters
    ----------
    quiet : float, default=0.1
        Fraction of the frames of each bin, the quietest ones, in which there is only
        noise. With more, reverberation is taken for noise.
    min_share : float, default=0.02
        Least power of a source, as a fraction of the power of its output. Larger ones
        leave more noise, and more evenly.

    Attributes
    ----------
    noise_ : ndarray of shape (n_freqs, n_sources, n_sources)
        Covariance of the noise of the outputs, divided by ``level_ ** 2``, complex128.
    level_ : float
        Root mean square of the spectrogram that was fitted to; 1 for silence.
    n_features_in_ : int
        Number of outputs.

    See Also
    --------
    CrosstalkCanceller : Takes out what other sources left.
    OnlineISNMF : Separates a single channel by Wiener masks.

    Notes
    -----
    The covariance N of the noise is that of the `quiet` frames of a bin, those in which
    its power and that of two neighbors to each side is least, divided by what such a
    choice would give of stationary Gaussian noise of unit power. Sources have the
    variances

    .. math:: r_{kft} = \max(\bar p_{kft} - N_{kkf},\ s\, \bar p_{kft})

    with the mean powers :math:`\bar p` of five bins, and the `min_share` s. With R the
    diagonal matrix of these, the filter of least mean square error [1]_ is

    .. math:: z_{ft} = R_{ft} \, (R_{ft} + N_f)^{-1} \, y_{ft}.

    Then, once more, with the mean powers of z in place of the difference. The filter
    uses what outputs have in common: noise that is heard in the output of a source that
    pauses is taken out of the others, too.

    Outputs no longer sum to the microphone, and a record that is returned has no mixing
    matrices. What never pauses is noise, such as a held tone or steady music, and where
    all of many sources rarely pause together the softest of these lose. In fewer frames
    than ``1 / quiet`` nothing is noise. Later audio is filtered by the noise learned.

    Windows of 128 ms with hops of a quarter suit speech.

    References
    ----------
    .. [1] S. Doclo and M. Moonen, "GSVD-based optimal filtering for single and
       multimicrophone speech enhancement", IEEE Transactions on Signal Processing
       50(9), 2002. :doi:`10.1109/TSP.2002.801937`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss import ISTFT, STFT, NoiseReducer
    >>> rng = np.random.default_rng(0)
    >>> loud = rng.random((80, 2)).repeat(400, axis=0) ** 4
    >>> sources = loud * rng.normal(size=loud.shape)
    >>> y = sources + 0.2 * rng.normal(size=(len(loud), 1))  # the same noise in both
    >>> z = make_pipeline(STFT(512), NoiseReducer(), ISTFT()).fit_transform(y)
    >>> for signals in (y, z):
    ...     print((np.square(signals - sources).mean() / np.square(y).mean()).round(3))
    0.218
    0.059
    """

    _parameter_constraints: dict = {
        "quiet": [Interval(Real, 0, 1, closed="neither")],
        "min_share": [Interval(Real, 0, 1, closed="right")],
    }

    def __init__(self, quiet: float = 0.1, *, min_share: float = 0.02):
        self.quiet = quiet
        self.min_share = min_share

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Spectrogram | ArrayLike, y: object = None) -> Self:
        """Learn the noise.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_sources)
            Separated outputs, scaled by `ProjectionBack`.
        y : None
            Ignored.

        Returns
        -------
        self : NoiseReducer
            The fitted transformer.

        Raises
        ------
        ValueError
            If `X` isn't a complex, finite spectrogram.
        """
        task = FitTask(self, X, y)
        data = self._check_X(X, reset=True)
        self.level_ = level(data)
        self.noise_ = quiet_covariance(data, self.level_, self.quiet)
        task.end()
        return self

    def transform(self, X: Spectrogram | ArrayLike) -> Spectrogram | np.ndarray:
        """Take the noise out.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_sources)
            What was fitted to, or later outputs of the same separator.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_sources)
            Outputs with less noise, of the type and precision of `X`. A record has no
            mixing matrices anymore.
        """
        check_is_fitted(self)
        data = self._check_X(X, reset=False)
        Y = reduce_noise(data, self.level_, self.noise_, self.min_share)
        if not isinstance(X, Spectrogram):
            return Y
        return replace(X, data=Y, mixing=None, mixing_index=None)
