"""A window of the newest frames, learned from in small steps.

Each function here is a generator that does a part of the work, yields about how many
nanoseconds that takes, and returns its result at the end: so that what runs live can
spread the work evenly over time. What it yields depends on sizes alone.
"""

# License: BSD-3-Clause

from itertools import pairwise

import numpy as np
import scipy.fft
from scipy.optimize import linear_sum_assignment

from skbss.linalg import log_volume, matmul, pinv
from skbss.separators._batch import principal
from skbss.updates.iteration import FADE, FLOOR
from skbss.updates.recording import Recording, loaded_covariance
from skbss.updates.sorting import N_PARTS, swapped, swaps, total_cost
from skbss.updates.source import bands_of, variance_and_cost
from skbss.updates.spatial import IP1, update_demixing
from skbss.updates.target import Target

# Features that are worked on in a step, samples that are transformed, and powers.
STEP_FEATURES = 1 << 17
STEP_SAMPLES = 1 << 17
STEP_POWERS = 1 << 16

# How much a target counts, as in `skbss.AuxIVA`.
TARGET_WEIGHT = 0.3

# Volume of unit rows below which they are taken for linearly dependent.
SINGULAR = 1e-6

# Frames this far below the loud ones of a window (50 dB) teach nothing.
SILENCE = 1e-5


def transform(read, starts, n_fft, *, keep_silence=False):
    """Transform the frames of a signal.

    Parameters
    ----------
    read : callable
        Returns the samples (n_mics, n_samples) from one number to another, zeros where
        there are none.
    starts : range
        First samples of the frames.
    n_fft : int
        Their length.
    keep_silence : bool, default=False
        Whether to return all frames.

    Yields
    ------
    values : int
        Numbers worked on.

    Returns
    -------
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Frames that aren't silent in comparison, in single precision.
    """
    window = np.sin(np.pi * np.arange(n_fft, dtype=np.float32) / n_fft) ** 2
    n_mics = len(read(0, 0))
    X = np.empty((len(starts), n_fft // 2 + 1, n_mics), np.complex64)
    peak = np.zeros(len(starts), np.float32)
    step = max(1, STEP_SAMPLES // (n_fft * n_mics))
    for first in range(0, len(starts), step):
        for t in range(first, min(first + step, len(starts))):
            frame = read(starts[t], starts[t] + n_fft)
            X[t] = scipy.fft.rfft(frame * window).T
            peak[t] = abs(X[t].view(np.float32)).max() / n_fft
        yield 6 * step * n_fft * n_mics
    if keep_silence:
        return X
    loud = np.quantile(peak, 0.9) * SILENCE**0.5 if len(peak) else 0
    is_loud = peak > loud
    return X[is_loud] if is_loud.any() and not is_loud.all() else X


class Window:
    """The frames of a window, in groups of bins that are whitened each.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Frames.
    noise : float
        As for `skbss.updates.recording.Recording`.

    Attributes
    ----------
    groups : list of tuple
        Slices of bins, and their recordings, once `whiten` has ended.
    """

    def __init__(self, X, noise=0.0):
        self.X, self.noise = X, noise
        self.n_frames, self.n_freqs, self.n_mics = X.shape
        self.groups = []

    def whiten(self):
        """Whiten the groups, one in each step."""
        # Bands of the models, and parts that are sorted, lie in one group each.
        part = max(1, self.n_freqs // N_PARTS)
        n_parts = STEP_FEATURES // (part * self.n_frames * self.n_mics**2)
        size = part * max(1, n_parts)
        n_groups = max(1, round(self.n_freqs / size))
        edges = [*range(0, n_groups * size, size), self.n_freqs]
        for start, stop in pairwise(edges):
            bins = slice(start, stop)
            self.groups.append((bins, Recording(self.X[:, bins], noise=self.noise)))
            yield 16 * self._values(bins)

    def _values(self, bins):
        return (bins.stop - bins.start) * self.n_frames * self.n_mics**2

    def from_microphones(self, W):
        """Take matrices to the whitened microphones, with rows of unit norm.

        Where they are singular, as images at a dead microphone are, bins begin anew.
        """
        parts = []
        for bins, recording in self.groups:
            rows = recording.from_microphones(W[..., bins].transpose(2, 0, 1))
            norm = np.linalg.norm(rows, axis=1, keepdims=True)
            rows /= np.where(norm > 0, norm, 1)
            with np.errstate(divide="ignore"):
                singular = ~(log_volume(rows) > np.log(SINGULAR))
            rows[..., singular] = np.eye(len(W), self.n_mics)[..., None]
            parts.append(rows)
        return np.concatenate(parts, axis=2)

    def beginning(self, n_sources):
        """Demixing matrices to begin with: microphones, or what is loudest."""
        parts = []
        for _, recording in self.groups:
            if n_sources < self.n_mics:
                parts.append(principal(recording, n_sources))
            else:
                parts.append(recording.Z_inv * recording.scale)
        W = np.concatenate(parts, axis=2)
        return W / np.sqrt(np.square(abs(W)).sum(1).mean())

    def images(self, W, ref_mic):
        """Matrices of the microphones whose outputs are images at one of them.

        Parameters
        ----------
        W : ndarray of shape (n_sources, n_mics, n_freqs)
            Demixing matrices of the whitened microphones.
        ref_mic : int
            The microphone.

        Returns
        -------
        W : ndarray of shape (n_sources, n_mics, n_freqs)
            Matrices for the microphones, complex64.
        """
        parts = []
        for bins, recording in self.groups:
            w = W[..., bins]
            scale = matmul(recording.Z_inv[ref_mic, None], pinv(w))[0]
            parts.append(matmul(w, recording.Z) * scale[:, None])
        return np.concatenate(parts, axis=2).astype(np.complex64)

    def power_steps(self, W, n_bands):
        """Mean powers of the outputs in bands, (n_sources, n_bands, n_frames)."""
        size = max(1, self.n_freqs // n_bands)
        parts = []
        for bins, recording in self.groups:
            n = 1 if n_bands == 1 else max(1, recording.n_freqs // size)
            power = recording.powers(W[..., bins], n)
            if n_bands == 1:
                power *= np.float32(recording.n_freqs / self.n_freqs)
            parts.append(power)
            yield self._values(bins)
        return sum(parts) if n_bands == 1 else np.concatenate(parts, axis=1)


def run(steps):
    """Take all steps of a generator and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def sort(window, W, model):
    """Swap bands as `skbss.updates.sorting.sort_bands` does, a swap in each step."""
    size = max(1, window.n_freqs // N_PARTS)
    powers = yield from window.power_steps(W, N_PARTS)
    powers = powers.astype(float) * (size / window.n_freqs)
    total = total_cost(model.source, model.floor, len(W))
    for k, l, start, stop in swaps(powers, total, 1e-9 * window.n_frames):
        W = swapped(W, k, l, slice(start * size, stop * size))
        yield 32 * powers.size * len(W) ** 2
    return W


class Weights:
    """Weights and cost by a source model, whose outputs have a mean power of 1.

    Parameters
    ----------
    source : object
        The source model.
    """

    def __init__(self, source):
        self.source = source
        self.floor = max(FLOOR, 10 * np.finfo(np.float32).eps)


def iterate(window, W, source, n_iter, sort_iter=0, arrival=None):
    """Move demixing matrices so many times.

    Parameters
    ----------
    window : Window
        The frames, whitened.
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices of its whitened microphones.
    source : object
        The source model.
    n_iter : int
        How many times.
    sort_iter : int, default=0
        Sort bands after every so many, as `skbss.AuxIVA` does; 0 for never.
    arrival : ndarray of shape (n_freqs, n_mics, n_mics), default=None
        Covariances of a target at the microphones. All sources but the first are kept
        from hearing it, less and less.

    Yields
    ------
    values : int
        Numbers worked on.

    Returns
    -------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        The new matrices.
    objective : float
        Their negative log-likelihood per bin and frame, up to what the whitening
        decides on.
    """
    n_bands, spatial, model = bands_of(source), IP1(), Weights(source)
    band = window.n_freqs if n_bands == 1 else max(1, window.n_freqs // n_bands)
    W, targets = W.copy(), []
    if arrival is not None:
        groups = window.groups
        targets = [
            Target(arrival[bins], some, TARGET_WEIGHT).Q for bins, some in groups
        ]
    for iteration in range(n_iter + 1):
        power = yield from window.power_steps(W, n_bands)
        np.maximum(power, power.dtype.type(model.floor), out=power)
        cost = yield from _to_variances(source, power)
        if iteration == n_iter:
            break
        weights = np.divide(1 / window.n_frames, power, out=power)
        for group, (bins, recording) in enumerate(window.groups):
            n, bands = 1, slice(None)
            if n_bands > 1:
                n = max(1, recording.n_freqs // band)
                first = bins.start // band
                bands = slice(first, first + -(-recording.n_freqs // band))
            S = recording.covariances(weights[:, bands], n)
            V = loaded_covariance(S)
            Q = targets[group] * FADE**iteration if targets else None
            W[..., bins] = update_demixing(spatial, W[..., bins], V, Q)
            yield window._values(bins)
        if sort_iter and (iteration + 1) % sort_iter == 0:
            W = yield from sort(window, W, model)
    volume = log_volume(W).sum()
    size = window.n_frames * window.n_freqs
    return W, band * cost / size - 2 * volume / window.n_freqs


def _to_variances(source, power):
    """Turn powers into variances, in place, and return the cost, step by step."""
    cost, n = 0.0, max(1, STEP_POWERS // power[..., 0].size)
    for first in range(0, power.shape[2], n):
        part = power[..., first : first + n]
        part[:], costs = variance_and_cost(source, part)
        cost += costs.sum(dtype=float)
        yield 32 * part.size
    return cost


def order_like(previous, W, X):
    """Order of outputs in which they continue those of other matrices.

    Parameters
    ----------
    previous, W : ndarray of shape (n_sources, n_mics, n_freqs)
        Matrices whose outputs are images at a microphone.
    X : ndarray of shape (n_frames, n_freqs, n_mics)
        Frames that both are applied to.

    Returns
    -------
    order : ndarray of shape (n_sources,)
        ``W[order]`` continues `previous`, by the correlation of waveforms.
    """
    C = np.einsum("tfm,tfn->fmn", X, X.conj(), optimize=True)
    cross = np.einsum("kmf,fmn,jnf->kj", previous, C, W.conj(), optimize=True).real
    powers = [
        np.einsum("kmf,fmn,knf->k", V, C, V.conj(), optimize=True).real
        for V in (previous, W)
    ]
    norm = np.sqrt(np.maximum(np.outer(*powers), np.finfo(np.float32).tiny))
    return linear_sum_assignment(cross / norm, maximize=True)[1]
