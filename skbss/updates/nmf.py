"""ILRMA's variances: the spectrum of each source over time is a matrix of low rank."""

# License: BSD-3-Clause

from functools import partial

import numpy as np

from skbss.linalg import power_features
from skbss.parallel import CACHE_BYTES, even_slices
from skbss.updates.recording import dot_rows, sum_rows
from skbss.updates.source import source_cost, source_variance

# Least entry of basis and activations, relative to outputs of unit mean power. An entry
# at zero could never leave it.
FLOOR = 1e-10


class LowRankVariances:
    """Nonnegative matrix factorization of each source's variances r = b c.

    Parameters
    ----------
    basis : ndarray of shape (n_sources, n_freqs, n_basis)
        Initial spectra, of outputs of unit mean power. Copied and updated.
    activations : ndarray of shape (n_sources, n_basis, n_frames)
        Initial loudness of each spectrum over time. Copied and updated.
    exponent : float
        Of the multiplicative updates: 1/2 never raises the objective, 1 is faster and
        does so rarely.
    dtype : data-type
        Precision of the work.
    likelihood : object, default=None
        The distribution of a bin's power p relative to its variance, a source model of
        single bins; None for the Gaussian, whose cost is p / r + log r.
    is_adapted : bool, default=False
        Whether the factors fit the demixing matrices that come first, as when learning
        goes on.

    Notes
    -----
    Another cost c(p / r) + log r is majorized by that of a Gaussian with the powers
    c'(p / r) p, whose multiplicative updates these are.
    """

    def __init__(
        self, basis, activations, exponent, dtype, likelihood=None, *, is_adapted=False
    ):
        # Squares of inverse variances must not overflow single precision.
        self.floor = max(FLOOR, np.finfo(dtype).eps)
        self.basis = self._limit(basis.astype(dtype))
        self.activations = self._limit(activations.astype(dtype))
        self.exponent = exponent
        self.likelihood = likelihood
        self.is_adapted = is_adapted

    def weigh(self, recording, W):
        """Adapt to the outputs of W; return their cost and weighted covariances.

        The activations' update sums over bins what the new bases of these bins give, so
        that both can be had from one pass over the features, in blocks of bins. A
        second pass weighs the features by the inverse variances.
        """
        Q = recording.by_bin(W)
        parts = even_slices(recording.n_freqs)
        if not self.is_adapted:
            adapt = partial(self._adapt, recording, Q)
            self._multiply(self.activations, sum(recording.map(adapt, parts)))
        self.is_adapted = False
        S = np.empty((*Q.shape[:2], Q.shape[2]), Q.dtype)
        T = recording.n_frames

        def weigh_part(bins):
            return self._weigh(recording, Q, bins, S[bins])

        # The features of the last bins are still in the cache.
        cost = sum(recording.map(weigh_part, parts[::-1]))
        S = np.ascontiguousarray(S.transpose(1, 2, 0))
        if self.likelihood is None:
            # Powers over variances, with cancellation: more digits than Q has.
            cost += np.vdot(power_features(W), S)
        S /= T
        return cost, S

    def _blocks(self, recording, bins):
        """Divide some bins into blocks whose work arrays fit in the cache together."""
        P, K = recording.features, len(self.basis)
        # Beside the features there are three arrays of a value per source and bin.
        bin_bytes = (P.shape[1] + 3 * K) * P.shape[2] * P.itemsize
        step = max(1, 2 * CACHE_BYTES // bin_bytes)
        starts = range(bins.start, bins.stop, step)
        return [slice(i, min(i + step, bins.stop)) for i in starts]

    def _adapt(self, recording, Q, bins):
        """Update the bases of some bins; return the sums of the activations' update."""
        P = recording.features
        K, L, T = self.activations.shape
        sums = np.zeros((2, K, L, T), P.dtype)
        for block in self._blocks(recording, bins):
            b, c = self.basis[:, block], self.activations
            power = self._powers(P[block], Q[block])
            v, u = self._terms(b, power)
            self._multiply(b, np.stack([v @ c.swapaxes(1, 2), u @ c.swapaxes(1, 2)]))
            v, u = self._terms(b, power)
            sums += b.swapaxes(1, 2) @ v, b.swapaxes(1, 2) @ u
        return sums

    def _powers(self, P, Q):
        """Powers of the outputs in some bins, (n_sources, n_bins, n_frames)."""
        # Sums with cancellation: rounding goes below 0.
        return np.abs(sum_rows(P, Q))

    def _terms(self, b, power):
        """Return p / r² and 1 / r for the variances r = b c."""
        u = np.divide(1, b @ self.activations)
        v = power * u
        if self.likelihood is not None:
            v /= source_variance(self.likelihood, np.maximum(v, self.floor))
        v *= u
        return v, u

    def _precisions(self, block):
        """Sum of logarithms of 1 / r of some bins, and 1 / r of them."""
        b, c = self.basis[:, block], self.activations
        r = b @ c
        return -np.log(r).sum(dtype=float), np.divide(1, r, out=r)

    def _multiply(self, factor, sums):
        """Multiply by the power of a ratio of sums, in place and within bounds."""
        ratio = np.divide(*sums)
        factor *= np.sqrt(ratio) if self.exponent == 0.5 else ratio
        self._limit(factor)

    def _limit(self, factor):
        return np.clip(factor, self.floor, 1 / self.floor, out=factor)

    def _weigh(self, recording, Q, bins, S):
        """Write the sums of some bins; return the cost that isn't a product of them."""
        P = recording.features
        cost = 0.0
        for block in self._blocks(recording, bins):
            log_precision, u = self._precisions(block)
            cost -= log_precision
            if self.likelihood is not None:
                p = self._powers(P[block], Q[block])
                p *= u
                floored = np.maximum(p, self.floor)
                variance = source_variance(self.likelihood, floored)
                cost += source_cost(self.likelihood, floored).sum(dtype=float)
                # As in `SourceVariances`, along the tangent below the floor.
                cost += ((p - floored) / variance).sum(dtype=float)
                u /= variance
            first = block.start - bins.start
            S[first : first + u.shape[1]] = dot_rows(P[block], u)
        return cost
