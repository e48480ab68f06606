"""Two talkers who walk: their ways, masks along these, and who is who."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import CubicSpline

from skbss.blocks.walkers import by_voices, pieces_of, separate_walkers
from skbss.datasets import load_cocktail_party
from skbss.methods import make_method
from skbss.metrics import si_sdr_improvement
from skbss.recording_checks import recording_problems
from skbss.updates.walks import follow

RECORDING = load_cocktail_party()
RATE = RECORDING.sample_rate
# Delays in seconds at the beginning and at the end, of talkers who cross.
WAYS = (-120e-6, 100e-6), (110e-6, -120e-6)


def walking(voices, ways=WAYS):
    """Return two microphones that hear voices from directions that change."""
    time = np.arange(len(voices)) / RATE
    late = [
        CubicSpline(time, voice)(time - np.linspace(*way, len(time)))
        for voice, way in zip(voices.T, ways, strict=True)
    ]
    return np.stack([voices.sum(1), np.sum(late, axis=0)], axis=1)


def test_those_who_cross_go_on():
    block, places = np.arange(40), np.arange(61)
    way = np.stack([block + 10, 51 - block], axis=1)
    near = -20.0 * abs(places - way[:, :, None])
    first, second = near[:, 0], near[:, 1]
    straight = first[:, :, None] + second[:, None]
    likelihoods = np.maximum(straight, straight.swapaxes(1, 2)).astype(np.float32)
    path = follow(likelihoods)
    assert_array_equal(path if path[0, 0] == 10 else path[:, ::-1], way)
    assert pieces_of(path) == [(0, 21), (21, 40)]


def test_who_is_always_close_is_one_piece():
    assert pieces_of(np.array([[3, 3], [3, 3]])) == [(0, 2)]


def test_voices_tell_who_is_who():
    voices = RECORDING.references
    pieces = [slice(0, 64_000), slice(64_000, 100_000), slice(100_000, len(voices))]
    swapped = voices.copy()
    swapped[pieces[1]] = voices[pieces[1], ::-1]
    assert_array_equal(by_voices(swapped, pieces, RATE), voices)


def test_people_are_followed():
    voices = RECORDING.references[:80_000]
    x = walking(voices)
    y = make_method("walkers", sample_rate=RATE).fit_transform(x)
    assert_allclose(y.sum(1), x[:, 0], atol=1e-9)
    assert np.diff(np.square(y).sum(0)) < 0
    assert si_sdr_improvement(voices, y, x).min() > 6
    masks = make_method("masks", sample_rate=RATE, random_state=0).fit_transform(x)
    assert si_sdr_improvement(voices, masks, x).max() < 3


def test_the_microphone_with_the_longest_delays_is_taken():
    voices = RECORDING.references[:32_000]
    x = walking(voices)
    near = walking(voices, np.array(WAYS) / 10)
    with_near = np.stack([near[:, 1], x[:, 0], x[:, 1]], axis=1).astype(np.float32)
    y = separate_walkers(with_near, RATE, ref_mic=1)
    assert y.dtype == np.float32
    expected = separate_walkers(x.astype(np.float32), RATE)
    assert_array_equal(y, expected)


@pytest.mark.parametrize("ways", [WAYS, (WAYS[0][:1] * 2, WAYS[1][:1] * 2)])
def test_only_people_who_walk_are_told(ways):
    there = walking(RECORDING.references, ways).astype(np.float32)
    back = walking(RECORDING.references, np.array(ways)[:, ::-1]).astype(np.float32)
    x = np.concatenate([there, back, there, back])
    problems = recording_problems(x, RATE)
    assert len(problems) == (ways is WAYS)
    assert all("walk" in problem for problem in problems)
    assert recording_problems(x, RATE, still=False) == []
    assert recording_problems(x[: 29 * RATE], RATE) == []


@pytest.mark.parametrize(
    ("n_samples", "level"), [(1, 1.0), (50, 1e12), (3000, 0.0), (9000, 1e-12)]
)
def test_whatever_comes_in_is_finite(n_samples, level):
    x = level * RECORDING.mixture[:n_samples]
    for some in (x, x[:, [0, 0]], x * [1, 0], x * [1, 1e-9]):
        y = separate_walkers(some, RATE)
        assert y.shape == (n_samples, 2)
        assert np.isfinite(y).all()
        assert_allclose(y.sum(1), some[:, 0], atol=1e-9 * (level or 1))


def test_refusals():
    with pytest.raises(ValueError, match="1 microphone"):
        separate_walkers(np.zeros((800, 1)), RATE)
    with pytest.raises(ValueError, match="ref_mic=2"):
        separate_walkers(np.zeros((800, 2)), RATE, ref_mic=2)
