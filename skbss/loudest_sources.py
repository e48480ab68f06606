"""A known number of sources, with any number of microphones but one."""

# License: BSD-3-Clause

from numbers import Integral, Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from skbss.base import check_ref_mic
from skbss.callbacks import CallbackSupportMixin, FitTask, call_within
from skbss.sklearn_parts import HasMethods, Interval, _fit_context
from skbss.transforms import STFT, LoudestFirst, TargetFirst
from skbss.updates.target import covariances_of, likeness, resampled

# Windows and frequencies by which microphones are compared, in seconds and Hz. Below,
# all microphones of an array are alike, far above all are unlike.
SECONDS = 0.064
BAND = 100, 1000
# White noise in the coherence of microphones. Two that are alike add its logarithm.
LOADING = 1e-3


def spread_microphones(x, n_mics, *, ref_mic=0, sample_rate=16_000):
    """Choose microphones that hear unlike signals.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_channels)
        The recording.
    n_mics : int
        How many to choose.
    ref_mic : int, default=0
        The first one. Each further one raises the log determinant of the coherence
        matrix of those chosen, summed over frequencies from 100 to 1000 Hz, as much as
        one microphone can.
    sample_rate : float, default=16000
        In Hz.

    Returns
    -------
    mics : list of int
        The microphones, the reference first.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.loudest_sources import spread_microphones
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(8000, 2))[:, [0, 0, 1]]  # two microphones are alike
    >>> spread_microphones(x, 2)
    [0, 2]
    """
    n_channels = x.shape[1]
    others = [m for m in range(n_channels) if m != ref_mic]
    if n_mics >= n_channels:
        return [ref_mic, *others]
    n_fft = max(2, round(SECONDS * sample_rate))
    X = STFT(n_fft).fit_transform(x / (abs(x).max() or 1)).data
    low, high = (round(f * n_fft / sample_rate) for f in BAND)
    B = X[:, low : max(high, low) + 1].transpose(1, 2, 0)
    C = B @ B.conj().swapaxes(1, 2)
    power = np.einsum("fmm->fm", C).real
    size = np.sqrt(np.maximum(power, np.finfo(power.dtype).tiny))
    C = C / size[:, :, None] / size[:, None] + LOADING * np.eye(n_channels)
    chosen = [ref_mic]

    def gain(mic):
        mics = [*chosen, mic]
        return np.linalg.slogdet(C[:, mics][:, :, mics]).logabsdet.sum()

    while len(chosen) < n_mics:
        best = max(others, key=gain)
        others.remove(best)
        chosen.append(best)
    return chosen


def find_target(target, Y, X, sample_rate):
    """Find the output that is a target.

    Parameters
    ----------
    target : array-like
        A time in seconds, or what is known of how the target arrives at the
        microphones.
    Y : ndarray of shape (n_samples, n_outputs)
        Outputs.
    X : ndarray of shape (n_samples, n_mics)
        Microphones.
    sample_rate : float
        In Hz.

    Returns
    -------
    output : int
        Its number.
    """
    if np.shape(target) == (2,):
        return TargetFirst(*target, sample_rate=sample_rate).fit(Y).order_[0]
    stft = STFT(max(2, round(SECONDS * sample_rate)))
    y, x = (stft.fit_transform(s / (abs(s).max() or 1)).data for s in (Y, X))
    y, x = (s.transpose(1, 2, 0) for s in (y, x))
    C = resampled(covariances_of(target, X.shape[1]), len(x))
    mixing = (x @ y.conj().swapaxes(1, 2)).transpose(1, 2, 0)
    # Loud bins are low ones, in which all directions are alike: weighted by loudness,
    # 6 of 66 talkers in rooms were taken for others, and none with equal weights.
    return int(np.argmax(likeness(C, mixing).mean(1)))


def with_microphones(Y, X, ref_mic):
    """Append microphones to outputs: the reference, then others.

    Parameters
    ----------
    Y : ndarray of shape (n_samples, n_sources)
        Outputs.
    X : ndarray of shape (n_samples, n_mics)
        Microphones.
    ref_mic : int
        The reference.

    Returns
    -------
    joined : ndarray of shape (n_samples, n_mics)
        As many channels as there are microphones.
    """
    others = [m for m in range(X.shape[1]) if m != ref_mic]
    mics = [ref_mic, *others[::-1]][: X.shape[1] - Y.shape[1]]
    return np.concatenate([Y, X[:, mics]], axis=1)


class LoudestSources(
    CallbackSupportMixin, MetaEstimatorMixin, TransformerMixin, BaseEstimator
):
    """Separate a known number of sources, with however many microphones there are.

    First a few microphones, which hear unlike signals, are separated into as many
    outputs, and the loudest of these are kept. Then they are refined together with
    other microphones, while what is left of the room is a background. The first step
    finds the sources among all that can be heard, the second uses all microphones. With
    as many microphones as sources there is no second step. With fewer, masks separate
    the sources.

    Parameters
    ----------
    n_sources : int or None
        Number of sources; None means as many as there are microphones.
    separator : estimator
        From signals (n_samples, n_mics) to signals (n_samples, n_mics) that sum to the
        first one, as a pipeline with ``ProjectionBack(0)`` gives them.
    refine : estimator or None
        From signals of as many channels as microphones to signals of `n_sources`: the
        sources first, then the reference microphone, then others. It isn't used if
        there are no more microphones than sources.
    scout : estimator, default=None
        Takes the place of the separator where `refine` follows, which needs to know
        where the sources are, but not the best there is. None if the separator does it.
    masks : estimator, default=None
        From signals of fewer microphones than sources to signals of the sources. None
        if that is an error.
    n_mics : int, default=4
        Number of microphones to separate, if there are so many; at least one more than
        sources. More cost their square, and do not separate better.
    ref_mic : int, default=0
        The microphone whose scale the outputs take.
    sample_rate : float, default=16000
        In Hz, by which microphones are compared.
    target : array-like, default=None
        What is known of the source that is to be kept, and to be the first, however
        loud: a time in seconds or steering vectors, as of `make_separator`.

    Attributes
    ----------
    mics_ : list of int
        The microphones that were separated, the reference first.
    separator_ : estimator
        The fitted separator, or masks.
    refine_ : estimator or None
        The fitted second step, None if it isn't used.
    order_ : ndarray of shape (n_sources,)
        Which outputs were kept, the first one first.
    n_features_in_ : int
        Number of microphones.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the microphones. Defined only if the signals have names, all strings,
        as a data frame has.

    See Also
    --------
    skbss.make_separator : Builds it, with tuned parts, if it gets `n_sources`.
    AuxIVA : Its `n_sources` explains the background.

    Examples
    --------
    >>> from skbss import make_separator
    >>> from skbss.datasets import make_convolutive_mixture
    >>> x, _ = make_convolutive_mixture(8000, 2, n_mics=4, random_state=0)
    >>> pipeline = make_separator(n_sources=2, sample_rate=4000, random_state=0)
    >>> pipeline.fit_transform(x).shape
    (8000, 2)
    """

    _parameter_constraints: dict = {
        "n_sources": [Interval(Integral, 1, None, closed="left"), None],
        "separator": [HasMethods(["fit_transform", "transform"])],
        "refine": [HasMethods(["fit_transform", "transform"]), None],
        "scout": [HasMethods(["fit_transform", "transform"]), None],
        "masks": [HasMethods(["fit_transform", "transform"]), None],
        "n_mics": [Interval(Integral, 1, None, closed="left")],
        "ref_mic": [Interval(Integral, 0, None, closed="left")],
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
        "target": ["array-like", None],
    }

    def __init__(
        self,
        n_sources: int | None,
        separator: BaseEstimator,
        refine: BaseEstimator | None,
        *,
        scout: BaseEstimator | None = None,
        masks: BaseEstimator | None = None,
        n_mics: int = 4,
        ref_mic: int = 0,
        sample_rate: float = 16_000,
        target: ArrayLike | None = None,
    ):
        self.n_sources = n_sources
        self.separator = separator
        self.refine = refine
        self.scout = scout
        self.masks = masks
        self.n_mics = n_mics
        self.ref_mic = ref_mic
        self.sample_rate = sample_rate
        self.target = target

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn to separate a recording.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            The recording.
        y : None
            Ignored.

        Returns
        -------
        self : LoudestSources
            The fitted estimator.

        Raises
        ------
        ValueError
            If there are fewer microphones than sources and no masks, a single one for
            several sources, or no such reference.
        """
        self.fit_transform(X)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit_transform(self, X: ArrayLike, y: object = None) -> np.ndarray:
        """Separate a recording.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            The recording.
        y : None
            Ignored.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_sources)
            The sources at the reference microphone.
        """
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        n_mics, K = X.shape[1], self.n_sources or X.shape[1]
        if n_mics < K and self.masks is None:
            raise ValueError(
                f"Got n_sources={K}, but the recording has {n_mics} microphones, "
                "expected at least as many, or masks to separate more sources."
            )
        if n_mics == 1 < K:
            raise ValueError(
                f"Got n_sources={K}, but the recording has 1 microphone, expected at "
                "least 2: sources are told apart by how they arrive at them."
            )
        check_ref_mic(self.ref_mic, n_mics)
        task = FitTask(self, X, y, 2)
        first, second = task.subtasks("stage", 2)
        if n_mics < K:
            separator = clone(self.masks)
            Y = call_within(first, self, separator, "fit_transform", X)
            self.mics_ = [self.ref_mic, *(set(range(n_mics)) - {self.ref_mic})]
            self.order_ = self._order(Y, X)
            self.separator_, self.refine_ = separator, None
            task.end()
            return np.ascontiguousarray(Y[:, self.order_])
        n_chosen = max(self.n_mics, K + 1)
        mics = spread_microphones(
            X, n_chosen, ref_mic=self.ref_mic, sample_rate=self.sample_rate
        )
        refine = self.refine if n_mics > K else None
        is_scouting = refine is not None and self.scout is not None
        separator = clone(self.scout if is_scouting else self.separator)
        Y = call_within(first, self, separator, "fit_transform", X[:, mics])
        order = self._order(Y, X)
        Y = np.ascontiguousarray(Y[:, order])
        if refine is not None:
            refine = clone(refine)
            joined = with_microphones(Y, X, self.ref_mic)
            Y = call_within(second, self, refine, "fit_transform", joined)
        self.mics_, self.order_ = mics, order
        self.separator_, self.refine_ = separator, refine
        task.end()
        return Y

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Separate later audio of the same room as was learned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            The recording.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_sources)
            The sources, in the order of those that were fitted to.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        is_masked = self.n_features_in_ < len(self.order_)
        Y = self.separator_.transform(X if is_masked else X[:, self.mics_])
        Y = np.ascontiguousarray(Y[:, self.order_])
        if self.refine_ is None:
            return Y
        return self.refine_.transform(with_microphones(Y, X, self.ref_mic))

    def _order(self, Y, X):
        """Choose outputs: the target, if one is known, and the loudest."""
        loudest = LoudestFirst().fit(Y).order_
        if self.target is not None:
            first = find_target(self.target, Y, X, self.sample_rate)
            loudest = np.array([first, *loudest[loudest != first]])
        return loudest[: self.n_sources]

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Return the names of the outputs.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        names : ndarray of shape (n_sources,)
            ``source0``, ``source1``, ...
        """
        check_is_fitted(self)
        return np.array([f"source{k}" for k in range(len(self.order_))], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
