"""Two talkers who walk: the delays between two microphones that each of them has.

Nothing is learned of a room, as nobody stays anywhere for long. What a talker does is
heard as a delay, the same one in all bins, that changes slowly.
"""

# License: BSD-3-Clause

import numpy as np

from skbss.updates.masks import LEAST, ranges, share

# Windows, and times in which talkers are about where they are, in seconds.
WINDOW, BLOCK = 0.064, 0.192
# Power that doesn't come from a talker's direction, relative to that which does, where
# directions are found and where masks are made of them, and what share of the
# coefficients is of no direction.
SPREAD, NARROW, STRAY = 0.1, 0.01, 0.2
# Frequencies at which directions are looked for, in Hz, the longest delay in seconds.
BAND = 150, 4000
LONGEST = 1e-3
# Delays are on a grid of so many to each side of zero.
N_SIDE = 30
# Shares of the first talker in a time of a fifth of a second: it is often one alone.
SHARES = 0.5, 0.92, 0.08
# Steps of the grid that a talker goes in that time at most, and what it costs to become
# faster or slower by one step, and to be off by one, in log-likelihoods, which count
# less than they would if bins were independent.
FASTEST, COSTS, TRUST = 3, (4.0, 4.0, 0.5, 0.5), 0.2
# Iterations in which the weights of talkers in frames are found.
N_WEIGHTS = 2
# Times in which somebody goes steadily, in blocks, and how far at most, in steps of a
# coarse grid.
N_BLOCKS, FARTHEST = 16, 10


class Phases:
    """What two microphones differ by in each coefficient.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, 2)
        Complex spectrogram.
    freqs : ndarray of shape (n_freqs,)
        In Hz.

    Attributes
    ----------
    cross : ndarray of shape (n_freqs, n_frames)
        Twice the product of the microphones, relative to their power, at most 1.
    weight : ndarray of shape (n_freqs, n_frames)
        How much coefficients count, from 0 to 1: loud ones more than soft ones.
    """

    def __init__(self, X, freqs):
        x = X.transpose(2, 1, 0)
        x = x / (max(abs(x.real).max(), abs(x.imag).max()) or 1)
        power = (x.real**2 + x.imag**2).sum(0)
        self.cross = 2 * x[0].conj() * x[1] / np.where(power > 0, power, np.inf)
        total = power + power.mean(1, keepdims=True)
        self.weight = np.divide(power, total, out=0 * power, where=total > 0)
        self.freqs = freqs

    def blocks(self, n_frames, delays, every=2):
        """Yield the densities of what is loud in some frames, and its weights.

        Parameters
        ----------
        n_frames : int
            Frames of a block.
        delays : ndarray of shape (n_delays,)
            In seconds.
        every : int, default=2
            Every such frame and bin is looked at.

        Yields
        ------
        densities : ndarray of shape (n_delays, n_coefficients)
            Of all delays.
        weight : ndarray of shape (n_coefficients,)
            How much they count.
        """
        bins = np.flatnonzero((self.freqs >= BAND[0]) & (self.freqs <= BAND[1]))
        bins = bins[::every]
        turns = np.exp(2j * np.pi * np.multiply.outer(delays, self.freqs[bins]))
        for start in range(0, self.cross.shape[1], n_frames):
            frames = slice(start, start + n_frames, every)
            weight = self.weight[bins, frames]
            is_loud = weight > SPREAD
            of_bins = turns[:, np.nonzero(is_loud)[0]]
            p = _densities(self.cross[bins, frames][is_loud], of_bins, SPREAD)
            yield p.astype(np.float32), weight[is_loud].astype(np.float32)

    def singles(self, n_frames, delays, every=2):
        """Log-likelihoods of blocks, (n_blocks, n_delays), of a single talker."""
        return np.array(
            [
                np.log((1 - STRAY) * p + STRAY) @ weight
                for p, weight in self.blocks(n_frames, delays, every)
            ]
        )

    def longest_delay(self, n_frames, n_side=2 * N_SIDE, every=2):
        """Return a delay that is about the longest of any talker, in seconds."""
        delays = np.linspace(-LONGEST, LONGEST, 2 * n_side + 1)
        singles = self.singles(n_frames, delays, every)
        best = abs(delays[singles.argmax(1)])
        order = np.argsort(best)
        share = np.cumsum(np.maximum(singles.max(1), 0)[order])
        return 1.2 * best[order[np.searchsorted(share, 0.95 * share[-1])]]

    def likelihoods(self, n_frames, delays):
        """Log-likelihoods of blocks, (n_blocks, n_delays, n_delays), of two talkers."""
        n = len(delays)
        first, second = np.triu_indices(n)
        out = []
        for p, weight in self.blocks(n_frames, delays):
            pairs = [
                np.log((1 - STRAY) * (a * p[first] + (1 - a) * p[second]) + STRAY)
                @ weight
                for a in SHARES
            ]
            both = np.empty((n, n), np.float32)
            both[first, second] = both[second, first] = np.max(pairs, axis=0)
            out.append(both)
        return np.array(out)

    def masks(self, delays):
        """Masks (n_freqs, 2, n_frames) of talkers by their delays (2, n_frames)."""
        masks = np.empty((len(self.freqs), *delays.shape))
        for bins in ranges(len(self.freqs)):
            turns = np.exp(2j * np.pi * self.freqs[bins, None, None] * delays)
            p = _densities(self.cross[bins, None], turns, NARROW)
            weights = 1.0
            for _ in range(N_WEIGHTS):
                masks[bins], _ = share(p * weights)
                weights = np.maximum(masks[bins].mean(0), LEAST)
        return masks


def _densities(cross, turns, spread):
    """How likely coefficients are, given what delays turn their phases by."""
    near = (1 + (cross * turns).real) / 2
    form = near / (2 - spread) + (1 - near) / spread
    return 1 / ((2 - spread) * spread * form**2)


def gain_of_lines(singles):
    """Say how much more two steady ways explain of a few seconds than places do.

    Parameters
    ----------
    singles : ndarray of shape (n_blocks, n_delays)
        Log-likelihoods of a single talker at each delay.

    Returns
    -------
    gain : float
        Relative to what is explained with a delay for each block, midway between what
        two and what three places explain. Below zero if everybody stays somewhere,
        however many there are.
    """
    steps = np.arange(N_BLOCKS)
    n_delays = singles.shape[1]
    slopes = np.arange(-FARTHEST, FARTHEST + 1) / N_BLOCKS
    ways = np.multiply.outer(slopes, steps - steps.mean())[:, None]
    ways = np.rint(ways + np.arange(n_delays)[:, None]).astype(int)
    ways = ways.reshape(-1, N_BLOCKS)
    ways = ways[(ways >= 0).all(1) & (ways < n_delays).all(1)]
    total = gain = 0.0
    for start in range(0, len(singles) - N_BLOCKS + 1, N_BLOCKS // 2):
        part = np.maximum(singles[start : start + N_BLOCKS], 0)
        total += part.max(1).sum()
        lines = _explained(part[steps, ways], 2)[1]
        gain += lines - _explained(part.T, 3)[1:].mean()
    return float(gain / total) if total > 0 else 0.0


def _explained(ways, n):
    """Most that 1, 2, ... n ways explain together, each the best beside the others."""
    so_far, sums = np.zeros(ways.shape[1]), []
    for _ in range(n):
        together = np.maximum(ways, so_far)
        so_far = together[together.sum(1).argmax()]
        sums.append(so_far.sum())
    return np.array(sums)


def follow(likelihoods):
    """Find the most likely way of two talkers.

    They go on as they go: where they come close to each other and part again, that
    tells who is who.

    Parameters
    ----------
    likelihoods : ndarray of shape (n_blocks, n_places, n_places)
        Of the places of both.

    Returns
    -------
    path : ndarray of int of shape (n_blocks, 2)
        Their places. Memory is needed for all states of all blocks, 60 MB a minute.
    """
    n_speeds, n_places = 2 * FASTEST + 1, likelihoods.shape[1]
    shape = n_speeds, n_speeds, n_places, n_places
    score = np.broadcast_to(TRUST * likelihoods[0], shape)
    steps = np.zeros((len(likelihoods), *shape), np.int8)
    for step, likelihood in zip(steps[1:], likelihoods[1:], strict=True):
        for axis, cost in enumerate(COSTS):
            if axis == 2:
                score = _moved(score)
            score = _relaxed(score, axis, cost, step)
        score += TRUST * likelihood
    state = np.array(np.unravel_index(score.argmax(), shape))
    path = [state[2:].copy()]
    for step in steps[:0:-1]:
        for axis in range(3, -1, -1):
            if axis == 1:
                state[2:] -= state[:2] - FASTEST
            # Four digits of -1, 0 and 1.
            state[axis] -= (step[tuple(state)] + 40) // 3**axis % 3 - 1
        path.append(state[2:].copy())
    return np.array(path[::-1])


def _moved(score):
    """Scores of states (speed, speed, place, place) after everybody went on."""
    out = np.full_like(score, -np.inf)
    n = score.shape[2]
    parts = [
        (k, slice(max(0, -v), n - max(0, v)), slice(max(0, v), n - max(0, -v)))
        for k, v in enumerate(range(-FASTEST, FASTEST + 1))
    ]
    for a, old_a, new_a in parts:
        for b, old_b, new_b in parts:
            out[a, b, new_a, new_b] = score[a, b, old_a, old_b]
    return out


def _relaxed(score, axis, cost, step):
    """Best scores with up to one step along an axis; `step` notes which, as a digit."""
    best = score.copy()
    ahead = np.moveaxis(best, axis, 0), np.moveaxis(step, axis, 0)
    old = np.moveaxis(score, axis, 0) - np.float32(cost)
    taken = np.zeros_like(ahead[1])
    for d, to, source in ((1, slice(1, None), old[:-1]), (-1, slice(-1), old[1:])):
        is_better = source > ahead[0][to]
        ahead[0][to][is_better] = source[is_better]
        taken[to][is_better] = d
    ahead[1][...] += 3**axis * taken
    return best
