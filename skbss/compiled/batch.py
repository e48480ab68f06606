"""Loops of the batch separators that numpy passes through memory for again and again.

All arrays are C-contiguous, of one real data type. A loop is vectorized only where
LLVM sees that what it writes is not what it reads, with few comparisons of addresses.
Hence the functions that read several rows and return sums.

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

# Bins whose variances are multiplied before a logarithm is taken.
STEP = 16


@inlined
def _four_rows(P, first):
    """Four rows from the first on, the last one over and over at the end."""
    last = len(P) - 1
    return (
        P[min(first, last)],
        P[min(first + 1, last)],
        P[min(first + 2, last)],
        P[min(first + 3, last)],
    )


@inlined
def _four_entries(b, first):
    """Four entries from the first on, zeros at the end."""
    zero, n = b.dtype.type(0), len(b)
    return (
        b[first],
        b[first + 1] if first + 1 < n else zero,
        b[first + 2] if first + 2 < n else zero,
        b[first + 3] if first + 3 < n else zero,
    )


@inlined
def _write_precision(b, c, u):
    """Write 1 / (b @ c) to a row u; b of shape (n_basis,), c of (n_basis, n_frames)."""
    zero, one = u.dtype.type(0), u.dtype.type(1)
    for m in range(0, len(b), 4):
        b0, b1, b2, b3 = _four_entries(b, m)
        c0, c1, c2, c3 = _four_rows(c, m)
        is_last = m + 4 >= len(b)
        for t in range(len(u)):
            r = c0[t] * b0 + c1[t] * b1 + c2[t] * b2 + c3[t] * b3
            r += u[t] if m else zero
            u[t] = one / r if is_last else r


@inlined
def _dots(p, u, v):
    """Dot products of four rows with each of two."""
    p0, p1, p2, p3 = p
    a = b = c = d = e = f = g = h = p0.dtype.type(0)
    for t in range(len(u)):
        x, y = u[t], v[t]
        a += p0[t] * x
        b += p1[t] * x
        c += p2[t] * x
        d += p3[t] * x
        e += p0[t] * y
        f += p1[t] * y
        g += p2[t] * y
        h += p3[t] * y
    return (a, b, c, d), (e, f, g, h)


@kernel
def update_factors(power, basis, activations, start, root, limits, sums):
    """Update the bases of some bins, and add to what the activations' update needs.

    Parameters
    ----------
    power : ndarray of shape (n_bins, n_sources, n_columns)
        Powers y of the outputs, in a column for each frame, and maybe more.
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
        Sums over bins, of basis * y / r² and of basis / r, to add to.
    """
    K, n_basis, T = activations.shape
    n_bins = len(power)
    u, v = np.empty(T, power.dtype), np.empty(T, power.dtype)
    for k in range(K):
        c = activations[k]
        for i in range(n_bins):
            b, y = basis[k, start + i], power[i, k]
            for is_second in range(2):
                _write_precision(b, c, u)
                for t in range(T):
                    v[t] = u[t] * u[t] * abs(y[t])
                if is_second:
                    break
                for m in range(0, n_basis, 4):
                    above, below = _dots(_four_rows(c, m), v, u)
                    for j in range(min(4, n_basis - m)):
                        ratio = above[j] / below[j]
                        ratio = np.sqrt(ratio) if root else ratio
                        b[m + j] = min(max(b[m + j] * ratio, limits[0]), limits[1])
            for m in range(n_basis):
                above_sums, below_sums = sums[0, k, m], sums[1, k, m]
                for t in range(T):
                    above_sums[t] += b[m] * v[t]
                for t in range(T):
                    below_sums[t] += b[m] * u[t]


@kernel
def precisions(basis, activations, start, out):
    """Write inverse variances of some bins; return the sum of their logarithms.

    Parameters
    ----------
    basis : ndarray of shape (n_sources, n_freqs, n_basis)
        Spectra.
    activations : ndarray of shape (n_sources, n_basis, n_frames)
        Their loudness.
    start : int
        The first bin.
    out : ndarray of shape (n_sources, n_bins, n_frames)
        Where to write.

    Returns
    -------
    log_precision : float
        The sum.
    """
    K, n_bins, T = out.shape
    product = np.empty(T)
    total = 0.0
    for k in range(K):
        for first in range(0, n_bins, STEP):
            last = min(first + STEP, n_bins)
            product[:] = 1
            for i in range(first, last):
                u = out[k, i]
                _write_precision(basis[k, start + i], activations[k], u)
                for t in range(T):
                    product[t] *= u[t]
            # Logarithms take as long as twenty multiplications each.
            of_all = 1.0
            for t in range(T):
                if 1e-150 < product[t] < 1e150:
                    of_all *= product[t]
                else:
                    for i in range(first, last):
                        total += np.log(np.float64(out[k, i, t]))
                if not 1e-150 < of_all < 1e150:
                    total += np.log(of_all)
                    of_all = 1.0
            total += np.log(of_all)
    return total


@inlined
def _slide(p, b, half, sums):
    """Move sums of rows around a row on to the b-th, if they are of the one before."""
    if b + half < len(p):
        row = p[b + half]
        for t in range(len(sums)):
            sums[t] += row[t]
    if b > half:
        row = p[b - half - 1]
        for t in range(len(sums)):
            sums[t] -= row[t]


@kernel
def add_cliques(power, width, least, least_inverse, precision, product):
    """Add cliques of one width; see `skbss.updates.source.clique_sums`.

    Parameters
    ----------
    power : ndarray of shape (n_sources, n_bands, n_frames)
        Mean powers.
    width : int
        Odd number of bands.
    least, least_inverse : float
        What variances and means of precisions are at least.
    precision : ndarray of shape (n_sources, n_bands, n_frames)
        Sums to add to.
    product : ndarray of shape (n_sources, n_bands, n_frames)
        Products to multiply, float64.
    """
    K, n_bands, T = power.shape
    half, gain = width // 2, 1 / width
    sums = np.empty(T)
    inverse = np.empty((n_bands, T), power.dtype)
    for k in range(K):
        sums[:] = 0
        for b in range(-half, n_bands):
            _slide(power[k], b, half, sums)
            if b >= 0:
                of_band, to = inverse[b], product[k, b]
                for t in range(T):
                    mean = max(sums[t] * gain, least)
                    of_band[t] = 1 / mean
                    to[t] *= mean
        sums[:] = 0
        for b in range(-half, n_bands):
            _slide(inverse, b, half, sums)
            if b >= 0:
                to = precision[k, b]
                for t in range(T):
                    to[t] += max(sums[t] * gain, least_inverse)
