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

import math
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
    M = math.isqrt(S.shape[-2])
    V = np.empty((*S.shape[:-2], M, M, S.shape[-1]), np.result_type(S, 1j))
    d = np.arange(M)
    V[..., d, d, :] = S[..., :M, :]
    n_pairs = M * (M - 1) // 2
    for p, (i, j) in enumerate(_pairs(M), M):
        upper = V[..., i, j, :]
        upper.real, upper.imag = S[..., p, :], S[..., p + n_pairs, :]
        np.conjugate(upper, out=V[..., j, i, :])
    return V


def pack_hermitian(V):
    """Pack Hermitian matrices into features, the inverse of `unpack_hermitian`.

    Parameters
    ----------
    V : ndarray of shape (M, M, n_bins)
        Complex Hermitian matrices; the upper triangle is read.

    Returns
    -------
    S : ndarray of shape (M ** 2, n_bins)
        Real features.
    """
    M = len(V)
    rows, columns = np.triu_indices(M, 1)
    d = np.arange(M)
    upper = V[rows, columns]
    return np.concatenate([V[d, d].real, upper.real, upper.imag])


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
    K, M, F = W.shape
    n_pairs = M * (M - 1) // 2
    re, im = (np.ascontiguousarray(part.swapaxes(0, 1)) for part in (W.real, W.imag))
    Q = np.empty((K, M * M, F), re.dtype)
    hermitian_features(re, im, Q.swapaxes(0, 1))
    Q[:, M : M + n_pairs] *= 2
    Q[:, M + n_pairs :] *= -2
    return Q


def ldl_hpd(V):
    """Factor Hermitian positive definite matrices, V = L D Lᴴ, without pivoting.

    Parameters
    ----------
    V : ndarray of shape (..., M, M, n_bins)
        Hermitian positive definite matrices; the lower triangle is read.

    Returns
    -------
    L : list of ndarray of shape (..., M - 1 - j, n_bins)
        What is below the diagonal in column j of L, for j < M - 1.
    d_inv : ndarray of shape (..., M, n_bins)
        Inverses of the diagonal of D.
    """
    M = V.shape[-2]
    eps = np.finfo(V.real.dtype).eps
    L, columns = [], []
    d_inv = np.empty((*V.shape[:-3], M, V.shape[-1]), V.real.dtype)
    for j in range(M):
        column = V[..., j:, j, :]
        # Rounding may bring the pivot of a nearly singular matrix to zero or below.
        floor = eps * column[..., 0, :].real
        for m in range(j):
            factor = columns[m][..., j - m, None, :].conj()
            column = column - L[m][..., j - m - 1 :, :] * factor
        np.divide(1, np.maximum(column[..., 0, :].real, floor), out=d_inv[..., j, :])
        columns.append(column)
        L.append(column[..., 1:, :] * d_inv[..., j, None, :])
    return L[:-1], d_inv


def solve_ldl(L, d_inv, b):
    """Solve L D Lᴴ x = b.

    Parameters
    ----------
    L, d_inv : list of ndarray, ndarray of shape (M, n_bins)
        From `ldl_hpd`, of one stack of matrices.
    b : ndarray of shape (M, ..., n_bins)
        Right-hand sides.

    Returns
    -------
    x : ndarray of the shape of `b`
        The solutions.
    form : ndarray of shape (..., n_bins)
        The quadratic forms bᴴ x.
    """
    middle = (1,) * (b.ndim - 2)
    L = [column.reshape(len(column), *middle, -1) for column in L]
    d_inv = d_inv.reshape(len(d_inv), *middle, -1)
    x = b.astype(np.result_type(b, d_inv, *L))
    for j, column in enumerate(L):
        x[j + 1 :] -= column * x[j]
    form = ((x.real**2 + x.imag**2) * d_inv).sum(0)
    x *= d_inv
    for j in reversed(range(len(L))):
        x[j] -= (L[j].conj() * x[j + 1 :]).sum(0)
    return x, form


def features_of(R):
    """Features (n_bins, n_sources, M ** 2) of matrices (n_bins, n_sources, M, M)."""
    F, K, M, _ = R.shape
    packed = pack_hermitian(R.reshape(F * K, M, M).transpose(1, 2, 0))
    return np.ascontiguousarray(packed.T).reshape(F, K, M * M)


def matrices_of(r):
    """Matrices of features; see `features_of`."""
    F, K, size = r.shape
    R = unpack_hermitian(r.reshape(F * K, size).T)
    return np.ascontiguousarray(R.transpose(2, 0, 1)).reshape(F, K, *R.shape[:2])


def inverse_features(L, d_inv):
    """Features of the inverses of matrices L D Lᴴ.

    Parameters
    ----------
    L, d_inv : list of ndarray, ndarray of shape (M, n_bins)
        From `ldl_hpd`, of one stack of matrices.

    Returns
    -------
    S : ndarray of shape (M ** 2, n_bins)
        As from `pack_hermitian`.
    """
    M, n_bins = d_inv.shape
    # N, the inverse of L, below its diagonal of ones.
    N = {}
    for j in range(M):
        for i in range(j + 1, M):
            N[i, j] = -L[j][i - j - 1]
            for m in range(j + 1, i):
                N[i, j] = N[i, j] - L[m][i - m - 1] * N[m, j]
    S = np.empty((M * M, n_bins), d_inv.dtype)
    S[:M] = d_inv
    for (m, i), entry in N.items():
        S[i] += d_inv[m] * (entry.real**2 + entry.imag**2)
    n_pairs = M * (M - 1) // 2
    for p, (i, j) in enumerate(_pairs(M), M):
        entry = d_inv[j] * N[j, i].conj()
        for m in range(j + 1, M):
            entry += d_inv[m] * N[m, i].conj() * N[m, j]
        S[p], S[p + n_pairs] = entry.real, entry.imag
    return S


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
    return solve_ldl(*ldl_hpd(V), b)[0]


def _minors(a, b):
    """2 x 2 minors of two rows of four, in the order of `_pairs`."""
    minors = np.empty((6, a.shape[-1]), a.dtype)
    for i, rows in enumerate([slice(0, 3), slice(3, 5), slice(5, 6)]):
        np.multiply(a[i], b[i + 1 :], out=minors[rows])
        minors[rows] -= a[i + 1 :] * b[i]
    return minors


def _orthogonal(*rows, minors=None):
    """Generalized cross product: orthogonal, without conjugation, to M - 1 rows.

    With three rows, the minors of the last two may be given instead of these.
    """
    if len(rows) == 1 and minors is None:
        ((a, b),) = rows
        return np.array([b, -a])
    if len(rows) == 2 and minors is None:
        a, b = rows
        return a[[1, 2, 0]] * b[[2, 0, 1]] - a[[2, 0, 1]] * b[[1, 2, 0]]
    a, b, c, d = rows[0]
    ab, ac, ad, bc, bd, cd = _minors(*rows[1:]) if minors is None else minors
    return np.array(
        [
            b * cd - c * bd + d * bc,
            c * ad - a * cd - d * ac,
            a * bd - b * ad + d * ab,
            b * ac - a * bc - c * ab,
        ]
    )


# Up to this size cofactors beat LAPACK.
MAX_COFACTORS = 4


def inverse_columns(W):
    """Columns of the inverses of matrices, one after the other.

    Parameters
    ----------
    W : ndarray of shape (M, M, n_bins)
        Matrices. Row k may be replaced once column k is there; columns that follow are
        those of the new matrices.

    Yields
    ------
    column : ndarray of shape (M, n_bins)
        Column k of the inverses.
    """
    M, minors = len(W), None
    if not 2 <= M <= MAX_COFACTORS:
        A = inv(W)
        for k in range(M):
            yield A[:, k]
            row = matmul(W[k][None], A)[0]  # the k-th unit vector, unless replaced
            column = A[:, k] / row[k]
            A -= column[:, None] * row
            A[:, k] = column
        return
    for k in range(M):
        others = [row for i, row in enumerate(W) if i != k]
        if M == 4:
            # Two columns in a row need the same minors, of the two other rows.
            if k % 2 == 0:
                minors = _minors(*(W[2:] if k < 2 else W[:2]))
            others = [W[k ^ 1]]
        column = _orthogonal(*others, minors=minors)
        yield column / (W[k] * column).sum(0)


def inv(W):
    """Invert matrices of shape (M, M, n_bins)."""
    if 2 <= len(W) <= MAX_COFACTORS:
        return np.stack(list(inverse_columns(W)), axis=1)
    return np.linalg.inv(W.transpose(2, 0, 1)).transpose(1, 2, 0)


def log_abs_det(W):
    """Logarithm of the absolute determinants of matrices of shape (M, M, n_bins)."""
    if not 2 <= len(W) <= MAX_COFACTORS:
        return np.linalg.slogdet(W.transpose(2, 0, 1)).logabsdet
    return np.log(np.abs((W[0] * _orthogonal(*W[1:])).sum(0)))


def matmul(A, B):
    """Multiply matrices of shape (M, N, n_bins) and (N, K, n_bins)."""
    C = A[:, 0, None] * B[0]
    for n in range(1, len(B)):  # all products at once would take N times the memory
        C += A[:, n, None] * B[n]
    return C


def adjoint(A):
    """Conjugate transposes of matrices of shape (M, N, n_bins)."""
    return A.conj().swapaxes(0, 1)


def pinv(W):
    """Pseudo-inverses Wᴴ (W Wᴴ)⁻¹, (M, K, n_bins), of matrices with K <= M rows."""
    if len(W) == W.shape[1]:
        return inv(W)
    return matmul(adjoint(W), inv(matmul(W, adjoint(W))))


def log_volume(W):
    """Logarithms of the volumes that K <= M rows span, log det(W Wᴴ) / 2.

    Of square matrices it is that of the absolute determinant.
    """
    if len(W) == W.shape[1]:
        return log_abs_det(W)
    return log_abs_det(matmul(W, adjoint(W))) / 2


def complement(W):
    """Orthonormal rows, (M - K, M, n_bins), that are orthogonal to the K rows of W."""
    Q = np.linalg.qr(W.conj().transpose(2, 1, 0), mode="complete").Q
    return Q[:, :, len(W) :].conj().transpose(2, 1, 0)


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
    c10 = c10 / np.where(g > 0, g, 1)  # equal eigenvalues: any orthogonal pair will do
    first = half >= 0
    v0 = np.where(first, 1, c10.conj())
    v1 = np.where(first, c10, 1)
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
