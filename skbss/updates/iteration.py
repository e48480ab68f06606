"""The loop that all batch separators are: powers, weights, covariances, new matrices.

A model has a method ``weigh(recording, W)``, which adapts it to the outputs of the
demixing matrices W and returns their negative log-likelihood and the covariances of the
microphones, weighted by the inverse variances of each source.
"""

# License: BSD-3-Clause

from itertools import count

import numpy as np
from sklearn.utils import gen_even_slices

from skbss.linalg import log_volume
from skbss.updates.noise import noise_powers, without_noise
from skbss.updates.recording import loaded_covariance
from skbss.updates.sorting import sort_bands
from skbss.updates.source import (
    bands_of,
    frame_blocks,
    is_framewise,
    source_variance,
    variance_and_cost,
)
from skbss.updates.spatial import SPATIAL_UPDATES, update_demixing

# Frames of a source this far below the mean power weigh like one at this level.
# Without a floor the likelihood is unbounded where a source vanishes from a frame, and
# with a low one a few silent frames count more than all others: recorded voices with
# pauses were separated worse with 1e-8.
FLOOR = 1e-6
# Least variance of a bin and frame, relative to the mean, that a user's model may give.
LEAST_VARIANCE = 1e-10

# Power of the share of signal in a bin that it counts by where frames as a whole are
# looked at: half of noise leaves an eighth.
TRUST = 3

# Bytes of the covariances that a spatial update looks at at a time. Less takes longer,
# as its steps are many, and more takes memory.
COVARIANCE_BYTES = 4 << 20

# How much of a target counts from one iteration to the next. It decides where the
# iterations go, and where they end the recording alone counts: with a constant weight,
# talkers in known directions lost 3 dB, as rooms are no free field.
FADE = 0.9


def iterate(recording, W, model, spatial, sort_iter=0, target=None):
    """Iterate for ever: weigh, move, and now and then sort bands.

    Parameters
    ----------
    recording : Recording
        The recording.
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices of its whitened microphones to start from.
    model : object
        What the sources look like; see the module.
    spatial : object
        The spatial update.
    sort_iter : int, default=0
        Sort frequency bands after every so many iterations; 0 for never. For a
        `SourceVariances` of one band.
    target : Target, default=None
        All sources but the first are kept from hearing it: less and less, where there
        are as many sources as microphones. A background would take its place else.

    Yields
    ------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices: first those given, then one update further each time.
    objective : float
        Their negative log-likelihood.
    """
    for iteration in count(1):
        cost, S = model.weigh(recording, W)
        log_volumes = sum(log_volume(W[..., bins]).sum() for bins in _bins(W))
        yield W, cost - 2 * recording.n_frames * log_volumes
        Q = None
        if target is not None:
            is_square = len(W) == recording.n_mics
            Q = target.Q * (FADE ** (iteration - 1) if is_square else 1.0)
        W = move(W, S, spatial, Q)
        del S  # as large as some seconds of many microphones
        if sort_iter and iteration % sort_iter == 0:
            W = sort_bands(recording, W, model)
            W = W if target is None else target.first(W)


def _bins(W):
    """Slices of frequency bins to work on at a time."""
    n_sources, n_mics, n_freqs = W.shape
    n_bytes = 16 * n_sources * n_mics**2 * n_freqs
    return list(gen_even_slices(n_freqs, -(-n_bytes // COVARIANCE_BYTES)))


def move(W, S, spatial, Q=None):
    """Update demixing matrices by covariances S (n_sources, n_mics ** 2, n_freqs).

    Its steps are too small for threads: with two they took 1.6 times as long.
    """
    new = np.empty_like(W)
    # Users' updates may look at all bins together.
    is_ours = type(spatial) in SPATIAL_UPDATES.values()
    for bins in _bins(W) if is_ours else [slice(None)]:
        V = loaded_covariance(S[..., bins])
        q = None if Q is None else Q[..., bins]
        new[..., bins] = update_demixing(spatial, W[..., bins], V, q)
    return new


class SourceVariances:
    """The model of a source model in the sense of `skbss.updates.source`.

    Parameters
    ----------
    source : object
        The source model.
    dtype : data-type
        Precision of the features.
    level : float, default=1.0
        Mean power of the outputs to start from. Frames that are silent in comparison
        weigh like quiet ones.
    shares : ndarray of shape (n_freqs,), default=None
        From `signal_shares`. Bins of noise would say that all sources are equally loud
        all the time. So they count less where whole frames are looked at, by the cube
        of their shares, and weights of bands turn to those of whole frames where the
        share is small. None counts all bins alike.
    noise : ndarray of shape (n_freqs, n_mics, n_mics), default=None
        From `whitened_noise`. Whole frames are then as loud as they are without it.
    """

    def __init__(self, source, dtype, level=1.0, shares=None, noise=None):
        self.source, self.shares, self.noise = source, shares, noise
        # Powers are sums with cancellation: below rounding they mean nothing.
        self.floor = max(FLOOR, 10 * np.finfo(dtype).eps) * level

    def weigh(self, recording, W):
        """Return the cost of the outputs and weighted covariances; see the module."""
        n_bands = bands_of(self.source)
        power = recording.powers(self.counted(W) if n_bands == 1 else W, n_bands)
        is_mixed = n_bands > 1 and self.shares is not None
        if is_mixed:
            share, whole = self._whole_frames(W, power, recording.n_freqs // n_bands)
        elif self.noise is not None:
            noise = noise_powers(self.counted(W), self.noise)
            power = without_noise(power, noise.mean(1, keepdims=True))
        # A user's model may look at all frames together.
        blocks = frame_blocks(power) if is_framewise(self.source) else [slice(None)]
        parts = [power[..., frames] for frames in blocks]
        cost = sum(recording.map(self._to_weights, parts))
        if is_mixed:
            power *= share
            power += (1 - share) / whole
        power /= recording.n_frames
        n_bins = recording.n_freqs if n_bands == 1 else recording.n_freqs // n_bands
        return max(1, n_bins) * cost, recording.covariances(power, n_bands)

    def _whole_frames(self, W, power, size):
        """How bands of so many bins count, and counted mean powers of whole frames."""
        size = max(1, size)
        starts = np.arange(0, len(self.shares), size)
        n_bins = np.diff(starts, append=len(self.shares))
        share = np.add.reduceat(self.shares, starts) / n_bins
        share = share.astype(power.dtype)
        counts = share**TRUST
        counts /= counts.sum()
        whole = counts @ power
        if self.noise is not None:
            noise = np.add.reduceat(noise_powers(W, self.noise), starts, axis=1) / size
            whole = without_noise(whole, noise @ counts)
        whole = np.maximum(whole, power.dtype.type(self.floor))
        return np.sqrt(share)[:, None], whole[:, None]

    def counted(self, W):
        """Return W with bins scaled by how much their powers count."""
        if self.shares is None:
            return W
        counts = self.shares**TRUST
        return W * np.sqrt(counts / counts.mean())

    def _to_weights(self, power):
        """Turn powers into weights, inverse variances, in place; return their cost."""
        floored = np.maximum(power, power.dtype.type(self.floor))
        variance, cost = variance_and_cost(self.source, floored)
        cost = cost.sum(dtype=float)
        # Below the floor the cost goes on along its tangent: r is at its least value.
        power -= floored
        power /= variance
        cost += power.sum(dtype=float)
        np.divide(1, variance, out=power, casting="same_kind")
        return cost


class BinVariances:
    """Variances of all bins that a user's model estimates from the output powers.

    Parameters
    ----------
    source : object
        Has a method ``variance(power)`` of powers (n_sources, n_freqs, n_frames) whose
        mean is 1 for each source.
    """

    def __init__(self, source):
        self.source = source

    def weigh(self, recording, W):
        """Return the cost of the outputs and weighted covariances; see the module."""
        power = recording.powers(W, recording.n_freqs)
        np.maximum(power, 0, out=power)
        mean = power.mean((1, 2), keepdims=True, dtype=float).astype(power.dtype)
        mean[mean == 0] = 1
        power /= mean
        variance = source_variance(self.source, power, zero_ok=True)
        least = LEAST_VARIANCE * (variance.mean(dtype=float) or 1)
        variance = np.maximum(variance, least, dtype=power.dtype, casting="same_kind")
        variance *= mean
        log_sum = np.log(variance).sum(dtype=float)
        weights = np.divide(1, variance, out=variance)
        power *= mean
        cost = np.vdot(power, weights) + log_sum
        weights /= recording.n_frames
        return cost, recording.covariances(weights, recording.n_freqs)
