"""A recording as whitened Hermitian features, ready for the separators' hot loops."""

# License: BSD-3-Clause

import numpy as np

from skbss.linalg import hermitian_features, unpack_hermitian, whitening

# Work arrays of about this size stay in the second-level cache of one core.
CACHE_BYTES = 1 << 20


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


def _chunks(X, scale):
    """Yield (slice of frames, scaled frames with microphones first)."""
    T, F, M = X.shape
    step = max(1, CACHE_BYTES // (F * M * X.itemsize))
    for start in range(0, T, step):
        frames = slice(start, min(start + step, T))
        yield frames, np.ascontiguousarray(X[frames].transpose(2, 0, 1)) / scale


def whitened_features(X, *, frames_last):
    """Features of the whitened recording, and the whitening.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Complex spectrogram.
    frames_last : bool
        The layout of the features: (n_freqs, n_mics ** 2, n_frames) or
        (n_frames, n_mics ** 2, n_freqs).

    Returns
    -------
    P : ndarray
        Features of ``Z[..., f] @ X[t, f] / scale`` in the precision of `X`.
    Z, Z_inv : ndarray of shape (n_mics, n_mics, n_freqs)
        The whitening and its inverse, complex128.
    scale : float
        Root mean square of the recording.
    """
    T, F, M = X.shape
    scale = level(X)
    dtype = X.real.dtype
    C = np.zeros((M * M, F))
    for _, x in _chunks(X, dtype.type(scale)):
        C += hermitian_features(x).sum(1, dtype=float)
    Z, Z_inv = whitening(unpack_hermitian(C / T))
    z = Z.astype(X.dtype)[:, :, None]
    P = np.empty((F, M * M, T) if frames_last else (T, M * M, F), dtype)
    for frames, x in _chunks(X, dtype.type(scale)):
        white = np.zeros_like(x)
        for i in range(M):
            for j in range(i + 1):
                white[i] += z[i, j] * x[j]
        p = hermitian_features(white)
        if frames_last:
            P[:, :, frames] = p.transpose(2, 0, 1)
        else:
            P[frames] = p.transpose(1, 0, 2)
    return P, Z, Z_inv, scale


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
    M = round(np.sqrt(S.shape[1]))
    eps = np.finfo(S.dtype).eps
    S = S.astype(float)
    mean = S[:, :M].mean(1, keepdims=True)
    S[:, :M] += np.where(mean > 0, 2 * M * eps * mean, 1)
    return unpack_hermitian(S)
