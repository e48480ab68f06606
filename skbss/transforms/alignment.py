"""Channels of recorders that were started apart, or that run on clocks of their own."""

# License: BSD-3-Clause

from numbers import Integral, Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from skbss.base import to_floats
from skbss.callbacks import CallbackSupportMixin, FitTask
from skbss.sklearn_parts import Interval, _fit_context
from skbss.updates.clocks import find_clock_offsets
from skbss.updates.delays import at_reference, find_delays

# A delay is found where the correlation is so many times its root mean square: unlike
# signals reached 7.
PROMINENCE = 12.0
# Seconds that are looked at, for delays, in which clocks may drift, and for clocks.
LONGEST = 60.0
LONGEST_CLOCKS = 120.0
# Nats per bin by which an offset has to be likelier than none. Unlike signals reached
# 0.9, and one part per million in ten seconds, which hardly matters, 3.
LIKELIER = 1.0


class ChannelTransformer(
    CallbackSupportMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    """Base of what brings channels of signals to the time of a reference."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn what is between the channels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels)
            The recording.
        y : None
            Ignored.

        Returns
        -------
        self : estimator instance
            The fitted transformer.
        """
        task = FitTask(self, X, y)
        X = self._check(X, reset=True)
        if self.ref_mic >= X.shape[1]:
            raise ValueError(
                f"Got ref_mic={self.ref_mic}, but the recording has {X.shape[1]} "
                "microphones."
            )
        peak = np.abs(X).max() or 1
        self._learn(X / peak)
        task.end()
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Bring the channels to the time of the reference.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels)
            The recording.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_channels)
            As long as `X`; zero where a channel has no samples.
        """
        check_is_fitted(self)
        return self._apply(self._check(X, reset=False))

    def _check(self, X, *, reset):
        X = to_floats(X)
        return validate_data(self, X, dtype=[np.float64, np.float32], reset=reset)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class AlignChannels(ChannelTransformer):
    """Take constant delays between channels away, as of recorders started by hand.

    Parameters
    ----------
    ref_mic : int, default=0
        The channel that keeps its time.
    max_delay : float, default=5.0
        Longest delay in seconds.
    sample_rate : float, default=16000
        In Hz.

    Attributes
    ----------
    delays_ : ndarray of shape (n_channels,)
        How many samples the channels were late. 0 where none was found.
    n_features_in_ : int
        Number of channels.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the channels. Defined only if the signal has names, all strings, as a
        data frame has.

    See Also
    --------
    ResampleChannels : For clocks that drift apart.

    Notes
    -----
    Delays are peaks of GCC-PHAT [1]_ over a minute at most. A channel in which nothing
    of the reference is heard stays as it is.

    References
    ----------
    .. [1] C. Knapp and G. Carter, "The generalized correlation method for estimation of
       time delay", IEEE Trans. Acoust., Speech, Signal Process. 24(4), 1976.
       :doi:`10.1109/TASSP.1976.1162830`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import AlignChannels
    >>> x = np.random.default_rng(0).normal(size=(16_000, 1))
    >>> x = np.hstack([x, np.roll(x, 500, axis=0)])
    >>> AlignChannels().fit(x).delays_
    array([  0, 500])
    """

    _parameter_constraints: dict = {
        "ref_mic": [Interval(Integral, 0, None, closed="left")],
        "max_delay": [Interval(Real, 0, None, closed="left")],
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self, ref_mic: int = 0, *, max_delay: float = 5.0, sample_rate: float = 16_000
    ):
        self.ref_mic = ref_mic
        self.max_delay = max_delay
        self.sample_rate = sample_rate

    def _learn(self, X):
        X = X[: round(LONGEST * self.sample_rate)]
        max_lag = round(self.max_delay * self.sample_rate)
        delays, prominences = find_delays(X, self.ref_mic, max_lag)
        self.delays_ = np.where(prominences > PROMINENCE, delays, 0)

    def _apply(self, X):
        return at_reference(X, self.delays_, np.zeros(len(self.delays_)))


class ResampleChannels(ChannelTransformer):
    """Bring channels of several recorders to one clock.

    Parameters
    ----------
    ref_mic : int, default=0
        The channel whose clock counts.
    max_offset : float, default=200e-6
        Largest relative difference of clocks; 200 parts per million.
    sample_rate : float, default=16000
        In Hz.

    Attributes
    ----------
    offsets_ : ndarray of shape (n_channels,)
        Relative differences of the clocks. 0 where none was found.
    n_features_in_ : int
        Number of channels.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the channels. Defined only if the signal has names, all strings, as a
        data frame has.

    See Also
    --------
    AlignChannels : For constant delays, to come before, and once more afterwards: while
        clocks drift delays are found to some milliseconds only.

    Notes
    -----
    Where channels are most coherent over time is about the offset [1]_. Talkers who
    take turns make that wrong by some parts per million. So two sources are separated
    at the same time, and the offset is where the recording is likeliest, given who
    speaks when.
    In scenes of ten seconds with two to four talkers it was wrong by 0.1 parts per
    million most often and by 0.4 at most, in one of a minute by less than 0.01. Offsets
    that cannot be told from none stay 0: below one in ten seconds. Two minutes are
    looked at. Talkers have to keep their places, and clocks their offset.

    Interpolation is by 48 samples around.

    References
    ----------
    .. [1] S. Miyabe, N. Ono and S. Makino, "Blind compensation of interchannel sampling
       frequency mismatch for ad hoc microphone array based on maximum likelihood
       estimation", Signal Processing 107, 2015. :doi:`10.1016/j.sigpro.2014.09.015`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import ResampleChannels
    >>> from skbss.datasets import load_cocktail_party
    >>> x = load_cocktail_party().mixture
    >>> ResampleChannels().fit(x).offsets_
    array([0., 0.])
    """

    _parameter_constraints: dict = {
        "ref_mic": [Interval(Integral, 0, None, closed="left")],
        "max_offset": [Interval(Real, 0, None, closed="left")],
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        ref_mic: int = 0,
        *,
        max_offset: float = 200e-6,
        sample_rate: float = 16_000,
    ):
        self.ref_mic = ref_mic
        self.max_offset = max_offset
        self.sample_rate = sample_rate

    def _learn(self, X):
        X = X[: round(LONGEST_CLOCKS * self.sample_rate)]
        self.offsets_ = find_clock_offsets(
            X, self.ref_mic, self.sample_rate, self.max_offset, LIKELIER
        )

    def _apply(self, X):
        return at_reference(X, np.zeros(len(self.offsets_), int), self.offsets_)
