"""Outputs of separators as they are in the worst of cases, for what comes after."""

# License: BSD-3-Clause

import numpy as np

from skbss import STFT, Spectrogram
from skbss.datasets import make_convolutive_mixture

N_FFT = 32


def make_outputs(n_sources=2, n_samples=800):
    """Return a spectrogram of signals that are loud together, as leaks are."""
    signals, _ = make_convolutive_mixture(
        n_samples, n_sources, sample_rate=8000, rt60=0.02, random_state=0
    )
    return STFT(N_FFT, sample_rate=8000).fit_transform(signals)


def record_of(X):
    """Return a record with these data and mixing matrices of its shape."""
    params = {"n_fft": N_FFT, "hop_length": 8, "window": "hann", "sample_rate": 8000}
    mixing = np.ones((1, X.shape[1], X.shape[2], X.shape[2]), X.dtype)
    return Spectrogram(X, params, 800, mixing)


def changed(X, place, value):
    """Return a copy with a part replaced."""
    X = X.copy()
    X[place] = value
    return X


X = make_outputs().data
X3 = make_outputs(3).data
DEGENERATE = {
    "silence": 0 * X,
    "silent_output": changed(X, np.s_[..., 1], 0),
    "silent_bin": changed(X, np.s_[:, 5], 0),
    "silent_in_some_bins": changed(changed(X, np.s_[:, :5, 0], 0), np.s_[:, 5:9, 1], 0),
    "silent_frames": changed(X, np.s_[30:70], 0),
    "silent_ends": changed(changed(X, np.s_[:20], 0), np.s_[-20:], 0),
    "in_turn": changed(changed(X, np.s_[::2, :, 0], 0), np.s_[1::2, :, 1], 0),
    "equal_outputs": X[..., [0, 0]],
    "two_of_three_equal": X3[..., [0, 1, 0]],
    "third_is_the_sum": X3 @ np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]]),
    "proportional": X[..., [0, 0]] * [1, 0.3j],
    "uneven_outputs": X * [1, 1e-9],
    "constant": np.ones_like(X),
    "click": changed(X, 50, 1e8 * X[50]),
    "loud_coefficient": changed(X, (50, 5, 0), 1e12),
    "steep": X * np.geomspace(1, 1e-14, X.shape[1])[:, None],
    "one_frame": X[50:51],
    "two_frames": X3[50:52],
    "one_bin": X[:, 5:6],
    "two_bins": X[:, 5:7],
    "one_coefficient": X[50:51, 5:6],
    "one_output": X[..., :1],
    "eight_outputs": make_outputs(8, 400).data,
    **{f"times_{scale:g}": X * scale for scale in (1e-150, 1e-30, 1e30, 1e150)},
}
