"""Sorting of frequency bands that a separator has given to the wrong outputs."""

# License: BSD-3-Clause

from itertools import combinations

import numpy as np

from skbss.updates.source import SOURCE_MODELS, source_cost

# Bands are unions of neighbors among about this many parts of the spectrum.
N_PARTS = 64


def best_swap(powers, total):
    """Find the band and the two outputs whose swap lowers the cost most.

    Parameters
    ----------
    powers : ndarray of shape (n_sources, n_parts, n_frames)
        Output powers.
    total : callable
        Negative log-likelihoods of outputs, given their powers (n_outputs, n_frames).

    Returns
    -------
    gain : float
        How much the cost falls.
    swap : tuple of int
        The outputs k and l, and the first part and the end of the band.
    """
    sums = np.concatenate([np.zeros_like(powers[:, :1]), powers.cumsum(1)], axis=1)
    best, swap = 0.0, None
    unmoved = total(sums[:, -1])
    for k, l in combinations(range(len(powers)), 2):
        p, q = sums[k, -1], sums[l, -1]
        differences = sums[l] - sums[k]
        # All bands at once would take more memory than the spectrogram.
        for start in range(powers.shape[1]):
            moved = differences[start + 1 :] - differences[start]
            gains = unmoved[k] + unmoved[l] - total(p + moved) - total(q - moved)
            i = gains.argmax()
            if gains[i] > best:
                best, swap = gains[i], (k, l, start, start + 1 + i)
    return best, swap


def total_cost(source, floor, n_sources):
    """Return a function of powers (n_outputs, n_frames) to costs (n_outputs,).

    Models that are built in are asked about all outputs at once, those of users about
    as many as there are sources, in the shapes that they know.
    """

    def total(power):
        power = np.maximum(power, floor)[:, None]
        n = len(power) if type(source) in SOURCE_MODELS.values() else n_sources
        lacking = -len(power) % n
        power = np.concatenate([power, np.repeat(power[-1:], lacking, axis=0)])
        blocks = power.reshape(-1, n, *power.shape[1:])
        costs = [source_cost(source, block).sum((1, 2)) for block in blocks]
        return np.concatenate(costs)[: len(power) - lacking]

    return total


def swaps(powers, total, least):
    """Swap bands as long as that lowers the cost by more than a least gain.

    Parameters
    ----------
    powers : ndarray of shape (n_sources, n_parts, n_frames)
        Output powers, swapped in place.
    total : callable
        As for `best_swap`.
    least : float
        The least gain.

    Yields
    ------
    swap : tuple of int
        As from `best_swap`.
    """
    # Every swap lowers the cost, so this ends; the bound is for ties of rounding.
    for _ in range(N_PARTS):
        gain, swap = best_swap(powers, total)
        if gain <= least:
            return
        k, l, start, stop = swap
        powers[[k, l], start:stop] = powers[[l, k], start:stop]
        yield swap


def swapped(W, k, l, bins):
    """Return demixing matrices with two outputs swapped in some bins."""
    W = W.copy()
    W[[k, l], :, bins] = W[[l, k], :, bins]
    return W


def sort_bands(recording, W, model):
    """Swap outputs in bands of frequencies as long as that lowers the objective.

    Demixing matrices move bin by bin and rarely leave an arrangement in which all
    frequencies above some limit, say, go to the wrong output: every bin has the
    majority of its neighbors against it. Whole bands can cross. The determinants do not
    change, so the objective falls by exactly what the source model's cost falls.

    Parameters
    ----------
    recording : Recording
        The recording.
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices of its whitened microphones.
    model : SourceVariances
        With a source model of whole frames.

    Returns
    -------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        The matrices with rows swapped, or the same array.
    """
    n_freqs = W.shape[-1]
    size = max(1, n_freqs // N_PARTS)
    powers = recording.powers(W, N_PARTS).astype(float) * (size / n_freqs)
    total = total_cost(model.source, model.floor, len(W))

    for k, l, start, stop in swaps(powers, total, 1e-9 * recording.n_frames):
        W = swapped(W, k, l, slice(start * size, stop * size))
    return W
