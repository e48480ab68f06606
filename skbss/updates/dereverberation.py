"""Weighted prediction error: filters that predict reverberation from past frames."""

# License: BSD-3-Clause

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.utils import gen_batches

from skbss.compiled import kernels
from skbss.parallel import CACHE_BYTES, bin_blocks, map_some

# Frames whose past is stacked at a time, without the compiled loops.
N_FRAMES = 1024


def learn_filters(X, delay, taps, max_iter, floor, Y=None):
    """Learn the filters of weighted prediction error.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Complex spectrogram. There is silence before.
    delay : int
        How many frames before the present one the last one is that is looked at.
    taps : int
        How many frames are looked at.
    max_iter : int
        Number of iterations.
    floor : float
        Least power of a frame, relative to the loudest one of the bin.
    Y : ndarray of shape (n_frames, n_freqs, n_mics), default=None
        Where to write what the filters leave of `X`.

    Returns
    -------
    filters : ndarray of shape (n_freqs, n_mics, taps, n_mics)
        What is to be subtracted from a microphone, of each past frame of each
        microphone; complex128.
    """
    _, F, M = X.shape
    filters = np.zeros((F, M, taps, M), complex)

    def learn(bins):
        x = Past(X[:, bins], delay, taps)
        G = filters[bins]
        for iteration in range(max_iter):
            y = x.subtract(G) if iteration else x.present()
            G[:] = prediction_filters(*x.correlations(weights_of(*y, floor)), x.eps)
        if Y is not None:
            x.write(Y[:, bins], G)

    map_some(learn, _bins(X, delay + taps))
    return filters


def subtract_prediction(X, filters, delay):
    """Subtract what past frames predict.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Complex spectrogram. There is silence before.
    filters : ndarray of shape (n_freqs, n_mics, taps, n_mics)
        From `learn_filters`.
    delay : int
        As there.

    Returns
    -------
    Y : ndarray of shape (n_frames, n_freqs, n_mics)
        In the precision of `X`.
    """
    taps = filters.shape[2]
    Y = np.empty_like(X)

    def write(bins):
        Past(X[:, bins], delay, taps).write(Y[:, bins], filters[bins])

    map_some(write, _bins(X, delay + taps))
    return Y


def _bins(X, n_past):
    """Slices of bins whose frames stay in the cache."""
    n_frames, n_freqs, n_mics = X.shape
    size = (n_frames + n_past) * n_mics * X.itemsize
    return bin_blocks(n_freqs, 2 * size, CACHE_BYTES)


def weights_of(re, im, floor):
    """Weights of frames, (n_bins, n_frames): the inverse of their power, at most 1.

    Parameters
    ----------
    re, im : ndarray of shape (n_bins, n_mics, n_frames)
        Frames.
    floor : float
        As for `learn_filters`.
    """
    power = (re**2 + im**2).mean(1)
    loudest = power.max(axis=1, keepdims=True)
    tiny = np.finfo(power.dtype).tiny / np.finfo(power.dtype).eps
    np.maximum(power, np.maximum(floor * loudest, tiny), out=power)
    return power.min(axis=1, keepdims=True) / power


def prediction_filters(R, P, eps):
    """Solve for the filters of least weighted error.

    Parameters
    ----------
    R : ndarray of shape (n_bins, n, n)
        Correlations of past frames, Hermitian, complex128.
    P : ndarray of shape (n_bins, n, n_mics)
        Their correlations with the present.
    eps : float
        Power of white noise that makes R regular where microphones or frames are
        alike, relative to that of the frames.

    Returns
    -------
    filters : ndarray of shape (n_bins, n_mics, n_taps, n_mics)
        Zeros where there is no past.
    """
    n, M = P.shape[1:]
    diagonal = np.einsum("fii->fi", R)  # a view
    mean = diagonal.real.mean(axis=1, keepdims=True)
    diagonal += np.where(mean > 0, eps * mean, 1)
    G = np.linalg.solve(R, P).conj().swapaxes(1, 2)
    return G.reshape(len(G), M, n // M, M)


class Past:
    """Some bins of a recording, of whose frames the past is asked for.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_bins, n_mics)
        Complex spectrogram.
    delay, taps : int
        As for `learn_filters`.

    Attributes
    ----------
    peak : ndarray of shape (n_bins, 1, 1)
        What the bins were divided by, so that powers neither overflow nor vanish.
    eps : float
        Rounding error of correlations.
    """

    def __init__(self, X, delay, taps):
        n_frames, n_bins, n_mics = X.shape
        self.delay, self.taps = delay, taps
        self.pad = delay + taps - 1
        # Real and imaginary parts, which powers and compiled loops want apart.
        shape = 2, n_bins, n_mics, self.pad + n_frames
        self.frames = np.zeros(shape, X.real.dtype)
        present = self.present()
        present[0], present[1] = X.real.transpose(1, 2, 0), X.imag.transpose(1, 2, 0)
        peak = np.maximum(present.max((0, 2, 3)), -present.min((0, 2, 3)))
        # A power of two: nothing is rounded.
        peak = np.ldexp(np.ones_like(peak), np.frexp(peak)[1] - 1)
        self.peak = peak[:, None, None]
        present /= self.peak
        self.eps = taps * n_mics * float(np.finfo(peak.dtype).eps)
        self._compiled = kernels("dereverberation")

    def present(self):
        """Return the frames, a view of shape (2, n_bins, n_mics, n_frames)."""
        return self.frames[..., self.pad :]

    def correlations(self, weights):
        """Weighted correlations of past frames, and of these with the present.

        Parameters
        ----------
        weights : ndarray of shape (n_bins, n_frames)
            Weights of the present frames.

        Returns
        -------
        R : ndarray of shape (n_bins, taps * n_mics, taps * n_mics)
            Of past frames, complex128.
        P : ndarray of shape (n_bins, taps * n_mics, n_mics)
            With the present ones.
        """
        _, B, M, _ = self.frames.shape
        L = self.taps
        if self._compiled is not None:
            R, P = np.empty((2, B, L, M, L, M)), np.empty((2, B, L, M, M))
            w = np.pad(weights, ((0, 0), (0, self.pad + 4)))
            self._compiled.correlate(*self.frames, w, self.delay, L, R, P)
            R, P = (a[0] + 1j * a[1] for a in (R, P))
            return R.reshape(B, L * M, L * M), P.reshape(B, L * M, M)
        R, P = np.zeros((B, L * M, L * M), complex), np.zeros((B, L * M, M), complex)
        for frames in gen_batches(weights.shape[1], N_FRAMES):
            x, past = self._stack(frames)
            weighted = past * weights[:, None, frames]
            R += weighted @ past.conj().swapaxes(1, 2)
            P += weighted @ x.conj().swapaxes(1, 2)
        return R, P

    def subtract(self, filters):
        """Return frames less what is predicted, (2, n_bins, n_mics, n_frames)."""
        y = np.empty_like(self.present())
        if self._compiled is not None:
            G = np.array([filters.real, filters.imag], y.dtype)
            self._compiled.subtract_prediction(*self.frames, *G, self.delay, *y)
            return y
        G = filters.reshape(*filters.shape[:2], -1)
        for frames in gen_batches(y.shape[-1], N_FRAMES):
            x, past = self._stack(frames)
            x = x - G.astype(past.dtype) @ past
            y[0, ..., frames], y[1, ..., frames] = x.real, x.imag
        return y

    def write(self, Y, filters):
        """Write frames less what is predicted, in the scale of the recording."""
        y = self.subtract(filters)
        y *= self.peak
        Y.real, Y.imag = y[0].transpose(2, 0, 1), y[1].transpose(2, 0, 1)

    def _stack(self, frames):
        """Frames (a slice), and their past, (n_bins, taps * n_mics, n_frames)."""
        re, im = self.frames[..., frames.start : frames.stop + self.pad]
        x = re + 1j * im
        n = frames.stop - frames.start
        views = sliding_window_view(x[..., : n + self.taps - 1], n, axis=2)
        past = views[:, :, ::-1].swapaxes(1, 2)  # the newest first
        return x[..., self.pad :], past.reshape(len(past), -1, n)
