"""Separation of long recordings in blocks, with filters of the best minute."""

# License: BSD-3-Clause

import warnings
from copy import copy
from functools import partial
from itertools import islice
from numbers import Integral, Real

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data

from skbss.blocks.joining import (
    Activity,
    busiest,
    common_amplitude,
    crossfade,
    spans_of,
)
from skbss.blocks.tracks import (
    WAVEFORM,
    Tracks,
    best_order,
    describe,
    waveform_similarity,
)
from skbss.callbacks import CallbackSupportMixin, FitTask, fit_context
from skbss.compose import make_refiner, make_separator, window_length

# Windows by which blocks are compared, and outputs of one block, in seconds.
TRACK_WINDOW, AMPLITUDE_WINDOW = 0.128, 0.064
# What filters are learned from, in seconds, and how long the rarest talker should speak
# there: with 2 s of it separation gained 1.3 dB, with 16 s 13.1, with 29 s 14.1.
MINUTE = 60
ENOUGH = 20
# An output that is active for less, in all of a recording, is nobody's.
SPEAKS = 10


def _separate(estimator, x, n_fft):
    """Separate a block of microphones and describe where the outputs come from."""
    y = estimator.fit_transform(x)
    return y, describe(x, y, n_fft)


def _refine(estimator, refiner, x, n_fft):
    """Apply what was learned elsewhere to a block, and adapt it if that is better.

    Where somebody hardly speaks, adapting does harm as often as not.
    """
    candidates = [estimator.transform(x)]
    if candidates[0].shape[1] == 1:
        return candidates[0]
    for _, stage in refiner.steps:
        candidates.append(stage.fit_transform(candidates[-1]))
    return min(candidates, key=partial(common_amplitude, n_fft=n_fft))


class BlockBatch(
    CallbackSupportMixin, MetaEstimatorMixin, TransformerMixin, BaseEstimator
):
    """Separate recordings of hours, block by block.

    First every block is separated on its own. Its outputs are put into the order of
    those before by where in the room they came from and by their waveforms, where
    blocks overlap. In rooms that hold still this serves to find the minute in which
    even the one who speaks least speaks long. What is learned from this minute is
    applied to the whole recording, and refined in every block, if what is refined has
    less in common. Memory is needed for some blocks, however long the recording is.

    Parameters
    ----------
    estimator : estimator, default=None
        From signals (n_samples, n_mics) to (n_samples, n_sources), with `fit_transform`
        and `transform`. None stands for ``make_separator(sample_rate=sample_rate,
        random_state=0)``. It is cloned for use.
    block : float, default=20.0
        Length of a block in seconds. Shorter ones know too little of who hardly speaks
        in them: with 10 s, outputs were swapped between blocks.
    overlap : float, default=5.0
        What blocks share at least, in seconds, at most half of `block`. There outputs
        are recognized, and one block fades into the next.
    refine : {'minute', None}, default='minute'
        Whether the best minute is learned from, which needs people to stay where they
        are. None leaves every block as it was separated on its own, for people who
        move.
    sample_rate : float, default=16000
        In Hz.
    n_jobs : int, default=None
        How many blocks to separate at a time. None means 1 unless in a
        `joblib.parallel_config` context, -1 all processors. The result doesn't depend
        on it; memory does.

    Attributes
    ----------
    estimator_ : estimator
        What was learned from the minute, or from all of a recording that is no longer;
        None if `refine` is.
    tracks_ : Tracks
        Where in the room the outputs came from.
    minute_ : tuple of (int, int)
        The first sample of the minute, and the one after its last.
    active_seconds_ : ndarray of shape (n_sources,)
        How long each track is active in the minute, in seconds; in all of the recording
        if `refine` is None.
    n_blocks_ : int
        Number of blocks.
    n_features_in_ : int
        Number of microphones.

    See Also
    --------
    skbss.make_separator : What separates a block.
    skbss.Stream : Separates while a recording comes in.

    Notes
    -----
    Signals may be arrays, memory maps, or readers: whatever has a `shape`, a `dtype`
    and gives an array when it is sliced, such as `skbss.io.AudioReader`. They
    are read twice with ``refine='minute'``. `iter_fit_transform` yields the outputs
    piece by piece; `fit_transform` collects them.

    Recordings of up to a minute are learned from as a whole.

    The order of the outputs is that of the minute, which with `make_separator` is the
    loudest first.

    Warns if somebody is heard for less than 20 s in the best minute.

    Examples
    --------
    >>> from skbss import BlockBatch, make_separator
    >>> from skbss.datasets import make_convolutive_mixture
    >>> x, _ = make_convolutive_mixture(64_000, random_state=0)
    >>> separator = BlockBatch(make_separator("auxiva"), block=2, overlap=0.5)
    >>> separator.fit_transform(x).shape
    (64000, 2)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit_transform", "transform"]), None],
        "block": [Interval(Real, 0, None, closed="neither")],
        "overlap": [Interval(Real, 0, None, closed="left")],
        "refine": [StrOptions({"minute"}), None],
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        block=20.0,
        overlap=5.0,
        refine="minute",
        sample_rate=16_000,
        n_jobs=None,
    ):
        self.estimator = estimator
        self.block = block
        self.overlap = overlap
        self.refine = refine
        self.sample_rate = sample_rate
        self.n_jobs = n_jobs

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Learn where the sources are.

        Parameters
        ----------
        X : array-like or reader of shape (n_samples, n_mics)
            The recording.
        y : None
            Ignored.

        Returns
        -------
        self : BlockBatch
            The fitted separator.

        Raises
        ------
        ValueError
            If `overlap` is more than half of `block`, or what `estimator` raises.
        """
        X = self._check(X, reset=True)
        task = FitTask(self, X, y, self._n_parts(len(X)))
        for _ in self._learn(X, task):
            pass
        task.end()
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit_transform(self, X, y=None):
        """Learn where the sources are, and separate them.

        Parameters
        ----------
        X : array-like or reader of shape (n_samples, n_mics)
            The recording.
        y : None
            Ignored.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_sources)
            The sources.

        Raises
        ------
        ValueError
            As `fit`.
        """
        X = self._check(X, reset=True)
        return _collected(self._fit_pieces(X, y), len(X))

    def iter_fit_transform(self, X, y=None):
        """Learn where the sources are, and yield them piece by piece.

        Parameters
        ----------
        X : array-like or reader of shape (n_samples, n_mics)
            The recording.
        y : None
            Ignored.

        Yields
        ------
        piece : ndarray of shape (n_piece, n_sources)
            The next samples, about as many as `block` less `overlap` at a time.

        Raises
        ------
        ValueError
            As `fit`.
        """
        self._validate_params()
        with fit_context(self):
            yield from self._fit_pieces(self._check(X, reset=True), y)

    def transform(self, X):
        """Separate later audio of the same room.

        Parameters
        ----------
        X : array-like or reader of shape (n_samples, n_mics)
            The recording.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_sources)
            The sources, in the order of those that were fitted to.
        """
        check_is_fitted(self)
        X = self._check(X, reset=False)
        return _collected(self._pieces(X), len(X))

    def iter_transform(self, X):
        """Separate later audio of the same room, piece by piece.

        Parameters
        ----------
        X : array-like or reader of shape (n_samples, n_mics)
            The recording.

        Yields
        ------
        piece : ndarray of shape (n_piece, n_sources)
            The next samples.
        """
        check_is_fitted(self)
        yield from self._pieces(self._check(X, reset=False))

    def _check(self, X, reset):
        if self.overlap > self.block / 2:
            raise ValueError(
                f"Got overlap={self.overlap}, expected at most half of "
                f"block={self.block}."
            )
        if not _is_lazy(X):
            return validate_data(self, X, dtype=[np.float64, np.float32], reset=reset)
        if len(X.shape) != 2 or 0 in X.shape:
            raise ValueError(f"Got shape {X.shape}, expected (n_samples, n_mics).")
        if reset:
            self.n_features_in_ = X.shape[1]
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but BlockBatch is expecting "
                f"{self.n_features_in_} features as input."
            )
        return X

    def _spans(self, n_samples):
        length = max(2, round(self.block * self.sample_rate))
        return spans_of(n_samples, length, self._overlap())

    def _overlap(self):
        return round(self.overlap * self.sample_rate)

    def _is_short(self, n_samples):
        """Whether all of a recording is learned from at once."""
        seconds = self.block if self.refine is None else MINUTE
        return n_samples <= max(seconds, self.block) * self.sample_rate

    def _n_parts(self, n_samples, n_passes=1):
        """Blocks to work on, and the minute."""
        if self._is_short(n_samples):
            return 1 + (n_passes - 1) * len(self._spans(n_samples))
        if self.refine is None:
            return len(self._spans(n_samples))
        return n_passes * len(self._spans(n_samples)) + 1

    def _fit_pieces(self, X, y):
        n_passes = 1 if self.refine is None else 2
        task = FitTask(self, X, y, self._n_parts(len(X), n_passes))
        for piece in self._learn(X, task):
            if self.refine is None:
                yield piece
        if self.refine is not None:
            yield from self._refined(X, task)
        task.end()

    def _pieces(self, X):
        if self.refine is None:
            return self._separated(X, copy(self.tracks_))
        return self._refined(X)

    def _learn(self, X, task):
        """Learn where tracks are and, to refine, what separates them; yield them."""
        self.n_blocks_ = len(self._spans(len(X)))
        self.estimator_, self.minute_ = None, (0, len(X))
        activity = Activity(self.sample_rate)
        if not self._is_short(len(X)):
            for piece in self._separated(X, None, task):
                activity.add(piece)
                yield piece
            active = activity.is_active()
            self.active_seconds_ = active.sum(0)
            if self.refine is None:
                return
            start, self.active_seconds_ = busiest(active, MINUTE)
            _warn_of_rare(active, start, self.active_seconds_)
            start *= activity.size
            self.minute_ = start, min(len(X), start + MINUTE * activity.size)
        parts = task.parts([slice(*self.minute_)], dict, "block")
        for part in parts:
            x = _read(X, part)
            self.estimator_ = clone(self._estimator())
            y = self.estimator_.fit_transform(x)
        self.tracks_ = Tracks(describe(x, y, self._n_fft()))
        if self._is_short(len(X)):
            activity.add(y)
            self.active_seconds_ = activity.is_active().sum(0)
        yield y

    def _estimator(self):
        if self.estimator is not None:
            return self.estimator
        return make_separator(sample_rate=self.sample_rate, random_state=0)

    def _scout(self):
        """Return what separates blocks on their own.

        To see who speaks when, crosstalk needn't be canceled, which takes half of the
        time.
        """
        estimator = clone(self._estimator())
        if self.refine and "cancel" in getattr(estimator, "named_steps", ()):
            estimator.set_params(cancel="passthrough")
        return estimator

    def _n_fft(self):
        return window_length(self.sample_rate, TRACK_WINDOW)

    def _separated(self, X, tracks, task=None):
        """Separate blocks on their own and yield pieces of the tracks they make."""
        spans = self._spans(len(X))
        estimator, n_fft = self._scout(), self._n_fft()
        calls = ((clone(estimator), _read(X, slice(*s)), n_fft) for s in spans)
        results = self._in_parallel(_separate, calls, task)
        return crossfade(self._ordered(results, spans, tracks), spans, self._overlap())

    def _ordered(self, results, spans, tracks):
        """Yield outputs of blocks in the order of the tracks."""
        previous, previous_stop = None, 0
        for (start, stop), (y, description) in zip(spans, results, strict=True):
            if tracks is not None:
                similarity = tracks.similarity(description)
                if previous is not None:
                    n_shared = previous_stop - start
                    shared = previous[len(previous) - n_shared :], y[:n_shared]
                    similarity += WAVEFORM * waveform_similarity(*shared)
                order = best_order(similarity)
                y, description = y[:, order], description.take(order)
                tracks.add(description)
            else:
                tracks = self.tracks_ = Tracks(description)
            previous, previous_stop = y, stop
            yield y

    def _refined(self, X, task=None):
        """Apply what was learned to blocks and yield pieces of what that gives."""
        spans = self._spans(len(X))
        refiner = make_refiner(self.sample_rate)
        n_fft = window_length(self.sample_rate, AMPLITUDE_WINDOW)
        calls = (
            (self.estimator_, clone(refiner), _read(X, slice(*s)), n_fft) for s in spans
        )
        results = self._in_parallel(_refine, calls, task)
        return crossfade(results, spans, self._overlap())

    def _in_parallel(self, function, calls, task):
        """Call a function with blocks, some at a time, so that few are in memory."""
        n_at_a_time = 2 * effective_n_jobs(self.n_jobs)
        parallel = Parallel(n_jobs=self.n_jobs)

        def results():
            with parallel:
                while some := list(islice(calls, n_at_a_time)):
                    yield from parallel(delayed(function)(*call) for call in some)

        return results() if task is None else task.parts(results(), dict, "block")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _warn_of_rare(active, start, counts):
    """Warn if somebody who speaks in the recording hardly does in the minute."""
    speaks = active.sum(0) >= SPEAKS
    rarest = counts[speaks].min(initial=ENOUGH)
    if rarest < ENOUGH:
        warnings.warn(
            f"The one who speaks least is heard for {rarest:.0f} s in the best minute, "
            f"which begins at {start} s. Below {ENOUGH} s, separation is poorer.",
            stacklevel=2,
        )


def _is_lazy(X):
    """Whether a recording is to be read block by block."""
    if isinstance(X, np.memmap):
        return True
    attributes = hasattr(X, "shape"), hasattr(X, "dtype"), not hasattr(X, "toarray")
    return not isinstance(X, np.ndarray) and all(attributes)


def _read(X, part):
    """Return a part of a recording, as floating point."""
    x = np.asarray(X[part])
    if x.dtype in (np.float32, np.float64):
        return x
    return x.astype(np.float32 if x.dtype.itemsize <= 2 else np.float64)


def _collected(pieces, n_samples):
    """Put pieces into one array."""
    collected, done = None, 0
    for piece in pieces:
        if collected is None:
            collected = np.empty((n_samples, piece.shape[1]), dtype=piece.dtype)
        collected[done : done + len(piece)] = piece
        done += len(piece)
    return collected
