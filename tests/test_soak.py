"""Separation comes back after whatever happens to a stream: a small soak."""

# License: BSD-3-Clause

import numpy as np
import pytest
from scipy.signal import resample_poly
from sklearn.pipeline import make_pipeline

from skbss import ISTFT, STFT, OnlineAuxIVA, OnlineILRMA, ProjectionBack, Stream
from skbss.datasets import load_cocktail_party
from skbss.metrics import si_sdr, si_sdr_improvement

RATE = 8000  # half of the recording's, and half of the work

# What happens, its begin and end in seconds, and when separation must be back.
EVENTS = {
    "silence": (10, 12, 13),
    "faint noise": (15, 18, 19),
    "clicks": (21, 22, 27),
    "dead microphone": (29, 31, 32),
    "60 dB down": (34, 41, 36),
    "60 dB up": (41, 41, 43),
}


def disturb(x):
    """Let it all happen to a minute of audio."""
    rng = np.random.default_rng(0)
    x = x.copy()
    parts = {
        name: x[start * RATE : stop * RATE] for name, (start, stop, _) in EVENTS.items()
    }
    noise = rng.standard_normal(parts["faint noise"].shape)
    parts["faint noise"][:] = 1e-3 * x.std() * noise
    parts["silence"][:] = 0
    parts["clicks"][rng.integers(RATE, size=10)] += 30 * abs(x).max()
    parts["dead microphone"][:, 1] = 0
    parts["60 dB down"][:] *= 1e-3
    return x


def separate(separator, x):
    """Stream second by second, and return what comes out and the sizes of the state."""
    steps = STFT(1024, hop_length=512), separator, ProjectionBack(), ISTFT()
    stream, sizes, outputs = Stream(make_pipeline(*steps)), set(), []
    for k in range(0, len(x), RATE):
        outputs.append(stream.process(x[k : k + RATE]))
        state = stream.get_state()
        sizes.add(sum(np.size(state[name]) for name in state if name != "input"))
    return np.concatenate([*outputs, stream.flush()]), sizes


@pytest.mark.parametrize(
    "separator",
    [OnlineAuxIVA(), OnlineILRMA(random_state=0)],
    ids=lambda separator: type(separator).__name__,
)
def test_separation_comes_back(separator):
    recording = load_cocktail_party()
    x, references = (
        np.tile(resample_poly(signals, 1, 2), (6, 1))[: 45 * RATE]
        for signals in (recording.mixture.astype(np.float32), recording.references)
    )
    y, sizes = separate(separator, disturb(x))
    assert np.isfinite(y).all()
    assert len(sizes) == 1
    # Beside a stream that nothing happens to, the order of the outputs included.
    calm, _ = separate(separator, x)
    settled = slice(5 * RATE, 10 * RATE)
    _, order = si_sdr(references[settled], calm[settled], return_permutation=True)
    for name, (_, _, back) in EVENTS.items():
        part = slice(back * RATE, (back + 2) * RATE)
        actual, expected = (
            si_sdr_improvement(
                references[part], z[part][:, order], x[part], permute=False
            ).mean()
            for z in (y, calm)
        )
        assert expected > 8
        assert actual > expected - 3, name
