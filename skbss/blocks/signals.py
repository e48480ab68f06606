"""Recordings as arrays, or as what gives arrays when it is sliced."""

# License: BSD-3-Clause

import numpy as np

from skbss.base import to_floats


def is_lazy(X):
    """Whether a recording is to be read block by block."""
    if isinstance(X, np.memmap):
        return True
    attributes = hasattr(X, "shape"), hasattr(X, "dtype"), not hasattr(X, "toarray")
    return not isinstance(X, np.ndarray) and all(attributes)


def read_part(X, part):
    """Return a part of a recording, as floating point; integers as `to_floats` does."""
    x = np.asarray(X[part])
    if x.dtype in (np.float32, np.float64):
        return x
    return to_floats(x).astype(np.float32 if x.dtype.itemsize <= 2 else np.float64)


def collected(pieces, n_samples):
    """Put pieces into one array."""
    whole, done = None, 0
    for piece in pieces:
        if whole is None:
            whole = np.empty((n_samples, piece.shape[1]), dtype=piece.dtype)
        whole[done : done + len(piece)] = piece
        done += len(piece)
    return whole
