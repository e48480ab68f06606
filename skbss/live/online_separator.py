"""Separation of what is being recorded, nearly as good as afterwards."""

# License: BSD-3-Clause

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from skbss.base import is_finite_matrix, to_floats
from skbss.callbacks import CallbackSupportMixin, FitTask
from skbss.frame_by_frame import checked_entry, part_of
from skbss.live.decimator import Decimator
from skbss.live.filter_bank import FilterBank
from skbss.live.learner import Learner, hop_length
from skbss.sklearn_parts import Interval, _fit_context
from skbss.updates.target import covariances_of

# Entries of a state that have any number of rows.
GROWING = {"rest", "hop", "ready", "bank.filters", "bank.starts"}
GROWING |= {
    f"learner.{name}" for name in ("filters", "response", "pending", "power", "voices")
}
# Seconds that filters look ahead at most, and back. What remains of the latency lets
# filters be learned from what comes after the sound that they are for.
AHEAD, BACK = 0.5, 0.45
# Samples that are filtered at a time where nothing is learned.
LONG_BLOCK = 8192
# Samples louder than this have powers beyond single precision.
LOUDEST = 1e15


class OnlineSeparator(CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Separate signals while they are recorded, as well as afterwards after a while.

    The newest seconds of sound are separated again and again, as whole recordings are,
    by `make_separator`, and filters that do the same are applied to the sound that
    comes. So how late the output is and how much of a room the filters cover have
    little to do with each other. When sources jump to other places, what was learned is
    forgotten, and the outputs share the microphone until the new places are known.

    Parameters
    ----------
    sample_rate : float, default=16000
        In Hz, of the signals to come.
    n_sources : int, default=None
        Number of outputs, at most that of microphones; None means as many as there are
        microphones.
    latency : float, default=0.128
        Seconds from a sample's arrival to its output, from 0.008 to 2: exact to the
        sample. The time that computing takes comes on top of it.
    window : float, default=20.0
        Seconds of sound that are learned from, at least 3. Longer ones separate resting
        sources better, cost more, and follow slow movement less.
    period : float, default=0.5
        Least seconds from one update to the next. It takes longer where the work would
        take too much of the time: with 20 s of sound, updates begin about every 10 s.
    ref_mic : int, default=0
        The microphone at which the outputs are images of the sources.
    target : array-like, default=None
        What is known of the source that is to be the first output: a time of the
        signal, ``(start, end)`` in seconds, in which it is heard alone, after which its
        output becomes the first; or steering vectors of shape (n_freqs, n_mics), such
        as `skbss.steering_vectors` gives for a direction. After a jump a time says
        nothing anymore, as the target may have moved; outputs go on by how they sound.

    Attributes
    ----------
    n_samples_latency_ : int
        Samples by which the output is behind the input.
    n_jumps_ : int
        How often sources were found to have jumped.
    n_features_in_ : int
        Number of microphones.

    See Also
    --------
    make_separator : Separates a recording that is finished.
    OnlineAuxIVA, OnlineILRMA : Recursions that cost a tenth, and separate less.
    Stream : Takes blocks of this or of a pipeline.

    Notes
    -----
    A learner keeps the newest `window` seconds of sound; silence, steady noise in long
    pauses, clicks and hops of 32 ms with a dead microphone are left out. It separates
    them in a thread of its own, mostly by refining what it knew, and finds the filters
    that do the same from their responses to impulses. Of these, which look a second
    ahead, filters are used that look ahead as far as the latency allows, up to 500 ms,
    and come nearest to them in the mean square; what remains of the latency lets the
    filters be learned from what comes after the sound that they are for. They are used
    unless fewer outputs speak by them than by those before, or outputs overlap more
    (`skbss.metrics.overlap`) and are less lively. They are put into the order of those
    before by waveforms, after a jump by voices.

    When filters come into use depends on numbers of samples alone: outputs depend
    neither on how the signal is cut nor on the machine's load. Where sound comes faster
    than it was recorded, or learning takes longer than expected, a call waits for it.

    Sources are taken to have jumped when the outputs of the newest second have a mean
    coherence above 0.3, and above twice what is usual.

    From sample rates of 32 kHz on, filters are learned at a half, a third and so on of
    them, at least 16 kHz. What is above is shared among the outputs by how loud they
    are just below. All is computed in single precision.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import OnlineSeparator
    >>> from skbss.datasets import make_convolutive_mixture
    >>> x, _ = make_convolutive_mixture(48000, random_state=0)
    >>> separator = OnlineSeparator(latency=0.128)
    >>> y = [separator.partial_fit_transform(block) for block in np.split(x, 10)]
    >>> separator.n_samples_latency_
    2048
    >>> sum(map(len, y)), len(separator.flush())
    (45952, 2048)
    """

    _parameter_constraints: dict = {
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
        "n_sources": [Interval(Integral, 1, None, closed="left"), None],
        "latency": [Interval(Real, 0.008, 2, closed="both")],
        "window": [Interval(Real, 3, None, closed="left")],
        "period": [Interval(Real, 0.1, None, closed="left")],
        "ref_mic": [Interval(Integral, 0, None, closed="left")],
        "target": ["array-like", None],
    }

    def __init__(
        self,
        sample_rate: float = 16_000,
        n_sources: int | None = None,
        *,
        latency: float = 0.128,
        window: float = 20.0,
        period: float = 0.5,
        ref_mic: int = 0,
        target: ArrayLike | None = None,
    ):
        self.sample_rate = sample_rate
        self.n_sources = n_sources
        self.latency = latency
        self.window = window
        self.period = period
        self.ref_mic = ref_mic
        self.target = target

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Forget everything, then learn from a signal as it comes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            Real, finite samples.
        y : None
            Ignored.

        Returns
        -------
        self : OnlineSeparator
            The fitted separator.

        Raises
        ------
        ValueError
            If `X` isn't a real, finite matrix, has fewer channels than `n_sources` or
            not the microphone `ref_mic`, or a parameter is out of its range.
        """
        self._fit(X, y)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: ArrayLike, y: object = None) -> np.ndarray:
        """Forget everything, then separate a recording as if it were live.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            Real, finite samples.
        y : None
            Ignored.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_sources)
            What came out, aligned with `X`, whose precision it has. Sample n was
            computed when sample n + `n_samples_latency_` was there.
        """
        Y = self._fit(X, y)
        return np.concatenate([Y, self.flush().astype(Y.dtype, copy=False)])

    def _fit(self, X, y):
        task = FitTask(self, X, y)
        before = vars(self).copy()
        try:
            X = self._check(X, reset=True)
            self._begin(X.shape[1])
            Y = self._process(X)
        except BaseException:  # also where somebody has interrupted it
            vars(self).clear()
            vars(self).update(before)
            raise
        task.end()
        return Y

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Go on learning from the next block; outputs that are due are dropped.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            The samples that follow, any number of them.
        y : None
            Ignored.

        Returns
        -------
        self : OnlineSeparator
            The separator.
        """
        self.partial_fit_transform(X)
        return self

    def partial_fit_transform(self, X: ArrayLike, y: object = None) -> np.ndarray:
        """Go on learning from the next block, and return the outputs that are due.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            The samples that follow, any number of them, also none.
        y : None
            Ignored.

        Returns
        -------
        Y : ndarray of shape (n_out, n_sources)
            The outputs that follow those returned before. Of n samples that went in,
            exactly n - `n_samples_latency_` have come out, once there are as many.

        Raises
        ------
        ValueError
            As for `fit`. The separator goes on as if the block hadn't been given.
        """
        is_new = not self.__sklearn_is_fitted__()
        if is_new:
            self._validate_params()
        X = self._check(X, reset=is_new, least=0)
        if is_new:
            self._begin(X.shape[1])
        return self._process(X)

    def flush(self) -> np.ndarray:
        """End the signal and return the outputs that are missing.

        The next block begins another signal, with what was learned from this one.

        Returns
        -------
        Y : ndarray of shape (n_out, n_sources)
            The outputs of the last `n_samples_latency_` samples.
        """
        check_is_fitted(self)
        zeros = np.zeros((self.n_samples_latency_, self.n_features_in_), np.float32)
        Y = self._process(zeros)
        self._restart()
        return Y

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Apply the newest filters to a signal, without learning.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            Sound of the same place.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_sources)
            The outputs, aligned with `X`, whose precision they have.
        """
        check_is_fitted(self)
        x = self._check(X, reset=False)
        if self._learner.known.filters is None:
            K = self._n_features_out
            return x[:, np.full(K, self.ref_mic)] / x.dtype.type(K)
        bank = self._filter_bank(x.shape[1], LONG_BLOCK, self._bank.n_future, delay=0)
        bank.filters = self._bank.newest[None]
        bank.restart()
        n_blocks = -(-(len(x) + bank.n_future) // LONG_BLOCK)
        blocks = np.zeros((n_blocks, LONG_BLOCK, x.shape[1]), np.float32)
        blocks.reshape(-1, x.shape[1])[: len(x)] = x
        Y = np.concatenate([bank.process(block) for block in blocks])
        return Y[bank.n_future :][: len(x)].astype(x.dtype, copy=False)

    def _check(self, X, *, reset, least=1):
        """Return a signal of at least so many samples, checked."""
        X = to_floats(X)
        if not is_finite_matrix(X) or reset or X.shape[1] != self.n_features_in_:
            X = validate_data(
                self,
                X,
                dtype=[np.float64, np.float32],
                reset=reset,
                ensure_min_samples=least,
            )
        n_mics = X.shape[1]
        if (self.n_sources or 1) > n_mics:
            raise ValueError(
                f"Got n_sources={self.n_sources}, but the signal has {n_mics} "
                "microphones: OnlineSeparator finds at most as many sources."
            )
        if self.ref_mic >= n_mics:
            raise ValueError(
                f"Got ref_mic={self.ref_mic}, but the signal has {n_mics} microphones."
            )
        if self.target is not None and np.shape(self.target) != (2,):
            covariances_of(self.target, n_mics)
        peak = abs(X).max(initial=0)
        if peak > LOUDEST:
            raise ValueError(
                f"Got samples of up to {peak:.3g}, expected at most {LOUDEST:.3g}: "
                "their power would overflow in single precision."
            )
        return X

    @property
    def n_samples_latency(self) -> int:
        """Samples that outputs are behind, by the parameters."""
        return round(self.latency * self.sample_rate)

    @property
    def hop_length(self) -> int:
        """Samples in which the signal is learned from, a natural size of blocks."""
        factor = Decimator(1, self.sample_rate).factor
        return factor * hop_length(self.sample_rate / factor)

    def _begin(self, n_mics):
        """Forget everything."""
        latency, hop = self.n_samples_latency, self.hop_length
        # Blocks of a 32nd of the latency, of 2 to 32 ms: smaller ones cost more, and
        # filters can't look into what is waited for.
        block = hop
        while 32 * block > latency and block > self.sample_rate * 0.003:
            block //= 2
        n_future = latency - (block - 1)
        longest = round(AHEAD * self.sample_rate)
        delay = max(0, n_future - longest) // block * block
        n_future -= delay
        self._decimator = Decimator(n_mics, self.sample_rate)
        rate = self.sample_rate / self._decimator.factor
        n_ahead = self._decimator.n_future(n_future)
        self._learner = Learner(
            n_mics,
            self.n_sources or n_mics,
            rate,
            window=self.window,
            period=self.period,
            n_taps=n_ahead + round(BACK * rate),
            n_future=n_ahead,
            ref_mic=self.ref_mic,
            target=self.target,
        )
        self._bank = self._filter_bank(n_mics, block, n_future, delay)
        self.n_samples_latency_ = latency
        self._restart()

    def _filter_bank(self, n_mics, block, n_future, delay):
        return FilterBank(
            n_mics,
            self.n_sources or n_mics,
            n_taps=self._decimator.n_taps(self._learner.n_taps, n_future),
            n_future=n_future,
            block=block,
            fade=self.hop_length // 2,
            delay=delay,
            ref_mic=self.ref_mic,
            lowpass=self._decimator.lowpass,
        )

    def _restart(self):
        """Begin another signal."""
        n_sources, n_mics, _ = self._bank.through.shape
        self._bank.restart()
        self._origin = self._learner.n_heard * self._decimator.factor
        self._n_in = self._n_out = 0
        # Samples that don't make a block yet, blocks that don't make a hop, and outputs
        # that aren't due.
        self._rest = np.zeros((0, n_mics), np.float32)
        self._hop = np.zeros((0, n_mics), np.float32)
        self._ready = np.zeros((0, n_sources), np.float32)

    def _process(self, X):
        """Learn from samples, and return the outputs that are due."""
        self._rest = np.concatenate([self._rest, X.astype(np.float32, copy=False)])
        self._n_in += len(X)
        B, outputs = self._bank.block, [self._ready]
        n_blocks = len(self._rest) // B
        for block in self._rest[: n_blocks * B].reshape(n_blocks, B, X.shape[1]):
            self._learn(block)
            outputs.append(self._bank.process(block)[max(0, -self._before) :])
        self._rest = self._rest[n_blocks * B :].copy()
        ready = np.concatenate(outputs)
        n_due = max(0, self._n_in - self.n_samples_latency_) - self._n_out
        self._n_out += n_due
        self._ready = ready[n_due:].copy()
        return ready[:n_due].astype(X.dtype, copy=False)

    @property
    def _before(self):
        """Sample that the newest block of output begins with, at first negative."""
        return self._bank.position - self._bank.block

    def _learn(self, block):
        """Learn from a block, and exchange filters."""
        self._hop = np.concatenate([self._hop, self._decimator.process(block)])
        if len(self._hop) == self._learner.hop:
            changed_at = self._learner.hear(self._hop)
            self._hop = self._hop[:0]
            if changed_at is not None:
                self._exchange(None, changed_at)
        learned = self._learner.work()
        if learned is not None:
            self._exchange(*learned)

    def _exchange(self, filters, start):
        """Use filters, at the lower rate, from a sample at the lower rate on."""
        bank, decimator = self._bank, self._decimator
        if filters is not None:
            filters = decimator.filters(filters, bank.n_future, bank.n_taps)
        start = start * decimator.factor - decimator.delay
        bank.exchange(filters, start - self._origin)

    def get_state(self) -> dict[str, Any]:
        """Return all that the coming output depends on, beside the parameters.

        Returns
        -------
        state : dict of str to ndarray or number
            A copy. ``np.savez(file, **state)`` saves it.
        """
        check_is_fitted(self)
        state = {name: getattr(self, f"_{name}") for name in ("n_in", "n_out")}
        state |= {name: getattr(self, f"_{name}") for name in ("rest", "hop", "ready")}
        state |= {"origin": self._origin, "decimator": self._decimator.past}
        for name, part in (("bank", self._bank), ("learner", self._learner)):
            state |= {f"{name}.{key}": v for key, v in part.get_state().items()}
        return {key: np.copy(value)[()] for key, value in state.items()}

    def set_state(self, state: Mapping[str, Any]) -> Self:
        """Go on from a state that `get_state` returned, to the same bits.

        Work that was going on is done again, which takes up to some tenths of a second.

        Parameters
        ----------
        state : mapping of str to ndarray or number
            Copied. What ``np.load`` returns for a saved state will do.

        Returns
        -------
        self : OnlineSeparator
            The separator.

        Raises
        ------
        ValueError
            If the state is that of other parameters or isn't whole. Nothing is changed
            then.
        """
        self._validate_params()
        rest = np.asarray(state.get("rest", 0))
        if rest.ndim != 2 or rest.shape[1] == 0:
            raise ValueError("Got a state without rest: not one of OnlineSeparator.")
        other = type(self)(**self.get_params(deep=False))
        other._check(np.zeros((1, rest.shape[1])), reset=True)
        if hasattr(self, "n_features_in_"):
            other.n_features_in_ = self.n_features_in_
            other._check(np.zeros((1, rest.shape[1])), reset=False)
        other._begin(rest.shape[1])
        other._take(state)
        self.__dict__.update(vars(other))
        return self

    def _take(self, state):
        """Take a state over that is like the present one."""
        expected = self.get_state()
        if set(expected) != set(state):
            missing = sorted(set(expected) ^ set(state))
            raise ValueError(
                f"Got a state that isn't one of OnlineSeparator: {missing} are missing "
                "or unknown."
            )
        values = {}
        for key, example in expected.items():
            value = np.asarray(state[key])
            if key in GROWING and value.ndim:
                example = np.zeros((len(value), *example.shape[1:]), example.dtype)
            values[key] = checked_entry(key, value, example, type(self).__name__)
        for name in ("n_in", "n_out", "origin", "rest", "hop", "ready"):
            setattr(self, f"_{name}", values[name])
        self._decimator.past = values["decimator"]
        try:
            for name, part in (("bank", self._bank), ("learner", self._learner)):
                part.set_state(part_of(values, name))
        except (ValueError, IndexError, StopIteration) as error:
            raise ValueError(f"Got a state that isn't of one piece: {error}") from error

    @property
    def n_jumps_(self) -> int:
        """How often sources were found to have jumped."""
        return self._learner.n_jumps

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_bank")

    @property
    def _n_features_out(self):
        return len(self._bank.through)

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
        names = [f"source{k}" for k in range(self._n_features_out)]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
