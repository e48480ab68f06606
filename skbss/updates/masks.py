"""Mixture of complex angular central Gaussians: which source a coefficient belongs to.

Directions of the whitened microphones are all that it looks at. Arrays of one block of
bins have the bins first and the frames last, as the features of a recording.
"""

# License: BSD-3-Clause

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.optimize import linear_sum_assignment

from skbss.linalg import (
    features_of,
    hermitian_features,
    inverse_features,
    ldl_hpd,
    matrices_of,
    unpack_hermitian,
)
from skbss.parallel import bin_blocks, map_some
from skbss.updates.recording import Recording

# White noise that is expected in every direction, relative to its power. It bounds how
# narrow a distribution may become. 30 dB did best.
NOISE = 1e-3

# Twice the power of a bin that this share of its frames is below is taken for noise.
# What is louder counts the more for it, and all at least so much.
QUIET, LEAST_PRESENCE = 0.05, 0.01

# Noise is found where this share of the mean power is below that power in half of the
# bins. Where there is none, weighing frames lost 0.8 dB on 18 scenes.
NOISY = 0.03

# Least weight of a source.
LEAST = 1e-10

# Bins of the lowest range that has weights of its own; the next one is as wide, and all
# others are octaves.
LOWEST = 64

# Frames over which activity is averaged to find out what belongs together.
SMOOTH = 5


class Whitening(NamedTuple):
    """What whitens the microphones, and takes them back; see `Recording`.

    Parameters
    ----------
    Z, Z_inv : ndarray of shape (n_mics, n_mics, n_freqs)
        The whitening and its inverse.
    scale : float
        Root mean square of the recording.
    noise : ndarray of shape (n_freqs,)
        Power of the noise in whitened bins; 0 if the recording has little of it.
    """

    Z: np.ndarray
    Z_inv: np.ndarray
    scale: float
    noise: np.ndarray

    @classmethod
    def of(cls, X):
        """Whitening of a recording (n_frames, n_freqs, n_mics)."""
        T, F, M = X.shape
        recording = Recording(X)
        noise, mean = np.empty(F), np.empty(F)
        whitening = cls(recording.Z, recording.Z_inv, recording.scale, noise)

        def measure(bins):
            power = peaks(whitening.apply(X, bins)) ** 2
            noise[bins] = 2 * np.quantile(power, QUIET, axis=1)
            mean[bins] = power.mean(1)

        map_some(measure, bin_blocks(F, 64 * M * T))
        if np.median(noise - NOISY * mean) <= 0:
            noise[:] = 0
        return whitening

    @property
    def loudness(self):
        """Root mean squares of the bins, (n_freqs,), relative to the recording."""
        return np.linalg.norm(self.Z_inv, axis=(0, 1))

    def apply(self, X, bins):
        """Whiten some bins: (n_mics, n_bins, n_frames), complex128."""
        x = (X[:, bins] / self.scale).transpose(1, 2, 0).astype(complex, order="C")
        return (self.Z[..., bins].transpose(2, 0, 1) @ x).swapaxes(0, 1)

    def directions(self, X, bins):
        """Directions in some bins; see `directions`."""
        return directions(self.apply(X, bins), self.noise[bins])


def peaks(x):
    """Magnitudes of frames (n_mics, ...), up to a small factor, that can't overflow."""
    return np.maximum(abs(x.real), abs(x.imag)).max(0)


def directions(x, noise):
    """Features of unit vectors in the direction of frames, with noise.

    Parameters
    ----------
    x : ndarray of shape (n_mics, n_bins, n_frames)
        Whitened frames.
    noise : ndarray of shape (n_bins,)
        Power of noise. Frames that hardly are louder count less.

    Returns
    -------
    U : ndarray of shape (n_bins, n_mics ** 2, n_frames)
        The trace of the features is how much a frame counts, from `LEAST_PRESENCE` to
        1. Silence has no direction.
    """
    M = len(x)
    peak = peaks(x)
    loudness, noise = peak**2, noise[:, None]
    quiet = np.divide(noise, loudness, out=np.ones_like(peak), where=loudness > noise)
    counts = np.maximum(1 - quiet, LEAST_PRESENCE)
    x = x / np.where(peak > 0, peak, 1)
    U = np.empty((M * M, *x.shape[1:]))
    hermitian_features(x.real, x.imag, U)
    power = U[:M].sum(0)
    U *= (1 - NOISE) / np.where(power > 0, power, 1)
    U[:M] += np.where(power > 0, NOISE / M, 1 / M)
    U *= counts
    return np.ascontiguousarray(U.swapaxes(0, 1))


def counts_of(U):
    """How much frames count, (n_bins, 1, n_frames); see `directions`."""
    return U[:, : math.isqrt(U.shape[1])].sum(1, keepdims=True)


class Shapes:
    """Shapes of the sources' distributions in a block of bins.

    Parameters
    ----------
    S : ndarray of shape (n_bins, n_sources, n_mics ** 2)
        Features of the matrices B.

    Attributes
    ----------
    matrices : ndarray of shape (n_bins, n_sources, n_mics, n_mics)
        B.
    forms : ndarray of shape (n_bins, n_sources, n_mics ** 2)
        Their products with features of u are :math:`u^H B^{-1} u`.
    density : ndarray of shape (n_bins, n_sources, 1)
        1 / det B.
    """

    def __init__(self, S):
        n_bins, K, size = S.shape
        self.n_mics = math.isqrt(size)
        self.matrices = matrices_of(S)
        L, d_inv = ldl_hpd(unpack_hermitian(S.reshape(-1, size).T))
        forms = inverse_features(L, d_inv)
        forms[self.n_mics :] *= 2
        self.forms = np.ascontiguousarray(forms.T).reshape(n_bins, K, size)
        self.density = d_inv.prod(0).reshape(n_bins, K, 1)

    @classmethod
    def of(cls, matrices):
        """Shapes by their matrices (n_bins, n_sources, n_mics, n_mics)."""
        return cls(features_of(matrices))

    def quadratic(self, U):
        """Quadratic forms of directions, (n_bins, n_sources, n_frames)."""
        least = NOISE * LEAST_PRESENCE / self.n_mics / 10
        return np.maximum(self.forms @ U, least)

    def joint(self, q, weights):
        """Weights of the sources times their densities at the quadratic forms."""
        p = self.density * weights
        for _ in range(self.n_mics):
            p = p / q
        return p


def adapted(U, masks, q=None):
    """Shapes that fit the frames of the sources better.

    Parameters
    ----------
    U : ndarray of shape (n_bins, n_mics ** 2, n_frames)
        From `directions`.
    masks : ndarray of shape (n_bins, n_sources, n_frames)
        What belongs to whom.
    q : ndarray of the shape of `masks`, default=None
        Quadratic forms of the shapes until then.
    """
    M, counts = math.isqrt(U.shape[1]), counts_of(U)
    masks = masks * counts
    S = (masks / (counts if q is None else q)) @ U.swapaxes(1, 2)
    S *= M / np.maximum(masks.sum(2, keepdims=True), LEAST)
    return Shapes(S)


def share(p, counts=1.0):
    """Shares of the sources in each frame, and the sum of logarithms by bin."""
    total = p.sum(1, keepdims=True)
    return p / total, (counts * np.log(total)).sum((1, 2))


def find_masks(U, n_iter, starts):
    """Fit each bin by itself, with constant weights of the sources.

    Parameters
    ----------
    U : ndarray of shape (n_bins, n_mics ** 2, n_frames)
        From `directions`.
    n_iter : int
        Number of iterations.
    starts : iterable of ndarray of shape (n_bins, n_sources, n_frames)
        Masks to start from.

    Returns
    -------
    masks : ndarray of shape (n_bins, n_sources, n_frames)
        From the start that led to the highest likelihood of the bin.
    log_likelihoods : list of ndarray of shape (n_bins,)
        After each iteration from the last start.
    """
    best, highest, counts = None, None, counts_of(U)
    total = counts.sum(2, keepdims=True)
    for masks in starts:
        q, log_likelihoods = None, []
        for _ in range(n_iter):
            weights = (masks * counts).sum(2, keepdims=True) / total
            weights = np.maximum(weights, LEAST)
            shapes = adapted(U, masks, q)
            q = shapes.quadratic(U)
            masks, log_likelihood = share(shapes.joint(q, weights), counts)
            log_likelihoods.append(log_likelihood)
        if best is None:
            best, highest = masks, log_likelihood.copy()
        better = log_likelihood > highest
        best[better], highest[better] = masks[better], log_likelihood[better]
    return best, log_likelihoods


def random_masks(seeds, n_sources, n_frames):
    """Draw masks, (n_bins, n_sources, n_frames), uniformly, by a seed for each bin."""
    draws = [
        np.random.default_rng(seed).exponential(size=(n_sources, n_frames))
        for seed in seeds
    ]
    draws = np.array(draws)
    return draws / draws.sum(1, keepdims=True)


def masks_of_bins(X, whitening, n_sources, n_iter, seeds):
    """Return masks (n_freqs, n_sources, n_frames) of each bin by itself.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Complex spectrogram.
    whitening : Whitening
        Of the microphones.
    n_sources, n_iter : int
        Numbers of sources and iterations.
    seeds : ndarray of shape (n_init, n_freqs)
        A seed for each start of each bin.
    """
    T, F, M = X.shape
    masks = np.empty((F, n_sources, T), X.real.dtype)

    def write(bins):
        U = whitening.directions(X, bins)
        starts = (random_masks(some[bins], n_sources, T) for some in seeds)
        found, counts = find_masks(U, n_iter, starts)[0], counts_of(U)
        # What doesn't count doesn't tell which sources of other bins it belongs to.
        masks[bins] = counts * found + (1 - counts) / n_sources

    map_some(write, bin_blocks(F, 16 * T * (M * M + 4 * n_sources)))
    return masks


def ranges(n_freqs):
    """Slices of bins that have weights of their own: octaves, the lowest ones wider."""
    edges = [LOWEST << k for k in range(n_freqs.bit_length())]
    edges = [0, *(edge for edge in edges if edge < 0.8 * n_freqs), n_freqs]
    return [slice(*some) for some in pairwise(edges)]


def weigh_frames(X, whitening, masks):
    """Fit bins together, with weights of the sources in frames, one for each octave.

    Parameters
    ----------
    X, whitening
        As for `masks_of_bins`.
    masks : ndarray of shape (n_freqs, n_sources, n_frames)
        To start from, in the same order in all bins; overwritten.

    Yields
    ------
    shapes : list of Shapes
        Of blocks of bins.
    objective : float
        The negative log-likelihood, up to a constant.
    """
    T, F, M = X.shape
    K = masks.shape[1]
    blocks, first = [], []
    for octave in ranges(F):
        first.append(len(blocks))
        parts = bin_blocks(octave.stop - octave.start, 16 * T * (M * M + 4 * K))
        start = octave.start
        blocks += [slice(start + part.start, start + part.stop) for part in parts]
    n_blocks = np.diff([*first, len(blocks)])
    shapes = [None] * len(blocks)
    sums = np.array([masks[bins].sum(0, dtype=float) for bins in blocks])
    while True:
        weights = np.add.reduceat(sums, first)
        weights = np.maximum(weights / weights.sum(1, keepdims=True), LEAST)
        weights = weights.repeat(n_blocks, 0)
        log_likelihoods = np.empty(len(blocks))

        def adapt(i, weights=weights, log_likelihoods=log_likelihoods):
            bins = blocks[i]
            U = whitening.directions(X, bins)
            counts = counts_of(U)
            q = None if shapes[i] is None else shapes[i].quadratic(U)
            shapes[i] = adapted(U, masks[bins].astype(float), q)
            p = shapes[i].joint(shapes[i].quadratic(U), weights[i])
            masks[bins], some = share(p, counts)
            sums[i] = (masks[bins] * counts).sum(0, dtype=float)
            log_likelihoods[i] = some.sum()

        map_some(adapt, list(range(len(blocks))))
        yield list(shapes), -log_likelihoods.sum()


def align(masks, loudness, n_iter=30):
    """Order the sources of all bins alike, by when they are active.

    Neighboring bins are merged into ranges, ranges into longer ones. Then each bin is
    compared with the mean of all. Bins count as they are loud, and as their masks are
    far from even.

    Parameters
    ----------
    masks : ndarray of shape (n_freqs, n_sources, n_frames)
        Shares of the sources.
    loudness : ndarray of shape (n_freqs,)
        Amplitudes of the bins.
    n_iter : int, default=30
        Most rounds of comparisons.

    Returns
    -------
    order : ndarray of shape (n_freqs, n_sources)
        The source of each bin that belongs to each source of all.
    """
    F, K, _ = masks.shape
    v = uniform_filter1d(masks, SMOOTH, output=np.float32)
    v -= v.mean(2, keepdims=True)
    v *= loudness[:, None, None]
    order = np.tile(np.arange(K), (F, 1))

    def reorder(bins, p):
        v[bins], order[bins] = v[bins][:, p], order[bins][:, p]

    size = 1
    while size < F:
        for middle in range(size, F, 2 * size):
            high = slice(middle, min(middle + size, F))
            low = _standardized(v[middle - size : middle].sum(0))
            reorder(high, _best(low @ _standardized(v[high].sum(0)).T))
        size *= 2
    for _ in range(n_iter):
        mean = _standardized(v.sum(0))
        best = [_best(S) for S in mean @ v.swapaxes(1, 2)]
        for f, p in enumerate(best):
            reorder(slice(f, f + 1), p)
        if all((p == np.arange(K)).all() for p in best):
            break
    return order


def _standardized(v):
    """Rows of zero mean and unit norm, single precision; constant ones are zero."""
    v = v - v.mean(-1, keepdims=True, dtype=np.float32)
    norm = np.linalg.norm(v, axis=-1, keepdims=True)
    least = 1e-4 * math.sqrt(v.shape[-1])
    return (v / np.where(norm > least, norm, np.inf)).astype(np.float32)


def _best(S):
    """Columns in the order in which they correlate best with the rows."""
    return linear_sum_assignment(S, maximize=True)[1]
