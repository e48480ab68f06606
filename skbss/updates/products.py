"""Products of features with few vectors, one for each source.

How they are best formed depends on BLAS, where they aren't compiled.
"""

# License: BSD-3-Clause

from functools import cache

import numpy as np
from threadpoolctl import threadpool_info

from skbss.compiled import kernels

# Up to this many sources, reading a tile once for each costs less than repacking it.
MAX_VECTORS = 4


@cache
def repacks():
    """Tell whether BLAS copies the factors of small matrix products before it starts.

    OpenBLAS does, except where it has AVX-512: it takes longer than the products that
    are needed here. Its products of a matrix and a vector read the matrix where it is.
    """
    direct = "SkylakeX", "Cooperlake", "SapphireRapids"
    libraries = (lib for lib in threadpool_info() if lib["internal_api"] == "openblas")
    return any(lib.get("architecture") not in direct for lib in libraries)


def by_bin(Q, dtype):
    """Power features with the bins first, (n_freqs, n_sources, n_mics ** 2)."""
    return np.ascontiguousarray(Q.transpose(2, 0, 1), dtype=dtype)


def sum_rows(P, weights, out):
    """Write weighted sums of the rows of P.

    Parameters
    ----------
    P : ndarray of shape (n, n_rows, n_columns)
        Features.
    weights : ndarray of shape (n, n_sources, n_rows)
        Weights.
    out : ndarray of shape (n_sources, n, n_columns)
        Where to write ``(weights @ P).transpose(1, 0, 2)``.

    Returns
    -------
    out : ndarray of shape (n_sources, n, n_columns)
        The same array.
    """
    if fast := kernels("batch"):
        fast.sum_rows(P, weights, out, False)
    else:
        few_rows_matmul(weights, P, out.transpose(1, 0, 2))
    return out


def dot_rows(P, u, out):
    """Write the dot products of the rows of P with those of u.

    Parameters
    ----------
    P : ndarray of shape (n, n_rows, n_columns)
        Features.
    u : ndarray of shape (n_sources, n, n_columns)
        Weights.
    out : ndarray of shape (n, n_sources, n_rows)
        Where to write ``u.transpose(1, 0, 2) @ P.transpose(0, 2, 1)``.

    Returns
    -------
    out : ndarray of shape (n, n_sources, n_rows)
        The same array.
    """
    if fast := kernels("batch"):
        fast.dot_rows(P, u, out)
    else:
        few_rows_matmul(u.transpose(1, 0, 2), P.transpose(0, 2, 1), out)
    return out


def few_rows_matmul(A, B, out):
    """Multiply stacks of matrices, where those of `A` have a row for each source."""
    if A.shape[-2] > MAX_VECTORS or not repacks():
        np.matmul(A, B, out=out)
    else:
        np.matmul(A[..., None, :], B[..., None, :, :], out=out[..., None, :])
