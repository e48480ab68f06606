"""Updates of an online model by one frame.

A frame x is an array of shape (n_mics, n_freqs), P of shape (n_mics ** 2, n_freqs) its
Hermitian features. W of shape (n_sources, n_mics, n_freqs) are the demixing matrices,
B of shape (n_sources, n_mics ** 2, n_freqs) the weighted covariances, as features, of
all frames but the present one.
"""

# License: BSD-3-Clause

from itertools import combinations
from math import isqrt

import numpy as np

from skbss.compiled import kernels
from skbss.linalg import _orthogonal, unpack_hermitian
from skbss.updates.spatial import IP1, update_demixing

# Numbers of microphones for which there are kernels.
COMPILED = 2, 3, 4


def weighted_sum(rows, weights):
    """Weighted sum of past frames.

    Parameters
    ----------
    rows : ndarray of shape (n_past, n_mics ** 2, n_freqs)
        Features of the frames.
    weights : ndarray of shape (n_sources, n_past) or (n_sources, n_past, n_freqs)
        Their weights.

    Returns
    -------
    S : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
        The covariances, as features.
    """
    if weights.ndim == 3:
        return np.einsum("knf,npf->kpf", weights, rows)
    S = weights @ rows.reshape(len(rows), -1)
    return S.reshape(len(weights), *rows.shape[1:])


def past_powers(rows, W):
    """Powers of the outputs, (n_sources, n_past), of frames whose features are rows."""
    rows = rows.reshape(len(rows), -1)
    # Row by row: OpenBLAS repacks a matrix for a product with a matrix.
    return np.stack([rows @ q.ravel() for q in row_features(W)])


def frame_features(x):
    """Pack frames (..., n_mics, n_freqs) to features (..., n_mics ** 2, n_freqs)."""
    M = x.shape[-2]
    P = np.empty((*x.shape[:-2], M * M, x.shape[-1]), x.real.dtype)
    squares = np.square(x.view(P.dtype))
    np.add(squares[..., ::2], squares[..., 1::2], out=P[..., :M, :])
    for p, (i, j) in enumerate(combinations(range(M), 2), M):
        cross = x[..., i, :] * x[..., j, :].conj()
        P[..., p, :] = cross.real
        P[..., p + M * (M - 1) // 2, :] = cross.imag
    return P


def mean_powers(P):
    """Mean powers of frames whose features are P (..., n_mics ** 2, n_freqs)."""
    M = isqrt(P.shape[-2])
    return np.add.reduce(P[..., :M, :], axis=(-2, -1)) / (M * P.shape[-1])


def row_features(W):
    """Power features of W, as from `skbss.linalg.power_features`, for few bins."""
    M = W.shape[1]
    Q = frame_features(W)
    Q[:, M : M + M * (M - 1) // 2] *= 2
    Q[:, M + M * (M - 1) // 2 :] *= -2
    return Q


def sweeps(W, B, x, P, weigh, n_sweeps, spatial, per_bin):
    """Update the demixing matrices with a frame, several times.

    Parameters
    ----------
    W, B, x, P : ndarray
        See the module.
    weigh : callable
        Maps the powers of the outputs in each bin, of shape (n_sources, n_freqs), or
        their sums, of shape (n_sources, 1), to weights of the frame of that shape.
    n_sweeps : int
        Number of updates. Each starts from the covariances of the past, so that the
        frame counts once.
    spatial : object
        The spatial update.
    per_bin : bool
        Whether `weigh` needs the power of each bin.

    Returns
    -------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        The new demixing matrices, with rows in the phase of the old ones.
    y : ndarray of shape (n_sources, n_freqs)
        The outputs.
    """
    M = len(x)
    is_ip1 = type(spatial) is IP1
    if is_ip1 and M in COMPILED and (compiled := kernels("online")):
        return _ip1_compiled(compiled, W, B, x, weigh, n_sweeps, per_bin)
    old = W
    if is_ip1 and M == 2:
        W = _ip1_pair(W, B, x, P, weigh, n_sweeps, per_bin)
    elif is_ip1 and M in COMPILED:
        W = _ip1_rank_one(W, B, x, weigh, n_sweeps, per_bin)
    else:
        for _ in range(n_sweeps):
            V = B + weigh(power_of(outputs(W, x), per_bin))[:, None] * P
            load(V, 0)  # a loud frame leaves B less than rounding errors
            new = update_demixing(spatial, W, unpack_hermitian(V))
            W = new.astype(W.dtype, copy=False)
    W = W * phase_to(W, old)[:, None]
    return W, outputs(W, x)


def _ip1_compiled(compiled, W, B, x, weigh, n_sweeps, per_bin):
    rows, mics = compiled.start(W, B, x)
    one, tiny = B.dtype.type(1), np.finfo(B.dtype).tiny
    shape = len(W), W.shape[2] if per_bin else 1
    power = np.zeros(shape, B.dtype)
    compiled.powers(rows, power, mics)
    for _ in range(n_sweeps):
        weights = np.ascontiguousarray(weigh(power), B.dtype)
        power = np.zeros(shape, B.dtype)
        compiled.sweep(rows, weights, power, one, tiny, mics)
    old, W, y = W, np.empty_like(W), np.empty_like(x)
    compiled.finish(rows, old, W, y, one, tiny, mics)
    return W, y


def phase_to(W, old):
    """Factors (n_sources, n_freqs) that turn the rows of W to the phase of old ones.

    No update cares about the phase of a row, but who listens to the outputs does.
    """
    inner = np.add.reduce(W.conj() * old, axis=1)
    inner += np.finfo(inner.dtype).tiny  # where they are orthogonal
    return inner / abs(inner)


def load(B, white):
    """Add white noise and some rounding errors, so that B is definite, in place.

    Parameters
    ----------
    B : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
        Covariances.
    white : ndarray of shape (n_sources, n_freqs)
        Power of the noise in each bin.
    """
    M = isqrt(B.shape[1])
    noise = np.add.reduce(B[:, :M], axis=1)
    noise *= 10 * np.finfo(B.dtype).eps
    noise += white
    B[:, :M] += noise[:, None]


def outputs(W, x):
    """Return outputs of shape (n_sources, n_freqs)."""
    return np.add.reduce(W * x, axis=1)


def coherence(W, S):
    """Mean coherence of the outputs, between 0 and 1.

    Parameters
    ----------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices.
    S : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
        Weighted covariances, as features.

    Returns
    -------
    mean : float
        Over bins and all ordered pairs of outputs, with the weights of the first.
    """
    K = len(W)
    if K == 1:
        return 0.0
    images = np.add.reduce(unpack_hermitian(S) * W.conj()[:, None], axis=2)
    cross = abs(np.add.reduce(W * images[:, None], axis=2))
    power = np.einsum("kpf,jpf->kjf", S, row_features(W))
    size = np.sqrt(np.maximum(power, np.finfo(power.dtype).tiny))
    with np.errstate(over="ignore"):  # where nothing is heard
        cross /= size
        cross /= np.einsum("kkf->kf", size)[:, None]
    return float(np.square(np.minimum(cross[~np.eye(K, dtype=bool)], 1)).mean())


def power_of(y, per_bin):
    """Powers in each bin, or their sums along the last axis, which is kept."""
    squares = np.square(y.view(y.real.dtype))
    if per_bin:
        return squares[..., ::2] + squares[..., 1::2]
    return np.add.reduce(squares, axis=-1, keepdims=True)


def _ip1_pair(W, B, x, P, weigh, n_sweeps, per_bin):
    """IP1 for two microphones; only the last sweep needs the rows of W themselves."""
    if n_sweeps == 1:
        weights, row = weigh(power_of(outputs(W, x), per_bin)), W[1]
    else:
        Q = _ip1_pair_features(W, B, P, weigh, n_sweeps - 1, per_bin)
        weights, row = weigh(_feature_powers(Q, P, per_bin)), _row(Q[1])
    V = weights[:, None] * P
    V += B
    det = _determinant(V)
    W = np.empty_like(W)
    cross = _cross_pair(V)
    signs = np.array([[1], [-1]], B.dtype)
    for k in (0, 1):
        # a = (row[1], -row[0]) is orthogonal to the other row. With u = adj(V) a the
        # new one is uᴴ / sqrt(aᴴ u det V). Signs come last.
        u = V[k, 1::-1] * row[::-1]
        u += cross[k] * row
        s = _real_dot(row[::-1], u)
        s *= det[k]
        np.sqrt(s, out=s)
        np.conjugate(u, out=u)
        np.multiply(u, signs / s, out=W[k])
        row = W[0]
    return W


def _real_dot(a, b, axis=0):
    """Real parts of aᴴ b along an axis but the last."""
    real = a.real.dtype
    parts = np.add.reduce(a.view(real) * b.view(real), axis=axis)
    return parts[..., ::2] + parts[..., 1::2]


def _cross_pair(R):
    """Off-diagonal elements r_01 and r_10 of 2 x 2 features, (..., 2, n_freqs)."""
    cross = np.empty((*R.shape[:-2], 2, R.shape[-1]), np.result_type(R, 1j))
    cross.real = R[..., 2:3, :]
    cross.imag[..., 0, :] = R[..., 3, :]
    np.negative(R[..., 3, :], out=cross.imag[..., 1, :])
    return cross


def _ip1_pair_features(W, B, P, weigh, n_sweeps, per_bin):
    """Power features of W after sweeps by w₁w₁ᴴ + w₂w₂ᴴ / (w₂ᴴ V₁ w₂) = V₁⁻¹."""
    Q = row_features(W)
    V, inverse = np.empty_like(B), np.empty_like(B)
    # det(B + φ x xᴴ) is linear in φ.
    det_past = _determinant(B)
    det_slope = np.add.reduce(_adjugate(B) * P, axis=1)
    np.maximum(det_slope, 0, out=det_slope)
    for _ in range(n_sweeps):
        weights = weigh(_feature_powers(Q, P, per_bin))
        np.multiply(weights[:, None], P, out=V)
        V += B
        det = weights * det_slope
        det += det_past
        _adjugate(V, out=inverse)
        inverse /= det[:, None]
        for k in (0, 1):
            other = Q[1 - k]
            scale = np.add.reduce(other * V[k], axis=0)
            np.subtract(inverse[k], other / scale, out=Q[k])
    return Q


def _adjugate(V, out=None):
    """Power features of the adjugates of 2 x 2 features."""
    out = np.empty_like(V) if out is None else out
    out[:, :2] = V[:, 1::-1]
    np.multiply(V[:, 2:], -2, out=out[:, 2:])
    return out


def _feature_powers(Q, P, per_bin):
    # A sum with cancellation, which rounding may bring below zero.
    if per_bin:
        return np.maximum(np.add.reduce(Q * P, axis=1), 0)
    return np.maximum(Q.reshape(len(Q), -1) @ P.reshape(-1, 1), 0)


def _determinant(V):
    """Compute determinants of 2 x 2 features, at least a few rounding errors."""
    det = V[:, 0] * V[:, 1]
    least = det * (4 * np.finfo(V.dtype).eps)
    squares = np.square(V[:, 2:])
    det -= squares[:, 0]
    det -= squares[:, 1]
    return np.maximum(det, least, out=det)


def _row(q):
    """Two components whose power features are q (4, n_bins), up to a factor.

    Of the two columns of the rank-one matrix the larger one is the exact one.
    """
    cross = (q[2] - 1j * q[3]) / 2  # w_0 w_1*
    first = q[0] >= q[1]
    return np.array([np.where(first, q[0], cross), np.where(first, cross.conj(), q[1])])


def _ip1_rank_one(W, B, x, weigh, n_sweeps, per_bin):
    """IP1 for a few microphones with one inversion of B for all sweeps.

    (B + φ x xᴴ)⁻¹ = C - φ z zᴴ / (1 + φ xᴴ z) with C = B⁻¹, z = C x.
    """
    M = len(x)
    C = inverse_hpd(B)
    z = np.add.reduce(C * x, axis=2)
    quadratic = _real_dot(z, x, axis=1)
    z_conj = z.conj()
    C = C.swapaxes(1, 2).copy()  # columns first
    traces = B[:, :M].sum(1)
    tiny = np.finfo(B.dtype).tiny
    # Products of rows in quiet bins overflow in single precision.
    gain = 1 / abs(W).max((0, 1))
    W, x = W * gain, x / gain
    for _ in range(n_sweeps):
        phi = weigh(power_of(outputs(W, x), per_bin))
        shrink = 1 / (1 + phi * quadratic)
        phi = phi * shrink
        for k in range(M):
            a = _orthogonal_to_others(W, k)
            # Nothing depends on its size, but large cofactors would overflow.
            a /= np.maximum(abs(a).max(0), tiny)
            u = np.add.reduce(C[k] * a[:, None], axis=0)
            # Whatever the rounding, aᴴ V⁻¹ a is at least |a|² / tr V.
            form = np.maximum(_real_dot(a, u), _real_dot(a, a) / traces[k])
            inner = np.add.reduce(z_conj[k] * a, axis=0)
            # By Cauchy and Schwarz it shrinks by no more, whatever the rounding.
            least = form * shrink[k]
            form -= phi[k] * power_of(inner, True)
            np.maximum(form, least, out=form)
            inner *= phi[k]
            u -= z[k] * inner
            np.conjugate(u, out=u)
            np.multiply(u, gain / np.sqrt(form), out=W[k])
    return W / gain


def _orthogonal_to_others(W, k):
    """Vectors to which all rows of W but the k-th are orthogonal."""
    if len(W) != 3:
        return _orthogonal(*(row for j, row in enumerate(W) if j != k))
    b, c = W[k - 2], W[k - 1]
    a = np.empty_like(b)
    for m in range(3):
        np.multiply(b[m - 2], c[m - 1], out=a[m])
        a[m] -= b[m - 1] * c[m - 2]
    return a


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


def image_mixing(W, R, scale, out):
    """Mixing matrices by least squares, E[x yᴴ] diag(1 / E[|y|²]).

    Parameters
    ----------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices.
    R : ndarray of shape (n_mics ** 2, n_freqs)
        Covariances of the microphones, as features.
    scale : float
        Factor of all of them.
    out : ndarray of shape (n_freqs, n_mics, n_sources)
        Where to write them. Column k times output k is nearest to the microphones. Zero
        in a bin in which nothing was ever heard.

    Returns
    -------
    out : ndarray of shape (n_freqs, n_mics, n_sources)
        The same array.
    """
    M = W.shape[1]
    least_share = R.dtype.type(10 * M**2 * np.finfo(R.dtype).eps)
    tiny = np.finfo(R.dtype).tiny
    if M in COMPILED and (compiled := kernels("online")):
        one, scale = R.dtype.type(1), R.dtype.type(scale)
        compiled.image_mixing(W, R, least_share, tiny, one, scale, out, (0,) * M)
        return out
    W_conj = W.conj()
    A = W_conj * R[:M]
    # An output that is nothing but rounding errors must not be blown up.
    least = _real_dot(W_conj, A, axis=1)
    least *= least_share
    least += tiny
    for p, (i, j) in enumerate(combinations(range(M), 2), M):
        cross = R[p] + 1j * R[p + M * (M - 1) // 2]
        A[:, i] += cross * W_conj[:, j]
        A[:, j] += cross.conj() * W_conj[:, i]
    power = _real_dot(W_conj, A, axis=1)
    np.maximum(power, least, out=power)
    A *= np.reciprocal(power)[:, None]
    return np.multiply(A.transpose(2, 1, 0), scale, out=out)
