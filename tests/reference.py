"""Slow, obvious reference of the batch separators, one bin and one source at a time.

Everything is complex128 and written from the papers; nothing comes from the package.
Symbols: T frames, F bins, M microphones, K = M sources, L bases; X (T, F, M),
W (F, K, M) with rows w_k^H, V (K, M, M) of one bin, r and power (K, F, T),
B (K, F, L), C (K, L, T).
"""

# License: BSD-3-Clause

from itertools import combinations

import numpy as np
from scipy.linalg import eigh


def make_mixture(random_state, n_mics, n_frames=120, n_freqs=33):
    """Draw sources whose power moves in time and frequency, and mix them bin by bin.

    The mixing matrices are unitary up to a gain of 0.5 to 2 in each direction, so
    that rounding is not magnified, and every frame has some power. With much fewer
    frames or bins the likelihood, which has no floor here, may be led to infinity.
    """
    rng = np.random.default_rng(random_state)
    shape = (n_frames, n_freqs, n_mics)
    basis = rng.gamma(0.5, size=(n_mics, n_freqs, 2)) + 0.05
    activations = rng.gamma(0.3, size=(n_mics, 2, n_frames)) + 0.05
    sources = complex_normal(rng, shape) * np.sqrt(basis @ activations).T
    left, _ = np.linalg.qr(complex_normal(rng, (n_freqs, n_mics, n_mics)))
    right, _ = np.linalg.qr(complex_normal(rng, (n_freqs, n_mics, n_mics)))
    gains = rng.uniform(0.5, 2, size=(n_freqs, 1, n_mics))
    X = np.einsum("fmk,tfk->tfm", (left * gains) @ right, sources)
    return X / np.sqrt(np.mean(abs(X) ** 2))


def complex_normal(rng, shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def make_factors(random_state, X, n_basis):
    """Draw the basis and the activations from which ILRMA starts."""
    n_frames, n_freqs, n_mics = X.shape
    rng = np.random.default_rng(random_state)
    B = rng.uniform(0.1, 1, size=(n_mics, n_freqs, n_basis))
    C = rng.uniform(0.1, 1, size=(n_mics, n_basis, n_frames))
    return B, C


def identity(X):
    n_freqs, n_mics = X.shape[1:]
    return np.tile(np.eye(n_mics, dtype=complex), (n_freqs, 1, 1))


def output_power(W, X):
    return abs(np.einsum("fkm,tfm->kft", W, X)) ** 2


def align_phase(W, reference):
    """Turn the phase of every row of W to that of the reference's row."""
    inner = np.sum(W * reference.conj(), axis=-1, keepdims=True)
    return W * (inner.conj() / abs(inner))


def relative_error(W, reference):
    """Largest deviation of a row of W, relative to its norm, whatever its phase."""
    deviation = np.linalg.norm(align_phase(W, reference) - reference, axis=-1)
    return np.max(deviation / np.linalg.norm(reference, axis=-1))


# Spatial updates: one bin, W (K, M) changed in place, V (K, M, M).


def ip1(W, V):
    """Iterative projection [Ono 2011]."""
    for k in range(len(W)):
        u = np.linalg.solve(W @ V[k], np.eye(len(W))[k])
        W[k] = u.conj() / np.sqrt((u.conj() @ V[k] @ u).real)


def ip2_pair(W, V, k, l):
    """Pairwise iterative projection [Ono 2012] of rows k and l."""
    pair = np.eye(len(W))[:, [k, l]]
    P_k = np.linalg.solve(W @ V[k], pair)
    P_l = np.linalg.solve(W @ V[l], pair)
    U_k = P_k.conj().T @ V[k] @ P_k
    U_l = P_l.conj().T @ V[l] @ P_l
    _, u = eigh(U_k, U_l)  # ascending ratio of u^H U_k u to u^H U_l u
    w_k = P_k @ u[:, 1]
    w_l = P_l @ u[:, 0]
    W[k] = w_k.conj() / np.sqrt((w_k.conj() @ V[k] @ w_k).real)
    W[l] = w_l.conj() / np.sqrt((w_l.conj() @ V[l] @ w_l).real)


def iss1(W, V):
    """Iterative source steering [Scheibler and Ono 2020]."""
    for k in range(len(W)):
        w = W.conj()  # rows are the vectors w_j
        v = np.empty(len(W), dtype=complex)
        for j in range(len(W)):
            power = (w[k].conj() @ V[j] @ w[k]).real
            v[j] = 1 - power**-0.5 if j == k else w[j].conj() @ V[j] @ w[k] / power
        W -= np.outer(v, W[k])


def iss2_pair(W, V, k, l):
    """Steer along sources k and l at once [Ikeshita and Nakatani 2022].

    Rows k and l become the combinations of the two that minimize the objective. Each
    other row loses its projection, in the inner product of its own V, onto the two.
    """
    w = W.conj().T  # columns are the vectors w_j
    pair = w[:, [k, l]].copy()
    for j in set(range(len(W))) - {k, l}:
        G = pair.conj().T @ V[j] @ pair
        w[:, j] -= pair @ np.linalg.solve(G, pair.conj().T @ V[j] @ w[:, j])
    G_k = pair.conj().T @ V[k] @ pair
    G_l = pair.conj().T @ V[l] @ pair
    _, u = eigh(G_k, G_l)  # ascending ratio of u^H G_k u to u^H G_l u
    w[:, k] = pair @ u[:, 0] / np.sqrt((u[:, 0].conj() @ G_k @ u[:, 0]).real)
    w[:, l] = pair @ u[:, 1] / np.sqrt((u[:, 1].conj() @ G_l @ u[:, 1]).real)
    W[:] = w.conj().T


def sweep(W, V, spatial):
    """Update every row of W (one bin) once, or once in each pair, with V fixed."""
    pairs = list(combinations(range(len(W)), 2))
    if spatial == "ip1" or (spatial == "ip2" and not pairs):
        ip1(W, V)
    elif spatial == "iss1" or (spatial == "iss2" and not pairs):
        iss1(W, V)
    else:
        update_pair = {"ip2": ip2_pair, "iss2": iss2_pair}[spatial]
        for k, l in pairs:
            update_pair(W, V, k, l)


def update_demixing(W, X, r, spatial):
    """Sweep all bins with the covariances weighted by 1 / r; return a new W."""
    W = W.copy()
    n_frames, n_freqs, n_mics = X.shape
    for f in range(n_freqs):
        V = np.empty((n_mics, n_mics, n_mics), dtype=complex)
        for k in range(n_mics):
            V[k] = (X[:, f].T / r[k, f]) @ X[:, f].conj() / n_frames
        sweep(W[f], V, spatial)
    return W


# Separators.


def auxiva_variance(power, source):
    """Variance of every source and frame, the same in all bins."""
    if source == "gauss":
        r = power.mean(axis=1, keepdims=True)
    else:
        r = 2 * np.sqrt(power.sum(axis=1, keepdims=True))
    return np.broadcast_to(r, power.shape)


def auxiva_objective(W, X, source):
    power = output_power(W, X)
    if source == "gauss":
        cost = np.sum(np.log(auxiva_variance(power, source)) + 1)
    else:
        cost = np.sum(np.sqrt(power.sum(axis=1)))
    return cost - log_determinants(W, X)


def log_determinants(W, X):
    return 2 * len(X) * np.sum(np.linalg.slogdet(W)[1])


def auxiva(X, n_iter, source="gauss", spatial="ip1", W=None):
    """Return the demixing matrices and the objective, at the start and after each."""
    W = identity(X) if W is None else W
    objective = [auxiva_objective(W, X, source)]
    for _ in range(n_iter):
        r = auxiva_variance(output_power(W, X), source)
        W = update_demixing(W, X, r, spatial)
        objective.append(auxiva_objective(W, X, source))
    return W, np.array(objective)


def ilrma_objective(W, X, B, C):
    r = B @ C
    return np.sum(output_power(W, X) / r + np.log(r)) - log_determinants(W, X)


def update_factors(power, B, C, update):
    """One multiplicative update of the basis, then one of the activations."""
    exponent = {"mm": 0.5, "me": 1.0}[update]
    B, C = B.copy(), C.copy()
    for k in range(len(B)):
        r = B[k] @ C[k]
        B[k] *= ((power[k] / r**2 @ C[k].T) / (1 / r @ C[k].T)) ** exponent
        r = B[k] @ C[k]
        C[k] *= ((B[k].T @ (power[k] / r**2)) / (B[k].T @ (1 / r))) ** exponent
    return B, C


def normalize(W, X, B):
    """Bring every source to unit mean power, which leaves the objective as it is."""
    power = output_power(W, X).mean(axis=(1, 2))
    return W / np.sqrt(power)[:, np.newaxis], B / power[:, np.newaxis, np.newaxis]


def ilrma(X, n_iter, B, C, update="mm", spatial="ip1", normalized=True, W=None):
    """Return the demixing matrices, basis, activations and objective."""
    W = identity(X) if W is None else W
    objective = [ilrma_objective(W, X, B, C)]
    for _ in range(n_iter):
        B, C = update_factors(output_power(W, X), B, C, update)
        W = update_demixing(W, X, B @ C, spatial)
        if normalized:
            W, B = normalize(W, X, B)
        objective.append(ilrma_objective(W, X, B, C))
    return W, B, C, np.array(objective)
