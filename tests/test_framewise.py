"""Test framewise_si_sdr window by window."""

# License: BSD-3-Clause

import warnings

import numpy as np
import pytest
from helpers import make_sources
from sklearn.exceptions import UndefinedMetricWarning

from skbss.metrics import framewise_si_sdr, si_sdr, si_sdr_improvement

RATE = 1000  # Hz: windows of 1 s have 1000 samples
NOISE_DB = 40


def make_estimates(n_samples=8000, n_sources=2, seed=0):
    """Draw references, and estimates some 40 dB above their noise."""
    rng = np.random.default_rng(seed)
    reference = rng.laplace(size=(n_samples, n_sources))
    noise = rng.laplace(size=(n_samples, n_sources))
    return reference, reference + 10 ** (-NOISE_DB / 20) * noise


@pytest.mark.parametrize("zero_mean", [False, True])
def test_windows_are_scored_like_whole_signals(zero_mean):
    reference, estimate = make_sources(3300)
    reference, estimate = reference + 1, estimate - 2
    mixture = reference @ [[1, 0.2], [0.3, 1], [0.1, 0.5]]
    scores = framewise_si_sdr(
        reference,
        estimate,
        sample_rate=RATE,
        window=0.5,
        hop=0.2,
        mixture=mixture,
        ref_mic=1,
        zero_mean=zero_mean,
    )
    # the last window that fits begins at 2.8 s
    np.testing.assert_allclose(scores.time, 0.25 + 0.2 * np.arange(15))
    assert scores.si_sdr.shape == scores.si_sdr_improvement.shape == (15, 3)
    _, permutation = si_sdr(
        reference, estimate, zero_mean=zero_mean, return_permutation=True
    )
    np.testing.assert_array_equal(scores.permutation, permutation)
    if zero_mean:  # of all samples, not of those in a window
        reference, estimate, mixture = (
            s - s.mean(axis=0) for s in (reference, estimate, mixture)
        )
    for t, start in enumerate(range(0, 2801, 200)):
        window = slice(start, start + 500)
        pair = reference[window], estimate[window, permutation]
        np.testing.assert_allclose(
            scores.si_sdr[t], si_sdr(*pair, permute=False), atol=1e-9
        )
        np.testing.assert_allclose(
            scores.si_sdr_improvement[t],
            si_sdr_improvement(*pair, mixture[window], permute=False, ref_mic=1),
            atol=1e-9,
        )


def test_defaults_are_windows_of_a_second_that_overlap_by_half():
    scores = framewise_si_sdr(*make_estimates(3400), sample_rate=RATE)
    np.testing.assert_allclose(scores.time, [0.5, 1, 1.5, 2, 2.5])
    assert set(scores) == {"time", "si_sdr", "permutation"}


def test_a_signal_shorter_than_a_window_is_one_window():
    reference, estimate = make_estimates(700)
    scores = framewise_si_sdr(reference, estimate, sample_rate=RATE)
    np.testing.assert_allclose(scores.time, [0.35])
    np.testing.assert_array_equal(scores.si_sdr[0], si_sdr(reference, estimate))


def test_swapped_sources_fail_by_default():
    reference, estimate = make_estimates(n_sources=3)
    # a cycle of three isn't its own inverse: confusing the two is found out
    estimate = estimate[:, [2, 0, 1]]
    estimate[5000:] = estimate[5000:][:, [1, 2, 0]]
    scores = framewise_si_sdr(reference, estimate, sample_rate=RATE, hop=1)
    np.testing.assert_array_equal(scores.permutation, [1, 2, 0])
    assert (scores.si_sdr[:5] > NOISE_DB - 2).all()
    assert (scores.si_sdr[5:] < 0).all()

    each = framewise_si_sdr(
        reference, estimate, sample_rate=RATE, hop=1, permute="window"
    )
    assert (each.si_sdr > NOISE_DB - 2).all()
    np.testing.assert_array_equal(each.permutation[:5], np.tile([1, 2, 0], (5, 1)))
    np.testing.assert_array_equal(each.permutation[5:], np.tile([0, 1, 2], (3, 1)))
    assert each.swap_rate == 1 / 7

    given = framewise_si_sdr(
        reference, estimate, sample_rate=RATE, hop=1, permute=False
    )
    assert (given.si_sdr[:5] < 0).all()
    assert (given.si_sdr[5:] > NOISE_DB - 2).all()
    np.testing.assert_array_equal(given.permutation, [0, 1, 2])


@pytest.mark.parametrize("level", [0, 1e-4])
@pytest.mark.parametrize("permute", [True, False, "window"])
def test_silence_of_one_source_in_a_window_leaves_all_others(level, permute):
    reference, estimate = make_estimates(n_sources=3)
    mixture = reference @ np.array([[1, 0.5, 0.3]]).T
    params = {"sample_rate": RATE, "mixture": mixture, "hop": 1, "permute": permute}
    expected = framewise_si_sdr(reference, estimate, **params)
    assert np.isfinite(expected.si_sdr).all()
    reference[2000:4000, 1] *= level  # -80 dB, beyond what counts as sound
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pauses are no reason to warn
        scores = framewise_si_sdr(reference, estimate, **params)
    silent = np.zeros((8, 3), dtype=bool)
    silent[2:4, 1] = True
    for name in ("si_sdr", "si_sdr_improvement"):
        np.testing.assert_array_equal(np.isnan(scores[name]), silent)
        np.testing.assert_allclose(
            scores[name][~silent], expected[name][~silent], atol=1e-9
        )
    if permute == "window":
        assert scores.swap_rate == 0


def test_what_counts_as_silence():
    reference, estimate = make_estimates()
    reference[3000:5000, 0] *= 10 ** (-50 / 20)
    reference[5000:, 0] *= 0
    defined = {
        silence: ~np.isnan(
            framewise_si_sdr(
                reference, estimate, sample_rate=RATE, hop=1, silence=silence
            ).si_sdr[:, 0]
        )
        for silence in (40, 60, np.inf)
    }
    np.testing.assert_array_equal(defined[40], [1, 1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(defined[60], [1, 1, 1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(defined[np.inf], defined[60])


def test_a_reference_that_never_sounds():
    reference, estimate = make_estimates()
    reference[:, 1] = 0
    with pytest.warns(UndefinedMetricWarning, match=r"all windows.*\[1\]") as record:
        scores = framewise_si_sdr(
            reference, estimate, sample_rate=RATE, permute="window"
        )
    assert record[0].filename == __file__
    assert np.isnan(scores.si_sdr[:, 1]).all()
    assert (scores.si_sdr[:, 0] > NOISE_DB - 2).all()
    assert scores.swap_rate == 0


def test_silent_estimates_and_mixtures_in_a_window():
    reference, estimate = make_estimates()
    mixture = reference @ [[1], [0.5]]
    estimate[1000:2000] = 0
    mixture[2000:3000] = 0
    mixture[3000:4000] = reference[3000:4000, :1]
    scores = framewise_si_sdr(
        reference, estimate, sample_rate=RATE, hop=1, mixture=mixture, permute="window"
    )
    np.testing.assert_array_equal(scores.si_sdr[1], -300)
    gain = scores.si_sdr_improvement
    np.testing.assert_array_equal(np.isnan(gain[:, 0]), [0, 0, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(np.isnan(gain[:, 1]), [0, 0, 1, 0, 0, 0, 0, 0])
    # nothing says that silent estimates changed places
    assert scores.swap_rate == 0


def test_swap_rate_counts_over_pauses_once():
    reference, estimate = make_estimates()
    estimate[5000:] = estimate[5000:, ::-1]
    reference[4000:6000] = 0  # both pause while the outputs swap
    scores = framewise_si_sdr(
        reference, estimate, sample_rate=RATE, hop=1, permute="window"
    )
    # four windows, a gap, two windows: five steps between windows that sound
    assert scores.swap_rate == 1 / 5


def test_more_estimates_than_references():
    reference, estimate = make_estimates()
    spare = np.random.default_rng(1).laplace(size=(len(reference), 1))
    estimate = np.hstack([spare, estimate])
    for permute, expected in [(True, [1, 2]), ("window", np.tile([1, 2], (15, 1)))]:
        scores = framewise_si_sdr(
            reference, estimate, sample_rate=RATE, permute=permute
        )
        np.testing.assert_array_equal(scores.permutation, expected)
        assert (scores.si_sdr > NOISE_DB - 2).all()


def test_truncate_and_check_delay():
    reference, estimate = make_estimates()
    scores = framewise_si_sdr(
        reference, estimate[:7500], sample_rate=RATE, truncate=True
    )
    assert len(scores.time) == 14
    estimate[:, 1] = np.roll(estimate[:, 1], 7)
    with pytest.warns(UserWarning, match="lags reference 1 by 7 samples") as record:
        framewise_si_sdr(reference, estimate, sample_rate=RATE, check_delay=True)
    assert record[0].filename == __file__


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"window": 0.001}, "window=0.001 seconds, which is 1 samples at sample_rate"),
        ({"window": 0}, "'window' parameter"),
        ({"hop": -1}, "'hop' parameter"),
        ({"sample_rate": 0}, "'sample_rate' parameter"),
        ({"permute": "frame"}, "'permute' parameter"),
        ({"mixture": np.zeros((8000, 1))}, "silent at ref_mic=0"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        framewise_si_sdr(*make_estimates(), **{"sample_rate": RATE} | params)
