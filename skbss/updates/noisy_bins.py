"""Outputs of bins that are full of noise, told apart by when the voices are loud."""

# License: BSD-3-Clause

import numpy as np

from skbss.linalg import inverse_features, ldl_hpd, solve_ldl, unpack_hermitian
from skbss.parallel import bin_blocks, map_some
from skbss.updates.noise import WIDTH, smooth, with_neighbors
from skbss.updates.powers import invert_positive

# Loading of covariances relative to their power, against rounding.
LOADING = 1e-6

# How much louder outputs are together than their sum where they cancel each other.
LOUDER = 10.0

# Least power of an output in a frame and bin, relative to what is there.
LEAST_POWER = 0.02

# Least loudness of a voice, relative to its mean: where it pauses, it isn't impossible.
LEAST_LOUDNESS = 1e-3

# Iterations in which powers of the voices are fitted to the sum of the outputs.
START_ITER = 30

# Iterations of the EM algorithm: twice as many bring nothing.
MAX_ITER = 10

# Mixing matrices that are worse conditioned, or have voices that the outputs' sum holds
# this much less of, aren't taken.
WORST_CONDITION = 1e3


def noise_shares(X, scale, noise):
    """Share of noise in the noisiest direction of the outputs of each bin, from 0 to 1.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs.
    scale : float
        What they are divided by.
    noise : ndarray of shape (n_freqs, n_sources, n_sources)
        From `quiet_covariance`.
    """
    n_frames, n_freqs, K = X.shape
    shares = np.empty(n_freqs)

    def work(bins):
        C = _loaded(_covariances(X, scale, bins))
        L = np.linalg.inv(np.linalg.cholesky(C))
        whitened = L @ noise[bins] @ L.conj().swapaxes(1, 2)
        shares[bins] = np.linalg.eigvalsh(whitened)[:, -1]

    map_some(work, bin_blocks(n_freqs, 16 * n_frames * K))
    return np.clip(shares, 0, 1)


def remix_canceling(X, scale):
    """Find what remixes the outputs of bins in which they cancel each other.

    Parameters
    ----------
    X, scale
        As for `noise_shares`.

    Returns
    -------
    remixing : ndarray of shape (n_freqs, n_sources, n_sources)
        Best estimates of the voices, if these are uncorrelated and add up to the sum of
        the outputs: ``diag(p) @ inv(C)``, with C the covariance of the outputs and p
        theirs with their sum. An identity matrix in all other bins.
    """
    n_frames, n_freqs, K = X.shape
    remixing = np.tile(np.eye(K, dtype=complex), (n_freqs, 1, 1))

    def work(bins):
        C = _covariances(X, scale, bins)
        power, of_sum = np.einsum("fkk->f", C).real, C.sum((1, 2)).real
        some = np.flatnonzero(power > LOUDER * of_sum)
        p = np.maximum(C[some].sum(2).real, LEAST_POWER * of_sum[some, None])
        best = p[:, :, None] * np.linalg.inv(_loaded(C[some]))
        best += (1 - best.sum(1, keepdims=True)) / K
        good = np.linalg.cond(best) * LOADING < 1
        remixing[bins][some[good]] = best[good]

    map_some(work, bin_blocks(n_freqs, 16 * n_frames * K))
    return remixing


def loudness(X, scale, noise, weights):
    """Loudness of the outputs over time, without their noise.

    Parameters
    ----------
    X, scale, noise
        As for `noise_shares`.
    weights : ndarray of shape (n_freqs,)
        How much bins count, each with a mean power of one.

    Returns
    -------
    loudness : ndarray of shape (n_sources, n_frames)
        Positive, with a mean of one.
    """
    n_frames, n_freqs, K = X.shape

    def add(bins):
        power = _powers(X, scale, noise, bins)[1]
        mean = power.mean(2)
        return np.einsum("kft,kf,f->kt", power, invert_positive(mean), weights[bins])

    blocks = bin_blocks(n_freqs, 24 * n_frames * K)
    total = sum(map_some(add, blocks))
    mean = total.mean(1, keepdims=True)
    total += np.where(mean > 0, LEAST_LOUDNESS * mean, 1)
    return total / total.mean(1, keepdims=True)


def remix_bins(X, scale, noise, bins, loud):
    """Find what remixes the outputs of bins to voices as loud as is known.

    Parameters
    ----------
    X, scale, noise
        As for `noise_shares`.
    bins : ndarray of shape (n_bins,)
        Indices of the bins.
    loud : ndarray of shape (n_sources, n_frames)
        From `loudness`.

    Returns
    -------
    remixing : ndarray of shape (n_bins, n_sources, n_sources)
        ``remixing[i] @ X[t, bins[i]]`` are the voices, with the sum of the outputs. An
        identity matrix where outputs as they are explain the bin better.
    """
    n_frames, _, K = X.shape
    remixing = np.empty((len(bins), K, K), complex)

    def work(part):
        some = bins[part]
        around = slice(some[0], some[-1] + 1)
        y, power = (a[:, some - some[0]] for a in _powers(X, scale, noise, around))
        size = np.sqrt((y.real**2 + y.imag**2).mean((0, 2)))
        size[size == 0] = 1
        y /= size[:, None]
        power /= size[:, None] ** 2
        N = noise[some] / size[:, None, None] ** 2 + LOADING * np.eye(K)
        start = np.broadcast_to(np.eye(K, dtype=complex), N.shape), power.mean(2)
        masked = _start_by_masks(y, N, loud)
        found = [_fit_bins(y, N, loud, *one) for one in (start, masked)]
        (_, before), (A, after) = found
        share = A.sum(1)
        remixing[part] = np.eye(K)
        good = (after > before) & (abs(share).min(1) * WORST_CONDITION > 1)
        good[good] = np.linalg.cond(A[good]) < WORST_CONDITION
        remixing[part][good] = share[good, :, None] * np.linalg.inv(A[good])

    map_some(work, bin_blocks(len(bins), 64 * n_frames * K * K))
    return remixing


def _covariances(X, scale, bins):
    """Covariances of the outputs of bins, (n_bins, n_sources, n_sources)."""
    x = X[:, bins].transpose(1, 2, 0).astype(complex) / scale
    return x @ x.conj().swapaxes(1, 2) / len(X)


def _loaded(C):
    """Covariances with white noise, a little."""
    power = np.einsum("fkk->f", C).real
    power = np.where(power > 0, LOADING * power, 1)
    return C + power[:, None, None] * np.eye(C.shape[1])


def _powers(X, scale, noise, bins):
    """Return outputs, and their powers without noise, over five bins: (K, F, T)."""
    outer, inner = with_neighbors(bins, WIDTH // 2, X.shape[1])
    y = X[:, outer].transpose(2, 1, 0).astype(complex) / scale
    power = smooth(y.real**2 + y.imag**2, WIDTH, axis=1)[:, inner]
    known = np.einsum("fkk->kf", noise[bins]).real[..., None]
    return y[:, inner], np.maximum(power - known, LEAST_POWER * power)


def _start_by_masks(y, N, loud):
    """Mixing matrices and powers of voices that are all in the sum of the outputs.

    Powers are fitted to that of the sum, by multiplicative updates.
    """
    K, n_bins, _ = y.shape
    x = y.sum(0)
    power = x.real**2 + x.imag**2
    noise = N.sum((1, 2)).real[:, None]
    g = np.full((K, n_bins), 1 / K) * power.mean(1)
    g += np.finfo(float).tiny
    for _ in range(START_ITER):
        model = g.T @ loud + noise
        g *= ((power / model**2) @ loud.T).T / ((1 / model) @ loud.T).T
    masks = g[..., None] * loud[:, None]
    masks /= masks.sum(0) + noise
    rest = np.einsum("kft,ft->fk", masks * (1 - masks), power)
    return _mixing(y, masks * x, rest[..., None] * np.eye(K)), g


def _mixing(y, s, covariance):
    """Mixing matrices from voices and the covariance of what is uncertain of them."""
    y, s = y.transpose(1, 0, 2), s.transpose(1, 2, 0).conj()
    return (y @ s) @ np.linalg.inv(_loaded(s.conj().swapaxes(1, 2) @ s + covariance))


def _fit_bins(y, N, loud, A, g):
    """Maximize the likelihood of mixing matrices and powers, by the EM algorithm.

    Parameters
    ----------
    y : ndarray of shape (n_sources, n_bins, n_frames)
        Outputs.
    N : ndarray of shape (n_bins, n_sources, n_sources)
        Covariance of their noise.
    loud : ndarray of shape (n_sources, n_frames)
        Loudness of the voices.
    A, g : ndarray of shape (n_bins, n_sources, n_sources) and (n_sources, n_bins)
        Mixing matrices and powers to start from.

    Returns
    -------
    A : ndarray of shape (n_bins, n_sources, n_sources)
        Mixing matrices with columns of unit norm.
    likelihood : ndarray of shape (n_bins,)
        Logarithm of the likelihood, but for a constant.
    """
    K, n_bins, n_frames = y.shape
    N_inv = np.linalg.inv(N)
    d = np.arange(K)
    for _ in range(MAX_ITER):
        r = g[..., None] * loud[:, None] + np.finfo(float).tiny ** 0.5
        back = A.conj().swapaxes(1, 2) @ N_inv
        precision = np.empty((K, K, n_bins, n_frames), complex)
        precision[:] = (back @ A).transpose(1, 2, 0)[..., None]
        precision[d, d] += 1 / r
        L, d_inv = ldl_hpd(precision.reshape(K, K, -1))
        b = (back @ y.transpose(1, 0, 2)).transpose(1, 0, 2)
        s, form = solve_ldl(L, d_inv, b.reshape(K, -1))
        s = s.reshape(y.shape)
        rest = inverse_features(L, d_inv).reshape(K * K, n_bins, n_frames)
        likelihood = form + np.log(d_inv / r.reshape(K, -1)).sum(0)
        power = s.real**2 + s.imag**2 + rest[:K]
        g = (power / loud[:, None]).mean(2)
        A = _mixing(y, s, unpack_hermitian(rest.sum(2)).transpose(2, 0, 1))
        size = np.sqrt((A.real**2 + A.imag**2).sum(1))
        size = np.where(size > 0, size, 1)
        A, g = A / size[:, None], g * size.T**2
    return A, likelihood.reshape(n_bins, n_frames).sum(1)
