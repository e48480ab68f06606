"""What a voice sounds like, to recognize it at another place."""

# License: BSD-3-Clause

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct

from skbss.transforms import STFT

N_BANDS, N_CEPSTRA = 24, 13
# Windows in seconds, and where bands are, in Hz.
WINDOW = 0.032
BAND = 100, 7000
# Noise in covariances of cepstra, and in bands, relative to their mean.
LOADING = 1e-3
FLOOR = 1e-8


@dataclass(frozen=True)
class Voices:
    """Statistics of the mel cepstra of outputs, over their louder frames.

    Parameters
    ----------
    count : float
        Number of frames.
    mean : ndarray of shape (n_sources, n_cepstra)
        Mean cepstra, the level left out.
    square : ndarray of shape (n_sources, n_cepstra, n_cepstra)
        Means of their outer products.
    """

    count: float
    mean: np.ndarray
    square: np.ndarray

    # Numbers of a source, as an array.
    SIZE = 1 + N_CEPSTRA + N_CEPSTRA**2

    def to_array(self):
        """Return an array (n_sources, SIZE) of all that is known."""
        n_sources = len(self.mean)
        count = np.full((n_sources, 1), self.count)
        return np.hstack([count, self.mean, self.square.reshape(n_sources, -1)])

    @classmethod
    def from_array(cls, rows):
        """Return what `to_array` was called for."""
        square = rows[:, 1 + N_CEPSTRA :].reshape(-1, N_CEPSTRA, N_CEPSTRA)
        return cls(rows[0, 0], rows[:, 1 : 1 + N_CEPSTRA], square)

    def take(self, order):
        """Return the voices in another order."""
        return Voices(self.count, self.mean[order], self.square[order])

    def joined(self, other):
        """Return the voices of two pieces in which sources have the same order."""
        count = self.count + other.count
        a, b = self.count / count, other.count / count
        mean = a * self.mean + b * other.mean
        return Voices(count, mean, a * self.square + b * other.square)

    def similarity(self, other):
        """How much voices are alike.

        Parameters
        ----------
        other : Voices
            Others.

        Returns
        -------
        similarity : ndarray of shape (n_sources, n_others)
            The negative symmetric Kullback-Leibler divergence between normal
            distributions of cepstra.
        """
        mine, theirs = self._normal(), other._normal()
        return np.array([[-_divergence(p, q) for q in theirs] for p in mine])

    def _normal(self):
        C = self.square - self.mean[:, :, None] * self.mean[:, None]
        size = C.shape[1]
        load = np.trace(C, axis1=1, axis2=2) / size
        load = LOADING * np.where(load > 0, load, 1)
        return list(zip(self.mean, C + load[:, None, None] * np.eye(size), strict=True))


def _divergence(p, q):
    (m, A), (n, B) = p, q
    d = m - n
    inverse = np.linalg.inv(A) + np.linalg.inv(B)
    spread = np.trace(np.linalg.solve(A, B) + np.linalg.solve(B, A)) / 2 - len(d)
    return float(spread + d @ inverse @ d / 2)


def describe_voices(y, sample_rate):
    """Describe what outputs sound like.

    Parameters
    ----------
    y : ndarray of shape (n_samples, n_sources)
        The outputs.
    sample_rate : float
        In Hz.

    Returns
    -------
    voices : Voices
        Of the outputs.
    """
    n_fft = min(2 ** max(3, round(np.log2(WINDOW * sample_rate))), max(2, len(y)))
    Y = STFT(n_fft, hop_length=max(1, n_fft // 2)).fit_transform(y).data
    power = (abs(Y) ** 2).astype(float).transpose(2, 0, 1) @ _bands(n_fft, sample_rate)
    means, squares = [], []
    for bands in power:
        total = bands.sum(1)
        loud = bands[total >= np.median(total)]
        floor = FLOOR * loud.mean()
        level = np.log(np.maximum(loud, floor if floor > 0 else 1))
        cepstra = dct(level, norm="ortho", axis=1)[:, 1 : N_CEPSTRA + 1]
        means.append(cepstra.mean(0))
        squares.append(cepstra.T @ cepstra / len(cepstra))
    return Voices(float(Y.shape[0]), np.array(means), np.array(squares))


def _bands(n_fft, sample_rate):
    """Triangular bands, even in mel, of shape (n_freqs, n_bands)."""

    def mel(frequency):
        return np.log1p(frequency / 700)

    low, high = (mel(min(f, sample_rate / 2)) for f in BAND)
    edges = np.linspace(low, high, N_BANDS + 2)
    where = mel(np.fft.rfftfreq(n_fft, 1 / sample_rate))[:, None]
    width = edges[1] - edges[0] or 1.0
    return np.maximum(0, 1 - abs(where - edges[1:-1]) / width)
