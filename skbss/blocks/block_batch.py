"""Separation of long recordings in blocks, with filters of their best minutes."""

# License: BSD-3-Clause

import warnings
from collections.abc import Iterator
from copy import copy
from itertools import islice
from numbers import Integral, Real
from typing import Literal, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data

from skbss.base import to_floats
from skbss.blocks.joining import (
    Activity,
    busiest,
    crossfade,
    spans_of,
)
from skbss.blocks.one_block import (
    OVERLAP_WINDOW,
    TRACK_WINDOW,
    separate_block,
)
from skbss.blocks.order import Order
from skbss.blocks.signals import collected, is_lazy, read_part
from skbss.blocks.tracks import Tracks, describe
from skbss.callbacks import CallbackSupportMixin, FitTask, fit_context
from skbss.compose import make_separator, window_length
from skbss.io import AudioReader
from skbss.sklearn_parts import HasMethods, Interval, StrOptions, _fit_context
from skbss.sound_pipeline import SoundPipeline
from skbss.window_search import WindowSearch, overlap

# Recordings of up to a minute are learned from as a whole. Of longer ones some minutes
# are, in seconds and in samples of all microphones: 20 million need some 2 GB. With 60,
# 150 and 240 s separation of four minutes gained 29.3, 31.8 and 38.2 dB.
MINUTE, LONGEST, MOST_SAMPLES = 60, 240, 20_000_000
# How long the rarest talker should speak there, in seconds: with 2 s of it separation
# gained 1.3 dB, with 16 s 13.1, with 29 s 14.1.
ENOUGH = 20
# An output that is active for less, in all of a recording, is nobody's.
SPEAKS = 10
# Where people move, blocks are shorter. The recording says so if outputs overlap more
# by what was learned than if blocks are separated on their own: in the median 0.7 to
# 0.95 times as much where people stayed in their places, as much where they walked,
# which nothing here separates well, and 1.13 times as much or more where they changed
# places.
MOVING_BLOCK, MOVING_OVERLAP = 8.0, 4.0
MOVES, N_COMPARED = 1.05, 12
# Compared are blocks in which about as many speak as ever, for so many seconds each:
# where somebody is away, what was learned overlaps up to three times as much as what a
# block learns on its own, which gives the free output nothing.
SPEAKS_LONG, AS_MANY = 3.0, 0.8


class BlockBatch(
    CallbackSupportMixin, MetaEstimatorMixin, TransformerMixin, BaseEstimator
):
    """Separate recordings of hours, block by block.

    First every block is separated on its own. Its outputs are put into the order of
    those before by where in the room they came from and by their waveforms, where
    blocks overlap. In rooms that hold still this serves to find the minutes in which
    even the one who speaks least speaks long. What is learned from them is applied to
    the whole recording. Memory is needed for these minutes, however long it is.

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
    refine : {'auto', 'minute', None}, default='auto'
        Whether to learn from the best minutes, four at most, which needs people to stay
        where they are. None leaves every block as it was separated on its own, for
        people who move. With 'auto' the blocks of a recording of more than a minute
        tell: people move if outputs overlap more (see `skbss.metrics.overlap`) by what
        the minutes teach than by what blocks learn on their own, which are as short as
        8 s then, overlap by 4 s, and are put into order by voices where they don't go
        on with one another.
    sample_rate : float, default=16000
        In Hz.
    n_jobs : int, default=None
        How many blocks to separate at a time. None means 1 unless in a
        `joblib.parallel_config` context, -1 all processors. The result doesn't depend
        on it; memory does.

    Attributes
    ----------
    estimator_ : estimator
        What was learned from the best minutes; None if `refine` is.
    tracks_ : Tracks
        Where in the room the outputs came from.
    span_ : tuple of (int, int)
        The first sample of what was learned from, and the one after its last.
    active_seconds_ : ndarray of shape (n_sources,)
        How long each track is active there, in seconds; in all of the recording if
        `refine` is None.
    is_moving_ : bool
        Whether every block is separated on its own.
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
    are read twice, unless `refine` is None. `iter_fit_transform` yields the outputs
    piece by piece; `fit_transform` collects them.

    Recordings of up to four minutes are learned from as a whole, and less of those with
    more than 80,000 samples a second of all microphones together.

    Outputs have the order of what is learned from, which with `make_separator` is the
    loudest first.

    Warns if somebody is heard there for less than 20 s.

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
        "refine": [StrOptions({"auto", "minute"}), None],
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimator: BaseEstimator | None = None,
        *,
        block: float = 20.0,
        overlap: float = 5.0,
        refine: Literal["auto", "minute"] | None = "auto",
        sample_rate: float = 16_000,
        n_jobs: int | None = None,
    ):
        self.estimator = estimator
        self.block = block
        self.overlap = overlap
        self.refine = refine
        self.sample_rate = sample_rate
        self.n_jobs = n_jobs

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike | AudioReader, y: object = None) -> Self:
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
    def fit_transform(self, X: ArrayLike | AudioReader, y: object = None) -> np.ndarray:
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
        return collected(self._fit_pieces(X, y), len(X))

    def iter_fit_transform(
        self, X: ArrayLike | AudioReader, y: object = None
    ) -> Iterator[np.ndarray]:
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

    def transform(self, X: ArrayLike | AudioReader) -> np.ndarray:
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
        return collected(self._pieces(X), len(X))

    def iter_transform(self, X: ArrayLike | AudioReader) -> Iterator[np.ndarray]:
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
        if not is_lazy(X):
            X = to_floats(X)
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

    def _samples(self, seconds):
        return round(seconds * self.sample_rate)

    def _spans(self, n_samples, seconds=None):
        """First and last samples of blocks of a length and overlap in seconds."""
        block, overlap = map(self._samples, seconds or (self.block, self.overlap))
        return spans_of(n_samples, max(2, block), overlap)

    def _wide_spans(self, n_samples):
        """Blocks for filters, whose windows may be longer than seconds."""
        return self._spans(n_samples, (2 * self.block, 2 * self.overlap))

    def _is_short(self, n_samples):
        """Whether all of a recording is learned from at once."""
        seconds = self.block if self.refine is None else max(MINUTE, self.block)
        return n_samples <= seconds * self.sample_rate

    def _n_parts(self, n_samples):
        """How many blocks to separate, and to learn from."""
        if self._is_short(n_samples):
            return 1
        return len(self._spans(n_samples)) + (self.refine is not None)

    def _fit_pieces(self, X, y):
        n_parts = self._n_parts(len(X))
        if self.refine is not None:
            n_parts += len(self._wide_spans(len(X)))
        task = FitTask(self, X, y, n_parts)
        for piece in self._learn(X, task):
            if self.refine is None:
                yield piece
        if self.refine is not None:
            yield from self._pieces(X, task)
        task.end()

    def _pieces(self, X, task=None):
        """Yield what is learned, applied to a recording."""
        if self.refine is None:
            order = Order(copy(self.tracks_), moving=True)
            return self._separated(X, order, task)
        if self.is_moving_:
            own = MOVING_BLOCK, MOVING_OVERLAP
            return self._separated(X, Order(moving=True), None, seconds=own)
        spans = self._wide_spans(len(X))
        calls = ((read_part(X, slice(*span)),) for span in spans)
        results = self._in_parallel(self.estimator_.transform, calls, task)
        return crossfade(results, spans, self._samples(self.overlap))

    def _learn(self, X, task):
        """Learn where tracks are and, to refine, what separates them; yield them."""
        spans = self._spans(len(X))
        self.n_blocks_, self.is_moving_ = len(spans), self.refine is None
        self.estimator_, self.span_ = None, (0, len(X))
        activity, common = Activity(self.sample_rate), []
        if not self._is_short(len(X)):
            order = Order(moving=self.refine is None)
            estimator = self._estimator()
            if order.moving and isinstance(estimator, SoundPipeline):
                # Of the recording once, by a block in the middle.
                clone(estimator).prepare(read_part(X, slice(*spans[len(spans) // 2])))
            for piece in self._separated(X, order, task, common=common):
                activity.add(piece)
                yield piece
            self.tracks_ = order.tracks
            active = activity.is_active()
            self.active_seconds_ = active.sum(0)
            if self.refine is None:
                return
            most = MOST_SAMPLES / self.n_features_in_ / self.sample_rate
            seconds = int(min(LONGEST, max(most, 1)))
            start, self.active_seconds_ = busiest(active, seconds)
            start *= activity.size
            self.span_ = start, min(len(X), start + seconds * activity.size)
        for part in task.parts([slice(*self.span_)], dict, "block"):
            x = read_part(X, part)
            self.estimator_ = clone(self._estimator())
            y = self.estimator_.fit_transform(x)
        n_fft = window_length(self.sample_rate, TRACK_WINDOW)
        self.tracks_ = Tracks(describe(x, y, n_fft))
        if self._is_short(len(X)):
            activity.add(y)
            self.active_seconds_ = activity.is_active().sum(0)
        elif self.refine == "auto" and self._moves(X, spans, common, active):
            self.is_moving_ = True
            warnings.warn(
                "What was learned at one time doesn't hold at others: people seem to "
                "move. Blocks are separated on their own.",
                stacklevel=2,
            )
        else:
            _warn_of_rare(active, self.span_[0] // activity.size, self.active_seconds_)
        yield y

    def _moves(self, X, spans, common, active):
        """Whether outputs overlap more by what was learned than by blocks' own."""
        n_fft = window_length(self.sample_rate, OVERLAP_WINDOW)
        seconds = [
            active[a : b + 1].sum(0) for a, b in np.array(spans) // self._samples(1)
        ]
        n_speaking = np.minimum(seconds, SPEAKS_LONG).sum(1)
        busy = np.flatnonzero(n_speaking >= AS_MANY * n_speaking.max())
        n_compared = min(len(busy), N_COMPARED)
        ratios = []
        for k in busy[np.linspace(0, len(busy) - 1, n_compared).astype(int)]:
            y = self.estimator_.transform(read_part(X, slice(*spans[k])))
            if common[k] > 0:
                ratios.append(overlap(y, n_fft=n_fft) / common[k])
        return len(ratios) > 0 and np.median(ratios) > MOVES

    def _estimator(self):
        if self.estimator is not None:
            return self.estimator
        return make_separator(sample_rate=self.sample_rate, random_state=0)

    def _scout(self):
        """Return what separates blocks to see who speaks when.

        Neither other windows nor canceling crosstalk, which take half of the time, are
        needed for that.
        """
        estimator = clone(self._estimator())
        steps = getattr(estimator, "named_steps", {})
        if isinstance(steps.get("second"), WindowSearch):
            estimator.set_params(second=steps["second"].stage)
        if "cancel" in steps:
            estimator.set_params(cancel="passthrough")
        return estimator

    def _separated(self, X, order, task=None, *, seconds=None, common=None):
        """Separate blocks on their own and yield pieces of the tracks they make."""
        spans = self._spans(len(X), seconds)
        estimator = self._estimator() if order.moving else self._scout()
        rate = self.sample_rate
        calls = ((clone(estimator), read_part(X, slice(*s)), rate) for s in spans)
        results = self._in_parallel(separate_block, calls, task)

        def ordered():
            for span, (*block, share) in zip(spans, results, strict=True):
                if common is not None:
                    common.append(share)
                yield order.place(span, *block)

        _, shared = seconds or (self.block, self.overlap)
        return crossfade(ordered(), spans, self._samples(shared))

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
    """Warn if somebody who speaks is hardly heard in what was learned from."""
    speaks = active.sum(0) >= SPEAKS
    rarest = counts[speaks].min(initial=ENOUGH)
    if rarest < ENOUGH:
        warnings.warn(
            f"The one who speaks least is heard for {rarest:.0f} s in the best "
            f"minutes, from {start} s on. Below {ENOUGH} s, separation is poorer.",
            stacklevel=2,
        )
