"""Estimates seen from the references: their cosines and projections."""

# License: BSD-3-Clause

import numpy as np
from scipy.optimize import linear_sum_assignment

from skbss.metrics._decibels import decibels
from skbss.metrics._signals import peak

# Inner products leave energies an absolute error of some 1e-15: 1e-8 dB here.
_MIN_OF_INNER_PRODUCTS = 1e-6

# References count as different down to 120 dB below themselves, where rounding of
# their inner products begins to decide in what they differ.
_MIN_EIGENVALUE = 1e-12

# Sums of squares in this range have lost nothing to overflow or underflow; other
# signals, as silent ones, are brought to unit peak.
_SAFE_ENERGIES = 1e-200, 1e200

_BATCH_SIZE = 8192  # samples: a batch of some channels stays in the cache


class Projections:
    """Cosines of references and estimates, and the scores that follow from them.

    Parameters
    ----------
    reference, estimate : ndarray of shape (n_samples, n_channels)
        Finite. They are read a batch of samples at a time, and not copied.

    Attributes
    ----------
    silent : ndarray of shape (n_references,)
        Where references are.
    levels : ndarray of shape (n_references,)
        Energies of the references in dB; -inf for a silent one.
    among : ndarray of shape (n_references, n_references)
        Cosines among the references; zero for a silent one.
    cosines : ndarray of shape (n_references, n_estimates)
        Cosines of every reference and estimate; zero if one of them is silent.
    """

    def __init__(self, reference, estimate):
        self._signals = reference, estimate
        self._peaks = None
        with np.errstate(over="ignore", invalid="ignore"):
            gram, energies = self._inner_products()
        if not _SAFE_ENERGIES[0] < energies.min() <= energies.max() < _SAFE_ENERGIES[1]:
            self._peaks = peak(reference), peak(estimate)
            gram, energies = self._inner_products()
        silent = energies == 0
        norms = np.sqrt(np.where(silent, 1, energies))
        n_references = len(gram)
        self._norms = norms[:n_references], norms[n_references:]
        self.levels = 20 * np.log10(self._norms[0])
        if self._peaks is not None:
            self.levels += 20 * np.log10(self._peaks[0])
        self.levels[silent[:n_references]] = -np.inf
        cosines = gram / self._norms[0][:, None] / norms
        self.silent = silent[:n_references]
        self.among = cosines[:, :n_references]
        self.cosines = cosines[:, n_references:]

    def _inner_products(self):
        """Return those of references and all signals, and all signals' energies."""
        gram, energies = 0, 0
        n_references = self._signals[0].shape[1]
        for batch in self._batches(slice(None)):
            # For so few rows, dot products are faster than a matrix product.
            gram = gram + np.vecdot(batch[:n_references, None], batch)
            energies = energies + np.vecdot(batch[n_references:], batch[n_references:])
        return gram, np.concatenate([np.diag(gram), energies])

    def _batches(self, estimates):
        """Yield rows of all references and some estimates, some samples at a time."""
        reference, estimate = self._signals
        estimate = estimate[:, estimates]
        n_references = reference.shape[1]
        buffer = np.empty((n_references + estimate.shape[1], _BATCH_SIZE))
        for start in range(0, len(reference), _BATCH_SIZE):
            rows = slice(start, start + _BATCH_SIZE)
            batch = buffer[:, : len(reference[rows])]
            batch[:n_references] = reference[rows].T
            batch[n_references:] = estimate[rows].T
            if self._peaks is not None:
                batch[:n_references] /= self._peaks[0]
                batch[n_references:] /= self._peaks[1]
            yield batch

    def _residual_energy(self, k, gains, inverse):
        """Return what share of estimate k's energy is off some of the references.

        It is found from the residual itself, given the gains on the references at unit
        norm, and the inverse of the matrix `among` of those that count.
        """
        references, estimates = self._norms
        norm = estimates[k]
        energy = 0
        products = np.zeros(len(gains))
        for batch in self._batches(slice(k, k + 1)):
            residual = batch[-1] - (gains * norm / references) @ batch[:-1]
            energy += residual @ residual
            products += batch[:-1] @ residual
        # The gains were rounded; what they left of the references is not distortion.
        products /= references * norm
        return energy / norm**2 - products @ inverse @ products

    def pairwise_si_sdr(self):
        """Return the SI-SDR of all pairs but for some digits; nan for silence."""
        target = self.cosines**2
        scores = decibels(target, 1 - target)
        scores[self.silent] = np.nan
        return scores

    def permutation(self, permute=True):
        """Return the estimate of each reference such that the mean SI-SDR is highest.

        A silent reference prefers none, so it takes what the others leave.
        """
        if not permute:
            return np.arange(len(self.among))
        pairs = self.pairwise_si_sdr()
        pairs[self.silent] = 0
        return linear_sum_assignment(pairs, maximize=True)[1]

    def si_sdr(self, permutation):
        """Return the SI-SDR of each reference's estimate; nan for silence."""
        cosines = self.cosines[np.arange(len(permutation)), permutation]
        target = cosines**2
        residual = 1 - target
        for k in np.flatnonzero(residual < _MIN_OF_INNER_PRODUCTS):
            only = np.zeros(len(permutation))
            only[k] = 1
            residual[k] = self._residual_energy(
                permutation[k], only * cosines[k], np.diag(only)
            )
        return np.where(self.silent, np.nan, decibels(target, residual))

    def scores(self, permutation):
        """Return si_sdr, si_sir and si_sar of each reference's estimate by name."""
        eigenvalues, vectors = np.linalg.eigh(self.among)
        live = eigenvalues > _MIN_EIGENVALUE
        whitening = (vectors[:, live] / np.sqrt(eigenvalues[live])).T
        inverse = whitening.T @ whitening
        cosines = self.cosines[:, permutation]
        target = np.diag(cosines) ** 2
        # Projecting the residual, not the estimate, keeps small interference exact.
        residual = cosines - np.diag(cosines) * self.among
        np.fill_diagonal(residual, 0)
        interference = np.square(whitening @ residual).sum(axis=0)
        artifacts = 1 - np.square(whitening @ cosines).sum(axis=0)
        for k in np.flatnonzero(artifacts < _MIN_OF_INNER_PRODUCTS):
            artifacts[k] = self._residual_energy(
                permutation[k], inverse @ cosines[:, k], inverse
            )
        si_sdr = self.si_sdr(permutation)
        # Parts of the residual are no larger than it, but for rounding.
        return {
            "si_sdr": si_sdr,
            "si_sir": np.maximum(decibels(target, interference), si_sdr),
            "si_sar": np.maximum(decibels(target, artifacts), si_sdr),
        }
