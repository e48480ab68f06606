"""What is learned of a place: filters, found by separating what was heard there."""

# License: BSD-3-Clause

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.optimize import linear_sum_assignment

from skbss.blocks.voices import Voices, describe_voices
from skbss.compose import QUIET, later_stages, window_found
from skbss.conditioning import high_pass
from skbss.loudest_sources import with_microphones
from skbss.spectrogram import window_length
from skbss.updates.filters import (
    at_unit_peak,
    composed,
    filtered,
    filtered_throughout,
    impulse_responses,
    shortened,
)
from skbss.updates.jumps import at_unit_power, powers, short_time
from skbss.updates.noise import liveliness_of_outputs
from skbss.window_search import overlap

REACH = 1.024  # seconds that long filters look ahead, and back
BRIEF = 0.128  # of frames in which outputs are compared with what they usually are
# Iterations of shortening them, for each second of sound, and at most: more bring
# little of what little sound teaches.
EACH, MOST = 10, 30
# How much new long filters count beside those before, from so many seconds on: what is
# wrong by chance is so in one of two.
COUNTS, SETTLED = 0.7, 10.0
# Somebody speaks in an output that has so much of the power of all, that of a second
# and the mean, in so many seconds. Two have what filters make of a gap, where loud hops
# were left out.
SHARE, SPEAKS = 0.05, 5


@dataclass(frozen=True)
class Known:
    """What is known of a place, and of who is heard there.

    Parameters
    ----------
    filters : ndarray of shape (n_sources, n_mics, n_taps), default=None
        What separates them in time.
    response : ndarray of shape (n_sources, n_mics, 2 * reach), default=None
        What separates them best: the filters that do what the separator does.
    power : ndarray of shape (n_sources,), default=None
        That of outputs in brief frames, when the filters were learned.
    voices : Voices, default=None
        What they sound like, also at places before.
    n_speaking : int, default=0
        How many outputs spoke when the filters were learned.
    n_fft : int, default=0
        The window that separated them best.
    """

    filters: np.ndarray | None = None
    response: np.ndarray | None = None
    power: np.ndarray | None = None
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
        there are some, else by its voices. Where outputs overlap more than by its
        filters, and are less lively, these stay. So they do while somebody whom they
        separate is away, and can't be learned of.
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
    before = None
    if known.filters is not None:
        before = filtered(whole, known.filters)
        if count_speaking(before, rate) < known.n_speaking:
            return known
    n_fft = known.n_fft
    if before is None or is_thorough:
        y = separator.fit_transform(x).T / np.float32(peak)
        n_fft = window_found(separator)
        system = partial(_separate, separator)
        response = impulse_responses(system, x.shape[1], reach_of(rate))
    else:
        y, response = _refine(separator, whole, known, ref_mic)
    if before is not None:
        heard = slice(n_taps - 1 - n_future, len(x) - n_future)
        order = order_like(waveform_similarity(before, y[:, heard]), n_told)
        y, response = y[order], response[order]
        if len(x) >= SETTLED * rate:
            response = COUNTS * response + (1 - COUNTS) * known.response
    voices = describe_voices(y.T, rate)
    if before is None and known.voices is not None:
        order = order_like(known.voices.similarity(voices), n_told)
        response, voices = response[order], voices.take(order)
    if known.voices is not None:
        voices = known.voices.joined(voices)
    n_iter = min(MOST, int(EACH * len(x) / rate))
    filters = shortened(response, whole, n_taps, n_future, n_iter)
    after = filtered(whole, filters)
    if before is not None and _is_better(before, after, rate):
        return replace(known, voices=voices)
    return Known(
        filters,
        response,
        peak**2 * powers(short_time(after, brief_of(rate))),
        voices,
        count_speaking(after, rate),
        n_fft,
    )


def reach_of(rate):
    """Return the samples that long filters look ahead, and back, a power of two."""
    return window_length(rate, REACH)


def brief_of(rate):
    """Return the samples of brief frames, a power of two."""
    return window_length(rate, BRIEF)


def _separate(separator, x):
    """Separate signals that tell nothing by what was learned of a recording."""
    x = high_pass(x[:, separator.mics_], separator.highpass_, separator.sample_rate)
    return separator.separate(x, None)


def _refine(separator, x, known, ref_mic):
    """Refine what is known, and return outputs and the filters that they are by."""
    n_mics, n_taps = len(x), known.response.shape[2]
    y = filtered_throughout(x, known.response, n_taps // 2)
    stages = later_stages(separator, n_mics - len(y), known.n_fft)
    y = stages.fit_transform(with_microphones(y.T, x.T, ref_mic)).T
    # What stages get of an impulse in each microphone, one after the other.
    impulses = np.zeros((n_mics, n_taps, n_mics), np.float32)
    impulses[range(n_mics), n_taps // 2, range(n_mics)] = 1
    impulses = impulses.reshape(-1, n_mics)
    outputs = known.response.reshape(len(known.response), -1).T
    inner = with_microphones(outputs, impulses, ref_mic).T
    more = impulse_responses(stages.transform, n_mics, n_taps // 2)
    return y, composed(more, inner.reshape(n_mics, n_mics, n_taps))


def _is_better(a, b, rate):
    """Whether signals (n_sources, n_samples) overlap less than others do.

    And are livelier: in noise, nothing overlaps less with voices than what has none.
    """
    return overlap(a.T) < overlap(b.T) and _liveliness(a, rate) > _liveliness(b, rate)


def _liveliness(y, rate):
    Y = at_unit_power(short_time(y, brief_of(rate)))
    return liveliness_of_outputs(Y.swapaxes(1, 2), QUIET)


def count_speaking(y, rate):
    """Count the signals (n_sources, n_samples) in which somebody speaks."""
    size = round(rate)
    n_seconds = y.shape[1] // size
    seconds = y[:, : n_seconds * size].reshape(len(y), n_seconds, size)
    power = np.square(seconds).mean(2)
    total = power.sum(0)
    is_active = power > SHARE * np.maximum(total, total.sum() / max(n_seconds, 1))
    return int((is_active.sum(1) >= SPEAKS).sum())


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
