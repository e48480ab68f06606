"""One pass over the features of whole frames: output powers, weighted covariances.

Both are real matrix products with few rows or columns, one for each source. How they
are best formed depends on BLAS, see `skbss.updates.products.repacks`.
"""

# License: BSD-3-Clause

import numpy as np
from scipy.linalg import get_blas_funcs

from skbss.compiled import CACHE_BYTES, kernels
from skbss.updates.products import MAX_VECTORS, repacks


class MatrixProducts:
    """Products with blocks of frames, a matrix at a time.

    Parameters
    ----------
    P : ndarray of shape (n_frames, n_mics ** 2, n_freqs)
        Hermitian features of the recording.
    n_sources : int
        Number of sources.
    """

    def __init__(self, P, n_sources):
        self.rows = P.reshape(len(P), -1)
        n_frames, size = self.rows.shape
        self.sums = np.empty((n_sources, size), P.dtype)
        (self._gemm,) = get_blas_funcs(("gemm",), (P,))
        # OpenBLAS forms products of at most a million terms without repacking first,
        # which for these shapes is two to three times faster.
        step = 3 * CACHE_BYTES // (2 * self.rows[0].nbytes)
        step = min(step, 10**6 // self.sums.size)
        # With few frames a block, adding up the covariances costs more than it saves.
        self.step = step if step >= 2 * n_sources else n_frames

    def start(self, Q):
        """Take the power features of new demixing matrices; forget the sums."""
        self.Q = Q
        self.sums[:] = 0

    def powers(self, block):
        """Output powers of a block of frames, (n_sources, n_frames)."""
        return (self.rows[block] @ self.Q.T).T

    def add(self, block, weights):
        """Add a block's features to the sums, with weights (n_sources, n_frames)."""
        p = self.rows[block]
        self._gemm(1, p.T, weights.T, beta=1, c=self.sums.T, overwrite_c=1)

    def total(self):
        """Return the sums, (n_sources, n_mics ** 2 * n_freqs)."""
        return self.sums


class VectorProducts:
    """The same products by one source at a time, in tiles whose vectors stay in L1.

    Parameters
    ----------
    P : ndarray of shape (n_frames, n_mics ** 2, n_freqs)
        Hermitian features of the recording.
    n_sources : int
        Number of sources.
    """

    step = 64

    def __init__(self, P, n_sources):
        self.rows = P.reshape(len(P), -1)
        # Wider tiles need fewer calls of BLAS, but single precision rounds longer sums
        # so much that the objective may rise in nearly singular bins.
        self.width = 2048 if P.dtype == float else 512
        self._total = np.empty((n_sources, self.rows.shape[1]), P.dtype)
        tiles = self._tiles(self._total)
        self._sums = [np.empty((*t.shape[:2], 1, t.shape[2]), P.dtype) for t in tiles]
        self._terms = [np.empty_like(s) for s in self._sums]

    def _tiles(self, A):
        """Cut a matrix into tiles, (n_tiles, n_rows, width), and what is left."""
        n_rows, n_columns = A.shape
        whole = n_columns // self.width * self.width
        tiles = A[:, :whole].reshape(n_rows, -1, self.width).swapaxes(0, 1)
        return tiles, A[None, :, whole:]

    def start(self, Q):
        """See `MatrixProducts.start`."""
        self._Q = [np.ascontiguousarray(q)[..., None] for q in self._tiles(Q)]
        for sums in self._sums:
            sums[:] = 0

    def powers(self, block):
        """See `MatrixProducts.powers`."""
        tiles = zip(self._tiles(self.rows[block]), self._Q, strict=True)
        return sum((p[:, None] @ q)[..., 0].sum(0) for p, q in tiles)

    def add(self, block, weights):
        """See `MatrixProducts.add`."""
        tiles = self._tiles(self.rows[block])
        for p, sums, terms in zip(tiles, self._sums, self._terms, strict=True):
            sums += np.matmul(weights[:, None], p[:, None], out=terms)

    def total(self):
        """See `MatrixProducts.total`."""
        for tiles, sums in zip(self._tiles(self._total), self._sums, strict=True):
            tiles[:] = sums[:, :, 0]
        return self._total


class CompiledProducts:
    """The same products by compiled loops.

    Parameters
    ----------
    P : ndarray of shape (n_frames, n_mics ** 2, n_freqs)
        Hermitian features of the recording.
    n_sources : int
        Number of sources.
    """

    step = 64

    def __init__(self, P, n_sources):
        self._kernels = kernels("batch")
        self.rows = P.reshape(len(P), -1)
        self._sums = np.empty((n_sources, 1, self.rows.shape[1]), P.dtype)

    def start(self, Q):
        """See `MatrixProducts.start`."""
        self._Q = np.ascontiguousarray(Q[:, None])
        self._sums[:] = 0

    def powers(self, block):
        """See `MatrixProducts.powers`."""
        p = self.rows[None, block]
        out = np.empty((1, len(self._sums), p.shape[1]), p.dtype)
        self._kernels.dot_rows(p, self._Q, out)
        return out[0]

    def add(self, block, weights):
        """See `MatrixProducts.add`."""
        weights = np.ascontiguousarray(weights[None])
        self._kernels.sum_rows(self.rows[None, block], weights, self._sums, True)

    def total(self):
        """See `MatrixProducts.total`."""
        return self._sums[:, 0]


def frame_products(P, n_sources):
    """Take the fastest way to form products with blocks of frames of P."""
    if kernels("batch"):
        return CompiledProducts(P, n_sources)
    vectors = n_sources <= MAX_VECTORS and repacks()
    return (VectorProducts if vectors else MatrixProducts)(P, n_sources)
