"""Where microphones of a recording fail: gaps, bursts and clicks in some of them.

A fault is told by how the power of a recording is shared among its microphones, in
moments of 10 ms, and by the differences of neighboring samples: offsets and hum hardly
count in these.
"""

# License: BSD-3-Clause

from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import binary_dilation, binary_opening, binary_propagation

from skbss.parallel import bin_blocks, map_some
from skbss.spectrogram import window_length
from skbss.transforms import ISTFT, STFT

# Length of a moment in seconds, and of the fades between what is sound and what isn't.
SECONDS = 0.01
FADE = 0.005
# Seconds from which on faults are cut out of what is learned from, and of
# the fades over the cuts. What filters of one stage make of silence, a faint sound that
# is the same in all outputs, misleads the next one. Of short gaps no frame is silent.
LONG = 0.3
JOINT = 0.02
# A microphone is missing where its share of the power is that far below its usual one
# (40 dB). Near talkers change the shares of distant microphones by up to 30 dB.
MISSING = 1e-4
# It is silent then, that far below its usual power (20 dB): others may be loud as well.
SILENT = 1e-2
# Moments whose power is that far below the mean (50 dB) say nothing of shares.
QUIET = 1e-5
# Fewest moments that a microphone is missing for: a sound that arrives here before it
# arrives there, out of silence, is no fault.
FEWEST = 3
# A burst stands out by so much (15 dB, and three times the usual range upward) in its
# share, and by so much (15 dB) above the loud moments of the microphone.
UNLIKE = 10**1.5
RANGES = 3
LOUD = 30.0
# Bursts that take more of a recording than this are no exceptions.
MOST_BURSTS = 0.1
# Of a silent microphone, differences of samples are below so much (-30 dB) of their
# root mean square. Bursts are above what is within so many moments around, and end so
# many seconds later.
HEARD = 0.03
AROUND = 5
MARGIN = 0.002
# Window of predictions in seconds, and frames before and after that they are made from:
# in one long window, errors of predictions are carried farther. Each row has to be
# learned from some frames, and the time is as the cube of rows.
WINDOW = 0.064
TAPS = 4
FRAMES_PER_ROW = 8
MOST_ROWS = 40
# The fades around predictions in seconds, and the loading of what they are solved from.
EDGE = 0.001
LOADING = 1e-6
TINY = np.finfo(float).tiny


def moment_powers(x, size):
    """Powers and peaks of the differences of neighboring samples in moments.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        A recording.
    size : int
        Samples in a moment; the last one may be shorter.

    Returns
    -------
    power, peak : ndarray of shape (n_moments, n_mics)
        Sums and maxima of squares, relative to the highest sample.
    """
    level = float(max(x.max(), -x.min())) or 1.0
    step = size * max(1, 2**16 // size)
    sums, maxima = [np.zeros((0, x.shape[1]))], [np.zeros((0, x.shape[1]))]
    for start in range(0, len(x) - 1, step):
        squares = np.diff(x[start : start + step + 1].astype(float) / level, axis=0)
        squares *= squares
        starts = np.arange(0, len(squares), size)
        sums.append(np.add.reduceat(squares, starts))
        maxima.append(np.maximum.reduceat(squares, starts))
    return np.concatenate(sums), np.concatenate(maxima)


def find_missing(power):
    """Find moments in which a microphone is missing while others live.

    Parameters
    ----------
    power : ndarray of shape (n_moments, n_mics)
        Powers of moments.

    Returns
    -------
    missing : ndarray of shape (n_moments, n_mics)
        Where it is. A microphone that is never heard is missing nowhere.
    """
    # Nobody is missing because another one has a burst.
    total = np.minimum(power, np.quantile(power, 0.9, axis=0)).sum(axis=1)
    lives = total > QUIET * total.mean()
    share = power / np.where(lives, total, 1)[:, None]  # bursts are above one
    missing = np.zeros(power.shape, bool)
    for mic in range(power.shape[1]):
        heard = share[lives, mic]
        heard = heard[heard > QUIET]
        if 4 * len(heard) <= np.count_nonzero(lives):
            continue  # it is hardly ever there
        usual = np.median(power[lives, mic])
        absent = lives & (share[:, mic] < MISSING * np.median(heard))
        absent &= power[:, mic] < SILENT * usual
        absent = binary_opening(absent, np.ones(FEWEST))
        # It stays away while the others pause, too.
        dead = power[:, mic] < MISSING * usual
        missing[:, mic] = binary_propagation(absent, mask=absent | dead)
    return missing


def find_bursts(power):
    """Find moments in which a microphone is much louder than the others, and usual.

    Parameters
    ----------
    power : ndarray of shape (n_moments, n_mics)
        Powers of moments.

    Returns
    -------
    bursts : ndarray of shape (n_moments, n_mics)
        Where they are.
    """
    bursts = np.zeros(power.shape, bool)
    least = QUIET * power.mean()
    for mic in range(power.shape[1]):
        others = np.delete(power, mic, axis=1)
        valid = (others.mean(axis=1) > least) & (power[:, mic] > least)
        if np.count_nonzero(valid) < 20:
            continue
        ratio = power[:, mic] / np.maximum(others.max(axis=1), least)
        middle, high = np.quantile(ratio[valid], (0.5, 0.9))
        unlike = ratio > middle * max(UNLIKE, (high / middle) ** RANGES)
        loud = power[:, mic] > LOUD * np.quantile(power[valid, mic], 0.9)
        bursts[:, mic] = unlike & loud
        if bursts[:, mic].mean() > MOST_BURSTS:
            bursts[:, mic] = False
    return bursts


def find_faults(x, sample_rate=16_000):
    """Find the moments in which microphones are missing or burst.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        A recording.
    sample_rate : float, default=16000
        In Hz.

    Returns
    -------
    faults : ndarray of shape (n_moments, n_mics)
        Which microphones fail in which moments of 10 ms, one moment around each fault
        included. All False if a recording is faulty for more than half of its time:
        then something else is the matter with it.
    """
    n_mics = x.shape[1]
    size = max(2, round(SECONDS * sample_rate))
    power, peak = moment_powers(x, size)
    if n_mics < 2 or not power.any():
        return np.zeros(power.shape, bool)
    bursts = find_bursts(power) | find_bursts(peak)
    faults = find_missing(power) & ~bursts.any(axis=1, keepdims=True) | bursts
    if not faults.any():
        return faults
    faults = binary_dilation(faults, np.ones((3, 1)))
    if 2 * np.count_nonzero(faults.any(axis=1)) > len(faults):
        return np.zeros(power.shape, bool)
    return faults


def moment_spans(faulty, n_samples, sample_rate=16_000):
    """Stretches of samples that faulty moments are.

    Parameters
    ----------
    faulty : ndarray of shape (n_moments,)
        Which moments they are.
    n_samples : int
        Samples of the recording.
    sample_rate : float, default=16000
        In Hz.

    Returns
    -------
    spans : ndarray of shape (n_spans, 2)
        Where they start and stop.
    """
    size = max(2, round(SECONDS * sample_rate))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], faulty, [0]])))
    spans = edges.reshape(-1, 2) * size
    spans[spans >= len(faulty) * size] = n_samples
    return spans


def tight_spans(spans, x, sample_rate=16_000):
    """Shorten stretches to where a microphone fails in them, as far as it is clear.

    Parameters
    ----------
    spans : ndarray of shape (n_spans, 2)
        Where they start and stop.
    x : ndarray of shape (n_samples,)
        What the microphone recorded.
    sample_rate : float, default=16000
        In Hz.

    Returns
    -------
    spans : ndarray of shape (n_spans, 2)
        From the first to the last sample where the microphone is silent; or, with a
        margin, where it is louder than around.
    """
    size = max(2, round(SECONDS * sample_rate))
    margin = round(MARGIN * sample_rate)
    step = abs(np.diff(x, prepend=x[:1]))
    sound = soundness(spans, len(x), 1) == 1
    heard = HEARD * np.sqrt(np.mean(np.square(step[sound], dtype=float)))
    spans = spans.copy()
    for span in spans:
        start, stop = span
        middle = (start + stop) // 2
        around = step[max(0, start - AROUND * size) : stop + AROUND * size]
        near = sound[max(0, start - AROUND * size) : stop + AROUND * size]
        loud = np.flatnonzero(step[start:stop] > around[near].max(initial=0))
        before = np.flatnonzero(step[start:middle] > heard)
        after = np.flatnonzero(step[middle:stop] > heard)
        first = start + before[-1] if before.size else start
        last = middle + after[0] if after.size else stop
        if last - first >= FEWEST * size:
            span[:] = first, last
        elif loud.size:
            loud += start
            span[:] = max(start, loud[0] - margin), min(stop, loud[-1] + margin)
    return spans


def soundness(spans, n_samples, n_fade):
    """Gain that leaves out some stretches, with fades before and after them.

    Parameters
    ----------
    spans : ndarray of shape (n_spans, 2)
        Where they start and stop.
    n_samples : int
        Samples of the recording.
    n_fade : int
        Samples of a fade, outside the stretches.

    Returns
    -------
    gain : ndarray of shape (n_samples,)
        0 in them and 1 elsewhere.
    """
    gain = np.ones(n_samples)
    fade = falling(n_fade)
    for start, stop in spans:
        gain[start:stop] = 0
        before = gain[max(start - n_fade, 0) : start]
        np.minimum(before, fade[n_fade - len(before) :], out=before)
        after = gain[stop : stop + n_fade]
        np.minimum(after, fade[::-1][: len(after)], out=after)
    return gain


def is_long(spans, n_samples, sample_rate=16_000):
    """Which stretches are long, or at an end of the recording.

    Parameters
    ----------
    spans : ndarray of shape (n_spans, 2)
        Where they start and stop.
    n_samples : int
        Samples of the recording.
    sample_rate : float, default=16000
        In Hz.

    Returns
    -------
    is_long : ndarray of shape (n_spans,)
        Those that are better cut out than silenced.
    """
    start, stop = spans.T
    return (stop - start >= LONG * sample_rate) | (start == 0) | (stop == n_samples)


def cut_out(x, spans, n_fade):
    """Leave stretches out of a recording, and what is too short between them.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        A recording.
    spans : ndarray of shape (n_spans, 2)
        Where they start and stop.
    n_fade : int
        Samples in which what is before a stretch fades into what is after it.

    Returns
    -------
    rest : ndarray of shape (n_left, n_mics)
        What is left.
    """
    edges = np.concatenate([[0], spans.ravel(), [len(x)]]).reshape(-1, 2)
    edges = edges[edges[:, 1] - edges[:, 0] >= 2 * n_fade]
    n_left = (edges[:, 1] - edges[:, 0] - n_fade).sum() + n_fade * bool(len(edges))
    rest, place = np.zeros((n_left, x.shape[1]), x.dtype), 0
    fade = falling(n_fade)[:, None].astype(x.dtype)
    for number, (start, stop) in enumerate(edges):
        part = x[start:stop].copy()
        if number > 0:
            part[:n_fade] *= 1 - fade
        if number < len(edges) - 1:
            part[-n_fade:] *= fade
        rest[place : place + len(part)] += part
        place += len(part) - n_fade
    return rest


def falling(n_fade):
    """Half a period of a cosine that falls from one to zero."""
    return 0.5 + 0.5 * np.cos(np.pi * (np.arange(n_fade) + 0.5) / n_fade)


def gains_of(x, faults, sample_rate=16_000):
    """Gains that leave out where microphones fail, to the sample where that is clear.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        A recording.
    faults : ndarray of shape (n_moments, n_mics)
        From `find_faults`.
    sample_rate : float, default=16000
        In Hz.

    Returns
    -------
    gains : ndarray of shape (n_samples, n_mics)
        0 in faults and 1 elsewhere, with fades of 1 ms.
    """
    n_fade = max(1, round(EDGE * sample_rate))
    gains = np.empty_like(x)
    for mic, faulty in enumerate(faults.T):
        spans = moment_spans(faulty, len(x), sample_rate)
        spans = tight_spans(spans, x[:, mic], sample_rate)
        gains[:, mic] = soundness(spans, len(x), n_fade)
    return gains


def fill(x, gains, sample_rate=16_000):
    """Put predictions from what is sound in place of faults.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_channels)
        A recording.
    gains : ndarray of shape (n_samples, n_channels)
        From `gains_of`.
    sample_rate : float, default=16000
        In Hz.

    Returns
    -------
    filled : ndarray of shape (n_samples, n_channels)
        The recording, linearly predicted bin by bin where it is faulty, as what is
        sound in nine frames goes together with it elsewhere; silent where no channel
        lives.
    """
    n_samples, n_channels = x.shape
    sound = gains * x
    n_fft = window_length(sample_rate, WINDOW)
    record = STFT(n_fft).fit_transform(sound)
    # A frame is in the middle of its window.
    middle = np.arange(len(record)) * record.stft_params["hop_length"]
    count = np.cumsum(gains < 1, axis=0)
    count = np.concatenate([np.zeros((1, n_channels)), count])
    first, last = (np.clip(middle + d, 0, n_samples) for d in (-n_fft // 2, n_fft // 2))
    dead = count[last] > count[first]
    predicted = predict(record.data, dead)
    estimate = ISTFT().fit_transform(replace(record, data=predicted))
    return (sound + (1 - gains) * estimate).astype(x.dtype, copy=False)


def predict(X, dead):
    """Predict channels of frames from others, and from themselves before and after.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        A spectrogram.
    dead : ndarray of shape (n_frames, n_mics)
        What isn't known of it.

    Returns
    -------
    predicted : ndarray of shape (n_frames, n_freqs, n_mics)
        What isn't known, where anything is known at that time; zero elsewhere.
    """
    n_mics = X.shape[2]
    most = min(MOST_ROWS, np.count_nonzero(~dead.any(axis=1)) // FRAMES_PER_ROW)
    taps = int(np.clip((most // n_mics - 1) // 2, 0, TAPS))
    size, near = 2 * taps + 1, ((taps, taps), (0, 0))
    known = ~sliding_window_view(np.pad(dead, near, constant_values=True), size, axis=0)
    known = known.reshape(len(X), -1)
    lagged = sliding_window_view(np.pad(X, (near[0], (0, 0), (0, 0))), size, axis=0)
    whole = np.flatnonzero(known.all(axis=1))
    wanted = np.flatnonzero(dead.any(axis=1) & ~dead.all(axis=1))
    patterns, which = np.unique(known[wanted], axis=0, return_inverse=True)
    predicted = np.zeros_like(X)

    def write(bins):
        Y = lagged[:, bins].transpose(1, 2, 3, 0).reshape(-1, n_mics * size, len(X))
        S = Y[:, :, whole]
        R = S @ S.conj().swapaxes(1, 2)
        load = LOADING * np.einsum("frr->f", R).real + TINY
        R += load[:, None, None] * np.eye(R.shape[1])
        for number, A in enumerate(patterns):
            some = wanted[which.ravel() == number]
            D = np.flatnonzero(~A[taps::size])
            H = np.linalg.solve(R[:, A][:, :, A], R[:, A][:, :, D * size + taps])
            P = H.conj().swapaxes(1, 2) @ Y[:, :, some][:, A]
            predicted[np.ix_(some, range(X.shape[1])[bins], D)] = P.transpose(2, 0, 1)

    map_some(write, bin_blocks(X.shape[1], len(X) * n_mics * size * X.itemsize))
    return predicted
