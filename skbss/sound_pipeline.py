"""A pipeline that learns from what is sound in a recording."""

# License: BSD-3-Clause

import warnings
from functools import partial
from itertools import chain
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skbss.base import all_finite, to_floats
from skbss.conditioning import (
    choose_highpass,
    high_pass,
    without_hum,
    without_offset,
)
from skbss.faults import (
    FADE,
    JOINT,
    cut_out,
    fill,
    find_faults,
    gains_of,
    is_long,
    moment_spans,
    soundness,
)
from skbss.memory import check_memory
from skbss.parallel import side_by_side
from skbss.recording_checks import recording_problems
from skbss.sklearn_parts import Interval, StrOptions
from skbss.transforms import TargetFirst

# Highest and lowest levels in which squares are finite and not zero.
RANGE = 1e-100, 1e100
# Seconds for each of more than eight microphones, without which nothing can be learned,
# and that would take minutes.
MANY = 8
LEAST_SECONDS = 0.05
# Seconds that have to be left of a recording where faults are cut out of it.
LEAST_LEFT = 1.0
# A microphone with so much less power than the loudest one (120 dB) is dead.
DEAD = 1e-12


class RecordingWarning(UserWarning):
    """Something is wrong with a recording; the message says what to do."""


class SoundPipeline(Pipeline):
    """A pipeline from signals to signals that learns from what is sound.

    Recorders deliver offsets and hum, gaps and bursts in single microphones, and dead
    microphones. Any of these ruins what would be learned from a recording. Before the
    steps of the pipeline,

    - what is below `highpass` is taken out of all microphones, without delay;
    - stretches in which a microphone is missing while others live, or has a burst or a
      click that the others haven't, are silenced everywhere or, long ones, cut out:
      they teach nothing;
    - another microphone takes the place of a dead reference, with a warning.

    Then the whole recording is separated by what was learned. There the microphones
    that fail are predicted, bin by bin, from those that live, and so are the outputs.

    A recording that has nothing of all this passes unchanged.

    Parameters
    ----------
    steps : list of (str, estimator)
        The pipeline, from signals (n_samples, n_mics) to signals (n_samples,
        n_sources).
    sample_rate : float, default=16000
        In Hz.
    highpass : 'auto' or float, default='auto'
        Frequency in Hz below which signals are left out, 0 for never. 'auto' is 25 Hz,
        or 75 Hz, for recordings that have more there than speech: more than 2 % of
        the power of some microphone below 25 Hz, or 3 % between. Music with loud basses
        may need 0 or 25.
    faults : bool, default=True
        Whether to look for gaps, bursts and clicks.
    checks : bool, default=True
        Whether to look for what else is wrong with a recording, and to warn of it.
    still : bool, default=True
        Whether the steps need people to stay in their places: then one of the checks
        looks for people who walk, in recordings of half a minute and more.
    transform_input : list of str, default=None
        As in `sklearn.pipeline.Pipeline`.
    memory : str or object with the joblib.Memory interface, default=None
        As in `sklearn.pipeline.Pipeline`.
    verbose : bool, default=False
        As in `sklearn.pipeline.Pipeline`.

    Attributes
    ----------
    highpass_ : float
        The frequency that was used, in Hz.
    mics_ : ndarray of shape (n_mics,)
        The order of the microphones that the steps get: a dead reference and the one
        that takes its place are swapped.

    See Also
    --------
    make_separator : Makes one.

    Notes
    -----
    Outputs sum to the reference microphone as it is here: without what is below
    `highpass`, and predicted where it fails.

    The filter has as many poles as a Butterworth filter of order 8, run forward and
    backward.

    Slices are stock pipelines.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import make_separator
    >>> from skbss.datasets import load_cocktail_party
    >>> recording = load_cocktail_party()
    >>> x = recording.mixture[:64_000].copy()
    >>> x[50_000:58_000, 1] = 0  # a loose plug
    >>> pipeline = make_separator(sample_rate=recording.sample_rate, random_state=0)
    >>> y = pipeline.fit_transform(x)
    >>> np.allclose(y.sum(axis=1), x[:, 0], atol=1e-6)
    True
    """

    _parameter_constraints: dict = {
        **Pipeline._parameter_constraints,
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
        "highpass": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "faults": ["boolean"],
        "checks": ["boolean"],
        "still": ["boolean"],
    }

    def __init__(
        self,
        steps: list[tuple[str, BaseEstimator]],
        *,
        sample_rate: float = 16_000,
        highpass: float | Literal["auto"] = "auto",
        faults: bool = True,
        checks: bool = True,
        still: bool = True,
        transform_input: list[str] | None = None,
        memory: object = None,
        verbose: bool = False,
    ):
        super().__init__(
            steps, transform_input=transform_input, memory=memory, verbose=verbose
        )
        self.sample_rate = sample_rate
        self.highpass = highpass
        self.faults = faults
        self.checks = checks
        self.still = still

    def __getitem__(self, ind):
        if isinstance(ind, slice):
            return Pipeline(self.steps, memory=self.memory, verbose=self.verbose)[ind]
        return super().__getitem__(ind)

    def fit(self, X: ArrayLike, y: object = None, **params: Any) -> Self:
        """Learn from what is sound in a recording.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            The recording.
        y : None
            Ignored.
        **params : dict
            As for `sklearn.pipeline.Pipeline`.

        Returns
        -------
        self : SoundPipeline
            The fitted pipeline.
        """
        return super().fit(self.prepare(X)[0], y, **params)

    def fit_transform(
        self, X: ArrayLike, y: object = None, **params: Any
    ) -> np.ndarray:
        """Learn from what is sound in a recording, and separate all of it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            The recording.
        y : None
            Ignored.
        **params : dict
            As for `sklearn.pipeline.Pipeline`.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_sources)
            The sources.
        """
        sound, filled, gains = self.prepare(X)
        if gains is None:
            return super().fit_transform(sound, y, **params)
        super().fit(sound, y, **params)
        return self.separate(filled, gains)

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Separate later audio of the same room as was learned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            The recording.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_sources)
            The sources.
        """
        check_is_fitted(self, "mics_")
        return self.separate(*self.prepare(X, reset=False)[1:])

    def separate(self, filled: ArrayLike, gains: np.ndarray | None) -> np.ndarray:
        """Separate what `prepare` returned, by what was learned.

        Parameters
        ----------
        filled : array-like of shape (n_samples, n_mics)
            From `prepare`.
        gains : ndarray of shape (n_samples, n_mics) or None
            From `prepare`.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_sources)
            The sources. Errors of predicted microphones may be far louder in outputs,
            since filters cancel by small differences. So within faults outputs are
            predicted themselves, from the microphones that live.
        """
        Y = super().transform(filled)
        if gains is None:
            return Y
        n_mics, n_sources = filled.shape[1], Y.shape[1]
        all_gains = np.hstack([gains, *[gains.min(axis=1)[:, None]] * n_sources])
        Z = fill(np.hstack([filled, Y]), all_gains, self.sample_rate)[:, n_mics:]
        if n_sources == n_mics:  # they sum to the reference: what is amiss is shared
            Z += (Y.sum(axis=1) - Z.sum(axis=1))[:, None] / n_sources
        return Z

    def prepare(
        self, X: ArrayLike, *, reset: bool = True
    ) -> tuple[ArrayLike, ArrayLike, np.ndarray | None]:
        """Return what the steps should learn from, and what they should separate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_mics)
            The recording.
        reset : bool, default=True
            Whether to choose `highpass_` and `mics_` anew. They are kept else.

        Returns
        -------
        sound : ndarray of shape (n_left, n_mics)
            What the steps should learn from. Faults are silent in it. Long ones are cut
            out, unless less than a second is left or a step is told a time of the
            recording.
        filled : ndarray of shape (n_samples, n_mics)
            What they should separate: the same object as `sound`, and `X` itself if
            nothing is to be done, unless there are faults.
        gains : ndarray of shape (n_samples, n_mics) or None
            0 where a microphone fails and 1 elsewhere; None if there are no faults.
        """
        if reset:
            self._validate_params()
        x = to_floats(X)
        usable = isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f"
        ref_mic = self._reference()
        usable = usable and len(x) >= x.shape[1] > ref_mic
        if not (usable and in_range(x)):
            if reset:
                self.highpass_, self.mics_ = 0.0, slice(None)
            return X, X, None  # the steps say what is wrong
        if reset:
            check_length(x, self.sample_rate)
            check_memory(x, self.sample_rate)
            self.mics_ = living_first(x, ref_mic)
        work = [partial(self._prepare_usable, x, reset)]
        if reset and self.checks:
            work.append(partial(self._problems, x, ref_mic))
        prepared, *problems = side_by_side(lambda some: some(), work)
        for problem in chain(*problems):
            warnings.warn(problem, RecordingWarning, stacklevel=4)
        return prepared

    def _prepare_usable(self, x, reset):
        """Do what `prepare` does where samples are neither tiny nor huge."""
        if isinstance(self.mics_, np.ndarray) and len(self.mics_) == x.shape[1]:
            x = x[:, self.mics_]
        rate = self.sample_rate
        faults = find_faults(x, rate) if self.faults else np.zeros((0, 1))
        if not faults.any():
            x = self._without_lows(x, None, reset)
            return x, x, None
        spans = moment_spans(faults.any(axis=1), len(x), rate)
        n_fade = max(1, round(FADE * rate))
        gain = soundness(spans, len(x), n_fade)[:, None].astype(x.dtype)
        # First of all, since gaps would make steps of a constant.
        x = self._without_lows(x, gain, reset)
        gains = gains_of(x, faults, rate)
        sound = gain * x
        if not self._is_told_times():
            spans = spans[is_long(spans, len(x), rate)]
            rest = cut_out(sound, spans, max(1, round(JOINT * rate)))
            sound = rest if len(rest) >= LEAST_LEFT * rate else sound
        return sound, fill(x, gains, rate), gains

    def _is_told_times(self):
        """Whether a step is told a time in seconds, which cutting would shift."""
        params = self.get_params()
        return any(
            isinstance(value, TargetFirst)
            or (name.endswith("target") and np.shape(value) == (2,))
            for name, value in params.items()
        )

    def _problems(self, x, ref_mic):
        """Say what is wrong with a recording, in sentences."""
        living = int(np.arange(x.shape[1])[self.mics_][ref_mic])
        problems = recording_problems(x, self.sample_rate, living, self.still)
        if living != ref_mic:
            problems = [
                f"Microphone {ref_mic}, the reference, is silent: microphone {living} "
                f"is taken instead. Check the plug, or say ref_mic={living}.",
                *problems,
            ]
        return problems

    def _without_lows(self, x, gain, reset):
        """Take away what is below speech, where it is loud or asked for."""
        if self.highpass == "auto":
            x = without_offset(x, self.sample_rate, gain)
            x = without_hum(x, self.sample_rate)
        if reset:
            self.highpass_ = self.highpass
            if self.highpass == "auto":
                self.highpass_ = choose_highpass(x, self.sample_rate)
        return high_pass(x, self.highpass_, self.sample_rate)

    def _reference(self):
        """Return the reference microphone of the steps, 0 if none is found."""
        params = self.get_params()
        names = "sources", "first__projectionback", "projectionback"
        numbers = (params.get(f"{name}__ref_mic") for name in names)
        return next((n for n in numbers if isinstance(n, int)), 0)


def check_length(x, sample_rate):
    """Raise ValueError for many microphones that recorded but a moment."""
    n_samples, n_mics = x.shape
    least = LEAST_SECONDS * n_mics
    if n_mics > MANY and n_samples < least * sample_rate:
        raise ValueError(
            f"Got {n_samples / sample_rate:.2f} s of {n_mics} microphones, expected at "
            f"least {least:.2f} s: more has to be learned than is there. Give more, or "
            "fewer microphones."
        )


def in_range(x):
    """Whether samples are finite, and neither tiny nor huge nor all zero."""
    return all_finite(x) and RANGE[0] < float(max(x.max(), -x.min())) < RANGE[1]


def living_first(x, ref_mic):
    """Order microphones so that the reference is one that lives.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        The recording.
    ref_mic : int
        The reference microphone.

    Returns
    -------
    mics : slice or ndarray of shape (n_mics,)
        The order.
    """
    level = np.array([float(np.ptp(channel)) for channel in x.T])
    dead = level <= np.sqrt(DEAD) * level.max()
    if ref_mic >= len(level) or not dead[ref_mic] or dead.all():
        return slice(None)
    mics = np.arange(len(level))
    living = next(m for m in np.roll(mics, -ref_mic) if not dead[m])
    mics[[ref_mic, living]] = living, ref_mic
    return mics
