"""Hermitian features and small linear algebra, vectorized over frequency bins.

Small matrices, one per bin, are stored with the bins *last*: a stack of matrices is an
array of shape (rows, columns, n_bins). Python loops over rows and columns, numpy over
bins, which for a few microphones beats batched LAPACK calls on (n_bins, rows, columns).

A Hermitian M x M matrix is M * M real numbers: its diagonal, then the real parts, then
the imaginary parts of its upper triangle. In this packing, here called *features*, a
weighted covariance ``sum_t c_t x_t x_t^H`` and a demixed power ``|w^H x_t|^2`` are both
real matrix products with the same matrix, the features of ``x_t x_t^H``.
"""

# License: BSD-3-Clause

from functools import cache
from itertools import chain, combinations

import numpy as np


def hermitian_features(re, im, out):
    """Pack the outer products x xᴴ.

    Parameters
    ----------
    re, im : ndarray of shape (n_mics, ...)
        Real and imaginary parts of the observations x.
    out : ndarray of shape (n_mics ** 2, ...)
        Where to write the features.

    Returns
    -------
    out : ndarray of shape (n_mics ** 2, ...)
        The same array.
    """
    M = len(re)
    n_pairs = M * (M - 1) // 2
    work = np.empty(re.shape[1:], re.dtype)
    diagonal = ((i, i) for i in range(M))
    for p, (i, j) in enumerate(chain(diagonal, _pairs(M))):
        np.multiply(re[i], re[j], out=out[p])
        out[p] += np.multiply(im[i], im[j], out=work)
        if i != j:
            np.multiply(im[i], re[j], out=out[p + n_pairs])
            out[p + n_pairs] -= np.multiply(re[i], im[j], out=work)
    return out


def _pairs(M):
    """Upper triangle, in the order of the features."""
    return combinations(range(M), 2)


@cache
def _upper_triangle(M):
    """Row and column indices of `_pairs`."""
    return np.array(list(_pairs(M)), dtype=int).reshape(-1, 2).T


def unpack_hermitian(S):
    """Unpack features into Hermitian matrices.

    Parameters
    ----------
    S : ndarray of shape (..., M ** 2, n_bins)
        Real features.

    Returns
    -------
    V : ndarray of shape (..., M, M, n_bins)
        Complex Hermitian matrices.
    """
    M = round(np.sqrt(S.shape[-2]))
    V = np.empty((*S.shape[:-2], M, M, S.shape[-1]), np.result_type(S, 1j))
    d = np.arange(M)
    V[..., d, d, :] = S[..., :M, :]
    n_pairs = M * (M - 1) // 2
    for p, (i, j) in enumerate(_pairs(M), M):
        upper = V[..., i, j, :]
        upper.real, upper.imag = S[..., p, :], S[..., p + n_pairs, :]
        np.conjugate(upper, out=V[..., j, i, :])
    return V


def power_features(W):
    """Pack the rows of demixing matrices so that products with features are powers.

    ``power_features(W)[k] . hermitian_features(x)``, summed over the features, is
    ``|sum_m W[k, m] x[m]|^2`` in every bin.

    Parameters
    ----------
    W : ndarray of shape (n_sources, n_mics, n_bins)
        Demixing matrices.

    Returns
    -------
    Q : ndarray of shape (n_sources, n_mics ** 2, n_bins)
        Real features.
    """
    i, j = _upper_triangle(W.shape[1])
    cross = 2 * W[:, i] * W[:, j].conj()
    return np.concatenate([W.real**2 + W.imag**2, cross.real, -cross.imag], axis=1)


def solve_hpd(V, b):
    """Solve V x = b for Hermitian positive definite V, by LDLᴴ without pivoting.

    Parameters
    ----------
    V : ndarray of shape (M, M, n_bins)
        Hermitian positive definite matrices; the lower triangle is read.
    b : ndarray of shape (M, ..., n_bins)
        Right-hand sides.

    Returns
    -------
    x : ndarray of the shape of `b`
        The solutions.
    """
    M = len(V)
    x = list(b)
    S = [[V[i, j] for j in range(i + 1)] for i in range(M)]
    L = [[None] * M for _ in range(M)]
    d = []
    for j in range(M):
        # Rounding may bring the pivot of a nearly singular matrix to zero or below.
        floor = np.finfo(V.real.dtype).eps * V[j, j].real
        d.append(np.maximum(S[j][j].real, floor))
        for i in range(j + 1, M):
            L[i][j] = S[i][j] / d[j]
        for i in range(j + 1, M):
            for k in range(j + 1, i + 1):
                S[i][k] = S[i][k] - L[i][j] * S[k][j].conj()
            x[i] = x[i] - L[i][j] * x[j]
    for i in reversed(range(M)):
        x[i] = x[i] / d[i]
        for k in range(i + 1, M):
            x[i] = x[i] - L[k][i].conj() * x[k]
    return np.array(x)


def _orthogonal(*rows):
    """Generalized cross product: orthogonal, without conjugation, to M - 1 rows."""
    if len(rows) == 1:
        ((a, b),) = rows
        return np.array([b, -a])
    if len(rows) == 2:
        a, b = rows
        return a[[1, 2, 0]] * b[[2, 0, 1]] - a[[2, 0, 1]] * b[[1, 2, 0]]
    outer = rows[1][:, None] * rows[2]
    i, j = _DUAL_OF_PAIR
    minors = outer[i, j] - outer[j, i]
    return (minors * rows[0]).sum(1)


# The 2 x 2 minors of two vectors in four dimensions, as the antisymmetric matrix that
# maps a third vector to what is orthogonal to all three. The diagonal is [i, i]: zero.
_DUAL_OF_PAIR = np.array(
    [
        [[0, 2, 3, 1], [3, 1, 0, 2], [1, 3, 2, 0], [2, 0, 1, 3]],
        [[0, 3, 1, 2], [2, 1, 3, 0], [3, 0, 2, 1], [1, 2, 0, 3]],
    ]
)


# Up to this size cofactors beat LAPACK.
MAX_COFACTORS = 4


def inverse_column(W, k):
    """Column k of the inverses of matrices of shape (M, M, n_bins), 2 <= M <= 4."""
    column = _orthogonal(*(row for i, row in enumerate(W) if i != k))
    return column / (W[k] * column).sum(0)


def inv(W):
    """Invert matrices of shape (M, M, n_bins)."""
    if 2 <= len(W) <= MAX_COFACTORS:
        return np.stack([inverse_column(W, k) for k in range(len(W))], axis=1)
    return np.linalg.inv(W.transpose(2, 0, 1)).transpose(1, 2, 0)


def log_abs_det(W):
    """Logarithm of the absolute determinants of matrices of shape (M, M, n_bins)."""
    if not 2 <= len(W) <= MAX_COFACTORS:
        return np.linalg.slogdet(W.transpose(2, 0, 1)).logabsdet
    return np.log(np.abs((W[0] * _orthogonal(*W[1:])).sum(0)))


def matmul(A, B):
    """Multiply matrices of shape (M, N, n_bins) and (N, K, n_bins)."""
    return (A[:, :, None] * B[None]).sum(1)


def eigh_pencil_2x2(U, V):
    """Eigenvectors of the Hermitian pencil U u = λ V u, 2 x 2, V positive definite.

    Closed form by the Cholesky factor of V, stable for equal eigenvalues and diagonal
    matrices too.

    Parameters
    ----------
    U, V : ndarray of shape (2, 2, n_bins)
        Hermitian matrices.

    Returns
    -------
    u : ndarray of shape (2, 2, n_bins)
        ``u[:, 0]`` has the larger ratio uᴴUu / uᴴVu, ``u[:, 1]`` the smaller one.
    """
    tiny = np.finfo(U.real.dtype).tiny
    # V = R Rᴴ with R = [[r, 0], [s, t]]; then C = R⁻¹ U R⁻ᴴ is an ordinary problem.
    r = np.sqrt(np.maximum(V[0, 0].real, tiny))
    s = V[1, 0] / r
    t2 = V[1, 1].real - (s.real**2 + s.imag**2)
    t = np.sqrt(np.maximum(t2, np.finfo(U.real.dtype).eps * V[1, 1].real + tiny))
    c00 = U[0, 0].real / r**2
    c10 = (U[1, 0] / r - s * c00) / t
    c11 = (U[1, 1].real - 2 * (s.conj() * U[1, 0]).real / r) / t**2
    c11 = c11 + (s.real**2 + s.imag**2) * c00 / t**2
    half = (c00 - c11) / 2
    g = np.abs(half) + np.hypot(half, np.abs(c10))
    g = np.where(g > 0, g, 1)  # equal eigenvalues: any orthogonal pair will do
    first = half >= 0
    v0 = np.where(first, g, c10.conj())
    v1 = np.where(first, c10, g)
    v = np.array([[v0, -v1.conj()], [v1, v0.conj()]])
    # u = R⁻ᴴ v
    v[1] /= t
    v[0] = (v[0] - s.conj() * v[1]) / r
    return v


def whitening(C, loading):
    """Matrices Z with Z C Zᴴ = I up to a small relative loading.

    Separation is equivariant under an invertible transform of the microphones, so this
    is no part of any model: it only takes level, coloring and ill-conditioning (low
    bins of a small array) out of the arithmetic. Dead and duplicate microphones leave
    a finite matrix.

    Parameters
    ----------
    C : ndarray of shape (M, M, n_bins)
        Hermitian positive semidefinite covariances.
    loading : float
        Power of white noise to load the covariances with, relative to that of each
        microphone. More than the rounding errors of `C`.

    Returns
    -------
    Z, Z_inv : ndarray of shape (M, M, n_bins)
        Lower triangular whitening matrices and their inverses.
    power : ndarray of shape (M, n_bins)
        Power of each microphone, 1 where it is dead.
    """
    M = len(C)
    power = C[np.arange(M), np.arange(M)].real
    power[power == 0] = 1
    gain = np.sqrt(power)
    correlation = (C / (gain[:, None] * gain)).transpose(2, 0, 1)
    L = np.linalg.cholesky(correlation + loading * np.eye(M)).transpose(1, 2, 0)
    L_inv = np.linalg.inv(L.transpose(2, 0, 1)).transpose(1, 2, 0)
    return L_inv / gain, L * gain[:, None], power


def sum_log(x):
    """Sum of the logarithms of a contiguous array, by products of eight in float64."""
    x = x.ravel(order="K")
    if x.dtype == np.float32:  # its range holds no products
        return np.log(x).sum(dtype=float)
    n = x.size // 8
    products = x[: 8 * n].reshape(8, n).prod(0)
    return np.log(products).sum() + np.log(x[8 * n :]).sum()
