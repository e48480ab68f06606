"""Where microphones of a recording fail: gaps, bursts and clicks in some of them.

A fault is told by how the power of a recording is shared among its microphones, in
moments of 10 ms, and by the differences of neighboring samples: offsets and hum hardly
count in these.
"""

# License: BSD-3-Clause

from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_dilation, binary_opening, binary_propagation

from skbss.transforms import ISTFT, STFT

# Length of a moment in seconds, and of the fades between what is sound and what isn't.
SECONDS = 0.01
FADE = 0.005
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
# Window of predictions in seconds, and the loading of what they are solved from.
WINDOW = 0.256
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


def soundness(faulty, n_samples, sample_rate=16_000):
    """Gain that leaves out faulty moments, with fades before and after them.

    Parameters
    ----------
    faulty : ndarray of shape (n_moments,)
        Which moments to leave out.
    n_samples : int
        Samples of the recording.
    sample_rate : float, default=16000
        In Hz.

    Returns
    -------
    gain : ndarray of shape (n_samples,)
        0 in faults and 1 elsewhere, with fades of 5 ms.
    """
    size = max(2, round(SECONDS * sample_rate))
    gain = np.ones(n_samples)
    n_fade = max(1, round(FADE * sample_rate))
    fade = 0.5 + 0.5 * np.cos(np.pi * (np.arange(n_fade) + 0.5) / n_fade)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], faulty, [0]])))
    for start, stop in edges.reshape(-1, 2) * size:
        stop = n_samples if stop >= len(faulty) * size else stop
        gain[start:stop] = 0
        before = gain[max(start - n_fade, 0) : start]
        np.minimum(before, fade[n_fade - len(before) :], out=before)
        after = gain[stop : stop + n_fade]
        np.minimum(after, fade[::-1][: len(after)], out=after)
    return gain


def fill(x, faults, sample_rate=16_000):
    """Put predictions from the microphones that live in place of faults.

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
    filled : ndarray of shape (n_samples, n_mics)
        The recording, linearly predicted bin by bin where it is faulty, as the other
        microphones go together with it elsewhere; silent where no microphone lives.
    """
    n_samples, n_mics = x.shape
    n_fft = 2 ** round(np.log2(WINDOW * sample_rate))
    gains = np.stack([soundness(f, n_samples, sample_rate) for f in faults.T], axis=1)
    sound = gains * x
    record = STFT(n_fft).fit_transform(sound.astype(x.dtype, copy=False))
    # A frame is in the middle of its window.
    hop = record.stft_params["hop_length"]
    centers = np.arange(len(record)) * hop
    near = [centers[:, None] + n_fft // 2 * side for side in (-1, 1)]
    edges = np.concatenate([np.zeros((1, n_mics)), np.cumsum(gains < 1, axis=0)])
    first, last = (edges[np.clip(side[:, 0], 0, n_samples)] for side in near)
    dead = last > first
    X = record.data
    S = X[~dead.any(axis=1)].transpose(1, 2, 0)
    R = S @ S.conj().swapaxes(1, 2)
    predicted = np.zeros_like(X)
    for pattern in np.unique(dead[dead.any(axis=1)], axis=0):
        if pattern.all():
            continue
        some, A, D = (dead == pattern).all(axis=1), ~pattern, pattern
        load = LOADING * np.einsum("fmm->f", R).real[:, None, None] + TINY
        regular = R[:, A][:, :, A] + load * np.eye(A.sum())
        H = np.linalg.solve(regular, R[:, A][:, :, D]).conj().swapaxes(1, 2)
        predicted[np.ix_(some, range(X.shape[1]), np.flatnonzero(D))] = np.einsum(
            "fda,tfa->tfd", H, X[some][:, :, A]
        )
    estimate = ISTFT().fit_transform(replace(record, data=predicted))
    return (sound + (1 - gains) * estimate).astype(x.dtype, copy=False)
