"""Loops of the batch separators: products with features, and factorizations.

All arrays are C-contiguous, of one real data type. A loop is vectorized only where
LLVM sees that what it writes is not what it reads, with few comparisons of addresses.
Hence the arrays of constant length that rows are summed in, and the functions that
read several rows and return sums.
"""

# License: BSD-3-Clause

import numpy as np

from skbss.compiled import CACHE_BYTES
from skbss.compiled.jit import inlined, kernel, read_through

# Columns at a time, so that two rows of sums stay in L1.
WIDTH = 2048
# Features of more bytes come from memory.
FAR_BYTES = 1 << 24
# Bins at a time, whose outputs and variances stay in L2.
STEP = 16


@inlined
def _step_of_whole(P):
    """Tell how many bins to read through at a time, or 0 where it isn't worth it."""
    of_bin = P[0].size * P.itemsize
    # Of longer rows the processor reads ahead.
    if P.size * P.itemsize <= FAR_BYTES or of_bin > CACHE_BYTES // 2:
        return 0
    return CACHE_BYTES // 2 // of_bin


@inlined
def _step_of_block(p):
    """Tell the same of bins that are to be read through at once."""
    return len(p) if p.size * p.itemsize <= CACHE_BYTES else 0


@inlined
def _read_next(P, i, step):
    """Read bins through from the i-th on, where it is the first of some."""
    if step and i % step == 0:
        read_through(P[i : i + step])


@inlined
def _four_rows(P, first, start, stop):
    """Columns of four rows from the first on, the last one over and over at the end."""
    last = len(P) - 1
    return (
        P[min(first, last), start:stop],
        P[min(first + 1, last), start:stop],
        P[min(first + 2, last), start:stop],
        P[min(first + 3, last), start:stop],
    )


@inlined
def _dots(p, q0, q1):
    """Dot products of four rows with each of two."""
    p0, p1, p2, p3 = p
    a = b = c = d = e = f = g = h = p0.dtype.type(0)
    for j in range(len(p0)):
        x, y = q0[j], q1[j]
        a += p0[j] * x
        b += p1[j] * x
        c += p2[j] * x
        d += p3[j] * x
        e += p0[j] * y
        f += p1[j] * y
        g += p2[j] * y
        h += p3[j] * y
    return (a, b, c, d), (e, f, g, h)


@kernel
def dot_rows(P, u):
    """See `skbss.updates.recording.dot_rows`."""
    out = np.empty((len(P), len(u), P.shape[1]), P.dtype)
    _dot_rows(P, u, out, _step_of_whole(P))
    return out


@inlined
def _dot_rows(P, u, out, step):
    n, n_rows, size = P.shape
    K = len(u)
    # Single precision rounds longer sums too much.
    width = WIDTH if P.itemsize == 8 else WIDTH // 4
    out[:] = 0
    for i in range(n):
        _read_next(P, i, step)
        for start in range(0, size, width):
            stop = min(start + width, size)
            for r in range(0, n_rows, 4):
                p = _four_rows(P[i], r, start, stop)
                for k in range(0, K, 2):
                    q, s = u[k, i, start:stop], u[min(k + 1, K - 1), i, start:stop]
                    first, second = _dots(p, q, s)
                    for j in range(min(4, n_rows - r)):
                        out[i, k, r + j] += first[j]
                        if k + 1 < K:
                            out[i, k + 1, r + j] += second[j]


@inlined
def _add_eight(p, q, v, w, sums, more):
    """Add eight rows, weighted by v and by w, to two rows of sums."""
    p0, p1, p2, p3 = p
    p4, p5, p6, p7 = q
    a, b, c, d, e, f, g, h = v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]
    A, B, C, D, E, F, G, H = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
    for j in range(len(p0)):
        # Both are written last: after writing, all would have to be read again.
        x, y, z, q = p0[j], p1[j], p2[j], p3[j]
        first = sums[j] + x * a + y * b + z * c + q * d
        second = more[j] + x * A + y * B + z * C + q * D
        x, y, z, q = p4[j], p5[j], p6[j], p7[j]
        first += x * e + y * f + z * g + q * h
        second += x * E + y * F + z * G + q * H
        sums[j] = first
        more[j] = second


@kernel
def sum_rows(P, weights):
    """See `skbss.updates.recording.sum_rows`."""
    out = np.empty((weights.shape[1], len(P), P.shape[2]), P.dtype)
    _sum_rows(P, weights, out, False, _step_of_whole(P))
    return out


@inlined
def _sum_rows(P, weights, out, adds, step):
    n, n_rows, size = P.shape
    K = len(out)
    width = min(WIDTH, size)
    sums = np.empty((K + 1) * width, P.dtype)
    w = np.zeros((K + 1, n_rows + 7), P.dtype)
    for i in range(n):
        _read_next(P, i, step)
        for k in range(K):
            for r in range(n_rows):
                w[k, r] = weights[i, k, r]
        for start in range(0, size, width):
            stop = min(start + width, size)
            sums[:] = 0
            for r in range(0, n_rows, 8):
                p = _four_rows(P[i], r, start, stop)
                q = _four_rows(P[i], r + 4, start, stop)
                for k in range(0, K, 2):
                    first, second = sums[k * width :], sums[(k + 1) * width :]
                    _add_eight(p, q, w[k, r:], w[k + 1, r:], first, second)
            for k in range(K):
                to, row = out[k, i, start:stop], sums[k * width :]
                if adds:
                    for j in range(len(to)):
                        to[j] += row[j]
                else:
                    for j in range(len(to)):
                        to[j] = row[j]


@inlined
def _write_precision(b, c, u):
    """Write 1 / (b @ c) to a row u; b of shape (n_basis,), c of (n_basis, n_frames)."""
    zero, one = u.dtype.type(0), u.dtype.type(1)
    last = len(b) - 1
    for m in range(0, len(b), 4):
        b0 = b[m]
        b1 = b[m + 1] if m + 1 <= last else zero
        b2 = b[m + 2] if m + 2 <= last else zero
        b3 = b[m + 3] if m + 3 <= last else zero
        c0, c1, c2, c3 = _four_rows(c, m, 0, len(u))
        if m + 4 <= last:
            for t in range(len(u)):
                r = c0[t] * b0 + c1[t] * b1 + c2[t] * b2 + c3[t] * b3
                u[t] = (u[t] if m else zero) + r
        else:
            for t in range(len(u)):
                r = c0[t] * b0 + c1[t] * b1 + c2[t] * b2 + c3[t] * b3
                u[t] = one / ((u[t] if m else zero) + r)


@inlined
def _write_terms(b, c, y, u, v):
    """Write 1 / r and y / r² for the variances r = b @ c."""
    _write_precision(b, c, u)
    for t in range(len(u)):
        v[t] = u[t] * u[t] * abs(y[t])


@kernel
def update_factors(P, Q, basis, activations, start, root, limits, sums):
    """Update the bases of some bins, and add to what the activations' update needs.

    Parameters
    ----------
    P : ndarray of shape (n_bins, n_mics ** 2, n_columns)
        Features of the bins, zero beyond the last frame.
    Q : ndarray of shape (n_bins, n_sources, n_mics ** 2)
        Power features of their demixing matrices.
    basis : ndarray of shape (n_sources, n_freqs, n_basis)
        Spectra, updated in place.
    activations : ndarray of shape (n_sources, n_basis, n_frames)
        Their loudness.
    start : int
        The first bin.
    root : bool
        Whether to take the square root of ratios.
    limits : ndarray of shape (2,)
        Least and greatest entry of the bases.
    sums : ndarray of shape (2, n_sources, n_basis, n_frames)
        Sums over bins, of basis * y / r² and of basis / r, to write.
    """
    n_bins, _, n_columns = P.shape
    K, n_basis, T = activations.shape
    by_source = np.zeros((K, n_basis, 2, T), P.dtype)
    for first in range(0, n_bins, STEP):
        n = min(STEP, n_bins - first)
        y = np.empty((K, n, n_columns), P.dtype)
        terms = np.empty((2, n, T), P.dtype)
        weights = np.empty((2, n_basis, n), P.dtype)
        p = P[first : first + n]
        _sum_rows(p, Q[first : first + n], y, False, _step_of_block(p))
        for k in range(K):
            c = activations[k]
            for i in range(n):
                b = basis[k, start + first + i]
                v, u = terms[0, i], terms[1, i]
                _write_terms(b, c, y[k, i, :T], u, v)
                for m in range(0, n_basis, 4):
                    above, below = _dots(_four_rows(c, m, 0, T), v, u)
                    for j in range(min(4, n_basis - m)):
                        ratio = above[j] / below[j]
                        ratio = np.sqrt(ratio) if root else ratio
                        b[m + j] = min(max(b[m + j] * ratio, limits[0]), limits[1])
                _write_terms(b, c, y[k, i, :T], u, v)
                for m in range(n_basis):
                    weights[0, m, i] = weights[1, m, i] = b[m]
            _sum_rows(terms, weights, by_source[k], True, 0)
    for k in range(K):
        for m in range(n_basis):
            for j in range(2):
                for t in range(T):
                    sums[j, k, m, t] = by_source[k, m, j, t]


@inlined
def _multiply_four(product, p):
    """Multiply a row by four rows."""
    p0, p1, p2, p3 = p
    for t in range(len(product)):
        first, second = np.float64(p0[t]) * p1[t], np.float64(p2[t]) * p3[t]
        product[t] *= first * second


@inlined
def _sum_log(x):
    """Sum of the logarithms, which take as long as twenty multiplications each."""
    K, n_bins, T = x.shape
    product = np.empty(T)
    total = 0.0
    for k in range(K):
        for first in range(0, n_bins, STEP):
            rows = x[k, first : min(first + STEP, n_bins)]
            whole = len(rows) // 4 * 4
            product[:] = 1
            for i in range(0, whole, 4):
                _multiply_four(product, _four_rows(rows, i, 0, T))
            for i in range(whole, len(rows)):
                for t in range(T):
                    product[t] *= rows[i, t]
            of_all = 1.0
            for t in range(T):
                if 1e-150 < product[t] < 1e150:
                    of_all *= product[t]
                else:
                    for i in range(len(rows)):
                        total += np.log(np.float64(rows[i, t]))
                if not 1e-150 < of_all < 1e150:
                    total += np.log(of_all)
                    of_all = 1.0
            total += np.log(of_all)
    return total


@kernel
def weigh_by_factors(P, basis, activations, start, out):
    """Sum features of some bins, weighted by inverse variances.

    Parameters
    ----------
    P : ndarray of shape (n_bins, n_mics ** 2, n_columns)
        Features of the bins, zero beyond the last frame.
    basis : ndarray of shape (n_sources, n_freqs, n_basis)
        Spectra.
    activations : ndarray of shape (n_sources, n_basis, n_frames)
        Their loudness.
    start : int
        The first bin.
    out : ndarray of shape (n_bins, n_sources, n_mics ** 2)
        Where to write the sums.

    Returns
    -------
    log_precision : float
        Sum of the logarithms of the inverse variances.
    """
    n_bins, _, n_columns = P.shape
    K, _, T = activations.shape
    log_precision = 0.0
    for first in range(0, n_bins, STEP):
        n = min(STEP, n_bins - first)
        u = np.ones((K, n, n_columns), P.dtype)
        for k in range(K):
            for i in range(n):
                b = basis[k, start + first + i]
                _write_precision(b, activations[k], u[k, i, :T])
        log_precision += _sum_log(u)
        p = P[first : first + n]
        _dot_rows(p, u, out[first : first + n], _step_of_block(p))
    return log_precision


@kernel
def box_mean(p, width, least, out):
    """See `skbss.updates.source.box_mean`; a mean is at least `least`."""
    K, n_bands, T = p.shape
    half = width // 2
    sums = np.empty(T)
    for k in range(K):
        sums[:] = 0
        for b in range(-half, n_bands):
            if b + half < n_bands:
                row = p[k, b + half]
                for t in range(T):
                    sums[t] += row[t]
            if b > half:
                row = p[k, b - half - 1]
                for t in range(T):
                    sums[t] -= row[t]
            if b >= 0:
                mean = out[k, b]
                for t in range(T):
                    mean[t] = max(sums[t] / width, least)
