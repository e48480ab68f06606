"""Iterative projection, for `skbss.updates.spatial`."""

# License: BSD-3-Clause

import numpy as np

from skbss.compiled.jit import inlined, kernel
from skbss.compiled.rows import LANES, dot, load, orthogonal_to_others


@kernel
def ip1(W, V, mics):
    """Update demixing matrices in place; see `skbss.updates.spatial.ip1`.

    Parameters
    ----------
    W : ndarray of shape (n_mics, n_mics, n_bins)
        Demixing matrices, complex128.
    V : ndarray of shape (n_mics, n_mics, n_mics, n_bins)
        Covariances, complex128.
    mics : tuple of length n_mics
        See `skbss.compiled.rows`.
    """
    M = len(mics)
    n_bins = W.shape[2]
    # Rows of W, of a lower triangle L, of the inverse pivots, and of two vectors.
    L = M * M
    D = L + M * M
    A = D + M
    T = A + M
    s = np.zeros((T + 2, 2 * LANES))
    for first in range(0, n_bins, LANES):
        size = min(LANES, n_bins - first)
        for k in range(M):
            for m in range(M):
                load(s, k * M + m, W[k, m], first)
        for k in range(M):
            for i in range(M):
                for j in range(i + 1):
                    load(s, L + i * M + j, V[k, i, j], first)
            _factor(s, M, L, D)
            orthogonal_to_others(s, M, 0, k, A, T)
            dot(s, T, k * M, A, mics)
            _solve(s, M, L, D, A, T + 1)
            for i in range(LANES):
                # The phase of wₖ a, over the root of aᴴ V⁻¹ a.
                size_2 = s[T, i] * s[T, i] + s[T, LANES + i] * s[T, LANES + i]
                gain = 1 / (np.sqrt(size_2) * np.sqrt(s[T + 1, i]))
                s[T, i] *= gain
                s[T, LANES + i] *= gain
            for m in range(M):
                row = k * M + m
                for i in range(LANES):
                    ar, ai = s[A + m, i], -s[A + m, LANES + i]
                    tr, ti = s[T, i], s[T, LANES + i]
                    s[row, i] = ar * tr - ai * ti
                    s[row, LANES + i] = ar * ti + ai * tr
                for i in range(size):
                    W[k, m, first + i] = complex(s[row, i], s[row, LANES + i])


@inlined
def _factor(s, M, L, D):
    """Turn the lower triangle of a matrix to that of L and the inverse pivots D."""
    eps = np.finfo(np.float64).eps
    for j in range(M):
        # Rounding may bring the pivot of a nearly singular matrix to zero or below. D
        # has what was on the diagonal first.
        pivot = L + j * M + j
        for i in range(LANES):
            s[D + j, i] = s[pivot, i]
        for m in range(j):
            for i in range(LANES):
                re, im = s[L + j * M + m, i], s[L + j * M + m, LANES + i]
                s[pivot, i] -= (re * re + im * im) * s[L + m * M + m, i]
        for i in range(LANES):
            s[pivot, i] = max(s[pivot, i], eps * s[D + j, i])
            s[D + j, i] = 1 / s[pivot, i]
        for n in range(j + 1, M):
            for m in range(j):
                for i in range(LANES):
                    ar, ai = s[L + n * M + m, i], s[L + n * M + m, LANES + i]
                    br, bi = s[L + j * M + m, i], -s[L + j * M + m, LANES + i]
                    d = s[L + m * M + m, i]
                    s[L + n * M + j, i] -= (ar * br - ai * bi) * d
                    s[L + n * M + j, LANES + i] -= (ar * bi + ai * br) * d
            for i in range(LANES):
                s[L + n * M + j, i] *= s[D + j, i]
                s[L + n * M + j, LANES + i] *= s[D + j, i]


@inlined
def _solve(s, M, L, D, A, form):
    """Solve L D Lᴴ u = a in place, and write the forms aᴴ u."""
    for j in range(M):
        for n in range(j + 1, M):
            for i in range(LANES):
                ar, ai = s[A + j, i], s[A + j, LANES + i]
                br, bi = s[L + n * M + j, i], s[L + n * M + j, LANES + i]
                s[A + n, i] -= ar * br - ai * bi
                s[A + n, LANES + i] -= ar * bi + ai * br
    for i in range(LANES):
        s[form, i] = 0
    for j in range(M):
        for i in range(LANES):
            re, im = s[A + j, i], s[A + j, LANES + i]
            s[form, i] += (re * re + im * im) * s[D + j, i]
            s[A + j, i] = re * s[D + j, i]
            s[A + j, LANES + i] = im * s[D + j, i]
    for j in range(M - 1, -1, -1):
        for n in range(j + 1, M):
            for i in range(LANES):
                ar, ai = s[A + n, i], s[A + n, LANES + i]
                br, bi = s[L + n * M + j, i], -s[L + n * M + j, LANES + i]
                s[A + j, i] -= ar * br - ai * bi
                s[A + j, LANES + i] -= ar * bi + ai * br
