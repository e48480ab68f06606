"""SI-SDR as time goes by."""

# License: BSD-3-Clause

from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skbss.metrics._delay import warn_if_delayed
from skbss.metrics._projections import DEFERRED, project_windows
from skbss.metrics._signals import (
    MIXTURE_CONSTRAINTS,
    SIGNAL_CONSTRAINTS,
    check_pair,
    validate_params,
    warn_if_undefined,
)
from skbss.metrics.decibels import MAX_DB
from skbss.sklearn_parts import Interval, Options


def _make_windows(n_samples, sample_rate, window, hop):
    """Return slices of n_samples, all of one length."""
    length = round(window * sample_rate)
    if length < 2:
        raise ValueError(
            f"Got window={window} seconds, which is {length} samples at "
            f"sample_rate={sample_rate}. Expected at least 2."
        )
    hop = window / 2 if hop is None else hop
    length = min(length, n_samples)
    starts = range(0, n_samples - length + 1, max(round(hop * sample_rate), 1))
    return [slice(start, start + length) for start in starts]


def _permute_window(projections, silent, last):
    """Return the best permutation, or the last one if none is better."""
    projections.pairs[silent] = 0
    permutation = projections.permutation()
    scores = projections.pairs
    rows = np.arange(len(permutation))
    # A millionth of a decibel is rounding, and no reason to swap.
    better = scores[rows, permutation].sum() > scores[rows, last].sum() + 1e-6
    return permutation if better else last


def _swap_rate(permutations, silent):
    """Return at what share of steps between windows a source changed its estimate."""
    last = np.full(permutations.shape[1], -1)  # of the window where it last sounded
    n_steps = n_swaps = 0
    for permutation, pause in zip(permutations, silent, strict=True):
        known = ~pause & (last >= 0)
        n_steps += known.any()
        n_swaps += (known & (permutation != last)).any()
        last = np.where(pause, last, permutation)
    return float(n_swaps / max(n_steps, 1))


@validate_params(
    SIGNAL_CONSTRAINTS
    | MIXTURE_CONSTRAINTS
    | {
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
        "window": [Interval(Real, 0, None, closed="neither")],
        "hop": [Interval(Real, 0, None, closed="neither"), None],
        "silence": [Interval(Real, 0, None, closed="right")],
        "permute": ["boolean", Options(str, {"window"})],
    },
)
def framewise_si_sdr(
    reference: ArrayLike,
    estimate: ArrayLike,
    *,
    sample_rate: float,
    window: float = 1.0,
    hop: float | None = None,
    mixture: ArrayLike | None = None,
    ref_mic: int = 0,
    silence: float = 60,
    permute: bool | Literal["window"] = True,
    zero_mean: bool = False,
    truncate: bool = False,
    check_delay: bool = False,
) -> Bunch:
    """Compute the SI-SDR in successive windows of time.

    It shows how fast an online separator converges, and where sources move or swap.
    By default, one permutation holds for all windows, so that an output that changes
    from one source to another is seen to fail.

    Parameters
    ----------
    reference : array-like of shape (n_samples, n_sources)
        The true sources, dry or as they sound at one microphone.
    estimate : array-like of shape (n_samples, n_estimates)
        The separated sources, in any order; at least as many as references.
    sample_rate : float
        In Hz.
    window : float, default=1.0
        Length of the windows in seconds. Those shorter than a syllable, some 0.2 s,
        measure the signal more than the separation.
    hop : float, default=None
        Time from one window to the next in seconds; half a window if None.
    mixture : array-like of shape (n_samples, n_mics), default=None
        The recording that was separated, for the improvement over it.
    ref_mic : int, default=0
        The microphone of the mixture that the estimates are compared with.
    silence : float, default=60
        How many dB below its loudest window a reference counts as silent. What sounded
        has decayed by 60 dB after the reverberation time. With ``numpy.inf``, only
        zeros are silent.
    permute : bool or "window", default=True
        Assign to each reference an estimate of its own such that the mean SI-SDR is
        highest: over the whole signals if True, in each window anew if "window", which
        hides swaps, and is why their rate is returned too. If False, column k of
        `estimate` is scored against column k of `reference`.
    zero_mean : bool, default=False
        Subtract each signal's mean first, that of all windows.
    truncate : bool, default=False
        Cut all signals to the length of the shortest. If False, different lengths are
        an error.
    check_delay : bool, default=False
        Warn of estimates that are delayed against their references, by how many
        samples, as :func:`estimate_delay` finds them.

    Returns
    -------
    scores : :class:`~sklearn.utils.Bunch`
        Windows lie within the signals; what is left at the end isn't scored. Signals
        shorter than a window are one window.

        time : ndarray of shape (n_windows,)
            The windows' centers in seconds.
        si_sdr : ndarray of shape (n_windows, n_sources)
            In dB, in the order of the references. It is nan for a source in the windows
            where its reference is silent, and for no other source or window.
        permutation : ndarray of shape (n_sources,) or (n_windows, n_sources)
            The estimate of each reference, in each window if ``permute="window"``.
        si_sdr_improvement : ndarray of shape (n_windows, n_sources)
            By how many dB it lies above the SI-SDR of the unprocessed microphone in
            the same window against the same reference. Only if `mixture` is given. It
            is nan, too, where the microphone equals the reference or is silent.
        swap_rate : float
            The share of steps between windows, from 0 to 1, at which a reference that
            sounds has another estimate than when it last sounded. Only if
            ``permute="window"``.

    Raises
    ------
    ValueError
        As for :func:`si_bss_eval`, and if a window has less than two samples.

    Warns
    -----
    UndefinedMetricWarning
        If a reference is silent in all windows.

    See Also
    --------
    si_sdr : The score of whole signals.

    Notes
    -----
    Silence of one source leaves the scores of others as they are. Take means over
    windows with ``numpy.nanmean``, which then are means over the windows in which a
    source sounds. A silent estimate of a reference that sounds has −300 dB.

    A window in which one source sounds alone has a mixture close to that source, and
    can improve by little or lose.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.metrics import framewise_si_sdr
    >>> reference = np.random.default_rng(0).standard_normal((8000, 2))
    >>> noise = np.random.default_rng(1).standard_normal((8000, 2))
    >>> estimate = reference + 0.1 * noise
    >>> estimate[6000:] = estimate[6000:, ::-1]
    >>> scores = framewise_si_sdr(
    ...     reference, estimate, sample_rate=2000, hop=1, permute="window"
    ... )
    >>> scores.time
    array([0.5, 1.5, 2.5, 3.5])
    >>> scores.si_sdr.round().T
    array([[20., 20., 20., 20.],
           [20., 20., 20., 20.]])
    >>> scores.permutation.tolist(), round(scores.swap_rate, 2)
    ([[0, 1], [0, 1], [0, 1], [1, 0]], 0.33)
    >>> scores = framewise_si_sdr(reference, estimate, sample_rate=2000, hop=1)
    >>> scores.si_sdr.round()[:, 0] > 0
    array([ True,  True,  True, False])
    """
    reference, estimate, mixture = check_pair(
        reference,
        estimate,
        mixture=mixture,
        ref_mic=ref_mic,
        permute=permute,
        zero_mean=zero_mean,
        truncate=truncate,
        defer=() if check_delay else DEFERRED,
    )
    if check_delay:
        warn_if_delayed(reference, estimate, bool(permute))
    windows = _make_windows(len(reference), sample_rate, window, hop)
    *projections, whole = project_windows(
        reference, estimate, [*windows, slice(0, len(reference))]
    )
    levels = np.array([p.levels for p in projections])
    silent = levels <= levels.max(axis=0) - silence
    warn_if_undefined(silent.all(axis=0), "A reference is silent in all windows")
    permutation = whole.permutation(bool(permute))
    scores = Bunch(
        time=np.array([(w.start + w.stop) / 2 / sample_rate for w in windows]),
        si_sdr=np.empty(silent.shape),
        permutation=permutation,
    )
    if permute == "window":
        scores.permutation = np.empty(silent.shape, dtype=permutation.dtype)
    if mixture is not None:
        scores.si_sdr_improvement = np.empty(silent.shape)
        before = project_windows(reference, mixture, windows)
    for t, w in enumerate(windows):
        if permute == "window":
            permutation = _permute_window(projections[t], silent[t], permutation)
            scores.permutation[t] = permutation
        scores.si_sdr[t] = projections[t].si_sdr(permutation)
        if mixture is not None:
            mixed = before[t].si_sdr(np.zeros_like(permutation))
            if not mixture[w].any():
                mixed[:] = np.nan
            mixed[mixed >= MAX_DB] = np.nan
            scores.si_sdr_improvement[t] = scores.si_sdr[t] - mixed
    for name in {"si_sdr", "si_sdr_improvement"} & scores.keys():
        scores[name][silent] = np.nan
    if permute == "window":
        scores.swap_rate = _swap_rate(scores.permutation, silent)
    return scores
