"""Loops of dereverberation that numpy would have to stack frames for.

What kernels call is in this file, and so are constants: numba's cache knows that they
changed by the date of the file that a kernel is in, and would use stale code if they
were in another one.
"""

# License: BSD-3-Clause

import numpy as np
from numba import njit

# Sums may be reordered, so that they can be vectorized. NaN and infinities keep their
# meaning, and divisions aren't replaced by products with reciprocals, which overflow
# for subnormal numbers.
OPTIONS = {
    "error_model": "numpy",
    "nogil": True,
    "fastmath": {"reassoc", "contract", "nsz"},
}
kernel = njit(**OPTIONS, cache=True)
# What kernels call must be inlined: a process that compiles and one that reads the
# cache would take different copies of it otherwise, which may round differently.
inlined = njit(**OPTIONS, forceinline=True)

# Frames that are worked on at a time, so that their products stay in the cache.
CHUNK = 256


@inlined
def _four_dots(w, start, u, v):
    """Dot products of u and of v with four neighboring stretches of w."""
    n = len(u)
    w0, w1 = w[start : start + n], w[start + 1 : start + 1 + n]
    w2, w3 = w[start + 2 : start + 2 + n], w[start + 3 : start + 3 + n]
    a = b = c = d = e = f = g = h = u.dtype.type(0)
    for t in range(n):
        x, y = u[t], v[t]
        a += w0[t] * x
        b += w1[t] * x
        c += w2[t] * x
        d += w3[t] * x
        e += w0[t] * y
        f += w1[t] * y
        g += w2[t] * y
        h += w3[t] * y
    return a, b, c, d, e, f, g, h


@inlined
def _write_product(ar, ai, br, bi, zr, zi):
    """Write a conj(b) to z."""
    for t in range(len(zr)):
        zr[t] = ar[t] * br[t] + ai[t] * bi[t]
        zi[t] = ai[t] * br[t] - ar[t] * bi[t]


@inlined
def _write_weighted(ar, ai, w, zr, zi):
    """Write a w to z."""
    for t in range(len(zr)):
        zr[t] = ar[t] * w[t]
        zi[t] = ai[t] * w[t]


@inlined
def _two_dots(br, bi, cr, ci, zr, zi):
    """Dot products of conj(z) with b and with c."""
    a = d = e = f = zr.dtype.type(0)
    for t in range(len(zr)):
        x, y = zr[t], zi[t]
        a += br[t] * x + bi[t] * y
        d += bi[t] * x - br[t] * y
        e += cr[t] * x + ci[t] * y
        f += ci[t] * x - cr[t] * y
    return a, d, e, f


@kernel
def correlate(re, im, weights, delay, taps, R, P):
    """Write weighted correlations of past frames with each other and with the present.

    The sum of ``conj(x[s - d]) x[s] w[s + delay + l]`` over frames s is the entry
    (l, l + d) of R. So products of two frames are formed once for all l, the weights
    are real, and half of R is enough.

    Parameters
    ----------
    re, im : ndarray of shape (n_bins, n_mics, pad + n_frames)
        The recording after ``pad = delay + taps - 1`` frames of zeros.
    weights : ndarray of shape (n_bins, n_frames + pad + 4)
        Weights, before zeros.
    delay, taps : int
        Of the filters.
    R : ndarray of shape (2, n_bins, taps, n_mics, taps, n_mics)
        Real and imaginary parts, float64.
    P : ndarray of shape (2, n_bins, taps, n_mics, n_mics)
        Real and imaginary parts, float64.
    """
    n_bins, n_mics, n_padded = re.shape
    pad = delay + taps - 1
    n_frames = n_padded - pad
    zr, zi = np.empty(CHUNK, re.dtype), np.empty(CHUNK, re.dtype)
    sums = np.empty((taps, n_mics, n_mics, taps + 3, 2))
    for f in range(n_bins):
        sums[:] = 0
        P[:, f] = 0
        w = weights[f]
        for start in range(0, n_frames, CHUNK):
            n = min(CHUNK, n_frames - start)
            s = pad + start
            ur, ui = zr[:n], zi[:n]
            for m in range(n_mics):
                ar, ai = re[f, m, s : s + n], im[f, m, s : s + n]
                for lag in range(taps):
                    o = s - lag
                    for k in range(n_mics if lag else m + 1):
                        br, bi = re[f, k, o : o + n], im[f, k, o : o + n]
                        _write_product(ar, ai, br, bi, ur, ui)
                        total = sums[lag, m, k]
                        for tap in range(0, taps - lag, 4):
                            dots = _four_dots(w, start + delay + tap, ur, ui)
                            for i in range(4):
                                total[tap + i, 0] += dots[i]
                                total[tap + i, 1] += dots[4 + i]
                _write_weighted(ar, ai, w[start : start + n], ur, ui)
                for tap in range(0, taps, 2):
                    o = s - delay - tap
                    q = max(o - 1, 0)  # not used if it is before the first tap
                    for k in range(n_mics):
                        a, b, c, d = _two_dots(
                            re[f, k, o : o + n],
                            im[f, k, o : o + n],
                            re[f, k, q : q + n],
                            im[f, k, q : q + n],
                            ur,
                            ui,
                        )
                        P[0, f, tap, k, m] += a
                        P[1, f, tap, k, m] += b
                        if tap + 1 < taps:
                            P[0, f, tap + 1, k, m] += c
                            P[1, f, tap + 1, k, m] += d
        for lag in range(taps):
            for m in range(n_mics):
                for k in range(n_mics if lag else m + 1):
                    for tap in range(taps - lag):
                        a, b = sums[lag, m, k, tap]
                        R[0, f, tap, m, tap + lag, k] = a
                        R[1, f, tap, m, tap + lag, k] = b
                        R[0, f, tap + lag, k, tap, m] = a
                        R[1, f, tap + lag, k, tap, m] = -b


@inlined
def _subtract(a, c, past, g):
    """Subtract the sum of g b over four frames (b, g) from a + ic."""
    (pr, pi), (qr, qi), (rr, ri), (sr, si) = past
    (dr, di), (er, ei), (fr, fi), (hr, hi) = g
    for t in range(len(a)):
        x = pr[t] * dr - pi[t] * di + qr[t] * er - qi[t] * ei
        y = pr[t] * di + pi[t] * dr + qr[t] * ei + qi[t] * er
        x += rr[t] * fr - ri[t] * fi + sr[t] * hr - si[t] * hi
        y += rr[t] * fi + ri[t] * fr + sr[t] * hi + si[t] * hr
        a[t] -= x
        c[t] -= y


@inlined
def _frame(re, im, start, n):
    """Frames from one on, or any with it where it is before the first one."""
    start = max(start, 0)
    return re[start : start + n], im[start : start + n]


@inlined
def _factor(Gr, Gi, tap, k):
    """Filter of a tap, zero beyond the last one."""
    if tap < len(Gr):
        return Gr[tap, k], Gi[tap, k]
    return Gr.dtype.type(0), Gi.dtype.type(0)


@kernel
def subtract_prediction(re, im, Gr, Gi, delay, yr, yi):
    """Write frames less what past frames predict of them.

    Parameters
    ----------
    re, im : ndarray of shape (n_bins, n_mics, pad + n_frames)
        As for `correlate`.
    Gr, Gi : ndarray of shape (n_bins, n_mics, taps, n_mics)
        Filters, real and imaginary parts, in the precision of `re`.
    delay : int
        Frames between the present and the last one that is looked at.
    yr, yi : ndarray of shape (n_bins, n_mics, n_frames)
        Where to write them.
    """
    n_bins, n_mics, n_padded = re.shape
    taps = Gr.shape[2]
    pad = delay + taps - 1
    n_frames = n_padded - pad
    for f in range(n_bins):
        for start in range(0, n_frames, CHUNK):
            n = min(CHUNK, n_frames - start)
            s = pad + start
            for m in range(n_mics):
                a, c = yr[f, m, start : start + n], yi[f, m, start : start + n]
                a[:] = re[f, m, s : s + n]
                c[:] = im[f, m, s : s + n]
                for k in range(n_mics):
                    for tap in range(0, taps, 4):
                        o, gr, gi = s - delay - tap, Gr[f, m], Gi[f, m]
                        past = (
                            _frame(re[f, k], im[f, k], o, n),
                            _frame(re[f, k], im[f, k], o - 1, n),
                            _frame(re[f, k], im[f, k], o - 2, n),
                            _frame(re[f, k], im[f, k], o - 3, n),
                        )
                        g = (
                            _factor(gr, gi, tap, k),
                            _factor(gr, gi, tap + 1, k),
                            _factor(gr, gi, tap + 2, k),
                            _factor(gr, gi, tap + 3, k),
                        )
                        _subtract(a, c, past, g)
