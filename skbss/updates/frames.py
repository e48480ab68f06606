"""One pass over the features of whole frames: output powers, weighted covariances.

Both are real matrix products with few rows or columns, one for each source. How they
are best formed depends on BLAS, see `skbss.updates.products.repacks`.
"""

# License: BSD-3-Clause

import numpy as np
from scipy.linalg import get_blas_funcs

from skbss.compiled import CACHE_BYTES, kernels
from skbss.updates.products import MAX_VECTORS, repacks


class _Products:
    """Base of the products with blocks of frames.

    Parameters
    ----------
    P : ndarray of shape (n_frames, n_mics ** 2, n_freqs)
        Hermitian features of the recording.
    n_sources : int
        Number of sources.
    """

    step = 64  # frames in a block

    def __init__(self, P, n_sources):
        self.rows = P.reshape(len(P), -1)
        self.sums = np.empty((n_sources, self.rows.shape[1]), P.dtype)

    def start(self, Q):
        """Take the power features of new demixing matrices; forget the sums."""
        self.Q = Q
        self.sums[:] = 0

    def total(self):
        """Return the sums, (n_sources, n_mics ** 2 * n_freqs)."""
        return self.sums


class MatrixProducts(_Products):
    """Products with blocks of frames, a matrix at a time."""

    def __init__(self, P, n_sources):
        super().__init__(P, n_sources)
        (self._gemm,) = get_blas_funcs(("gemm",), (P,))
        # OpenBLAS forms products of at most a million terms without repacking first,
        # which for these shapes is two to three times faster.
        step = 3 * CACHE_BYTES // (2 * self.rows[0].nbytes)
        step = min(step, 10**6 // self.sums.size)
        # With few frames a block, adding up the covariances costs more than it saves.
        self.step = step if step >= 2 * n_sources else len(P)

    def powers(self, block):
        """Output powers of a block of frames, (n_sources, n_frames)."""
        return (self.rows[block] @ self.Q.T).T

    def add(self, block, weights):
        """Add a block's features to the sums, with weights (n_sources, n_frames)."""
        p = self.rows[block]
        self._gemm(1, p.T, weights.T, beta=1, c=self.sums.T, overwrite_c=1)


class VectorProducts(_Products):
    """The same products by one source at a time, in tiles whose vectors stay in L1."""

    def __init__(self, P, n_sources):
        super().__init__(P, n_sources)
        # Wider tiles need fewer calls of BLAS, but single precision rounds longer sums
        # so much that the objective may rise in nearly singular bins.
        self.width = 2048 if P.dtype == float else 512
        tiles = self._tiles(self.sums)
        self._sums = [np.empty((*t.shape[:2], 1, t.shape[2]), P.dtype) for t in tiles]
        self._terms = [np.empty_like(s) for s in self._sums]

    def _tiles(self, A):
        """Cut a matrix into tiles, (n_tiles, n_rows, width), and what is left."""
        n_rows, n_columns = A.shape
        whole = n_columns // self.width * self.width
        tiles = A[:, :whole].reshape(n_rows, -1, self.width).swapaxes(0, 1)
        return tiles, A[None, :, whole:]

    def start(self, Q):
        """See `_Products.start`."""
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
        """See `_Products.total`."""
        for tiles, sums in zip(self._tiles(self.sums), self._sums, strict=True):
            tiles[:] = sums[:, :, 0]
        return self.sums


class CompiledProducts(_Products):
    """The same products by compiled loops."""

    def powers(self, block):
        """See `MatrixProducts.powers`."""
        p = self.rows[None, block]
        out = np.empty((1, len(self.sums), p.shape[1]), p.dtype)
        kernels("batch").dot_rows(p, np.ascontiguousarray(self.Q[:, None]), out)
        return out[0]

    def add(self, block, weights):
        """See `MatrixProducts.add`."""
        weights, sums = np.ascontiguousarray(weights[None]), self.sums[:, None]
        kernels("batch").sum_rows(self.rows[None, block], weights, sums, True)


def frame_products(P, n_sources):
    """Take the fastest way to form products with blocks of frames of P."""
    if kernels("batch"):
        return CompiledProducts(P, n_sources)
    vectors = n_sources <= MAX_VECTORS and repacks()
    return (VectorProducts if vectors else MatrixProducts)(P, n_sources)
