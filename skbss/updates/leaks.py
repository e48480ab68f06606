"""What takes leaks out of outputs, as filters in time."""

# License: BSD-3-Clause

import numpy as np
import scipy.fft
from scipy.signal.windows import hann

from skbss.parallel import CACHE_BYTES
from skbss.updates.crosstalk import (
    FLOOR,
    LEAST_VARIANCE,
    band_means,
    band_size,
    bin_blocks,
    leakage,
)
from skbss.updates.powers import frame_parts, invert_positive, powers
from skbss.updates.source import source_variance


def learn_leaks(Y, source, lags, ridge):
    """Learn filters of what leaks from each output into each other one, in steps.

    Parameters
    ----------
    Y : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs.
    source : object
        Source model with `variance` and `n_bands`.
    lags, ridge : ndarray of shape (n_lags,)
        As in `skbss.updates.crosstalk.leakage`.

    Yields
    ------
    values : int
        After each step, how many numbers it has worked on.

    Returns
    -------
    filters : ndarray of shape (n_freqs, n_sources, n_sources, n_lags)
        As from `skbss.updates.crosstalk.leakage`.
    """
    n_frames, n_freqs, K = Y.shape
    peak = 0.0
    for part in frame_parts(n_frames):
        peak = max(peak, abs(Y[part].view(Y.real.dtype)).max(initial=0))
        yield 2 * Y[part].size
    scale = float(peak) or 1.0
    mean = np.zeros((n_freqs, K))
    for part in frame_parts(n_frames):
        mean += powers(Y[part], scale).sum(0)
        yield 8 * Y[part].size
    amplitude = np.sqrt(mean / max(n_frames, 1))
    gains = (invert_positive(amplitude) / scale).astype(Y.real.dtype)
    parts, unit = [], invert_positive(amplitude**2)
    for part in frame_parts(n_frames):
        power = band_means(powers(Y[part], scale) * unit, source.n_bands)
        power = np.maximum(power, FLOOR).transpose(2, 1, 0).astype(Y.real.dtype)
        parts.append(source_variance(source, power))
        yield 25 * Y[part].size
    variance = np.concatenate(parts, axis=2)
    least = LEAST_VARIANCE * variance.mean(2, keepdims=True)
    weights = 1 / (n_frames * np.maximum(variance, least))
    bands = np.arange(n_freqs) // band_size(n_freqs, source.n_bands)
    filters = np.empty((n_freqs, K, K, len(lags)), complex)
    for bins in bin_blocks(n_freqs, 64 * K * len(lags) * n_frames, CACHE_BYTES):
        x = Y[:, bins].transpose(1, 2, 0) * gains[bins, :, None]
        w = weights[:, bands[bins]].swapaxes(0, 1)
        filters[bins] = leakage(x, amplitude[bins], w, lags, ridge)
        yield 4 * (x.size * len(lags) ** 2)
    return filters


def canceller(filters, lags, hop, n_future, n_taps):
    """Make filters in time that take leaks out and give them back.

    A filter of several frames isn't the same filter for every sample of a frame. This
    is the mean of them: with r the correlation of the windows of analysis and
    synthesis, each lag's response is weighed by r around that lag.

    Parameters
    ----------
    filters : ndarray of shape (n_freqs, n_sources, n_sources, n_lags)
        Leaks.
    lags : ndarray of shape (n_lags,)
        Their delays in frames.
    hop : int
        Samples from frame to frame.
    n_future, n_taps : int
        Taps of the result that look ahead, and all.

    Returns
    -------
    h : ndarray of shape (n_sources, n_sources, n_taps)
        Filters from outputs to new outputs, with the same sum.
    """
    F, K, _, _ = filters.shape
    n_fft = 2 * (F - 1)
    size = 1 << (2 * n_taps - 1).bit_length()
    window = hann(n_fft, sym=False)
    dual = window / sum(np.roll(window**2, k) for k in range(0, n_fft, hop))
    r = np.correlate(dual, window, "full")[n_fft // 2 - 1 : -n_fft // 2] / (
        dual @ window
    )
    c = np.roll(scipy.fft.irfft(filters, n_fft, axis=0), n_fft // 2, axis=0)
    leaks = np.zeros((K, K, size))
    times = np.arange(-(n_fft // 2), n_fft // 2)
    for i, lag in enumerate(lags):
        leaks[..., (times + lag * hop) % size] += (c[..., i].T * r).swapaxes(0, 1)
    C = scipy.fft.rfft(leaks, axis=2)
    # As in `skbss.updates.crosstalk.cancel`: leaks are those of outputs without leaks,
    # and what is taken from one output goes to another.
    clean = np.eye(K)[..., None] - C
    diagonal = np.einsum("kkf->kf", C)  # a view
    diagonal -= C.sum(0)
    H = np.eye(K)[..., None] - np.einsum("ijf,jkf->ikf", C, clean)
    return np.roll(scipy.fft.irfft(H, size, axis=2), n_future, axis=2)[..., :n_taps]


def convolved(h, g):
    """Apply filters to filters.

    Parameters
    ----------
    h : ndarray of shape (n_sources, n_sources, n_taps)
        Filters from outputs to new outputs.
    g : ndarray of shape (n_sources, n_mics, n_others)
        Filters from microphones to outputs.

    Returns
    -------
    filters : ndarray of shape (n_sources, n_mics, n_taps + n_others - 1)
        Filters from microphones to new outputs; the numbers of taps that look ahead
        add.
    """
    n_taps = h.shape[2] + g.shape[2] - 1
    size = scipy.fft.next_fast_len(n_taps, real=True)
    H, G = scipy.fft.rfft(h, size), scipy.fft.rfft(g, size)
    return scipy.fft.irfft(np.einsum("ijf,jmf->imf", H, G), size)[..., :n_taps]
