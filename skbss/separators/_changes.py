"""Mixing matrices that change while a recording is separated."""

# License: BSD-3-Clause

import numpy as np


class Changes:
    """Matrices of frames, each kept once, in an array that grows.

    Parameters
    ----------
    dtype : dtype
        Of the array.
    """

    def __init__(self, dtype):
        self._dtype, self._matrices = dtype, None
        self._last, self._index = None, []

    def append(self, matrix):
        """Take the matrix (n_mics, n_sources, n_freqs) of the next frame."""
        if matrix is not self._last:
            n = self._index[-1] + 1 if self._index else 0
            shape = matrix.transpose(2, 0, 1).shape
            if n == 0:
                self._matrices = np.empty((1, *shape), self._dtype)
            elif n == len(self._matrices):
                self._matrices.resize((n + 1 + n // 8, *shape), refcheck=False)
            self._matrices[n] = matrix.transpose(2, 0, 1)
            self._last = matrix
            self._index.append(n)
        else:
            self._index.append(self._index[-1])

    def arrays(self):
        """Return the matrices (n_matrices, n_freqs, ...), and the one of each frame."""
        shape = self._index[-1] + 1, *self._matrices.shape[1:]
        self._matrices.resize(shape, refcheck=False)
        return self._matrices, np.array(self._index)
