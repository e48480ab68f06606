"""Whether sources have jumped: outputs that were independent become coherent."""

# License: BSD-3-Clause

from itertools import combinations

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal.windows import hann

from skbss.updates.powers import invert_positive

# Least power of a frame, relative to the mean of its output.
FLOOR = 1e-3
# Frames so much louder than usual (10 dB) are clicks, which are coherent too.
CLICK = 10.0
# Frames that the coherence is taken over to find when it has risen.
SPAN = 16


def short_time(y, n_fft):
    """Spectra (n_frames, n_sources, n_freqs) of signals, hops a quarter of a window."""
    frames = sliding_window_view(y, n_fft, axis=1)[:, :: n_fft // 4].swapaxes(0, 1)
    return scipy.fft.rfft(frames * hann(n_fft, sym=False).astype(y.dtype), axis=2)


def powers(Y):
    """Mean powers (n_sources,) of spectra (n_frames, n_sources, n_freqs)."""
    return np.square(abs(Y), dtype=float).sum(2).mean(0)


def rise(power, usual):
    """How many times as loud as usual the output is that has become loudest."""
    return float((power * invert_positive(usual)).max())


def at_unit_power(Y):
    """Give outputs (n_frames, n_sources, n_freqs) a mean power of 1 in every bin."""
    mean = np.square(abs(Y)).mean(0)
    return Y / np.sqrt(np.where(mean > 0, mean, 1))


def coherence(y, n_fft, usual=None):
    """Mean coherence of outputs over frequency and pairs.

    Frames weigh by the inverse of their power, as in `skbss.updates.source.Gauss`: how
    an output leaks into another is heard best when that pauses. Where somebody pauses
    for longer, what others leak into his output is all there is of it, and coherent.
    So an output that is 6 dB quieter than usual, or more, counts less.

    Parameters
    ----------
    y : ndarray of shape (n_sources, n_samples)
        Outputs.
    n_fft : int
        Length of frames.
    usual : ndarray of shape (n_sources,), default=None
        Usual `powers`. None takes those of now.

    Returns
    -------
    coherence : float
        From 0 to 1; 0 where most frames are clicks.
    power : ndarray of shape (n_sources,)
        Powers of now, at most ten times the usual ones.
    """
    Y = short_time(y, n_fft)
    now = powers(Y)
    usual = now if usual is None else usual
    limited = np.minimum(now, 10 * usual)
    is_click = np.square(abs(Y)).sum((1, 2)) > CLICK * usual.sum()
    if 2 * np.count_nonzero(is_click) > len(Y):
        return 0.0, limited
    Y = Y[~is_click]
    now = powers(Y)
    least = usual / 4 * max(rise(now, usual), 1)
    presence = np.divide(now, least, out=np.ones_like(now), where=now < least)
    Y = at_unit_power(Y)
    power = np.maximum(np.square(abs(Y)).mean(2, keepdims=True), FLOOR)
    values = []
    for k in range(Y.shape[1]):
        weighted = Y / power[:, k : k + 1]
        own = (weighted[:, k].conj() * Y[:, k]).sum(0).real
        for j in range(Y.shape[1]):
            if j != k:
                cross = (weighted[:, k].conj() * Y[:, j]).sum(0)
                other = (weighted[:, j].conj() * Y[:, j]).sum(0).real
                share = _share(cross, own, other).mean()
                values.append(share * min(presence[j], presence[k]))
    return float(np.mean(values)), limited


def _share(cross, a, b):
    """Squared coherences, zero where there is no power."""
    power = a * b
    return np.square(abs(cross)) / np.where(power > 0, power, np.inf)


def change_point(y, n_fft):
    """Find when outputs have become coherent.

    Parameters
    ----------
    y : ndarray of shape (n_sources, n_samples)
        Outputs of some seconds, at the end of which they are.
    n_fft : int
        Length of frames.

    Returns
    -------
    sample : int
        Where the coherence of a quarter of a second or so rises half way.
    """
    Y = at_unit_power(short_time(y, n_fft))
    power = np.maximum(np.square(abs(Y)).mean(2), FLOOR)
    total = 0
    for j, k in combinations(range(Y.shape[1]), 2):
        weight = 1 / np.sqrt(power[:, j] * power[:, k])[:, None]
        products = (
            Y[:, j] * Y[:, k].conj(),
            *np.square(abs(Y[:, [j, k]])).swapaxes(0, 1),
        )
        sums = [np.cumsum(np.pad(weight * p, ((1, 0), (0, 0))), 0) for p in products]
        cross, a, b = (s[SPAN:] - s[:-SPAN] for s in sums)
        total = total + _share(cross, np.maximum(a, 0), np.maximum(b, 0)).mean(1)
    half = (np.median(total[: len(total) // 2]) + total.max()) / 2
    low = np.flatnonzero(total < half)
    has_risen = len(low) and total[-1] >= half
    frame = low[-1] if has_risen else len(total) - 1
    return int((frame + SPAN // 2) * (n_fft // 4) + n_fft // 2)
