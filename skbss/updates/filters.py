"""Filters in time: from demixing matrices, applied to signals, and of low latency.

A set of filters is an array of shape (n_sources, n_mics, n_taps), of which `n_future`
taps look ahead: ``y[k, t] = sum over m, j of g[k, m, j] * x[m, t + n_future - j]``.
"""

# License: BSD-3-Clause

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal.windows import hann

# Level below the mean power over frequency up to which the microphones are whitened
# before low-latency filters are fitted (-30 dB), and loading of their equations.
LEAST_LEVEL = 1e-3
LOADING = 1e-6


def impulse_responses(W):
    """Turn matrices of frequency bins into filters in time.

    Parameters
    ----------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices whose outputs have the scale that is wanted.

    Returns
    -------
    g : ndarray of shape (n_sources, n_mics, n_fft)
        Real filters; half of the taps look ahead.
    """
    return np.roll(scipy.fft.irfft(W, axis=2), W.shape[2] - 1, axis=2)


def resample(W, n_fft):
    """Give matrices another window length, by cutting or padding their filters.

    Parameters
    ----------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices.
    n_fft : int
        The new window length.

    Returns
    -------
    W : ndarray of shape (n_sources, n_mics, n_fft // 2 + 1)
        Matrices of the same precision.
    """
    g = with_future(impulse_responses(W), W.shape[2] - 1, n_fft // 2)
    n_after = n_fft - g.shape[2]
    g = np.pad(g, ((0, 0), (0, 0), (0, max(n_after, 0))))[..., :n_fft]
    return scipy.fft.rfft(np.roll(g, -(n_fft // 2), axis=2), axis=2)


def with_future(g, n_future, n_wanted):
    """Cut or pad filters so that another number of taps looks ahead.

    Parameters
    ----------
    g : ndarray of shape (n_sources, n_mics, n_taps)
        Filters, `n_future` of whose taps look ahead.
    n_future, n_wanted : int
        Numbers of taps.

    Returns
    -------
    g : ndarray of shape (n_sources, n_mics, n_taps + n_wanted - n_future)
        The filters; taps that look further ahead are missing.
    """
    if n_wanted <= n_future:
        return g[..., n_future - n_wanted :]
    return np.pad(g, ((0, 0), (0, 0), (n_wanted - n_future, 0)))


def filtered(x, g):
    """Filter signals where all of the filter meets them.

    Parameters
    ----------
    x : ndarray of shape (n_mics, n_samples)
        Signals, at least as long as the filters.
    g : ndarray of shape (n_sources, n_mics, n_taps)
        Filters.

    Returns
    -------
    y : ndarray of shape (n_sources, n_samples - n_taps + 1)
        Outputs; with `n_future` taps that look ahead the first one belongs to sample
        ``n_taps - 1 - n_future``.
    """
    size = scipy.fft.next_fast_len(x.shape[1], real=True)
    X, G = scipy.fft.rfft(x, size), scipy.fft.rfft(g, size)
    y = scipy.fft.irfft(np.einsum("kmf,mf->kf", G, X), size)
    return y[:, g.shape[2] - 1 : x.shape[1]]


def at_unit_peak(x):
    """Bring signals to a level at which squares neither overflow nor vanish."""
    peak = abs(x).max(initial=0) or np.float32(1)
    return x / peak, float(peak)


def short_filters(x, teacher, ahead, n_future, n_taps, start=None, n_iter=5):
    """Find the filters that come nearest to others, with less look-ahead.

    Cutting the future off filters that need it costs several dB. These are the best in
    the mean square: Wiener filters from the microphones to what the others give [1]_.

    Parameters
    ----------
    x : ndarray of shape (n_mics, n_samples)
        The signals that the mean is taken over, at least ``2 * size`` samples with the
        `size` of the transform, the first power of two from twice `n_taps` on.
    teacher : ndarray of shape (n_sources, n_mics, n_others)
        The other filters, with at most `size` taps.
    ahead : int
        Taps of them that look ahead.
    n_future : int
        Taps that may look ahead.
    n_taps : int
        All taps.
    start : ndarray of shape (n_sources, n_mics, n_taps), default=None
        Filters to start from. None cuts the others.
    n_iter : int, default=10
        Iterations of conjugate gradients, preconditioned in every bin.

    Yields
    ------
    values : int
        After each step, how many numbers it has worked on.

    Returns
    -------
    g : ndarray of shape (n_sources, n_mics, n_taps)
        The filters, in the precision of `x`.

    References
    ----------
    .. [1] N. Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time
       Series", MIT Press, 1949.
    """
    M, dtype = len(x), x.dtype
    teacher = teacher.astype(dtype)
    size = 1 << (2 * n_taps - 1).bit_length()
    if start is None:
        g = with_future(teacher, ahead, n_future)
        n_after = n_taps - g.shape[2]
        g = np.pad(g, ((0, 0), (0, 0), (0, max(n_after, 0))))[..., :n_taps]
    else:
        g = start
    S = yield from _cross_spectra(x, size)
    power = np.einsum("iif->f", S).real / M
    S /= power + (LEAST_LEVEL * power.mean() or 1)
    pad = np.zeros((*teacher.shape[:2], size - teacher.shape[2]), dtype)
    teacher = np.roll(np.concatenate([teacher, pad], 2), n_future - ahead, axis=2)
    wanted = _correlated(S, teacher, n_taps)
    yield 10 * teacher.size
    load = LOADING * np.einsum("iif->f", S).real.mean() / M
    S += (load or dtype.type(1)) * np.eye(M, dtype=dtype)[..., None]
    inverse = np.linalg.inv(S.transpose(2, 0, 1)).transpose(1, 2, 0)
    yield 40 * S.size
    residual = wanted - _correlated(S, g, n_taps)
    z = _correlated(inverse, residual, n_taps)
    direction, now = z, _inner(residual, z)
    yield 60 * g.size
    for _ in range(n_iter):
        image = _correlated(S, direction, n_taps)
        yield 16 * g.size
        step = _ratio(now, _inner(direction, image))
        g = g + step * direction
        residual = residual - step * image
        z = _correlated(inverse, residual, n_taps)
        before, now = now, _inner(residual, z)
        direction = z + _ratio(now, before) * direction
        yield 50 * g.size
    return g


def _cross_spectra(x, size):
    """Cross spectra of signals, (n_mics, n_mics, n_freqs), over half their blocks."""
    M, n_samples = x.shape
    if n_samples < size:
        x = np.pad(x, ((0, 0), (0, size - n_samples)))
    window = hann(size, sym=False).astype(x.dtype)
    blocks = sliding_window_view(x, size, axis=1)[:, :: size // 4]
    S = np.zeros((M, M, size // 2 + 1), np.result_type(x.dtype, 1j))
    for block in blocks.swapaxes(0, 1):
        X = scipy.fft.rfft(block * window)
        S += X[:, None].conj() * X
        yield 4 * X.size * (M + 2)
    return S


def _correlated(S, g, n_taps):
    """Convolve filters with the correlations whose spectra are S, and cut them."""
    size = 2 * (S.shape[2] - 1)
    R = np.einsum("ijf,kjf->kif", S, scipy.fft.rfft(g, size))
    return scipy.fft.irfft(R, size)[..., :n_taps]


def _inner(a, b):
    """Inner products of each source's filters."""
    return np.einsum("kmj,kmj->k", a, b, dtype=float)[:, None, None]


def _ratio(a, b):
    """Quotients in single precision, zero where the divisor isn't positive."""
    ratio = np.divide(a, b, out=np.zeros_like(a), where=b > 0)
    return ratio.astype(np.float32)
