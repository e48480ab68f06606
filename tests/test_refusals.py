"""Input that is refused, each with one clear sentence, before any iteration."""

# License: BSD-3-Clause

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skbss import (
    ILRMA,
    ISTFT,
    STFT,
    AuxIVA,
    OnlineAuxIVA,
    OnlineILRMA,
    ProjectionBack,
)
from skbss.datasets import make_convolutive_mixture

SIGNAL, _ = make_convolutive_mixture(800, sample_rate=8000, random_state=0)
PEAK = abs(SIGNAL) == abs(SIGNAL).max()
X = STFT(32).fit_transform(SIGNAL).data
SEPARATORS = [
    AuxIVA(max_iter=1),
    ILRMA(max_iter=1, init_iter=1),
    OnlineAuxIVA(),
    OnlineILRMA(),
]
every_separator = pytest.mark.parametrize(
    "separator", SEPARATORS, ids=lambda s: type(s).__name__
)


def with_value(value, where=(3, 4, 1)):
    data = X.copy()
    data[where] = value
    return data


@every_separator
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_value(np.nan), "NaN or infinity, first at frame 3, .* bin 4, micro.* 1"),
        (with_value(np.inf), "NaN or infinity, first at frame 3, .* bin 4, micro.* 1"),
        (with_value(1j * np.inf), "NaN or infinity, first at frame 3"),
        (with_value(complex(1, np.nan)), "NaN or infinity, first at frame 3"),
        (np.full((2, 3, 2), np.nan * 1j), "NaN or infinity, first at frame 0"),
        (SIGNAL, r"\(n_frames, n_freqs, n_mics\).* 2 dim.* \(800, 2\).*through STFT"),
        (SIGNAL[:, 0], r"1 dimension\(s\) and shape \(800,\)"),
        (X[None], r"4 dimension\(s\)"),
        (np.array(1j), r"0 dimension\(s\) and shape \(\)"),
        (abs(X), "complex spectrogram. Got float64 data"),
        (np.ones((4, 5, 2), int), "complex spectrogram. Got int64 data"),
        (np.full((4, 5, 2), "a"), "complex spectrogram. Got <U1 data"),
        (X[:0], r"empty axis: got shape \(0, 17, 2\)"),
        (X[:, :0], r"empty axis: got shape \(\d+, 0, 2\)"),
        (X[..., :0], r"empty axis: got shape \(\d+, 17, 0\)"),
    ],
)
def test_refused_spectrograms(separator, data, message):
    name = type(separator).__name__
    fitted = clone(separator).fit(X)
    methods = [clone(separator).fit, clone(separator).fit_transform, fitted.transform]
    for method in methods:
        with pytest.raises(ValueError, match=message) as raised:
            method(data)
        assert name in str(raised.value)


def chain(separator, **projection):
    return make_pipeline(STFT(32), separator, ProjectionBack(**projection), ISTFT())


@every_separator
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.where(PEAK, np.nan, SIGNAL), "contains NaN; the first .* of channel"),
        (np.where(PEAK, np.inf, SIGNAL), "contains infinity"),
        (SIGNAL[:, 0], "1-D signal of 800 samples"),
        (SIGNAL + 0j, "Complex data not supported"),
        (SIGNAL[:0], r"0 sample\(s\)"),
        (SIGNAL[None], "dim 3|expected one recording"),
    ],
)
def test_refused_signals(separator, x, message):
    with pytest.raises(ValueError, match=message):
        chain(clone(separator)).fit(x)


@pytest.mark.parametrize("ref_mic", [2, 7])
def test_no_such_microphone(ref_mic):
    message = f"Got ref_mic={ref_mic}, but the recording has 2 microphones"
    with pytest.raises(ValueError, match=message):
        chain(AuxIVA(max_iter=1), ref_mic=ref_mic).fit_transform(SIGNAL)
    with pytest.raises(ValueError, match=r"'ref_mic' parameter of ProjectionBack .*-1"):
        chain(AuxIVA(max_iter=1), ref_mic=-1).fit(SIGNAL)
