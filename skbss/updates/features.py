"""A recording as whitened Hermitian features, ready for the separators' hot loops."""

# License: BSD-3-Clause

import math

import numpy as np

from skbss.compiled import CACHE_BYTES, LINE_BYTES, kernels
from skbss.linalg import hermitian_features, unpack_hermitian, whitening

# Power of the noise that a recording is assumed to have, relative to each microphone.
NOISE = 1e-14

# Power relative to the recording's, in one bin, below which a microphone is dead.
SILENCE = 1e-30


def level(X):
    """Root mean square of a complex array, without overflow; 1 for silence."""
    parts = X.view(X.real.dtype)
    peak = float(max(parts.max(), -parts.min()))
    if peak == 0:
        return 1.0
    power = sum(
        np.square(frame / peak, dtype=float, casting="same_kind").sum()
        for frame in parts
    )
    return peak * np.sqrt(power / X.size)


def whole_lines(shape, dtype):
    """Make an array whose rows are whole cache lines, zero beyond the given length.

    Compiled loops over such rows have no rest that isn't vectorized: 10 to 20 % faster.
    """
    *rows, size = shape
    line = LINE_BYTES // dtype.itemsize
    n_columns = -(-size // line) * line
    buffer = np.empty(math.prod(rows) * n_columns + line, dtype)
    start = -buffer.ctypes.data % LINE_BYTES // dtype.itemsize
    array = buffer[start : start + buffer.size - line].reshape(*rows, n_columns)
    array[..., size:] = 0
    return array


def _chunks(X, scale):
    """Yield slices of the second axis, with scaled real and imaginary parts.

    `X` has the microphones first; the two other axes are frames and bins, either way.
    """
    n_mics, n_rows, n_columns = X.shape
    step = min(max(1, CACHE_BYTES // (2 * X[:, 0].nbytes)), n_rows)
    parts = np.empty((2, n_mics, step, n_columns), X.real.dtype)
    for start in range(0, n_rows, step):
        rows = slice(start, min(start + step, n_rows))
        re, im = parts[:, :, : rows.stop - start]
        np.divide(X[:, rows].real, scale, out=re)
        np.divide(X[:, rows].imag, scale, out=im)
        yield rows, re, im


def _whiten(Z, re, im):
    """Apply lower triangular matrices with real diagonals, in place."""
    for i in reversed(range(len(Z))):
        re[i] *= Z.real[i, i]
        im[i] *= Z.real[i, i]
        for j in range(i):
            re[i] += Z.real[i, j] * re[j] - Z.imag[i, j] * im[j]
            im[i] += Z.real[i, j] * im[j] + Z.imag[i, j] * re[j]


def whitened_features(X, *, frames_last):
    """Features of the whitened recording, and the whitening.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Complex spectrogram.
    frames_last : bool
        The layout of the features: (n_freqs, n_mics ** 2, n_columns), with zeros in
        the columns beyond the last frame, or (n_frames, n_mics ** 2, n_freqs).

    Returns
    -------
    P : ndarray
        Features of ``Z[..., f] @ X[t, f] / scale`` in the precision of `X`, and of
        weak noise.
    Z, Z_inv : ndarray of shape (n_mics, n_mics, n_freqs)
        The whitening and its inverse, complex128.
    scale : float
        Root mean square of the recording.

    Notes
    -----
    The features are those expected of a recording with white noise, for float64 140 dB
    below each microphone. Without it the likelihood is unbounded where the microphones
    are linearly dependent (dead or duplicate ones, fewer frames than microphones), and
    demixing matrices grow until their outputs are rounding errors. Bins without any
    signal get no noise: they say nothing about the sources.
    """
    n_frames, n_freqs, M = X.shape
    scale = level(X)
    X = X.transpose(2, 1, 0) if frames_last else X.transpose(2, 0, 1)
    shape, dtype = (X.shape[1], M * M, X.shape[2]), X.real.dtype
    whole = whole_lines(shape, dtype) if frames_last else np.empty(shape, dtype)
    P = whole[..., : X.shape[2]]
    C = np.zeros((M * M, n_freqs))
    for rows, re, im in _chunks(X, scale):
        p = hermitian_features(re, im, P[rows].transpose(1, 0, 2))
        if frames_last:
            p.mean(2, dtype=float, out=C[:, rows])
        else:
            C += p.sum(1, dtype=float) / n_frames
    C[:M][C[:M] < SILENCE] = 0
    silent = ~C[:M].any(0)
    eps = np.finfo(P.dtype).eps
    Z, Z_inv, power = whitening(unpack_hermitian(C), loading=64 * M * eps)
    sigma = np.where(silent, 0, np.sqrt(max(NOISE, eps / 1000) * power))
    noise = np.empty((M * M, M, n_freqs), P.dtype)
    noise = hermitian_features(Z.real * sigma, Z.imag * sigma, noise).sum(1)
    z = np.where(silent, 0, Z).astype(X.dtype)
    for rows, re, im in _chunks(X, scale):
        _whiten(z[..., rows, None] if frames_last else z, re, im)
        p = hermitian_features(re, im, P[rows].transpose(1, 0, 2))
        p += noise[:, rows, None] if frames_last else noise[:, None]
    return whole, Z, Z_inv, scale


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
    if fast := kernels("batch"):
        V = np.empty((len(S), M, M, S.shape[-1]), complex)
        fast.loaded_covariance(np.ascontiguousarray(S), float(loading), V)
        return V
    mean = S[:, :M].mean(1, dtype=float, keepdims=True)
    V = unpack_hermitian(S).astype(complex, copy=False)
    diagonals = np.einsum("kiif->kif", V)  # a view
    diagonals += np.where(mean > 0, loading * mean, 1)
    return V
