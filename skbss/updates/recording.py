"""A whitened recording, and what the models ask it: output powers and covariances."""

# License: BSD-3-Clause

import math
from typing import NamedTuple

import numpy as np

from skbss.linalg import (
    hermitian_features,
    matmul,
    pinv,
    power_features,
    unpack_hermitian,
    whitening,
)
from skbss.parallel import CACHE_BYTES, N_PARTS, even_slices, map_some
from skbss.updates.powers import frame_parts

# Bands are groups of bins, with about so many rows of features, which are multiplied at
# a time: BLAS then takes no longer than to read them once.
GROUP_ROWS = 128

# Power of the noise that a recording is expected to have, relative to each microphone.
NOISE = 1e-14

# Power relative to the recording's, in one bin, below which a microphone is dead.
SILENCE = 1e-30


def level(X):
    """Root mean square of a complex array, without overflow; 1 for silence."""
    parts = [X[part].view(X.real.dtype) for part in frame_parts(X)]
    peaks = map_some(lambda part: max(part.max(), -part.min()), parts)
    peak = float(max(peaks))
    if peak == 0:
        return 1.0

    def power(part):
        part = part / peak
        return np.square(part, out=part).sum(dtype=float)

    return peak * np.sqrt(sum(map_some(power, parts)) / X.size)


class Recording:
    """The Hermitian features of a recording with whitened microphones.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Complex spectrogram.
    map_blocks : callable, default=map
        Works on several parts of the spectrum at a time; from `block_map`.
    noise : float, default=0.0
        Power of white noise to expect at each microphone, relative to its power. Weak
        directions then look like noise, and no model mistakes what a room leaves there
        for a source. At least 1e-14 (in single precision 1e-10) is always expected.

    Attributes
    ----------
    features : ndarray of shape (n_freqs, n_mics ** 2, n_frames)
        Features of ``Z[..., f] @ X[t, f] / scale`` in the precision of `X`, and of the
        expected noise. They are by far the largest array.
    Z, Z_inv : ndarray of shape (n_mics, n_mics, n_freqs)
        The whitening and its inverse, complex128.
    scale : float
        Root mean square of the recording.
    map : callable
        As given. Whatever it does at a time, results are the same to the bit.

    Notes
    -----
    The features are those expected of a recording with white noise. Without it the
    likelihood is unbounded where the microphones are linearly dependent (dead or
    duplicate ones, fewer frames than microphones), and demixing matrices grow until
    their outputs are rounding errors. Bins without any signal get no noise: they say
    nothing about the sources.
    """

    def __init__(self, X, map_blocks=map, *, noise=0.0):
        self.n_frames, self.n_freqs, self.n_mics = X.shape
        self.map = map_blocks
        self.scale = level(X)
        M, dtype = self.n_mics, X.real.dtype
        eps = np.finfo(dtype).eps
        self._noise = max(NOISE, eps / 1000, noise)
        self._loading = max(64 * M * eps, noise)
        self.features = np.empty((self.n_freqs, M * M, self.n_frames), dtype)
        self.Z, self.Z_inv = np.empty((2, M, M, self.n_freqs), complex)
        step = max(1, CACHE_BYTES // (2 * X[:, 0].nbytes))
        starts = range(0, self.n_freqs, step)
        list(self.map(lambda i: self._write_features(X, slice(i, i + step)), starts))

    def _write_features(self, X, bins):
        """Whiten some bins, and write their features."""
        M = self.n_mics
        P = self.features[bins].transpose(1, 0, 2)
        x = X[:, bins].transpose(1, 2, 0)
        parts = np.empty((len(x), 2 * M, self.n_frames), P.dtype)
        np.divide(x.real, self.scale, out=parts[:, :M])
        np.divide(x.imag, self.scale, out=parts[:, M:])
        C = hermitian(parts @ parts.swapaxes(1, 2)) / self.n_frames
        diagonal = np.einsum("mmf->mf", C)  # a view
        diagonal[diagonal.real < SILENCE] = 0
        silent = ~diagonal.any(0)
        Z, Z_inv, power = whitening(C, self._loading)
        self.Z[..., bins], self.Z_inv[..., bins] = Z, Z_inv
        sigma = np.where(silent, 0, np.sqrt(self._noise * power))
        noise = np.empty((M * M, M, len(x)), P.dtype)
        noise = hermitian_features(Z.real * sigma, Z.imag * sigma, noise).sum(1)
        z = np.where(silent, 0, Z).transpose(2, 0, 1)
        parts = np.block([[z.real, -z.imag], [z.imag, z.real]]).astype(P.dtype) @ parts
        re, im = parts.reshape(len(x), 2, M, -1).transpose(1, 2, 0, 3)
        hermitian_features(re, im, P)
        P += noise[..., None]

    def powers(self, W, n_bands=1):
        """Mean powers of the outputs in bands of frequency.

        Parameters
        ----------
        W : ndarray of shape (n_sources, n_mics, n_freqs)
            Demixing matrices of the whitened microphones.
        n_bands : int, default=1
            Bands have ``n_freqs // n_bands`` bins, at least one. What is left over is a
            band of its own, with zeros in place of the bins that it lacks.

        Returns
        -------
        power : ndarray of shape (n_sources, n_bands, n_frames)
            In the precision of the features. Rounding may bring an entry below zero.
        """
        size, parts = self._bands(n_bands)
        n_bands = -(-self.n_freqs // size)
        power = np.zeros((len(W), n_bands, self.n_frames), self.features.dtype)

        def of_part(part):
            q = self.by_bin(W[..., part.bins])
            q /= size
            p, q = self._in_groups(part), in_groups(q, part.size)
            q = q.swapaxes(1, 2).reshape(len(p), len(W), -1)
            sums = sum_rows(p, q)
            if len(p) == part.bands.stop - part.bands.start:
                return sums
            return sums.sum(1, keepdims=True)

        for part, some in zip(parts, self.map(of_part, parts), strict=True):
            power[:, part.bands] += some
        return power

    def covariances(self, weights, n_bands=1):
        """Covariances of the microphones, each frame weighted.

        Parameters
        ----------
        weights : ndarray of shape (n_sources, n_bands, n_frames)
            Weights of each band.
        n_bands : int, default=1
            As in `powers`.

        Returns
        -------
        S : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
            Weighted sums of features, in their precision.
        """
        K = len(weights)
        _, parts = self._bands(n_bands)
        S = np.empty((K, self.n_mics**2, self.n_freqs), self.features.dtype)

        def write_part(part):
            sums = dot_rows(self._in_groups(part), weights[:, part.bands])
            sums = sums.reshape(len(sums), K, -1, self.n_mics**2)
            S[..., part.bins] = sums.transpose(1, 3, 0, 2).reshape(
                K, self.n_mics**2, -1
            )

        list(self.map(write_part, parts))
        return S

    def by_bin(self, W):
        """Power features of demixing matrices, (n_freqs, n_sources, n_mics ** 2)."""
        Q = power_features(W).transpose(2, 0, 1)
        return np.ascontiguousarray(Q, dtype=self.features.dtype)

    def _bands(self, n_bands):
        """Bins in a band, and parts of the spectrum.

        A part has several bands, or there are several parts in a band.
        """
        F = self.n_freqs
        size = F if n_bands == 1 else max(1, F // n_bands)
        whole = F // size
        if whole < N_PARTS:
            edges = [*range(0, F, size), F]
            parts = [
                part
                for band in range(len(edges) - 1)
                for part in self._parts_of_band(band, *edges[band : band + 2])
            ]
            return size, parts
        parts = [
            Part(slice(s.start * size, s.stop * size), s, size)
            for s in even_slices(whole)
        ]
        if whole * size < F:
            left = F - whole * size
            parts.append(Part(slice(F - left, F), slice(whole, whole + 1), left))
        return size, parts

    def _parts_of_band(self, band, start, stop):
        """Divide the bins of a band into parts, and these into groups."""
        group = max(1, GROUP_ROWS // self.n_mics**2)
        whole = (stop - start) // group
        bins = [
            slice(start + s.start * group, start + s.stop * group)
            for s in even_slices(whole)
        ]
        parts = [Part(some, slice(band, band + 1), group) for some in bins]
        start += whole * group
        if start < stop:
            bins, bands = slice(start, stop), slice(band, band + 1)
            parts.append(Part(bins, bands, stop - start))
        return parts

    def _in_groups(self, part):
        """Features of the groups of a part, (n_groups, n_rows, n_frames)."""
        p = in_groups(self.features[part.bins], part.size)
        return p.reshape(len(p), -1, p.shape[-1])

    def from_microphones(self, demixing):
        """Demixing matrices (n_freqs, n_sources, n_mics) for whitened microphones."""
        return matmul(np.asarray(demixing, complex).transpose(1, 2, 0), self.Z_inv)

    def forget(self):
        """Let go of the features, as `learned` takes memory, too."""
        self.features = None

    def learned(self, W, objectives):
        """Return the fitted attributes of a separator, new arrays by name.

        Parameters
        ----------
        W : ndarray of shape (n_sources, n_mics, n_freqs)
            Demixing matrices of the whitened microphones.
        objectives : list of float
            The objective after each iteration.
        """
        # Z is triangular: its determinant is the product of its diagonal.
        log_det = np.log(np.einsum("mmf->mf", self.Z).real).sum()
        return {
            "demixing_": np.ascontiguousarray(matmul(W, self.Z).transpose(2, 0, 1)),
            # What the outputs explain of the microphones: the inverse, if W is square.
            "mixing_": np.ascontiguousarray(
                matmul(self.Z_inv, pinv(W)).transpose(2, 0, 1)
            ),
            "objective_": np.array(objectives) - 2 * self.n_frames * log_det,
            "n_iter_": len(objectives),
            "n_features_in_": self.n_mics,
            "_n_freqs_in": self.n_freqs,
        }


class Part(NamedTuple):
    """A part of the spectrum: slices of bins and bands, and the bins in each group."""

    bins: slice
    bands: slice
    size: int


def hermitian(products):
    """Put products of real and imaginary parts together, x xᴴ.

    Parameters
    ----------
    products : ndarray of shape (n_bins, 2 * n_mics, 2 * n_mics)
        Of the real parts, then the imaginary parts, with themselves.

    Returns
    -------
    C : ndarray of shape (n_mics, n_mics, n_bins)
        Complex128 Hermitian matrices.
    """
    M = products.shape[1] // 2
    real, imag = products[:, :, :M], products[:, :, M:]
    C = np.empty((len(products), M, M), complex)
    np.add(real[:, :M], imag[:, M:], out=C.real)
    np.subtract(real[:, M:], imag[:, :M], out=C.imag)
    return C.transpose(1, 2, 0)


def in_groups(A, size):
    """View of A, its first axis in groups of so many."""
    return A.reshape(len(A) // size, size, *A.shape[1:])


def sum_rows(P, weights):
    """Weighted sums of the rows of P.

    Parameters
    ----------
    P : ndarray of shape (n, n_rows, n_frames)
        Features.
    weights : ndarray of shape (n, n_sources, n_rows)
        Weights.

    Returns
    -------
    sums : ndarray of shape (n_sources, n, n_frames)
        In the precision of P.
    """
    return np.matmul(weights, P).swapaxes(0, 1)


def dot_rows(P, u):
    """Dot products of the rows of P with those of u.

    Parameters
    ----------
    P : ndarray of shape (n, n_rows, n_frames)
        Features.
    u : ndarray of shape (n_sources, n or 1, n_frames)
        Weights of the frames.

    Returns
    -------
    products : ndarray of shape (n, n_sources, n_rows)
        In the precision of P.
    """
    return np.matmul(u.swapaxes(0, 1), P.swapaxes(1, 2))


def loaded_covariance(S):
    """Unpack weighted features to matrices that can safely be inverted.

    A relative loading of a few rounding errors makes degenerate directions (a dead or
    a duplicate microphone, a bin without signal) regular and changes nothing else.

    Parameters
    ----------
    S : ndarray of shape (n_sources, n_mics ** 2, n_bins)
        Real features, in the precision they were summed in.

    Returns
    -------
    V : ndarray of shape (n_sources, n_mics, n_mics, n_bins)
        Complex128 Hermitian positive definite matrices.
    """
    M = math.isqrt(S.shape[1])
    loading = 2 * M * np.finfo(S.dtype).eps
    mean = S[:, :M].mean(1, dtype=float, keepdims=True)
    V = unpack_hermitian(S).astype(complex, copy=False)
    diagonals = np.einsum("kiif->kif", V)  # a view
    diagonals += np.where(mean > 0, loading * mean, 1)
    return V
