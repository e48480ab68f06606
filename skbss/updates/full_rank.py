"""Sources with a spatial covariance of full rank, and multichannel Wiener filters.

A source is not one direction of the microphones, as for a demixing matrix, but a
covariance matrix R of them in each bin, times a variance in each frame. More sources
than microphones can be told apart by that.
"""

# License: BSD-3-Clause

from itertools import cycle

import numpy as np

from skbss.linalg import (
    features_of,
    hermitian_features,
    inverse_features,
    ldl_hpd,
    matrices_of,
    solve_ldl,
    unpack_hermitian,
)
from skbss.parallel import bin_blocks, map_some

# Power of white noise, relative to the whitened microphones.
NOISE = 1e-6

# Least entry of spectra and activations, relative to their mean.
FLOOR = 1e-10


class Mixture:
    """What is known of the frames in some bins, given the covariances of the sources.

    Parameters
    ----------
    x : ndarray of shape (n_mics, n_bins, n_frames)
        Whitened microphones.
    variances : ndarray of shape (n_bins, n_sources, n_frames)
        Variances of the sources.
    R : ndarray of shape (n_bins, n_sources, n_mics, n_mics)
        Their spatial covariances.
    noise : float
        Variance of white noise.

    Attributes
    ----------
    cost : float
        Negative log-likelihood of the frames, up to a constant.
    """

    def __init__(self, x, variances, R, noise=NOISE):
        self._variances, self._R = variances, R
        M, B, T = x.shape
        r = features_of(R)
        total = r.swapaxes(1, 2) @ variances
        total[:, :M] += noise
        total = total.swapaxes(0, 1).reshape(M * M, B * T)
        L, d_inv = ldl_hpd(unpack_hermitian(total))
        self._L, self._d_inv, self._shape = L, d_inv, x.shape
        # Rᵗᵒᵗ⁻¹ x
        z, power = solve_ldl(L, d_inv, x.reshape(M, B * T))
        self.z = z.reshape(x.shape)
        self.cost = power.sum() - np.log(d_inv).sum()
        r[:, :, M:] *= 2
        self._forms = r

    def inverses(self):
        """Features of the inverse covariances, (n_bins, n_mics ** 2, n_frames)."""
        M, B, T = self._shape
        packed = inverse_features(self._L, self._d_inv)
        return packed.reshape(M * M, B, T).swapaxes(0, 1)

    def outer(self):
        """Features of z zᴴ, (n_bins, n_mics ** 2, n_frames)."""
        M, B, T = self._shape
        out = np.empty((M * M, B, T))
        return hermitian_features(self.z.real, self.z.imag, out).swapaxes(0, 1)

    def terms(self):
        """Return what multiplicative updates of variances weigh up.

        Returns
        -------
        q, t : ndarray of shape (n_bins, n_sources, n_frames)
            :math:`z^H R z`, and the trace of R times the inverse covariance.
        """
        return tuple(
            np.maximum(self._forms @ some, 0)
            for some in (self.outer(), self.inverses())
        )

    def adapted(self):
        """Spatial covariances that lower the cost, as `R`.

        They solve R A R = R C R', the Riccati equation of the majorizing function, with
        sums A of inverse covariances and C of z zᴴ, weighted by the variances.
        """
        v = self._variances
        A, C = (
            matrices_of(v @ some.swapaxes(1, 2))
            for some in (self.inverses(), self.outer())
        )
        M = A.shape[-1]
        eye = np.eye(M)
        mean = np.einsum("...ii", A).real / M
        A += (1e-12 * mean + (mean == 0))[..., None, None] * eye
        L = np.linalg.cholesky(A)
        LR = L.conj().swapaxes(2, 3) @ self._R
        S = LR @ C @ LR.conj().swapaxes(2, 3)
        values, vectors = np.linalg.eigh(S)
        values = np.sqrt(np.maximum(values, 0))
        root = (vectors * values[..., None, :]) @ vectors.conj().swapaxes(2, 3)
        left = np.linalg.inv(L).conj().swapaxes(2, 3)
        return left @ root @ left.conj().swapaxes(2, 3)

    def images(self, row):
        """Images of the sources, (n_bins, n_sources, n_frames).

        Parameters
        ----------
        row : ndarray of shape (n_bins, n_mics)
            Row of a microphone in the inverse of the whitening matrices.
        """
        gains = np.einsum("fj,fkji->fki", row, self._R)
        return (gains @ self.z.swapaxes(0, 1)) * self._variances


def write_images(X, whitening, variances, R, ref_mic, noise=NOISE):
    """Return the images of the sources at a microphone, by Wiener filters.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Complex spectrogram.
    whitening : Whitening
        Of the microphones.
    variances : callable
        Returns those of some bins (a slice), given these whitened.
    R : ndarray of shape (n_freqs, n_sources, n_mics, n_mics)
        Spatial covariances.
    ref_mic : int
        The microphone.

    Returns
    -------
    Y : ndarray of shape (n_frames, n_freqs, n_sources)
        In the precision of `X`.
    """
    T, F, M = X.shape
    K = R.shape[1]
    Y = np.empty((T, F, K), X.dtype)

    def write(bins):
        x = whitening.apply(X, bins)
        mixture = Mixture(x, variances(bins, x), R[bins], noise)
        row = whitening.Z_inv[ref_mic][:, bins].T
        y = mixture.images(row) * whitening.scale
        Y[:, bins] = y.transpose(2, 0, 1)

    map_some(write, bin_blocks(F, 32 * T * (3 * M * M + K)))
    return Y


def relative_mixing(whitening, R, ref_mic):
    """Mixing matrices (n_freqs, n_mics, n_sources) that images at a microphone have.

    They are the best linear estimates of the images at other microphones.
    """
    A = whitening.Z_inv.transpose(2, 0, 1)[:, None]
    columns = A @ R @ A[..., ref_mic, :].conj()[..., None]
    columns = columns[..., 0].swapaxes(1, 2)  # (n_freqs, n_mics, n_sources)
    size = columns[:, ref_mic : ref_mic + 1]
    relative = columns / np.where(size == 0, 1, size)
    relative[:, ref_mic] = 1
    return relative


def by_power(x, masks, loading):
    """Spatial covariances of frames weighted by masks, with unit mean diagonal.

    Parameters
    ----------
    x : ndarray of shape (n_mics, n_bins, n_frames)
        Whitened microphones.
    masks : ndarray of shape (n_bins, n_sources, n_frames)
        Weights.
    loading : float
        Of the diagonal, relative to it.

    Returns
    -------
    R : ndarray of shape (n_bins, n_sources, n_mics, n_mics)
        The identity where nothing is heard.
    """
    M, B, T = x.shape
    P = hermitian_features(x.real, x.imag, np.empty((M * M, B, T)))
    return normalized(matrices_of(masks @ P.transpose(1, 2, 0)), loading)[0]


def normalized(R, loading=1e-9):
    """Matrices with unit mean diagonal, loaded, and what they were divided by."""
    M = R.shape[-1]
    size = np.einsum("...ii", R).real / M
    safe = np.where(size > 0, size, 1)[..., None, None]
    eye = np.eye(M)
    R = np.where(size[..., None, None] > 0, R / safe, eye) + loading * eye
    return (R + R.conj().swapaxes(-1, -2)) / (2 + 2 * loading), size


def iterate_full_rank(x, W, H, R):
    """Iterate for ever: spectra, activations and spatial covariances in turn.

    Parameters
    ----------
    x : ndarray of shape (n_mics, n_freqs, n_frames)
        Whitened microphones.
    W : ndarray of shape (n_sources, n_freqs, n_basis)
        Spectra.
    H : ndarray of shape (n_sources, n_basis, n_frames)
        Their activations.
    R : ndarray of shape (n_freqs, n_sources, n_mics, n_mics)
        Spatial covariances.

    Yields
    ------
    state : tuple of ndarray
        W, H and R: first those given, then one update further each time.
    objective : float
        Their negative log-likelihood.
    """
    K, F, _ = W.shape
    T, M = H.shape[2], R.shape[-1]
    blocks = bin_blocks(F, 32 * T * (3 * M * M + 2 * K))
    for turn in cycle("WHR"):
        new_W, new_R = W.copy(), R.copy()
        costs, sums = np.empty(len(blocks)), [None] * len(blocks)

        def update(i, turn=turn, now=(W, H, R), new=(new_W, new_R), out=(costs, sums)):
            bins = blocks[i]
            w, h = now[0][:, bins], now[1]
            mixture = Mixture(x[:, bins], (w @ h).swapaxes(0, 1), now[2][bins])
            out[0][i] = mixture.cost
            if turn == "R":
                new[1][bins], size = normalized(mixture.adapted())
                new[0][:, bins] = w * size.T[..., None]
                return
            terms = [some.swapaxes(0, 1) for some in mixture.terms()]
            if turn == "W":
                new[0][:, bins] = w * _ratio(*(s @ h.swapaxes(1, 2) for s in terms))
            else:
                out[1][i] = [w.swapaxes(1, 2) @ s for s in terms]

        map_some(update, list(range(len(blocks))))
        yield (W, H, R), costs.sum()
        if turn == "H":
            H = H * _ratio(*np.sum(sums, axis=0))
        mean = new_W.mean(1, keepdims=True)
        mean[mean == 0] = 1
        W = np.maximum(new_W / mean, FLOOR)
        H = np.maximum(H * mean.swapaxes(1, 2), FLOOR)
        R = new_R


def adapt_activations(x, W, H, R, n_iter=10):
    """Return activations that explain a recording better; see `iterate_full_rank`."""
    (M, F, T), K = x.shape, len(H)
    for _ in range(n_iter):
        sums = np.zeros((2, *H.shape))
        for bins in bin_blocks(F, 32 * T * (3 * M * M + 2 * K)):
            w = W[:, bins]
            mixture = Mixture(x[:, bins], (w @ H).swapaxes(0, 1), R[bins])
            sums += [w.swapaxes(1, 2) @ some.swapaxes(0, 1) for some in mixture.terms()]
        H = np.maximum(H * _ratio(*sums), FLOOR)
    return H


def start_factors(power, n_basis, n_iter, rng, W=None):
    """Factor powers of sources by Itakura-Saito NMF, to start from.

    Parameters
    ----------
    power : ndarray of shape (n_sources, n_freqs, n_frames)
        Powers of the whitened microphones that belong to each source.
    n_basis : int
        Number of spectra of a source.
    n_iter : int
        Number of iterations.
    rng : RandomState
        Draws the factors.
    W : ndarray of shape (n_sources, n_freqs, n_basis), default=None
        Spectra that are known and stay.

    Returns
    -------
    W : ndarray of shape (n_sources, n_freqs, n_basis)
        Spectra.
    H : ndarray of shape (n_sources, n_basis, n_frames)
        Activations.
    """
    K, F, T = power.shape
    is_known = W is not None
    H = np.ones((K, n_basis, T))
    if not is_known:
        W, H = (rng.uniform(0.1, 1, (K, *size)) for size in ((F, n_basis), H.shape[1:]))
    least = 1e-6 * (power.mean() or 1)
    for _ in range(n_iter):
        sums = np.zeros((2, *H.shape))
        for bins in bin_blocks(F, 48 * T * K):
            p, w = power[:, bins] + least, W[:, bins]
            if not is_known:
                w *= _ratio(*(some @ H.swapaxes(1, 2) for some in _terms(p, w @ H)))
                np.maximum(w, FLOOR, out=w)
            sums += [w.swapaxes(1, 2) @ some for some in _terms(p, w @ H)]
        H = np.maximum(H * _ratio(*sums), FLOOR)
    return W, H


def _terms(power, r):
    u = 1 / r
    return power * u * u, u


def _ratio(numerator, denominator):
    """Factor of a multiplicative update that never raises the cost."""
    positive = denominator > 0
    one = np.ones_like(denominator)
    return np.sqrt(np.divide(numerator, denominator, where=positive, out=one))
