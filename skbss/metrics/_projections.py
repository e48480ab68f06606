"""Estimates seen from the references: their cosines and projections."""

# License: BSD-3-Clause

from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import assert_all_finite

from skbss.metrics._signals import peak
from skbss.metrics.decibels import decibels

# Inner products in single precision leave energies an absolute error of some 1e-7,
# which is 1e-4 dB here; in double precision, of 1e-15, which is 1e-8 dB.
_MAX_DB_OF_SINGLES = 15
_MAX_DB_OF_DOUBLES = 60

# References count as different down to 120 dB below themselves, where rounding of
# their inner products begins to decide in what they differ.
_MIN_EIGENVALUE = 1e-12

# Sums of squares in this range have lost nothing to overflow or underflow; other
# signals, as silent ones, are brought to unit peak.
_SAFE_ENERGIES = {np.float32: (1e-20, 1e30), np.float64: (1e-200, 1e200)}

# Signals whose metric need not search them for NaN: it is found here on the way.
DEFERRED = "reference", "estimate"

_BATCH_SIZE = 16384  # samples: a batch of some channels stays in the cache


def _precision(*signals):
    """Return the type in which to multiply samples."""
    return np.float32 if np.result_type(*signals) == np.float32 else np.float64


def _batches(reference, estimate, dtype, peaks=None):
    """Yield rows of all references and estimates, some samples at a time."""
    n_references = reference.shape[1]
    n_rows = n_references + estimate.shape[1]
    buffer = np.empty((n_rows, min(len(reference), _BATCH_SIZE)), dtype)
    for start in range(0, len(reference), _BATCH_SIZE):
        samples = slice(start, start + _BATCH_SIZE)
        batch = buffer[:, : len(reference) - start]
        batch[:n_references] = reference[samples].T
        batch[n_references:] = estimate[samples].T
        if peaks is not None:
            batch[:n_references] /= peaks[0]
            batch[n_references:] /= peaks[1]
        yield batch


def _measure(reference, estimate, among, *how):
    """Return inner products of references and all signals, and all energies."""
    n_references = reference.shape[1]
    first = 0 if among else n_references
    products = np.zeros((n_references + 1, n_references + estimate.shape[1]))
    # What overflows is measured again.
    with np.errstate(over="ignore", invalid="ignore"):
        for batch in _batches(reference, estimate, *how):
            # For so few rows, dot products are faster than a matrix product.
            products[:-1, first:] += np.vecdot(
                batch[:n_references, None], batch[first:]
            )
            products[-1] += np.vecdot(batch, batch)
    return products


def project_windows(reference, estimate, windows):
    """Return Projections in slices of the signals, reading common samples once."""
    dtype = _precision(reference, estimate)
    bounds = np.unique([(window.start, window.stop) for window in windows])
    pieces = np.array(
        [
            _measure(reference[start:stop], estimate[start:stop], False, dtype)
            for start, stop in pairwise(bounds)
        ]
    )
    projections = []
    for window in windows:
        start, stop = np.searchsorted(bounds, (window.start, window.stop))
        products = pieces[start:stop].sum(axis=0)
        projections.append(
            Projections(reference[window], estimate[window], products=products)
        )
    return projections


class Projections:
    """Cosines of references and estimates, and the scores that follow from them.

    Parameters
    ----------
    reference, estimate : ndarray of shape (n_samples, n_channels)
        They are read a batch of samples at a time, and not copied. NaN and infinite
        samples, which show in the energies, are refused.
    among : bool, default=False
        Whether to find the cosines among the references.
    products : ndarray, default=None
        What `_measure` finds of the signals, if known.

    Attributes
    ----------
    silent : ndarray of shape (n_references,)
        Where references are.
    among : ndarray of shape (n_references, n_references)
        Cosines among the references, if asked for; zero for a silent one.
    cosines : ndarray of shape (n_references, n_estimates)
        Cosines of every reference and estimate; zero if one of them is silent.
    pairs : ndarray of shape (n_references, n_estimates)
        The SI-SDR of all pairs but for some digits; the lowest for silence.
    """

    def __init__(self, reference, estimate, *, among=False, products=None):
        self._signals = reference, estimate
        self._among = among
        self._dtype = _precision(reference, estimate)
        self._peaks = None
        if products is None:
            products = _measure(reference, estimate, among, self._dtype)
        low, high = _SAFE_ENERGIES[self._dtype]
        energies = products[-1].tolist()
        if not (low < min(energies) and sum(energies) < high):
            for signal, name in zip(self._signals, DEFERRED, strict=True):
                assert_all_finite(signal, input_name=name)
            self._peaks = [peak(signal) for signal in self._signals]
            self._use_doubles()
            return
        self._set(products)
        if self._dtype is np.float32:
            best = self.pairs.max(axis=1).tolist()
            if max(map(abs, best)) > _MAX_DB_OF_SINGLES:
                self._use_doubles()

    def _use_doubles(self):
        self._dtype = np.float64
        self._set(_measure(*self._signals, self._among, self._dtype, self._peaks))

    def _set(self, products):
        n_references = len(products) - 1
        norms = np.sqrt(products[-1])
        silent = norms == 0
        norms[silent] = 1
        self.silent = silent[:n_references]
        self._norms = norms[:n_references], norms[n_references:]
        cosines = products[:-1] / self._norms[0][:, None] / norms
        self.among = cosines[:, :n_references]
        self.cosines = cosines[:, n_references:]
        target = self.cosines**2
        self.pairs = decibels(target, 1 - target)

    @property
    def levels(self):
        """Energies of the references in dB; -inf for a silent one."""
        levels = 20 * np.log10(self._norms[0])
        if self._peaks is not None:
            levels += 20 * np.log10(self._peaks[0])
        return np.where(self.silent, -np.inf, levels)

    def _residual_energy(self, k, gains, inverse):
        """Return what share of estimate k's energy is off some of the references.

        It is found from the residual itself, given the gains on the references at unit
        norm, and the inverse of the matrix `among` of those that count.
        """
        references, norm = self._norms[0], self._norms[1][k]
        reference, estimate = self._signals
        estimate = estimate[:, k : k + 1]
        energy = 0
        products = np.zeros(len(gains))
        for batch in _batches(reference, estimate, np.float64, self._peaks):
            residual = batch[-1] - (gains * norm / references) @ batch[:-1]
            energy += residual @ residual
            products += batch[:-1] @ residual
        # The gains were rounded; what they left of the references is not distortion.
        products /= references * norm
        return energy / norm**2 - products @ inverse @ products

    def permutation(self, permute=True):
        """Return the estimate of each reference such that the mean SI-SDR is highest.

        A silent reference prefers none, so it takes what the others leave.
        """
        if not permute:
            return np.arange(len(self.silent))
        return linear_sum_assignment(self.pairs, maximize=True)[1]

    def si_sdr(self, permutation):
        """Return the SI-SDR of each reference's estimate; nan for silence."""
        rows = np.arange(len(permutation))
        scores = self.pairs[rows, permutation]
        for k, score in enumerate(scores.tolist()):
            if score > _MAX_DB_OF_DOUBLES:
                cosine = self.cosines[k, permutation[k]]
                only = rows == k
                residual = self._residual_energy(
                    permutation[k], only * cosine, np.diag(only)
                )
                scores[k] = decibels(cosine**2, residual)
        scores[self.silent] = np.nan
        return scores

    def scores(self, permutation):
        """Return si_sdr, si_sir and si_sar of each reference's estimate by name."""
        eigenvalues, vectors = np.linalg.eigh(self.among)
        live = eigenvalues > _MIN_EIGENVALUE
        whitening = (vectors[:, live] / np.sqrt(eigenvalues[live])).T
        cosines = self.cosines[:, permutation]
        own = cosines.diagonal()
        # Projecting the residual, not the estimate, keeps small interference exact.
        residual = cosines - own * self.among
        residual.flat[:: len(own) + 1] = 0
        shares = np.square(whitening @ np.array([residual, cosines])).sum(axis=1)
        interference, artifacts = shares
        np.subtract(1, artifacts, out=artifacts)
        if self._dtype is np.float32:
            # The error of interference is one of its amplitude.
            least = min(eigenvalues[0], artifacts.min(), interference.min() ** 0.5)
            if least < 10 ** (-_MAX_DB_OF_SINGLES / 10):
                self._use_doubles()
                return self.scores(permutation)
        for k, share in enumerate(artifacts.tolist()):
            if share < 10 ** (-_MAX_DB_OF_DOUBLES / 10):
                inverse = whitening.T @ whitening
                artifacts[k] = self._residual_energy(
                    permutation[k], inverse @ cosines[:, k], inverse
                )
        si_sdr = self.si_sdr(permutation)
        # Parts of the residual are no larger than it, but for rounding.
        si_sir, si_sar = np.maximum(decibels(own**2, shares), si_sdr)
        return {"si_sdr": si_sdr, "si_sir": si_sir, "si_sar": si_sar}
