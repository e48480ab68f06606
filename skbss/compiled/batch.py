"""Loops of the batch separators: products with features, and factorizations.

All arrays are C-contiguous, of one real data type. A loop is vectorized only where
LLVM sees that what it writes is not what it reads, with few comparisons of addresses.
Hence the arrays of constant length that rows are summed in, and the functions that
read several rows and return sums.
"""

# License: BSD-3-Clause

import numpy as np

from skbss.compiled.jit import inlined, kernel

# Columns at a time, so that two rows of sums stay in L1.
WIDTH = 2048


@inlined
def _dots(p0, p1, p2, p3, q0, q1):
    """Dot products of four rows with each of two."""
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
def dot_rows(P, u, out):
    """Write the dot products of the rows of P with those of u.

    Parameters
    ----------
    P : ndarray of shape (n, n_rows, size)
        Features.
    u : ndarray of shape (n_sources, n, size)
        Weights.
    out : ndarray of shape (n, n_sources, n_rows)
        Where to write ``u.transpose(1, 0, 2) @ P.transpose(0, 2, 1)``.
    """
    n, n_rows, size = P.shape
    K = len(u)
    # Single precision rounds longer sums too much.
    width = WIDTH if P.itemsize == 8 else WIDTH // 4
    out[:] = 0
    for i in range(n):
        for start in range(0, size, width):
            tile = slice(start, min(start + width, size))
            for r in range(0, n_rows, 4):
                p0 = P[i, r][tile]
                p1 = P[i, min(r + 1, n_rows - 1)][tile]
                p2 = P[i, min(r + 2, n_rows - 1)][tile]
                p3 = P[i, min(r + 3, n_rows - 1)][tile]
                for k in range(0, K, 2):
                    two = u[k, i][tile], u[min(k + 1, K - 1), i][tile]
                    first, second = _dots(p0, p1, p2, p3, two[0], two[1])
                    for j in range(min(4, n_rows - r)):
                        out[i, k, r + j] += first[j]
                        if k + 1 < K:
                            out[i, k + 1, r + j] += second[j]


@inlined
def _add_four(p0, p1, p2, p3, v, w, sums):
    """Add four rows, weighted by v and by w, to two rows of sums."""
    a, b, c, d = v[0], v[1], v[2], v[3]
    A, B, C, D = w[0], w[1], w[2], w[3]
    for j in range(len(p0)):
        # Both are written last: after writing, all would have to be read again.
        x, y, z, q = p0[j], p1[j], p2[j], p3[j]
        first = sums[j] + x * a + y * b + z * c + q * d
        second = sums[j + WIDTH] + x * A + y * B + z * C + q * D
        sums[j] = first
        sums[j + WIDTH] = second


@kernel
def add_rows(P, weights, out):
    """Add weighted sums of the rows of P.

    Parameters
    ----------
    P : ndarray of shape (n, n_rows, size)
        Features.
    weights : ndarray of shape (n, n_sources, n_rows)
        Weights.
    out : ndarray of shape (n_sources, n, size)
        To what ``(weights @ P).transpose(1, 0, 2)`` is added.
    """
    _add_rows(P, weights, out)


@inlined
def _add_rows(P, weights, out):
    n, n_rows, size = P.shape
    K = len(out)
    sums = np.empty(2 * WIDTH, P.dtype)
    w = np.zeros((K + 1, n_rows + 3), P.dtype)
    last = n_rows - 1
    for i in range(n):
        for k in range(K):
            for r in range(n_rows):
                w[k, r] = weights[i, k, r]
        for start in range(0, size, WIDTH):
            tile = slice(start, min(start + WIDTH, size))
            for k in range(0, K, 2):
                width = tile.stop - start
                sums[:width] = 0
                sums[WIDTH : WIDTH + width] = 0
                for r in range(0, n_rows, 4):
                    p0, p1 = P[i, r][tile], P[i, min(r + 1, last)][tile]
                    p2, p3 = P[i, min(r + 2, last)][tile], P[i, min(r + 3, last)][tile]
                    _add_four(p0, p1, p2, p3, w[k, r:], w[k + 1, r:], sums)
                for s in range(min(2, K - k)):
                    to = out[k + s, i][tile]
                    for j in range(width):
                        to[j] += sums[s * WIDTH + j]


@inlined
def _write_precision(b, c, u):
    """Write 1 / (b @ c) to a row u; b of shape (n_basis,), c of (n_basis, n_frames)."""
    zero, one = u.dtype.type(0), u.dtype.type(1)
    last = len(b) - 1
    u[:] = 0
    for m in range(0, len(b), 4):
        b0 = b[m]
        b1 = b[m + 1] if m + 1 <= last else zero
        b2 = b[m + 2] if m + 2 <= last else zero
        b3 = b[m + 3] if m + 3 <= last else zero
        c0, c1 = c[m], c[min(m + 1, last)]
        c2, c3 = c[min(m + 2, last)], c[min(m + 3, last)]
        if m + 4 <= last:
            for t in range(len(u)):
                u[t] += c0[t] * b0 + c1[t] * b1 + c2[t] * b2 + c3[t] * b3
        else:
            for t in range(len(u)):
                r = u[t] + c0[t] * b0 + c1[t] * b1 + c2[t] * b2 + c3[t] * b3
                u[t] = one / r


@inlined
def _write_terms(b, c, y, u, v):
    """Write 1 / r and y / r² for the variances r = b @ c."""
    _write_precision(b, c, u)
    for t in range(len(u)):
        v[t] = u[t] * u[t] * abs(y[t])


@kernel
def precision(basis, activations, start, out):
    """Write the inverse variances of some bins.

    Parameters
    ----------
    basis : ndarray of shape (n_sources, n_freqs, n_basis)
        Spectra.
    activations : ndarray of shape (n_sources, n_basis, n_frames)
        Their loudness.
    start : int
        The first bin.
    out : ndarray of shape (n_sources, n_bins, n_frames)
        Where to.
    """
    for k in range(out.shape[0]):
        for i in range(out.shape[1]):
            _write_precision(basis[k, start + i], activations[k], out[k, i])


@kernel
def update_factors(y, basis, activations, start, root, limits, sums):
    """Update the bases of some bins, and add to what the activations' update needs.

    Parameters
    ----------
    y : ndarray of shape (n_sources, n_bins, n_frames)
        Output powers, up to their sign.
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
    sums : ndarray of shape (n_sources, n_basis, 2, n_frames)
        Sums over bins, of basis * y / r² and of basis / r, to add to.
    """
    K, n_bins, T = y.shape
    n_basis = basis.shape[2]
    step = 16  # bins at a time, whose terms stay in L2
    last = n_basis - 1
    for first in range(0, n_bins, step):
        n = min(step, n_bins - first)
        terms = np.empty((2, n, T), y.dtype)
        weights = np.empty((2, n_basis, n), y.dtype)
        for k in range(K):
            c = activations[k]
            for i in range(n):
                b = basis[k, start + first + i]
                v, u = terms[0, i], terms[1, i]
                _write_terms(b, c, y[k, first + i], u, v)
                for m in range(0, n_basis, 4):
                    c0, c1 = c[m], c[min(m + 1, last)]
                    c2, c3 = c[min(m + 2, last)], c[min(m + 3, last)]
                    above, below = _dots(c0, c1, c2, c3, v, u)
                    for j in range(min(4, n_basis - m)):
                        ratio = above[j] / below[j]
                        ratio = np.sqrt(ratio) if root else ratio
                        b[m + j] = min(max(b[m + j] * ratio, limits[0]), limits[1])
                _write_terms(b, c, y[k, first + i], u, v)
                weights[0, :, i] = b
                weights[1, :, i] = b
            _add_rows(terms, weights, sums[k])


@inlined
def _sum_log(x):
    total = 0.0
    for start in range(0, len(x), 32):
        part = x[start : start + 32]
        product = 1.0
        for j in range(len(part)):
            product *= part[j]
        if 1e-300 < product < 1e300:
            total += np.log(product)
        else:
            for j in range(len(part)):
                total += np.log(np.float64(part[j]))
    return total


@kernel
def sum_log(x):
    """Sum of the logarithms of an array of shape (n_sources, n_bins, n_frames)."""
    total = 0.0
    for k in range(x.shape[0]):
        for i in range(x.shape[1]):
            total += _sum_log(x[k, i])
    return total


@kernel
def power_features(W, out):
    """See `skbss.linalg.power_features`."""
    K, M, n_bins = W.shape
    n_pairs = M * (M - 1) // 2
    for k in range(K):
        p = M
        for i in range(M):
            a, power = W[k, i], out[k, i]
            for f in range(n_bins):
                power[f] = a[f].real * a[f].real + a[f].imag * a[f].imag
            for j in range(i + 1, M):
                b, re, im = W[k, j], out[k, p], out[k, p + n_pairs]
                for f in range(n_bins):
                    half = a[f].real * b[f].real + a[f].imag * b[f].imag
                    re[f] = half + half
                for f in range(n_bins):
                    half = a[f].real * b[f].imag - a[f].imag * b[f].real
                    im[f] = half + half
                p += 1


@kernel
def unpack_hermitian(S, out):
    """See `skbss.linalg.unpack_hermitian`; for stacks with one leading axis."""
    K, _, n_bins = S.shape
    M = out.shape[1]
    n_pairs = M * (M - 1) // 2
    for k in range(K):
        p = M
        for i in range(M):
            power, diagonal = S[k, i], out[k, i, i]
            for f in range(n_bins):
                diagonal[f] = power[f]
            for j in range(i + 1, M):
                re, im = S[k, p], S[k, p + n_pairs]
                upper, lower = out[k, i, j], out[k, j, i]
                for f in range(n_bins):
                    upper[f] = complex(re[f], im[f])
                for f in range(n_bins):
                    lower[f] = complex(re[f], -im[f])
                p += 1
