"""Updates of an online model by one frame.

A frame x is an array of shape (n_mics, n_freqs), P of shape (n_mics ** 2, n_freqs) its
Hermitian features. W of shape (n_sources, n_mics, n_freqs) are the demixing matrices,
B of shape (n_sources, n_mics ** 2, n_freqs) the weighted covariances, as features, of
all frames but the present one.
"""

# License: BSD-3-Clause

import numpy as np
from scipy.linalg import get_blas_funcs

from skbss.linalg import (
    _orthogonal,
    matmul,
    power_features,
    unpack_hermitian,
)
from skbss.updates.features import CACHE_BYTES
from skbss.updates.spatial import IP1


def revised_covariance(ring, decay, W, weigh):
    """Sum of past frames, weighted by what the present demixing matrices make of them.

    Weights that early, bad demixing matrices gave to frames would otherwise stay in the
    covariances as long as the frames, and hold the matrices back.

    Parameters
    ----------
    ring : ndarray of shape (n_past, n_mics ** 2, n_freqs)
        Features of past frames.
    decay : ndarray of shape (n_past,)
        How much each frame still counts.
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices.
    weigh : callable
        Maps output powers, summed over frequency, of shape (n_sources, n_frames) to
        weights of the same shape.

    Returns
    -------
    S : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
        The covariances, as features.
    weights : ndarray of shape (n_past, n_sources, 1)
        The weights including the decay.
    """
    rows = ring.reshape(len(ring), np.prod(ring.shape[1:]))
    Q = power_features(W).reshape(len(W), -1)
    S = np.zeros((len(W), rows.shape[1]), ring.dtype)
    weights = np.empty((len(rows), len(W)), ring.dtype)
    # One pass over the ring: both products of a block of frames while it is in the
    # cache. OpenBLAS forms products of at most a million terms without repacking.
    step = max(1, min(3 * CACHE_BYTES // (2 * Q[0].nbytes), 10**6 // Q.size))
    (gemm,) = get_blas_funcs(("gemm",), (ring,))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        power = rows[block] @ Q.T
        weights[block] = weigh(power.T).T * decay[block, None]
        gemm(1, rows[block].T, weights[block], beta=1, c=S.T, overwrite_c=True)
    return S.reshape(len(W), *ring.shape[1:]), weights[:, :, None]


def sweeps(W, B, x, P, weigh, n_sweeps, spatial):
    """Update the demixing matrices with a frame, several times.

    Parameters
    ----------
    W, B, x, P : ndarray
        See the module.
    weigh : callable
        Maps the powers of the outputs in each bin, of shape (n_sources, n_freqs), to
        the weights of the frame, of that shape or (n_sources, 1).
    n_sweeps : int
        Number of updates. Each starts from the covariances of the past, so that the
        frame counts once.
    spatial : object
        The spatial update.

    Returns
    -------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        The new demixing matrices.
    """
    M, old = len(x), W
    if type(spatial) is IP1 and M == 2:
        W = _ip1_pair(W, B, P, weigh, n_sweeps)
    elif type(spatial) is IP1 and M in (3, 4):
        W = _ip1_rank_one(W, B, x, weigh, n_sweeps)
    else:
        for _ in range(n_sweeps):
            V = load(B + weigh(output_power(W, x))[:, None] * P)
            W = spatial.update(W, unpack_hermitian(V)).astype(W.dtype, copy=False)
    return _in_phase(W, old)


def _in_phase(W, old):
    """Turn the phase of each row, which no update cares about, to where it was."""
    inner = (W.conj() * old).sum(1)
    size = abs(inner)
    inner[size == 0] = size[size == 0] = 1
    inner /= size
    return W * inner[:, None]


def load(B):
    """Add some rounding errors to the diagonals, in place, so that B is definite."""
    M = round(np.sqrt(B.shape[1]))
    B[:, :M] += 10 * M * np.finfo(B.dtype).eps * B[:, :M].mean(1, keepdims=True)
    return B


def output_power(W, x):
    """Powers of the outputs in each bin, of shape (n_sources, n_freqs)."""
    y = (W * x).sum(1)
    return y.real**2 + y.imag**2


def _ip1_pair(W, B, P, weigh, n_sweeps):
    """IP1 for two microphones, where w₁w₁ᴴ + w₂w₂ᴴ / (w₂ᴴ V₁ w₂) = V₁⁻¹.

    Only the last sweep needs the rows themselves. Those before work on their features:
    real numbers.
    """
    Q = power_features(W)
    V, inverse = np.empty_like(B), np.empty_like(B)
    for sweep in range(n_sweeps):
        # A sum with cancellation, which rounding may bring below zero.
        weights = weigh(np.maximum((Q * P).sum(1), 0))
        np.multiply(weights[:, None], P, out=V)
        V += B
        det = _determinant(V)
        if sweep == n_sweeps - 1:
            break
        inverse[:, :2] = V[:, 1::-1]
        np.multiply(V[:, 2:], -2, out=inverse[:, 2:])
        inverse /= det[:, None]
        for k in (0, 1):
            other = Q[1 - k] / (Q[1 - k] * V[k]).sum(0)
            np.subtract(inverse[k], other, out=Q[k])
    row = W[1] if n_sweeps == 1 else _row(Q[1])
    W = np.empty_like(W)
    off = V[:, 2] + 1j * V[:, 3]
    for k in (0, 1):
        a, b = row[1], -row[0]  # orthogonal to the other row
        u0 = V[k, 1] * a - off[k] * b
        u1 = V[k, 0] * b - off[k].conj() * a
        s = a.real * u0.real + a.imag * u0.imag + b.real * u1.real + b.imag * u1.imag
        s = 1 / (np.sqrt(s) * np.sqrt(det[k]))
        np.multiply(u0.conj(), s, out=W[k, 0])
        np.multiply(u1.conj(), s, out=W[k, 1])
        row = W[0]
    return W


def _determinant(V):
    """Compute determinants of 2 x 2 features, at least a few rounding errors."""
    products = V[:, 0] * V[:, 1]
    squares = np.square(V[:, 2:]).sum(1)
    least = products * (4 * np.finfo(V.dtype).eps)
    return np.maximum(products - squares, least)


def _row(q):
    """Two components whose power features are q (4, n_bins), up to a factor.

    Of the two columns of the rank-one matrix the larger one is the exact one.
    """
    cross = (q[2] - 1j * q[3]) / 2  # w_0 w_1*
    first = q[0] >= q[1]
    return np.array([np.where(first, q[0], cross), np.where(first, cross.conj(), q[1])])


def _ip1_rank_one(W, B, x, weigh, n_sweeps):
    """IP1 for a few microphones with one inversion of B for all sweeps.

    (B + φ x xᴴ)⁻¹ = C - φ z zᴴ / (1 + φ xᴴ z) with C = B⁻¹, z = C x.
    """
    W = W.copy()
    C = inverse_hpd(B)
    z = (C * x).sum(2)
    quadratic = (z.real * x.real + z.imag * x.imag).sum(1)
    z_conj = z.conj()
    # Products of rows in quiet bins overflow in single precision.
    gain = 1 / abs(W).max((0, 1))
    others = [[j for j in range(len(x)) if j != k] for k in range(len(x))]
    for _ in range(n_sweeps):
        phi = weigh(output_power(W, x))
        shrink = 1 / (1 + phi * quadratic)
        phi = phi * shrink
        for k in range(len(x)):
            a = _orthogonal(*(W[others[k]] * gain))
            u = (C[k] * a).sum(1)
            # By Cauchy and Schwarz aᴴ V⁻¹ a is at least this, whatever the rounding.
            least = (a.real * u.real + a.imag * u.imag).sum(0) * shrink[k]
            u -= z[k] * (phi[k] * (z_conj[k] * a).sum(0))
            s = (a.real * u.real + a.imag * u.imag).sum(0)
            W[k] = u.conj() / np.sqrt(np.maximum(s, least))
    return W


def inverse_hpd(B):
    """Inverses, (..., M, M, n_bins), of Hermitian positive definite features."""
    V = unpack_hermitian(B)
    C = np.empty_like(V)
    C[:, 0, 0] = 1 / V[:, 0, 0].real
    eps = np.finfo(B.dtype).eps
    for j in range(1, V.shape[1]):  # by bordering
        b = (C[:, :j, :j] * V[:, None, :j, j]).sum(2)
        v = V[:, :j, j]
        pivot = V[:, j, j].real - (v.real * b.real + v.imag * b.imag).sum(1)
        pivot = np.maximum(pivot, 30 * eps * V[:, j, j].real)
        scaled = b / pivot[:, None]
        C[:, :j, :j] += scaled[:, :, None] * b[:, None].conj()
        C[:, :j, j] = -scaled
        C[:, j, :j] = -scaled.conj()
        C[:, j, j] = 1 / pivot
    return C


def image_mixing(W, R):
    """Mixing matrices by least squares, E[x yᴴ] diag(1 / E[|y|²]).

    Parameters
    ----------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices.
    R : ndarray of shape (n_mics ** 2, n_freqs)
        Covariances of the microphones, as features.

    Returns
    -------
    A : ndarray of shape (n_mics, n_sources, n_freqs)
        Column k times output k is nearest to the microphones. Zero in a bin in which
        nothing was ever heard.
    """
    M = W.shape[1]
    Wt = W.swapaxes(0, 1)
    A = matmul(unpack_hermitian(R), Wt.conj())
    power = (Wt.real * A.real - Wt.imag * A.imag).sum(0)
    # An output that is nothing but rounding errors must not be blown up.
    size = (W.real**2 + W.imag**2).sum(1) * R[:M].sum(0)
    least = 10 * M * np.finfo(R.dtype).eps * size
    power = np.maximum(np.maximum(power, least), np.finfo(R.dtype).tiny)
    A /= power
    return A
