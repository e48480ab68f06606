"""Sorting of frequency bands that a separator has given to the wrong outputs."""

# License: BSD-3-Clause

from itertools import combinations, pairwise

import numpy as np

from skbss.linalg import power_features

# Bands are unions of neighbors among this many parts of the spectrum.
N_PARTS = 64


def part_powers(P, W, edges):
    """Output powers of parts of the spectrum: (n_sources, n_parts, n_frames)."""
    Q = power_features(W).astype(P.dtype)
    powers = np.empty((len(W), len(edges) - 1, len(P)))
    for part, (start, stop) in enumerate(pairwise(edges)):
        features = P[:, :, start:stop].reshape(len(P), -1)
        np.matmul(
            Q[:, :, start:stop].reshape(len(W), -1), features.T, out=powers[:, part]
        )
    return powers


def best_swap(powers, floor, cost):
    """Find the band and the two outputs whose swap lowers the cost most.

    Parameters
    ----------
    powers : ndarray of shape (n_sources, n_parts, n_frames)
        Output powers.
    floor : float
        Least power of a frame.
    cost : callable
        Negative log-likelihood of frames, given their powers.

    Returns
    -------
    gain : float
        How much the cost falls.
    swap : tuple of int
        The outputs k and l, and the first part and the end of the band.
    """

    def total(power):
        return cost(np.maximum(power, floor)).sum(-1)

    sums = np.concatenate([np.zeros_like(powers[:, :1]), powers.cumsum(1)], axis=1)
    best, swap = 0.0, None
    for k, l in combinations(range(len(powers)), 2):
        p, q = sums[k, -1], sums[l, -1]
        unmoved = total(p) + total(q)
        differences = sums[l] - sums[k]
        # All bands at once would take more memory than the spectrogram.
        for start in range(powers.shape[1]):
            moved = differences[start + 1 :] - differences[start]
            gains = unmoved - total(p + moved) - total(q - moved)
            i = gains.argmax()
            if gains[i] > best:
                best, swap = gains[i], (k, l, start, start + 1 + i)
    return best, swap


def sort_bands(P, W, floor, source):
    """Swap outputs in bands of frequencies as long as that lowers the objective.

    Demixing matrices move bin by bin and rarely leave an arrangement in which all
    frequencies above some limit, say, go to the wrong output: every bin has the
    majority of its neighbors against it. Whole bands can cross. The determinants do not
    change, so the objective falls by exactly what the source model's cost falls.

    Parameters
    ----------
    P : ndarray of shape (n_frames, n_mics ** 2, n_freqs)
        Hermitian features of the recording.
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices.
    floor : float
        Least power of a frame.
    source : object
        The source model, of whole frames.

    Returns
    -------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        The matrices with rows swapped, or the same array.
    """
    n_freqs = W.shape[-1]
    edges = np.unique(np.linspace(0, n_freqs, N_PARTS + 1).astype(int))
    powers = part_powers(P, W, edges)

    def cost(power):
        return source.cost(power, n_freqs)

    # Every swap lowers the cost, so this ends; the bound is for ties of rounding.
    for _ in range(N_PARTS):
        gain, swap = best_swap(powers, floor, cost)
        if gain <= 1e-9 * n_freqs * len(P):
            break
        k, l, start, stop = swap
        W = W.copy()
        bins = slice(edges[start], edges[stop])
        W[[k, l], :, bins] = W[[l, k], :, bins]
        powers[[k, l], start:stop] = powers[[l, k], start:stop]
    return W
