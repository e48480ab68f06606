"""Powers of outputs in double precision, a few frames at a time."""

# License: BSD-3-Clause

import numpy as np

from skbss.parallel import CACHE_BYTES, bin_blocks, block_map

# Frames that are worked on at a time: enough for a product of matrices, unless they are
# so large that powers in double precision leave the cache.
N_FRAMES = 64


def frame_parts(X):
    """Divide frames, the first axis, into slices of at most `N_FRAMES`."""
    return bin_blocks(len(X), max(X[0].nbytes, CACHE_BYTES // N_FRAMES), CACHE_BYTES)


def powers(X, scale):
    """Squares of amplitudes, in double precision, where small ones aren't zero.

    Parameters
    ----------
    X : ndarray of shape (..., n_sources)
        Complex, with the last axis contiguous.
    scale : float
        What amplitudes are divided by.

    Returns
    -------
    power : ndarray of the shape of `X`
        Real.
    """
    x = np.square(X.view(X.real.dtype) / scale, dtype=float)
    return x[..., ::2] + x[..., 1::2]


def mean_powers(X, scale):
    """Powers averaged over frames, (n_freqs, n_sources), and inverses, 1 / 0 = 0.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_sources)
        Complex, C-contiguous.
    scale : float
        What amplitudes are divided by.

    Returns
    -------
    mean : ndarray of shape (n_freqs, n_sources)
        Zero where so little is left that it has no inverse.
    inverse : ndarray of shape (n_freqs, n_sources)
        Inverses, zero where the mean is.
    """
    with block_map() as map_blocks:
        parts = frame_parts(X)
        sums = map_blocks(lambda part: powers(X[part], scale).sum(0), parts)
        mean = sum(sums) / len(X)
    mean[mean < np.finfo(float).tiny] = 0
    return mean, invert_positive(mean)


def invert_positive(a):
    """Inverses of numbers that are not negative, zero where they are zero."""
    return np.divide(1, a, out=np.zeros_like(a), where=a > 0)
