"""Ranges of frequency in the wrong outputs, found by when the outputs are loud."""

# License: BSD-3-Clause

from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import gen_even_slices

from skbss.parallel import block_map
from skbss.updates.powers import frame_parts, invert_positive, mean_powers, powers
from skbss.updates.recording import level

# Frequency in Hz around which the steps of blocks turn from equal to proportional.
CORNER = 300.0

# Power that each output is assumed to have besides, relative to a block's mean: where
# all outputs of a block pause, rounding must not tell who speaks.
FLOOR = 1e-6


# Mean correlation of blocks, when sorted, below which swaps must be confirmed. It is
# 0.35 to 0.6 in clean rooms, and 0.2 to 0.35 with noise 10 to 20 dB below the voices.
CONFUSED = 0.35

# Parts of the recording that must confirm them, and by how many standard errors.
N_PARTS = 4
N_ERRORS = 2


def warped_edges(n_freqs, sample_rate, n_blocks):
    """Edges of blocks of bins with equal steps in log(1 + f / 300 Hz).

    Parameters
    ----------
    n_freqs : int
        Number of bins, from 0 Hz to half the sample rate.
    sample_rate : float
        In Hz.
    n_blocks : int
        Most blocks: where steps are shorter than a bin, there are fewer.

    Returns
    -------
    edges : ndarray of int
        Block b has the bins from ``edges[b]`` to before ``edges[b + 1]``.
    """
    frequency = np.linspace(0, sample_rate / 2, n_freqs)
    warped = np.log1p(frequency / CORNER)
    edges = np.searchsorted(warped, np.linspace(0, warped[-1], n_blocks + 1))
    return np.unique([0, *edges[1:-1], n_freqs])


def bin_gains(X, scale):
    """Factors that give every bin, of all outputs together, the same power."""
    # Those of which nothing is left when squared don't count.
    return invert_positive(mean_powers(X, scale)[0].sum(1))[:, None]


def shares(power, edges):
    """Share of each output in the power of each block of bins and frame.

    Parameters
    ----------
    power : ndarray of shape (n_frames, n_freqs, n_sources)
        Powers of the outputs, every bin alike.
    edges : ndarray of shape (n_blocks + 1,)
        Where blocks of bins begin and end.

    Returns
    -------
    share : ndarray of shape (n_frames, n_blocks, n_sources)
        Positive, they sum to 1 over the sources.
    """
    power = np.add.reduceat(power, edges[:-1], axis=1)
    power += FLOOR * np.diff(edges)[:, None]
    return power / power.sum(2, keepdims=True)


def inverse_deviations(variance):
    """Inverses of standard deviations of shares, zero where they are constant."""
    # Shares are at most 1: this is what rounding leaves.
    return np.sqrt(invert_positive(np.where(variance > 1e-12, variance, 0)))


def correlations(X, edges):
    """Correlate the outputs' shares of power between all blocks of bins.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs.
    edges : ndarray of shape (n_blocks + 1,)
        Where blocks of bins begin and end.

    Returns
    -------
    G : ndarray of shape (n_sources, n_sources, n_blocks, n_blocks)
        ``G[k, l, b, c]`` is the correlation over time of output k in block b with
        output l in block c; 0 where one of them is constant.
    norm : ndarray of shape (n_blocks, n_sources)
        Inverse standard deviations of the shares, or 0.
    """
    n_frames, K = len(X), X.shape[2]
    scale = level(X)
    gains = bin_gains(X, scale)
    size = (len(edges) - 1) * K
    share = np.empty((n_frames, K, size // K))

    def write(part):
        # Deviations from equal shares are small numbers, whose squares sum exactly.
        some = shares(powers(X[part], scale) * gains, edges) - 1 / K
        share[part] = some.transpose(0, 2, 1)

    with block_map() as map_blocks:
        list(map_blocks(write, frame_parts(X)))
        share = share.reshape(n_frames, size)
        G = share.T @ share
    mean = share.mean(0)
    G /= n_frames
    G -= np.outer(mean, mean)
    norm = inverse_deviations(G.diagonal())
    G *= norm[:, None] * norm
    G = G.reshape(K, size // K, K, -1).swapaxes(1, 2)
    return np.ascontiguousarray(G), norm.reshape(K, -1).T


def block_weights(n_blocks, reach):
    """How much pairs of blocks count: half for all alike, half for neighbors."""
    distance = abs(np.subtract.outer(np.arange(n_blocks), np.arange(n_blocks)))
    weights = 1 / n_blocks + np.exp(-distance / reach) / (2 * reach)
    np.fill_diagonal(weights, 0)
    return weights


class Sorting:
    """Arrangement of the outputs of blocks of bins, and what swaps would bring.

    Parameters
    ----------
    parts : list of ndarray of shape (n_sources, n_sources, n_blocks, n_blocks)
        From `correlations`, of the recording or of several parts of it. Rearranged in
        place.
    weights : ndarray of shape (n_blocks, n_blocks)
        From `block_weights`.

    Attributes
    ----------
    order : ndarray of shape (n_blocks, n_sources)
        Which of the outputs given is in which place now.
    """

    def __init__(self, parts, weights):
        self.parts, self.weights = parts, weights
        K, _, n_blocks, _ = parts[0].shape
        self.order = np.tile(np.arange(K), (n_blocks, 1))
        self.pairs = list(combinations(range(K), 2))
        self.triples = [
            cycle
            for i, j, k in combinations(range(K), 3)
            for cycle in ((i, j, k), (i, k, j))
        ]
        self.outside = np.tri(n_blocks + 1, dtype=bool)
        self.found = {}

    def range_gains(self, G, cycle):
        """Return what a swap brings in all ranges, by first block and end.

        With H[b, c] the change of agreement between a swapped block b and block c left
        as it is, a range brings the sum of its rows less what is in the square of the
        range: all of them are differences of cumulative sums.

        Parameters
        ----------
        G : ndarray of shape (n_sources, n_sources, n_blocks, n_blocks)
            Correlations.
        cycle : tuple of int
            Places: the first gets what is in the second, the last what is in the first.

        Returns
        -------
        gains : ndarray of shape (n_blocks + 1, n_blocks + 1)
            Without meaning where the end isn't after the first.
        """
        H = -G[cycle[0], cycle[0]]
        for k in cycle[1:]:
            H -= G[k, k]
        for k, other in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            H += G[other, k]
        H *= self.weights
        n = len(H)
        C = np.zeros((n + 1, n + 1))
        np.cumsum(H, axis=0, dtype=float, out=C[1:, 1:])
        np.cumsum(C[1:, 1:], axis=1, out=C[1:, 1:])
        rows, square = C[:, -1], C.diagonal()
        gains = C + C.T
        gains += rows - square
        gains -= (rows + square)[:, None]
        return gains

    def best_range(self, cycle):
        """Find the range of blocks in which a cyclic swap brings most.

        With several parts of a recording, that is the mean over parts less two of its
        standard errors.

        Parameters
        ----------
        cycle : tuple of int
            Places, as in `range_gains`.

        Returns
        -------
        gain : float
            What it brings.
        start, stop : int
            The range.
        """
        gains = np.array([self.range_gains(G, cycle) for G in self.parts])
        n = len(gains)
        gain = gains.mean(0)
        if n > 1:
            gain -= N_ERRORS * gains.std(0, ddof=1) / np.sqrt(n)
        gain[self.outside] = 0
        start, stop = divmod(int(gain.argmax()), len(gain))
        return gain[start, stop], start, stop

    def best_swap(self, cycles):
        """Find the best swap of some cycles; those that nothing touched are known."""
        for cycle in cycles:
            if cycle not in self.found:
                self.found[cycle] = self.best_range(cycle)
        cycle = max(cycles, key=lambda cycle: self.found[cycle][0])
        return (*self.found[cycle], cycle)

    def swap(self, start, stop, cycle):
        """Swap outputs of a range of blocks."""
        to, source = list(cycle), [*cycle[1:], cycle[0]]
        inside = slice(start, stop)
        self.order[inside, to] = self.order[inside, source]
        for G in self.parts:
            G[to, :, inside] = G[source, :, inside]
            G[:, to, :, inside] = G[:, source, :, inside]
        touched = set(cycle)
        self.found = {c: f for c, f in self.found.items() if not touched & set(c)}

    def run(self, min_gain, max_swaps):
        """Swap the best range as long as one brings `min_gain`; yield the swaps."""
        for _ in range(max_swaps if self.pairs else 0):
            gain, start, stop, cycle = self.best_swap(self.pairs)
            if gain < min_gain and self.triples:
                gain, start, stop, cycle = self.best_swap(self.triples)
            if gain < min_gain or gain <= 0:
                return
            self.swap(start, stop, cycle)
            yield start, stop, cycle


def agreement(G, order, weights):
    """Weighted mean correlation of each block's outputs with those of the others.

    Parameters
    ----------
    G : ndarray of shape (n_sources, n_sources, n_blocks, n_blocks)
        From `correlations`.
    order : ndarray of shape (n_blocks, n_sources)
        Which of the outputs given is in which place.
    weights : ndarray of shape (n_blocks, n_blocks)
        From `block_weights`.

    Returns
    -------
    agreement : ndarray of shape (n_blocks,)
        At most 1; 0 for a single block.
    """
    blocks = np.arange(len(order))
    same = sum(G[k[:, None], k, blocks[:, None], blocks] for k in order.T)
    total = weights.sum(1)
    return (same * weights).sum(1) * invert_positive(total) / order.shape[1]


def sort_blocks(X, edges, weights, min_gain):
    """Arrange the outputs of blocks, with more care where these agree little.

    Where noise fills many blocks, some ranges of them agree better when swapped by
    chance: then a swap must be a gain in most parts of the recording.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs.
    edges : ndarray of shape (n_blocks + 1,)
        Where blocks of bins begin and end.
    weights : ndarray of shape (n_blocks, n_blocks)
        From `block_weights`.
    min_gain : float
        Least gain of a swap.

    Returns
    -------
    order : ndarray of shape (n_blocks, n_sources)
        Which of the outputs given is in which place.
    swaps : list of tuple
        Ranges of blocks and the places that were swapped in them.
    norm : ndarray of shape (n_blocks, n_sources)
        As from `correlations`.
    before, after : ndarray of shape (n_blocks,)
        The agreement of blocks.
    """
    G, norm = correlations(X, edges)
    sorting = Sorting([G.copy()], weights)
    before = agreement(G, sorting.order, weights)
    swaps = list(sorting.run(min_gain, 2 * len(edges)))
    after = agreement(G, sorting.order, weights)
    if swaps and after.mean() < CONFUSED and len(X) >= N_PARTS:
        del sorting  # matrices of many outputs are large
        slices = gen_even_slices(len(X), N_PARTS)
        parts = [correlations(X[s], edges)[0].astype(np.float32) for s in slices]
        sorting = Sorting(parts, weights)
        swaps = list(sorting.run(min_gain, 2 * len(edges)))
        after = agreement(G, sorting.order, weights)
    return sorting.order, swaps, norm, before, after


def refine_edges(X, edges, order, weights, norm):
    """Move edges of ranges to the bins at which the outputs change places.

    On either side of an edge a block may be mixed: its bins are compared one by one
    with the blocks all around.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_sources)
        Outputs.
    edges : ndarray of shape (n_blocks + 1,)
        Where blocks of bins begin and end.
    order : ndarray of shape (n_blocks, n_sources)
        Which of the outputs given is in which place.
    weights : ndarray of shape (n_blocks, n_blocks)
        From `block_weights`.
    norm : ndarray of shape (n_blocks, n_sources)
        From `correlations`.

    Returns
    -------
    edges : ndarray of shape (n_blocks + 1,)
        New edges of blocks, moved where the order changes.
    """
    n_blocks, K = order.shape
    changes = 1 + np.flatnonzero((order[1:] != order[:-1]).any(1))
    edges = edges.copy()
    if not len(changes):
        return edges
    # What the outputs in each place do around each change, the blocks there left out.
    near = weights[changes]
    rows = np.arange(len(changes))
    near[rows, changes] = near[rows, changes - 1] = 0
    sums = np.zeros((n_blocks, K, len(changes), K))
    for k in range(K):
        b = np.arange(n_blocks)
        sums[b, order[:, k], :, k] = (near * norm[b, order[:, k]]).T
    sums = sums.reshape(n_blocks * K, -1)
    bins = np.zeros(X.shape[1], bool)
    for b in changes:
        bins[edges[b - 1] : edges[b + 1]] = True
    place = np.cumsum(bins) - 1
    scale = level(X)
    gains = bin_gains(X, scale)
    around = np.empty((len(X), len(changes), K))
    share = np.empty((len(X), bins.sum(), K))
    for part in frame_parts(X):
        power = powers(X[part], scale) * gains
        blocks = shares(power, edges).reshape(len(power), -1)
        around[part] = (blocks @ sums).reshape(len(power), -1, K)
        share[part] = shares(power[:, bins], np.arange(share.shape[1] + 1))
    share -= share.mean(0)
    share *= inverse_deviations(np.square(share).mean(0))
    old = edges.copy()
    for i, b in enumerate(changes):
        start, stop = max(old[b - 1], edges[b - 1]), old[b + 1]
        here = share[:, place[start] : place[stop - 1] + 1]
        fit = np.tensordot(here, around[:, i], (0, 0))
        below, above = (fit[:, order[c], np.arange(K)].sum(1) for c in (b - 1, b))
        edges[b] = start + np.argmax([0, *np.cumsum(below - above)])
    return edges


def keep_places(order, sizes):
    """Rename the outputs so that most bins stay in their places.

    Swapping a range or all but the range sorts alike: rounding mustn't choose.

    Parameters
    ----------
    order : ndarray of shape (n_blocks, n_sources)
        Which of the outputs given is in which place.
    sizes : ndarray of shape (n_blocks,)
        Bins in each block.

    Returns
    -------
    places : ndarray of shape (n_sources,)
        Which of the places goes to the first, the second and so on.
    """
    K = order.shape[1]
    n_bins = [
        [sizes[order[:, place] == k].sum() for place in range(K)] for k in range(K)
    ]
    return linear_sum_assignment(n_bins, maximize=True)[1]
