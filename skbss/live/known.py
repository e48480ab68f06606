"""What is learned of a place: filters, found by separating what was heard there."""

# License: BSD-3-Clause

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from skbss.blocks.joining import Activity
from skbss.blocks.voices import Voices, describe_voices
from skbss.compose import later_stages, window_found
from skbss.loudest_sources import with_microphones
from skbss.updates.filters import at_unit_peak, filtered, fit_filters
from skbss.window_search import overlap

# Iterations of fitting filters, for each second they are learned from, and at most, and
# those where they go on from others. More bring little of what little sound teaches.
EACH, FIT_ITER, MORE_ITER = 10, 60, 30
SPEAKS = 2  # seconds in which outputs are active at least to count as speaking


@dataclass(frozen=True)
class Known:
    """What is known of a place, and of who is heard there.

    Parameters
    ----------
    filters : ndarray of shape (n_sources, n_mics, n_taps), default=None
        What separates them.
    voices : Voices, default=None
        What they sound like, also at places before.
    n_speaking : int, default=0
        How many outputs spoke when the filters were learned.
    n_fft : int, default=0
        The window that separated them best.
    """

    filters: np.ndarray | None = None
    voices: Voices | None = None
    n_speaking: int = 0
    n_fft: int = 0


def learn(separator, x, known, rate, *, ref_mic, is_thorough, n_taps, n_future, n_told):
    """Separate a stretch of sound, and find filters that do so as it comes.

    Parameters
    ----------
    separator : SoundPipeline
        As `make_separator` makes it.
    x : ndarray of shape (n_samples, n_mics)
        The sound.
    known : Known
        What is known. Outputs are put into the order that they have by its filters, if
        there are some, else by its voices. Where outputs don't overlap less than by its
        filters, these stay. So they do while somebody whom they separate is away, and
        can't be learned of.
    rate : float
        Sample rate in Hz.
    ref_mic : int
        The microphone at which outputs are images.
    is_thorough : bool
        Whether to separate from nothing, and not to refine what known filters give.
    n_taps, n_future : int
        Taps of the filters, and those that look ahead.
    n_told : int
        How many outputs, the first ones, are known to be in their place.

    Returns
    -------
    known : Known
        What is known now, with the same filters if they stay.
    """
    whole, peak = at_unit_peak(np.ascontiguousarray(x.T))
    heard = slice(n_taps - 1 - n_future, len(x) - n_future)
    part, before = whole, None
    if known.filters is not None:
        before = filtered(whole, known.filters)
        if count_speaking(before, rate) < known.n_speaking:
            return known
    n_fft = known.n_fft
    if before is None or is_thorough:
        y = separator.fit_transform(x).T / np.float32(peak)
        n_fft = window_found(separator)
    else:
        part = np.ascontiguousarray(whole[:, heard])
        stages = later_stages(separator, whole.shape[0] - len(before), n_fft)
        joined = with_microphones(before.T, part.T, ref_mic)
        y = stages.fit_transform(joined).T
    y = np.ascontiguousarray(y, dtype=x.dtype)
    if before is not None:
        same = y if part is not whole else y[:, heard]
        y = y[order_like(waveform_similarity(before, same), n_told)]
    voices = describe_voices(y.T, rate)
    if before is None and known.voices is not None:
        order = order_like(known.voices.similarity(voices), n_told)
        y, voices = y[order], voices.take(order)
    if known.voices is not None:
        voices = known.voices.joined(voices)
    most = FIT_ITER if before is None else MORE_ITER
    n_iter = min(most, int(EACH * len(x) / rate))
    filters = fit_filters(part, y, n_taps, n_future, known.filters, n_iter)
    after = filtered(whole, filters)
    if before is not None and overlap(before.T) < overlap(after.T):
        return replace(known, voices=voices)
    return Known(filters, voices, count_speaking(after, rate), n_fft)


def count_speaking(y, rate):
    """Count the signals (n_sources, n_samples) that are active for some seconds."""
    activity = Activity(rate)
    activity.add(y.T)
    return int((activity.is_active().sum(0) >= SPEAKS).sum())


def order_like(similarity, n_told):
    """Order of outputs in which they are most like those before.

    Parameters
    ----------
    similarity : ndarray of shape (n_sources, n_sources)
        Of those before (rows) and outputs.
    n_told : int
        How many, the first ones, stay.

    Returns
    -------
    order : ndarray of shape (n_sources,)
        Outputs.
    """
    similarity = similarity.copy()
    told = np.arange(n_told)
    similarity[told, told] = 1e9
    return linear_sum_assignment(similarity, maximize=True)[1]


def waveform_similarity(a, b):
    """Correlations (n_sources, n_sources) of signals (n_sources, n_samples)."""
    norm = np.outer(*(np.linalg.norm(signals, axis=1) for signals in (a, b)))
    return a @ b.T / np.where(norm > 0, norm, 1)
