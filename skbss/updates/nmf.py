"""Variance models of ILRMA: what the spectrum of a source looks like over time.

``update(P, Q)`` adapts a model to the outputs of demixing matrices with the power
features Q, and ``weigh(P)`` weighs the features P by its inverse variances. Both are
one pass over the features, in blocks of bins. Rows of P may be longer than there are
frames, see `skbss.updates.features.whole_lines`.
"""

# License: BSD-3-Clause

import numpy as np
from sklearn.utils import gen_even_slices

from skbss.compiled import CACHE_BYTES, kernels
from skbss.linalg import sum_log
from skbss.parallel import N_PARTS, WorkArray, parts_of
from skbss.updates.products import by_bin, dot_rows, few_rows_matmul, sum_rows
from skbss.updates.source import source_variance

# Least entry of basis and activations, relative to outputs of unit mean power. An entry
# at zero could never leave it.
FLOOR = 1e-10


def bin_blocks(P, n_sources):
    """Slices over the bins of P whose work arrays fit in the cache together."""
    n_freqs, n_features, n_frames = P.shape
    # Beside the features there are three arrays of n_sources values per bin and frame.
    bin_bytes = (n_features + 3 * n_sources) * n_frames * P.itemsize
    step = min(max(1, 2 * CACHE_BYTES // bin_bytes), n_freqs)
    return [slice(i, min(i + step, n_freqs)) for i in range(0, n_freqs, step)]


class _Variances:
    """Base of the models, which have a method ``precision(bins, out)``."""

    def __init__(self, n_sources, n_frames):
        self.n_sources = n_sources
        self.n_frames = n_frames
        self._work = WorkArray()

    def _blocks(self, P):
        return bin_blocks(P, self.n_sources)

    def weigh(self, P, map_blocks=map):
        """Covariances weighted by the inverse variances, and the latter's log-sum.

        Parameters
        ----------
        P : ndarray of shape (n_freqs, n_mics ** 2, n_columns)
            Hermitian features of the recording, zero beyond the last frame.
        map_blocks : callable, default=map
            From `block_map`.

        Returns
        -------
        S : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
            Features averaged with weights 1 / variance.
        log_precision : float
            Sum of log(1 / variance).
        """
        F, n_features, _ = P.shape
        sums = np.empty((F, self.n_sources, n_features), P.dtype)

        def weigh_part(part):
            return sum(self._weigh_block(bins, P[bins], sums[bins]) for bins in part)

        # `update` went from the first bin to the last: more of the last features is
        # still in the cache.
        parts = parts_of(self._blocks(P)[::-1])
        log_precision = sum(map_blocks(weigh_part, parts))
        S = np.empty((self.n_sources, n_features, F), P.dtype)
        np.divide(sums.transpose(1, 2, 0), self.n_frames, out=S)
        return S, log_precision

    def _weigh_block(self, bins, P, out):
        """Write the sums of some bins, and return their share of the log-sum."""
        u = self._work.get((self.n_sources, len(P), P.shape[-1]), P.dtype)
        self.precision(bins, u[..., : self.n_frames])
        u[..., self.n_frames :] = 1
        dot_rows(P, u, out)
        return sum_log(u)


class LowRankVariances(_Variances):
    """Nonnegative matrix factorization of each source's variances.

    Parameters
    ----------
    basis : ndarray of shape (n_sources, n_freqs, n_basis)
        Initial spectra. Copied and updated.
    activations : ndarray of shape (n_sources, n_basis, n_frames)
        Initial loudness of each spectrum over time. Copied and updated.
    exponent : float
        Of the multiplicative updates: 1/2 never raises the objective, 1 is faster and
        does so rarely.
    dtype : data-type
        Precision of the work.
    """

    def __init__(self, basis, activations, exponent, dtype):
        n_sources, _, n_frames = activations.shape
        super().__init__(n_sources, n_frames)
        # Squares of inverse variances must not overflow single precision.
        self.floor = max(FLOOR, np.finfo(dtype).eps)
        limits = self.floor, 1 / self.floor
        self.basis = np.clip(basis, *limits).astype(dtype, order="C")
        self.activations = np.clip(activations, *limits).astype(dtype, order="C")
        self.exponent = exponent

    def update(self, P, Q, map_blocks=map):
        """Adapt the bases, then the activations, in one pass over the features.

        The activations' update sums over bins what the new bases of these bins give,
        so that both can be had from one block of bins.

        Parameters
        ----------
        P : ndarray of shape (n_freqs, n_mics ** 2, n_columns)
            Hermitian features of the recording, zero beyond the last frame.
        Q : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
            Power features of the demixing matrices.
        map_blocks : callable, default=map
            From `block_map`.
        """
        K, n_basis, T = self.activations.shape
        Q = by_bin(Q, P.dtype)

        def update_part(part):
            sums = np.zeros((K, n_basis, 2, P.shape[-1]), P.dtype)
            for bins in part:
                self._update_block(bins, Q[bins], P[bins], sums)
            return sums[..., :T].transpose(2, 0, 1, 3)

        parts = parts_of(self._blocks(P))
        self._multiply(self.activations, sum(map_blocks(update_part, parts)))

    def _update_block(self, bins, Q, P, sums):
        """Update the bases of some bins; add what they give to the activations' sums.

        The sums have the shape (n_sources, n_basis, 2, n_columns).
        """
        T = self.n_frames
        work = self._work.get((3, self.n_sources, len(P), T), P.dtype)
        y, terms = work[0], work[1:]
        few_rows_matmul(Q, P[..., :T], out=y.transpose(1, 0, 2))
        np.abs(y, out=y)  # a sum with cancellation: rounding goes below 0
        b = self.basis[:, bins]
        self._write_terms(b, y, terms)
        self._multiply(b, terms @ self.activations.transpose(0, 2, 1))
        self._write_terms(b, y, terms)
        sums[..., :T] += (b.transpose(0, 2, 1) @ terms).transpose(1, 2, 0, 3)

    def _write_terms(self, b, y, terms):
        """Write y / r² and 1 / r for the variances r = b c."""
        v, u = terms
        np.matmul(b, self.activations, out=u)
        np.divide(1, u, out=u)  # twice as fast as np.reciprocal
        np.square(u, out=v)
        v *= y

    def _multiply(self, factor, sums):
        """Multiply by the power of a ratio of sums, in place and within bounds."""
        ratio = np.divide(*sums, out=sums[0])
        factor *= np.sqrt(ratio, out=ratio) if self.exponent == 0.5 else ratio
        np.maximum(factor, self.floor, out=factor)
        np.minimum(factor, 1 / self.floor, out=factor)

    def precision(self, bins, out):
        """Write the inverse variances of some bins.

        Parameters
        ----------
        bins : slice
            The bins.
        out : ndarray of shape (n_sources, n_bins, n_frames)
            Where to.
        """
        np.matmul(self.basis[:, bins], self.activations, out=out)
        np.divide(1, out, out=out)

    def scale(self, factor):
        """Multiply the variances of each source by a factor."""
        self.basis *= factor[:, None, None]
        np.clip(self.basis, self.floor, 1 / self.floor, out=self.basis)


class CompiledLowRankVariances(LowRankVariances):
    """The same by compiled loops, which take care of the cache themselves."""

    def _blocks(self, P):
        return list(gen_even_slices(len(P), N_PARTS))

    def _update_block(self, bins, Q, P, sums):
        factors = self.basis, self.activations
        limits = np.array([self.floor, 1 / self.floor], P.dtype)
        root = self.exponent == 0.5
        update_factors = kernels("batch").update_factors
        update_factors(P, Q, *factors, bins.start, root, limits, sums)

    def _weigh_block(self, bins, P, out):
        factors = self.basis, self.activations
        return kernels("batch").weigh_by_factors(P, *factors, bins.start, out)


def low_rank_variances(*args):
    """Take the fastest `LowRankVariances`."""
    if kernels("batch"):
        return CompiledLowRankVariances(*args)
    return LowRankVariances(*args)


class GivenVariances(_Variances):
    """Variances that a user's source model estimates from the output powers.

    Parameters
    ----------
    source : object
        Has a method ``variance(power)``.
    n_sources, n_frames : int
        Numbers of sources and frames.
    """

    def __init__(self, source, n_sources, n_frames):
        super().__init__(n_sources, n_frames)
        self.source = source

    def update(self, P, Q, map_blocks=map):
        """Ask the source model for the variances; see `LowRankVariances.update`."""
        power = np.empty((self.n_sources, len(P), P.shape[-1]), P.dtype)
        sum_rows(P, by_bin(Q, P.dtype), power)
        power = np.maximum(power[..., : self.n_frames], 0)
        variance = source_variance(self.source, power, zero_ok=True).astype(P.dtype)
        self.variances = np.maximum(variance, FLOOR * (variance.mean() or 1))

    def precision(self, bins, out):
        """Write the inverse variances of some bins; see `LowRankVariances`."""
        np.divide(1, self.variances[:, bins], out=out)

    def scale(self, factor):
        """Do nothing: the next call of the source model sees the scaled outputs."""
