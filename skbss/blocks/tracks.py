"""Outputs of blocks, put into one order by where in the room they come from."""

# License: BSD-3-Clause

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from skbss.transforms.stft import STFT

# White noise in covariances, relative to their traces: columns of outputs that are
# nearly silent are little more than rounding.
LOADING = 1e-3
# The memory of tracks fades by this factor a block, so that they may drift.
FORGET = 0.8


@dataclass(frozen=True)
class Description:
    """Where the outputs of a block come from.

    Parameters
    ----------
    columns : ndarray of shape (n_freqs, n_mics, n_sources)
        Mixing matrices by which the outputs explain the microphones best.
    power : ndarray of shape (n_freqs, n_sources)
        Of the outputs.
    covariance : ndarray of shape (n_freqs, n_mics, n_mics)
        Of the microphones.
    """

    columns: np.ndarray
    power: np.ndarray
    covariance: np.ndarray

    def take(self, order):
        """Return the description of outputs in another order."""
        return Description(
            self.columns[:, :, order], self.power[:, order], self.covariance
        )


def describe(x, y, n_fft):
    """Describe where outputs come from, whatever separated them.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        The microphones.
    y : ndarray of shape (n_samples, n_sources)
        The outputs.
    n_fft : int
        Length of windows in samples.

    Returns
    -------
    description : Description
        Of the block, in double precision.
    """
    both = np.concatenate([x, y], axis=1)
    n_fft = min(n_fft, max(2, len(both)))
    Z = STFT(n_fft, hop_length=max(1, n_fft // 2)).fit_transform(both).data
    # Single precision is exact enough for frames, not for what is summed over them.
    C = np.zeros((Z.shape[1], Z.shape[2], Z.shape[2]), dtype=complex)
    for part in np.array_split(Z, max(1, len(Z) // 64)):
        frames = part.transpose(1, 2, 0).astype(complex)
        C += frames @ frames.conj().swapaxes(1, 2)
    C /= len(Z)
    n_mics = x.shape[1]
    columns = np.linalg.solve(
        _loaded(C[:, n_mics:, n_mics:]).swapaxes(1, 2),
        C[:, :n_mics, n_mics:].swapaxes(1, 2),
    ).swapaxes(1, 2)
    power = np.einsum("fkk->fk", C[:, n_mics:, n_mics:]).real
    return Description(columns, power, C[:, :n_mics, :n_mics])


class Tracks:
    """Remembers where every track came from, to recognize it in later blocks.

    A track is what is meant to be one talker throughout a recording. The memory is the
    spatial covariance of its columns, each of unit norm, weighted by its amplitude.

    Parameters
    ----------
    first : Description
        The block whose outputs begin the tracks.

    Attributes
    ----------
    spread : ndarray of shape (n_freqs, n_tracks, n_mics, n_mics)
        The memory.
    covariance : ndarray of shape (n_freqs, n_mics, n_mics)
        Of the microphones.
    """

    def __init__(self, first):
        self.spread, self.covariance = _spread(first), first.covariance

    def add(self, block):
        """Remember a block, whose outputs are in the order of the tracks."""
        self.spread = FORGET * self.spread + _spread(block)
        self.covariance = FORGET * self.covariance + block.covariance

    def similarity(self, block):
        """How much the outputs of a block are where the tracks were.

        Parameters
        ----------
        block : Description
            The block.

        Returns
        -------
        similarity : ndarray of shape (n_tracks, n_outputs)
            From 0 to 1: the mean over frequencies of the cosine between an output's
            column and a track's, in whitened coordinates. Frequencies count by
            amplitude: loud, low ones tell little.
        """
        Z = np.linalg.inv(
            np.linalg.cholesky(_loaded(self.covariance + block.covariance))
        )
        B = _unit(Z @ block.columns)
        Q = Z[:, None] @ self.spread @ Z.conj().swapaxes(1, 2)[:, None]
        share = np.einsum("fml,fkmn,fnl->fkl", B.conj(), Q, B, optimize=True).real
        trace = np.einsum("fkmm->fk", Q).real[:, :, None]
        cosine = np.sqrt(_divided(share.clip(0), trace))
        amplitude = np.einsum("fkmm->fk", self.spread).real
        weight = np.sqrt(amplitude[:, :, None] * np.sqrt(block.power)[:, None])
        return _divided((weight * cosine).sum(0), weight.sum(0))


def waveform_similarity(z, y):
    """Return absolute correlations of two blocks' outputs in what they share.

    Parameters
    ----------
    z, y : ndarray of shape (n_samples, n_sources)
        The end of one block, the beginning of the next.

    Returns
    -------
    similarity : ndarray of shape (n_sources, n_sources)
        From 0 to 1.
    """
    z, y = z.astype(float), y.astype(float)
    norms = [np.linalg.norm(v, axis=0) for v in (z, y)]
    return _divided(abs(z.T @ y), norms[0][:, None] * norms[1])


def best_order(similarity):
    """Return for each track the output that continues it."""
    return linear_sum_assignment(similarity, maximize=True)[1]


def _spread(block):
    U = _unit(block.columns)
    weight = np.sqrt(block.power)
    return np.einsum("fk,fmk,fnk->fkmn", weight, U, U.conj(), optimize=True)


def _loaded(C):
    size = C.shape[1]
    trace = np.einsum("fmm->f", C).real
    # Silent bins get an identity matrix, of which nothing comes.
    load = np.where(trace > 0, LOADING * trace / size, 1)
    return C + load[:, None, None] * np.eye(size)


def _unit(A):
    return _divided(A, np.linalg.norm(A, axis=1, keepdims=True))


def _divided(a, b):
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
