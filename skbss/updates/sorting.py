"""Sorting of frequency bands that a separator has given to the wrong outputs."""

# License: BSD-3-Clause

from itertools import combinations

import numpy as np

from skbss.updates.source import is_framewise, source_cost

# Bands are unions of neighbors among about this many parts of the spectrum.
N_PARTS = 64


def best_swap(powers, total, map_blocks=map):
    """Find the band and the two outputs whose swap lowers the cost most.

    Parameters
    ----------
    powers : ndarray of shape (n_sources, n_parts, n_frames)
        Output powers.
    total : callable
        Negative log-likelihoods of outputs, given their powers (n_outputs, n_frames).
    map_blocks : callable, default=map
        As of a `Recording`.

    Returns
    -------
    gain : float
        How much the cost falls.
    swap : tuple of int
        The outputs k and l, and the first part and the end of the band.
    """
    sums = np.concatenate([np.zeros_like(powers[:, :1]), powers.cumsum(1)], axis=1)
    unmoved = total(sums[:, -1])
    pairs = list(combinations(range(len(powers)), 2))

    def best_from(start):
        """Find the best swap of a band that begins with some part."""
        best, swap = 0.0, None
        for k, l in pairs:
            p, q = sums[[k, l], -1]
            moved = sums[l, start + 1 :] - sums[k, start + 1 :]
            moved -= sums[l, start] - sums[k, start]
            gains = unmoved[k] + unmoved[l] - total(p + moved) - total(q - moved)
            i = gains.argmax()
            if gains[i] > best:
                best, swap = gains[i], (k, l, start, start + 1 + i)
        return best, swap

    # All bands at once would take more memory than the spectrogram.
    found = map_blocks(best_from, range(powers.shape[1]))
    return max(found, key=lambda best: best[0])


def total_cost(source, floor, n_sources):
    """Return a function of powers (n_outputs, n_frames) to costs (n_outputs,).

    Models that are built in are asked about all outputs at once, those of users about
    as many as there are sources, in the shapes that they know.
    """

    def total(power):
        power = np.maximum(power, floor)[:, None]
        if is_framewise(source):
            return source_cost(source, power).sum((1, 2))
        lacking = -len(power) % n_sources
        power = np.concatenate([power, np.repeat(power[-1:], lacking, axis=0)])
        blocks = power.reshape(-1, n_sources, *power.shape[1:])
        costs = [source_cost(source, block).sum((1, 2)) for block in blocks]
        return np.concatenate(costs)[: len(power) - lacking]

    return total


def swaps(powers, total, least, map_blocks=map):
    """Swap bands as long as that lowers the cost by more than a least gain.

    Parameters
    ----------
    powers : ndarray of shape (n_sources, n_parts, n_frames)
        Output powers, swapped in place.
    total : callable
        As for `best_swap`.
    least : float
        The least gain.
    map_blocks : callable, default=map
        As for `best_swap`.

    Yields
    ------
    swap : tuple of int
        As from `best_swap`.
    """
    # Every swap lowers the cost, so this ends; the bound is for ties of rounding.
    for _ in range(N_PARTS):
        gain, swap = best_swap(powers, total, map_blocks)
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
    powers = recording.powers(model.counted(W), N_PARTS).astype(float)
    powers *= size / n_freqs
    total = total_cost(model.source, model.floor, len(W))

    least = 1e-9 * recording.n_frames
    # Users' models are asked by one thread at a time.
    map_blocks = recording.map if is_framewise(model.source) else map
    for k, l, start, stop in swaps(powers, total, least, map_blocks):
        W = swapped(W, k, l, slice(start * size, stop * size))
    return W
