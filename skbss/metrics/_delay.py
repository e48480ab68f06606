"""Delays of estimates against their references."""

# License: BSD-3-Clause

import warnings
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import irfft, next_fast_len, rfft
from scipy.optimize import linear_sum_assignment
from sklearn.utils import gen_batches

from skbss.metrics._projections import Projections
from skbss.metrics._signals import (
    SIGNAL_CONSTRAINTS,
    check_numbers,
    check_signals,
    peak,
    validate_params,
)
from skbss.metrics.decibels import decibels
from skbss.sklearn_parts import Interval

# Samples that warnings look at, and `estimate_delay` at most unless told.
_MAX_DELAY = 8192
_LONGEST = 2**20

# Of thousands of delays, chance makes one look some 10 dB better than none: what is
# gained must be heard, and what comes of it resemble the reference.
_MIN_GAIN_DB = 3
_MIN_SCORE_DB = -10
# The best of all delays of unlike signals of some seconds scores -20 dB or less.
_MIN_FOUND_DB = -16
_SILENT_DB = -200


def _correlate(reference, estimate, max_delay):
    """Return correlations (n_references, n_estimates, 2 max_delay + 1), delay first.

    Index max_delay is no delay, and later ones mean that the estimate lags. Signals
    are at unit norm, so that values are cosines.
    """
    n_samples, n_references = reference.shape
    batch_size = max(2 * max_delay, 8192)
    n_fft = next_fast_len(batch_size + 2 * max_delay, real=True)
    signals = reference, estimate
    peaks = [peak(s) for s in signals]
    energies = [np.zeros(s.shape[1]) for s in signals]
    spectrum = np.zeros((n_references, estimate.shape[1], n_fft // 2 + 1), complex)
    for rows in gen_batches(n_samples, batch_size):
        first = rows.start - max_delay
        wide = slice(max(first, 0), rows.stop + max_delay)
        x = reference[rows].T / peaks[0]
        y = np.zeros((estimate.shape[1], n_fft))
        block = estimate[wide].T / peaks[1]
        y[:, wide.start - first :][:, : block.shape[1]] = block
        spectrum += rfft(x, n_fft).conj()[:, None] * rfft(y)
        energies[0] += np.square(x).sum(axis=1)
        energies[1] += np.square(estimate[rows] / peaks[1]).sum(axis=0)
    norms = [np.sqrt(np.where(e > 0, e, 1)) for e in energies]
    correlation = irfft(spectrum, n_fft)[..., : 2 * max_delay + 1]
    return correlation / norms[0][:, None, None] / norms[1][:, None]


def _find_delays(reference, estimate, max_delay, permute):
    """Return of each reference its estimate, that one's delay, and two SI-SDRs.

    The assignment is that of the highest mean SI-SDR after shifting back. The SI-SDRs,
    but for the samples lost at the ends, are those as is and after shifting back.
    """
    max_delay = min(max_delay, len(reference) - 1)
    power = _correlate(reference, estimate, max_delay) ** 2
    scores = decibels(power, 1 - power)
    # Of the equal peaks of a tone, that of the least delay
    order = np.argsort(abs(np.arange(-max_delay, max_delay + 1)), kind="stable")
    best = order[scores[..., order].round(6).argmax(axis=-1)]
    pairs = np.take_along_axis(scores, best[..., None], axis=-1)[..., 0]
    rows = np.arange(len(pairs))
    columns = linear_sum_assignment(pairs, maximize=True)[1] if permute else rows
    chosen = rows, columns
    return (
        columns,
        best[chosen] - max_delay,
        scores[chosen][:, max_delay],
        pairs[chosen],
    )


def _shifted_si_sdr(reference, estimate, delay):
    """Return the SI-SDR of one pair after shifting, of the samples that both have."""
    n_samples = len(reference) - abs(delay)
    reference = reference[max(-delay, 0) :][:n_samples]
    estimate = estimate[max(delay, 0) :][:n_samples]
    return Projections(reference, estimate).si_sdr(np.array([0]))[0]


def warn_if_delayed(reference, estimate, permute, stacklevel=4):
    """Warn of every estimate that would score higher if it were shifted.

    And of those that resemble their references at no delay at all.
    """
    max_delay = _MAX_DELAY
    found = _find_delays(reference, estimate, max_delay, permute)
    if _is_chance(found[-1]).any():
        max_delay = _LONGEST
        found = _find_delays(reference, estimate, max_delay, permute)
    for k, (j, delay, score, shifted) in enumerate(zip(*found, strict=True)):
        if shifted > max(score + _MIN_GAIN_DB, _MIN_SCORE_DB):
            pair = reference[:, k : k + 1], estimate[:, j : j + 1]
            warnings.warn(
                f"Estimate {j} {'lags' if delay > 0 else 'leads'} reference {k} by "
                f"{abs(delay)} samples. Shifted by as many, its SI-SDR would be "
                f"{_shifted_si_sdr(*pair, delay):.1f} dB instead of {score:.1f} dB. "
                "See skbss.metrics.estimate_delay.",
                UserWarning,
                stacklevel=stacklevel,
            )
    _warn_of_chance(found, min(max_delay, len(reference) - 1), stacklevel + 1)


def _is_chance(scores):
    return (scores > _SILENT_DB) & (scores < _MIN_FOUND_DB)


def _warn_of_chance(found, max_delay, stacklevel):
    """Warn of estimates whose delays mean nothing."""
    columns, _, _, scores = found
    for k in np.flatnonzero(_is_chance(scores)):
        warnings.warn(
            f"Estimate {columns[k]} resembles reference {k} at no delay of up to "
            f"{max_delay} samples (SI-SDR {scores[k]:.1f} dB at best): a delay cannot "
            "be told.",
            UserWarning,
            stacklevel=stacklevel,
        )


@validate_params(
    {name: SIGNAL_CONSTRAINTS[name] for name in ("reference", "estimate", "permute")}
    | {"max_delay": [Interval(Integral, 0, None, closed="left"), None]},
)
def estimate_delay(
    reference: ArrayLike,
    estimate: ArrayLike,
    *,
    max_delay: int | None = None,
    permute: bool = True,
) -> np.ndarray:
    """Find by how many samples estimates lag behind their references.

    The delay is where the magnitude of the cross-correlation is highest. A constant
    delay isn't heard, yet ruins scores that compare sample by sample: estimates that
    lack the padding of a transform, or that a buffer held back, score below 0 dB
    however well they were separated.

    Parameters
    ----------
    reference : array-like of shape (n_samples, n_sources)
        The true sources.
    estimate : array-like of shape (n_samples, n_estimates)
        The separated sources, in any order; at least as many as references. If lengths
        differ, the longer signals are cut.
    max_delay : int, default=None
        The longest delay that is looked for, in samples, to either side. None stands
        for all of the recording, but for 2 ** 20 samples, or 65 s at 16 kHz, at most.
    permute : bool, default=True
        Assign to each reference an estimate of its own, such that the mean SI-SDR
        without the delays is highest. If False, column k of `estimate` is compared
        with column k of `reference`.

    Returns
    -------
    delay : ndarray of shape (n_sources,)
        In samples, as integers, in the order of the references. It is positive for an
        estimate that is late, and 0 if it or its reference is silent. There is a
        warning if an estimate resembles its reference at no delay at all: what is
        returned is chance then.

    Raises
    ------
    ValueError
        If there are fewer estimates than references, or NaN or infinite samples.

    See Also
    --------
    si_sdr : Its `check_delay` warns of delays that matter.

    Notes
    -----
    Time and memory are those of Fourier transforms of four times `max_delay`: where it
    is given, memory doesn't grow with the recording.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.metrics import estimate_delay, si_sdr
    >>> reference = np.random.default_rng(0).standard_normal((8000, 2))
    >>> estimate = np.roll(reference, 1006, axis=0)
    >>> si_sdr(reference, estimate).round()
    array([-45., -44.])
    >>> estimate_delay(reference, estimate)
    array([1006, 1006])
    """
    reference, estimate = check_signals(
        reference=reference, estimate=estimate, zero_mean=False, truncate=True
    )
    check_numbers(reference.shape[1], estimate.shape[1], permute)
    if max_delay is None:
        max_delay = _LONGEST
    found = _find_delays(reference, estimate, max_delay, permute)
    _warn_of_chance(found, min(max_delay, len(reference) - 1), 4)
    return found[1]
