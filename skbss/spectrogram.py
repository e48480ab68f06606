"""Spectrogram, the record that one pipeline step hands to the next."""

# License: BSD-3-Clause

import math
from dataclasses import dataclass, replace

import numpy as np


def with_standard_strides(a):
    """Return an array in C order, with standard strides on axes of length 1 too."""
    a = np.ascontiguousarray(a)
    step = a.itemsize
    for size, stride in zip(a.shape[::-1], a.strides[::-1], strict=True):
        if stride != step:
            return a.copy()
        step *= size
    return a


@dataclass(frozen=True, eq=False, slots=True)
class Spectrogram:
    """A multichannel spectrogram with what later steps need to know about it.

    `STFT` makes it, separators replace its data and add the mixing matrices,
    `ProjectionBack` and `ISTFT` read those. ``np.asarray(spectrogram)`` gives the
    bare array. Arithmetic on the record raises a TypeError: it would silently lose
    the context; compute on the array and put the result back with
    ``dataclasses.replace(spectrogram, data=...)``.

    Parameters
    ----------
    data : ndarray of shape (n_frames, n_freqs, n_channels)
        Complex coefficients. Stored with standard strides (C order), copied if
        needed, so that equal spectrograms have equal `joblib` hashes.
    stft_params : dict
        What the transform was made with: ``n_fft``, ``hop_length`` (both in
        samples), ``window`` and ``sample_rate`` (in Hz, or None).
    n_samples : int
        Length in samples of the signal that the spectrogram comes from.
    mixing : ndarray of shape (n_frames or 1, n_freqs, n_mics, n_sources), default=None
        Set by separators: the matrices that take `data` back to the microphones,
        ``x[t, f] = mixing[t, f] @ data[t, f]``. None where `data` are microphones.
    mixing_index : ndarray of shape (n_frames,), default=None
        The matrix of each frame, where `mixing` has some number of them: online
        separators have a new one now and then only. A matrix for each frame would take
        as many times the memory of `data` as there are microphones.
    """

    data: np.ndarray
    stft_params: dict
    n_samples: int
    mixing: np.ndarray | None = None
    mixing_index: np.ndarray | None = None
    __array_ufunc__ = None

    def __post_init__(self):
        # joblib.hash includes strides: a transposed view would silently miss the
        # cache of Pipeline(memory=...).
        object.__setattr__(self, "data", with_standard_strides(self.data))
        object.__setattr__(self, "stft_params", dict(self.stft_params))
        if self.mixing is not None:
            object.__setattr__(self, "mixing", with_standard_strides(self.mixing))
        if self.data.ndim != 3:
            raise ValueError(
                "Got spectrogram data of shape "
                f"{self.data.shape}, expected (n_frames, n_freqs, n_channels)."
            )

    def __array__(self, dtype=None, copy=None):
        return np.array(self.data, dtype=dtype, copy=copy)

    def __len__(self):
        return len(self.data)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of `data`, (n_frames, n_freqs, n_channels)."""
        return self.data.shape

    @property
    def images_at(self) -> int | None:
        """The microphone whose images of the sources `data` are, or None."""
        if self.mixing is None:
            return None
        rows = range(self.mixing.shape[2])
        return next((m for m in rows if (self.mixing[:, :, m] == 1).all()), None)

    def mixing_of(self, frames: slice) -> np.ndarray:
        """Return the mixing matrices of frames.

        Parameters
        ----------
        frames : slice
            Which.

        Returns
        -------
        mixing : ndarray of shape (n_frames or 1, n_freqs, n_mics, n_sources)
            One if it is the same for all.
        """
        return of_frames(self.mixing, self.mixing_index, frames)

    def __repr__(self):
        rate = self.stft_params.get("sample_rate")
        return (
            f"Spectrogram(n_frames={self.shape[0]}, n_freqs={self.shape[1]}, "
            f"n_channels={self.shape[2]}, dtype={self.data.dtype}, "
            f"n_samples={self.n_samples}, sample_rate={rate}, "
            f"mixing={None if self.mixing is None else self.mixing.shape})"
        )


def of_frames(matrices, index, frames):
    """Return what frames (a slice) have of matrices; see `Spectrogram`."""
    if len(matrices) == 1:
        return matrices
    return matrices[frames if index is None else index[frames]]


def separated(X, Y, mixing, index=None):
    """Return what a separator made of its input, of the same type.

    Parameters
    ----------
    X : Spectrogram or array
        The input of the separator.
    Y : ndarray of shape (n_frames, n_freqs, n_sources)
        Its outputs.
    mixing : ndarray of shape (n_frames or 1, n_freqs, n_channels, n_sources)
        What takes the outputs back to the channels of `X`.
    index : ndarray of shape (n_frames,), default=None
        The matrix of each frame, as `Spectrogram.mixing_index`.

    Returns
    -------
    Y : Spectrogram or ndarray
        A record if `X` is one. After another separator, its mixing matrices lead on to
        the microphones.
    """
    if not isinstance(X, Spectrogram):
        return Y
    if X.mixing is not None:
        if len(X.mixing) == 1:
            mixing = X.mixing @ mixing
        elif len(mixing) == 1:
            mixing, index = X.mixing @ mixing, X.mixing_index
        else:
            frames = slice(None)
            mixing = X.mixing_of(frames) @ of_frames(mixing, index, frames)
            index = None
    return replace(X, data=Y, mixing=mixing, mixing_index=index)


def window_length(sample_rate, seconds):
    """Return the power of two that is nearest to a duration.

    Parameters
    ----------
    sample_rate : float
        In Hz.
    seconds : float
        The duration.

    Returns
    -------
    n_fft : int
        In samples.

    Examples
    --------
    >>> from skbss.spectrogram import window_length
    >>> window_length(16_000, 0.512), window_length(44_100, 0.512)
    (8192, 16384)
    """
    return 2 ** max(1, round(math.log2(seconds * sample_rate)))
