"""Filters in time: found from what separates, shortened, and applied to signals.

A set of filters is an array of shape (n_sources, n_mics, n_taps), of which `n_future`
taps look ahead: ``y[k, t] = sum over m, j of g[k, m, j] * x[m, t + n_future - j]``.
"""

# License: BSD-3-Clause

import numpy as np
import scipy.fft

# Loading of the equations, relative to their diagonal.
LOADING = 1e-6
# Impulses by which the filters of a separator are found, for each of its inputs.
N_SHIFTS = 2


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
    y = _products(g, x, scipy.fft.next_fast_len(x.shape[1], real=True))
    return y[:, g.shape[2] - 1 : x.shape[1]]


def filtered_throughout(x, g, n_future):
    """Filter signals as if they were zero before and after; outputs are as long."""
    n_samples = x.shape[1]
    size = scipy.fft.next_fast_len(n_samples + g.shape[2], real=True)
    return _products(g, x, size)[:, n_future : n_future + n_samples]


def composed(g, h):
    """Return what filters g do to what filters h made, half of whose taps look ahead.

    Parameters
    ----------
    g : ndarray of shape (n_sources, n_inputs, 2 * reach)
        The second filters.
    h : ndarray of shape (n_inputs, n_mics, 2 * reach)
        The first filters.

    Returns
    -------
    both : ndarray of shape (n_sources, n_mics, 2 * reach)
        Filters in place of both, but for what they do beyond their taps.
    """
    n_taps = h.shape[2]
    size = scipy.fft.next_fast_len(2 * n_taps, real=True)
    both = [_products(g, some, size) for some in h.swapaxes(0, 1)]
    return np.stack(both, axis=1)[..., n_taps // 2 :][..., :n_taps]


def _products(g, x, size):
    """Convolve filters with signals in a circle of so many samples, and sum."""
    G, X = scipy.fft.rfft(g, size), scipy.fft.rfft(x, size)
    return scipy.fft.irfft(np.einsum("kmf,mf->kf", G, X), size)


def impulse_responses(system, n_inputs, reach):
    """Find the filters that do what a separator of frames does in the mean.

    What becomes of an impulse also depends on where in a hop it is.

    Parameters
    ----------
    system : callable
        From signals (n_samples, n_inputs) to signals (n_samples, n_outputs).
    n_inputs : int
        Number of inputs.
    reach : int
        Samples that the filters look ahead, and back. A multiple of all hops.

    Returns
    -------
    g : ndarray of shape (n_outputs, n_inputs, 2 * reach)
        The filters, in single precision.
    """
    # Multiples of this are spread over hops of a 4th to a 128th of the reach.
    hop = reach // 16
    shifts = np.arange(N_SHIFTS) * (hop + hop // 4 + hop // 16)
    starts = 2 * reach * np.arange(n_inputs * N_SHIFTS).reshape(n_inputs, -1) + shifts
    x = np.zeros((starts[-1, -1] + 2 * reach, n_inputs), np.float32)
    for m, where in enumerate(starts):
        x[where + reach, m] = 1
    y = system(x).T
    g = [sum(y[:, first:][:, : 2 * reach] for first in where) for where in starts]
    return np.stack(g, axis=1) / np.float32(N_SHIFTS)


def at_unit_peak(x):
    """Bring signals to a level at which squares neither overflow nor vanish."""
    peak = abs(x).max(initial=0) or np.float32(1)
    return x / peak, float(peak)


def shortened(g, x, n_taps, n_future, n_iter=30):
    """Find filters of fewer taps that do nearly what long ones do to signals.

    They are the long ones, cut, and what predicts the rest from the sound that is known
    in time, the best in the mean square: Wiener filters [1]_. The equations are solved
    by conjugate gradients, with a preconditioner for every bin.

    Parameters
    ----------
    g : ndarray of shape (n_sources, n_mics, 2 * reach)
        Filters, half of whose taps look ahead.
    x : ndarray of shape (n_mics, n_samples)
        What is filtered, in the same precision.
    n_taps, n_future : int
        Taps to find, and those that look ahead; at most `reach`, as those that don't.
    n_iter : int, default=30
        Iterations. With 60, two to four sources were as good within 0.1 dB.

    Returns
    -------
    h : ndarray of shape (n_sources, n_mics, n_taps)
        The filters.

    References
    ----------
    .. [1] N. Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time
       Series", MIT Press, 1949.
    """
    n_mics, n_samples = x.shape
    reach = g.shape[2] // 2
    kept = slice(reach - n_future, reach - n_future + n_taps)
    rest = g.copy()
    rest[..., kept] = 0
    long = scipy.fft.next_fast_len(n_samples + 2 * reach, real=True)
    size = scipy.fft.next_fast_len(2 * n_taps, real=True)
    X = scipy.fft.rfft(x, long)
    # Correlations of microphones at lags of less than the taps, and their spectra.
    R = np.zeros((n_mics, n_mics, size), x.dtype)
    lags = np.arange(n_taps)
    for m, other in enumerate(X):
        r = scipy.fft.irfft(X.conj() * other, long)
        R[:, m, lags], R[:, m, -lags[1:]] = r[:, lags], r[:, -lags[1:]]
    wanted = np.empty((len(g), n_mics, n_taps), x.dtype)
    for k, G in enumerate(scipy.fft.rfft(rest, long)):
        Y = np.einsum("mf,mf->f", G, X)
        wanted[k] = scipy.fft.irfft(X.conj() * Y, long)[:, kept]
    S = scipy.fft.rfft(R)
    load = LOADING * np.einsum("iif->f", S).real.mean() / n_mics
    load = (load or 1) * np.eye(n_mics, dtype=x.dtype)[..., None]
    S += load
    # Triangular windows keep the spectra of those that are used positive.
    R[..., lags] *= 1 - lags.astype(x.dtype) / n_taps
    R[..., -lags[1:]] *= 1 - lags[1:].astype(x.dtype) / n_taps
    P = scipy.fft.rfft(R) + load
    inverse = np.linalg.inv(P.transpose(2, 0, 1)).transpose(1, 2, 0)
    h, residual = np.zeros_like(wanted), wanted
    z = _convolved(inverse, residual, size)
    direction, now = z, _inner(residual, z)
    for _ in range(n_iter):
        image = _convolved(S, direction, size)
        step = _ratio(now, _inner(direction, image))
        h = h + step * direction
        residual = residual - step * image
        z = _convolved(inverse, residual, size)
        before, now = now, _inner(residual, z)
        direction = z + _ratio(now, before) * direction
    return g[..., kept] + h


def _convolved(S, g, size):
    """Convolve filters with the correlations whose spectra are S, and cut them."""
    R = np.einsum("ijf,kjf->kif", S, scipy.fft.rfft(g, size))
    return scipy.fft.irfft(R, size)[..., : g.shape[2]]


def _inner(a, b):
    """Inner products of each source's filters."""
    return np.einsum("kmj,kmj->k", a, b, dtype=float)[:, None, None]


def _ratio(a, b):
    """Quotients in single precision, zero where the divisor isn't positive."""
    ratio = np.divide(a, b, out=np.zeros_like(a), where=b > 0)
    return ratio.astype(np.float32)
