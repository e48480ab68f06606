"""Delays between channels, and channels read at the times of another one."""

# License: BSD-3-Clause

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal.windows import tukey

# Share of a recording that fades in and out before delays are looked for.
FADE = 0.05
# Taps on either side of an interpolation, its Kaiser window, and how many parts of a
# sample the weights are tabled for, between which they are straight (-118 dB).
HALF = 24
BETA = 10.0
N_PARTS = 1024
BLOCK = 2**15


def find_delays(x, ref_mic, max_lag):
    """Find how many samples channels are behind one of them.

    The cross-correlation with all frequencies alike (GCC-PHAT) has a peak there,
    however loud reverberation and other talkers are.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_channels)
        The channels.
    ref_mic : int
        The one.
    max_lag : int
        Longest delay, in samples.

    Returns
    -------
    delays : ndarray of shape (n_channels,)
        In samples, positive for channels that are later.
    prominences : ndarray of shape (n_channels,)
        The peaks over the root mean squares of the correlations.
    """
    n_samples, n_channels = x.shape
    max_lag = min(max_lag, n_samples - 1)
    n_fft = next_fast_len(n_samples + max_lag, real=True)
    # Ends that don't fade are loud where signals aren't, and look like delays.
    fade = tukey(n_samples, FADE).astype(np.result_type(x, np.float32))
    reference = rfft(fade * x[:, ref_mic], n_fft).conj()
    delays, prominences = np.zeros(n_channels, int), np.zeros(n_channels)
    for mic in range(n_channels):
        if mic == ref_mic:
            continue
        product = reference * rfft(fade * x[:, mic], n_fft)
        size = abs(product)
        product /= np.maximum(size, 1e-9 * (size.max() or 1))
        correlation = irfft(product, n_fft)
        near = np.concatenate(
            [correlation[n_fft - max_lag :], correlation[: max_lag + 1]]
        )
        best = int(near.argmax())
        delays[mic] = best - max_lag
        prominences[mic] = near[best] / (np.sqrt(np.mean(np.square(near))) or 1.0)
    return delays, prominences


def at_reference(x, delays, offsets, start=0, stop=None):
    """Read channels at the times of a reference.

    Parameters
    ----------
    x : ndarray or reader of shape (n_samples, n_channels)
        The channels; of a reader of a file as much is read as is needed.
    delays : array-like of shape (n_channels,)
        How many samples the channels are late, integers.
    offsets : array-like of shape (n_channels,)
        Relative differences of the clocks: channels have so many more samples for each
        of the reference.
    start, stop : int
        First sample of the result, and the one after its last; all by default.

    Returns
    -------
    y : ndarray of shape (stop - start, n_channels)
        ``y[n, c] = x[n * (1 + offsets[c]) + delays[c], c]``, by band-limited
        interpolation between samples, zero beyond.
    """
    n_samples, n_channels = x.shape
    stop = n_samples if stop is None else stop
    ends = np.array([start, stop])[:, None] * (1 + np.asarray(offsets)) + delays
    first = int(np.clip(ends.min() - HALF, 0, n_samples))
    last = int(np.clip(ends.max() + HALF + 1, first, n_samples))
    y = np.zeros((stop - start, n_channels), x.dtype)
    if first == last:
        return y
    part = x[first:last]
    for mic, (delay, offset) in enumerate(zip(delays, offsets, strict=True)):
        if offset == 0:
            before = start + delay - first
            found = part[max(before, 0) :][: max(len(y) + min(before, 0), 0), mic]
            y[max(-before, 0) :][: len(found), mic] = found
            continue
        for n in range(start, stop, BLOCK):
            times = np.arange(n, min(n + BLOCK, stop)) * (1 + offset) + delay
            y[n - start :][:BLOCK, mic] = read_at(part[:, mic], times - first)
    return y


def read_at(x, positions):
    """Read a signal between its samples.

    Parameters
    ----------
    x : ndarray of shape (n_samples,)
        The signal.
    positions : ndarray of shape (n_positions,)
        In samples from 0, ascending; zero is read beyond the signal.

    Returns
    -------
    y : ndarray of shape (n_positions,)
        The values of the signal, as sinc functions under a Kaiser window interpolate
        them.
    """
    whole = np.floor(positions).astype(int)
    row = (positions - whole) * N_PARTS
    lower = row.astype(int)
    part = (row - lower)[:, None]
    table = _interpolation()
    weights = table[lower] + part * (table[lower + 1] - table[lower])
    first, last = whole[0] + 1 - HALF, whole[-1] + HALF + 1
    inside = x[max(first, 0) : max(last, 0)]
    before = min(max(-first, 0), last - first)
    near = np.pad(inside, (before, last - first - before - len(inside)))
    windows = sliding_window_view(near, 2 * HALF)[whole - whole[0]]
    return np.einsum("nt,nt->n", windows, weights)


@cache
def _interpolation():
    """Weights of the samples around, of shape (n_parts + 1, n_taps)."""
    distance = np.arange(1 - HALF, HALF + 1) - np.linspace(0, 1, N_PARTS + 1)[:, None]
    window = np.i0(BETA * np.sqrt(np.maximum(1 - (distance / HALF) ** 2, 0)))
    return np.sinc(distance) * window / np.i0(BETA)
