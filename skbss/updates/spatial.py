"""Spatial updates: how demixing matrices move, given weighted covariances.

Each lowers, in every frequency bin, the majorizing function

    sum_k w_kᴴ V_k w_k - log det(W Wᴴ),        W = [w_1, ..., w_K]ᴴ,

of the negative log-likelihood, by one sweep over all sources or pairs of sources. For
square matrices the last term is 2 log|det W|. With fewer sources than microphones,
which are whitened then, what is orthogonal to the rows of W is the background: it stays
while they move, and is what is orthogonal to the new ones afterwards.

What is known of a target is one more covariance, Q: all but the first source, and the
background, are kept from hearing it, as if there were more frames, of the target alone.
"""

# License: BSD-3-Clause

from itertools import combinations

import numpy as np
from sklearn.base import BaseEstimator

from skbss.linalg import (
    adjoint,
    complement,
    eigh_pencil_2x2,
    inv,
    inverse_columns,
    ldl_hpd,
    matmul,
    solve_hpd,
    solve_ldl,
)


def ip1(W, V):
    """One sweep of iterative projection, source by source; see `IP1`."""
    W = W.copy()
    L, d_inv = ldl_hpd(V)
    rows, basis = _in_span(W)
    for k, a in enumerate(inverse_columns(rows)):
        a = matmul(basis, a[:, None])[:, 0] if basis is not None else a
        u, form = solve_ldl([column[k] for column in L], d_inv[k], a)
        W[k] = u.conj() * (1 / np.sqrt(form))
        if basis is not None:
            rows[k] = matmul(W[k][None], basis)
    return W


def ip2(W, V):
    """One sweep of pairwise iterative projection over all pairs; see `IP2`."""
    if len(W) == 1:
        return ip1(W, V)
    W = W.copy()
    L, d_inv = ldl_hpd(V)
    rows, basis = _in_span(W)
    A = inv(rows)
    for pair in map(list, combinations(range(len(W)), 2)):
        a = A[:, pair] if basis is None else matmul(basis, A[:, pair])
        P = [solve_ldl([column[j] for column in L], d_inv[j], a)[0] for j in pair]
        W[pair] = _best_pair([matmul(adjoint(a), p) for p in P], P)
        new = W[pair] if basis is None else matmul(W[pair], basis)
        # The inverse follows.
        B = matmul(new, A)
        G = matmul(A[:, pair], inv(B[:, pair]))
        A -= matmul(G, B)
        A[:, pair] = G
    return W


def _in_span(W):
    """Rows in coordinates of what they span, and its basis.

    Columns of the inverse that are orthogonal to the background lie in that span. For
    square matrices, that of all directions, there is no basis, and the rows are W.
    """
    if len(W) == W.shape[1]:
        return W, None
    basis = adjoint(W)
    return matmul(W, basis), basis


def _best_pair(U, P):
    """Rows u_jᴴ P_jᴴ with uᴴ U_j u = 1 that solve the problem of two sources."""
    u = eigh_pencil_2x2(*U)
    rows = []
    for j in range(2):
        Uu = (U[j] * u[None, :, j]).sum(1)
        scale = np.sqrt((u[:, j].conj() * Uu).sum(0).real)
        rows.append((P[j] * u[None, :, j]).sum(1).conj() / scale)
    return np.array(rows)


def iss1(W, V):
    """One sweep of iterative source steering, source by source; see `ISS1`."""
    W = W.copy()
    for k in range(len(W)):
        Vw = (V * W[k].conj()).sum(2)
        v = (W * Vw).sum(1)
        power = (W[k] * Vw).sum(1).real
        v /= power
        v[k] = 1 - 1 / np.sqrt(power[k])
        W -= v[:, None] * W[k]
    return W


def iss2(W, V):
    """One sweep of pairwise iterative source steering, all pairs; see `ISS2`."""
    if len(W) == 1:
        return iss1(W, V)
    W = W.copy()
    for k, l in combinations(range(len(W)), 2):
        pair = W[[k, l]]
        for j in range(len(W)):
            if j not in (k, l):
                G, h = _steer(V[j], pair, W[j])
                W[j] -= (solve_hpd(G, h).conj()[:, None] * pair).sum(0)
        U = [_inverse_hpd(_steer(V[j], pair)[0]) for j in (k, l)]
        W[[k, l]] = matmul(_best_pair(U, U), pair)
    return W


def _steer(V, pair, w=None):
    """Second moments of two outputs, and their cross moments with a third row w."""
    Vp = (V[:, :, None] * pair.conj().swapaxes(0, 1)[None]).sum(1)
    G = matmul(pair, Vp)
    return G, None if w is None else (w[:, None] * Vp).sum(0).conj()


def _inverse_hpd(G):
    return solve_hpd(G, np.broadcast_to(np.eye(2)[..., None], G.shape))


def update_demixing(spatial, W, V, Q=None):
    """Let a spatial update move demixing matrices, and check what a user's returns.

    Parameters
    ----------
    spatial : object
        The spatial update.
    W : ndarray of shape (n_sources, n_mics, n_bins)
        Demixing matrices, with at most as many sources as microphones.
    V : ndarray of shape (n_sources, n_mics, n_mics, n_bins)
        Weighted covariances of each source.
    Q : ndarray of shape (n_mics, n_mics, n_bins), default=None
        Covariance of a target, see the module.

    Returns
    -------
    W : ndarray of shape (n_sources, n_mics, n_bins)
        The new matrices, C-contiguous.

    Raises
    ------
    ValueError
        If they have another shape, or aren't finite numbers.
    """
    if Q is not None:
        return _with_target(spatial, W, V, Q)
    K, M, n_bins = W.shape
    if type(spatial) in (IP1, IP2):  # they know the background
        return spatial.update(W, V)
    if K < M:
        eye = np.broadcast_to(np.eye(M)[..., None], (M - K, M, M, n_bins))
        W, V = np.concatenate([W, complement(W)]), np.concatenate([V, eye])
    new = spatial.update(W, V)
    if type(spatial) in SPATIAL_UPDATES.values():
        return np.ascontiguousarray(new[:K])
    shape = np.shape(new)
    if shape != W.shape:
        raise ValueError(
            f"{spatial!r}.update() returned an array of shape {shape}, expected that "
            f"of the demixing matrices, {W.shape}."
        )
    new = np.array(new[:K], W.dtype, order="C")
    if not np.isfinite(new).all():
        raise ValueError(f"{spatial!r}.update() returned non-finite values.")
    return new


def _with_target(spatial, W, V, Q):
    """Let a spatial update move demixing matrices, given a covariance of a target.

    Other sources are average in the frames that it stands for. The covariance of the
    background is I + Q: in coordinates in which this is white, it is again what is
    orthogonal to the rows of W.
    """
    K, M, _ = W.shape
    mean = np.einsum("kiif->kf", V[1:]).real / M
    V = np.concatenate([V[:1], V[1:] + mean[:, None, None] * Q])
    if K == M:
        return update_demixing(spatial, W, V)
    L = np.linalg.cholesky((Q + np.eye(M)[..., None]).transpose(2, 0, 1))
    L_inv = np.linalg.inv(L)
    V = L_inv @ V.transpose(0, 3, 1, 2) @ L_inv.conj().swapaxes(1, 2)
    V = np.ascontiguousarray(V.transpose(0, 2, 3, 1))
    L, L_inv = (np.ascontiguousarray(some.transpose(1, 2, 0)) for some in (L, L_inv))
    return matmul(update_demixing(spatial, matmul(W, L), V), L_inv)


class _SpatialUpdate(BaseEstimator):
    """Base of the built-in spatial updates."""

    def update(self, W: np.ndarray, V: np.ndarray) -> np.ndarray:
        """Lower the majorizing function; see `SpatialUpdate.update`."""
        return self._sweep(W, V)


class IP1(_SpatialUpdate):
    """Iterative projection, one source at a time.

    The exact minimizer over one row with the others fixed [1]_, u = (W V_k)⁻¹ e_k,
    w_k = u / √(uᴴ V_k u). One solve per source; the most tried of the four.

    References
    ----------
    .. [1] N. Ono, "Stable and fast update rules for independent vector analysis based
       on auxiliary function technique", WASPAA 2011.
       :doi:`10.1109/ASPAA.2011.6082320`
    """

    _sweep = staticmethod(ip1)


class IP2(_SpatialUpdate):
    """Iterative projection, two sources at a time, over all pairs.

    The exact minimizer over two rows with the others fixed, by a 2 x 2 generalized
    eigenvalue problem [1]_. With two microphones it is the exact minimizer over the
    whole matrix; with M microphones a sweep visits all M(M - 1)/2 pairs, so an
    iteration costs about M - 1 times as much as one of `IP1` and brings more.

    References
    ----------
    .. [1] N. Ono, "Fast stereo independent vector analysis and its implementation on
       mobile phone", IWAENC 2012.
    """

    _sweep = staticmethod(ip2)


class ISS1(_SpatialUpdate):
    """Iterative source steering, one source at a time.

    Each step adds a multiple of one output to all outputs, which changes one column of
    the mixing matrix. It needs no matrix inverse [1]_.

    References
    ----------
    .. [1] R. Scheibler and N. Ono, "Fast and stable blind source separation with rank-1
       updates", ICASSP 2020. :doi:`10.1109/ICASSP40776.2020.9053556`
    """

    _sweep = staticmethod(iss1)


class ISS2(_SpatialUpdate):
    """Iterative source steering, two sources at a time, over all pairs.

    Each step changes two columns of the mixing matrix at once [1]_.

    References
    ----------
    .. [1] R. Ikeshita and T. Nakatani, "ISS2: An extension of iterative source steering
       algorithm for majorization-minimization-based independent vector analysis",
       EUSIPCO 2022. :doi:`10.23919/EUSIPCO55093.2022.9909873`
    """

    _sweep = staticmethod(iss2)


SPATIAL_UPDATES = {"ip1": IP1, "ip2": IP2, "iss1": ISS1, "iss2": ISS2}
