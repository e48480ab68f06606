"""Test si_sdr and si_sdr_improvement against the formula, exactly and by a peer."""

# License: BSD-3-Clause

import tracemalloc
import warnings
from fractions import Fraction
from itertools import permutations
from math import log10

import numpy as np
import pytest
from helpers import make_sources
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils._param_validation import InvalidParameterError

from skbss.metrics import si_sdr, si_sdr_improvement

MAX_DB = 300


def slow_si_sdr(reference, estimate):
    """Return the SI-SDR of one pair, word by word."""
    target = (estimate @ reference) / (reference @ reference) * reference
    residual = estimate - target
    return 10 * np.log10((target @ target) / (residual @ residual))


def slow_best(reference, estimate):
    """Return the scores and the permutation by trying all."""
    best = None
    for order in permutations(range(estimate.shape[1]), reference.shape[1]):
        scores = [
            slow_si_sdr(reference[:, k], estimate[:, j]) for k, j in enumerate(order)
        ]
        if best is None or np.mean(scores) > np.mean(best[0]):
            best = np.array(scores), np.array(order)
    return best


def exact_si_sdr(reference, estimate):
    """Return the SI-SDR of one pair in exact arithmetic, but for the logarithm."""
    s, e = ([Fraction(float(v)) for v in signal] for signal in (reference, estimate))
    cross = sum(a * b for a, b in zip(s, e, strict=True))
    target = cross**2 / sum(a * a for a in s)
    return 10 * log10(target / (sum(b * b for b in e) - target))


# 8192 samples are summed at a time
@pytest.mark.parametrize("n_samples", [10, 8191, 8192, 8193, 20000])
@pytest.mark.parametrize("n_sources", [1, 2, 3, 4])
def test_agrees_with_the_formula(n_samples, n_sources):
    reference, estimate = make_sources(n_samples, n_sources)
    expected, order = slow_best(reference, estimate)
    scores, permutation = si_sdr(reference, estimate, return_permutation=True)
    np.testing.assert_allclose(scores, expected, atol=1e-10)
    np.testing.assert_array_equal(permutation, order)


@pytest.mark.parametrize("zero_mean", [False, True])
def test_zero_mean(zero_mean):
    reference, estimate = make_sources()
    reference, estimate = reference + [1, 0, -3], estimate + [5, 0, 1]
    scores = si_sdr(reference, estimate, permute=False, zero_mean=zero_mean)
    if zero_mean:
        reference = reference - reference.mean(axis=0)
        estimate = estimate - estimate.mean(axis=0)
    expected = [slow_si_sdr(reference[:, k], estimate[:, k]) for k in range(3)]
    np.testing.assert_allclose(scores, expected, atol=1e-9)


def test_permutation_of_a_cycle():
    # a cycle of three isn't its own inverse: confusing the two is found out
    reference, _ = make_sources()
    noise = np.random.default_rng(1).standard_normal(reference.shape)
    estimate = (reference + 0.01 * noise)[:, [2, 0, 1]]
    scores, permutation = si_sdr(reference, estimate, return_permutation=True)
    np.testing.assert_array_equal(permutation, [1, 2, 0])
    assert (scores > 35).all()
    np.testing.assert_array_equal(
        si_sdr(reference, estimate[:, permutation], permute=False), scores
    )
    assert (si_sdr(reference, estimate, permute=False) < 0).all()


def test_swapping_sources_midway_is_not_hidden():
    reference, _ = make_sources(4000, 2)
    estimate = reference.copy()
    estimate[2000:] = estimate[2000:, ::-1]
    # Their correlation with the references is 1/2, hence cos² / (1 - cos²) = 1/3: but
    # for chance, 1/sqrt(4000) of the correlation or some 0.2 dB. Each half alone: 300.
    np.testing.assert_allclose(
        si_sdr(reference, estimate), 10 * np.log10(1 / 3), atol=0.6
    )


@pytest.mark.parametrize("reference_gain", [1e-300, 1e-8, -1, 1e8, 1e300])
@pytest.mark.parametrize("estimate_gain", [1e-300, 1e-8, -1, 1e8, 1e300])
@pytest.mark.parametrize("zero_mean", [False, True])
def test_level_does_not_matter(reference_gain, estimate_gain, zero_mean):
    reference, estimate = make_sources()
    np.testing.assert_allclose(
        si_sdr(
            reference * reference_gain, estimate * estimate_gain, zero_mean=zero_mean
        ),
        si_sdr(reference, estimate, zero_mean=zero_mean),
        atol=1e-10,
    )


@pytest.mark.parametrize("gain", [1e-8, 1e8])
def test_level_of_one_source_does_not_matter(gain):
    reference, estimate = make_sources()
    np.testing.assert_allclose(
        si_sdr(reference * [1, gain, 1], estimate * [1, 1, gain]),
        si_sdr(reference, estimate),
        atol=1e-10,
    )


@pytest.mark.parametrize("dtype", [np.float16, np.int16, np.int32])
def test_sums_are_in_double_precision(dtype):
    reference, estimate = (3000 * s for s in make_sources(20000, 2))
    reference, estimate = reference.astype(dtype), estimate.astype(dtype)
    np.testing.assert_array_equal(
        si_sdr(reference, estimate),
        si_sdr(reference.astype(np.float64), estimate.astype(np.float64)),
    )


@pytest.mark.parametrize("kind", ["noise", "bursts", "offset"])
@pytest.mark.parametrize("db", [-60, -30, -15, 0, 10, 14, 16, 20, 40, 70, 100])
def test_single_precision_is_exact_enough(db, kind):
    rng = np.random.default_rng(0)
    reference, estimate = rng.laplace(size=(2, 50_000, 2))
    if kind == "bursts":
        reference *= np.repeat(rng.standard_normal((100, 2)) ** 3, 500, axis=0)
    elif kind == "offset":
        reference += 5
    reference = reference.astype(np.float32)
    estimate = (10 ** (db / 20) * reference + estimate).astype(np.float32)
    np.testing.assert_allclose(
        si_sdr(reference, estimate),
        si_sdr(reference.astype(np.float64), estimate.astype(np.float64)),
        atol=1e-4,
    )


@pytest.mark.parametrize("name", ["permute", "zero_mean", "check_delay"])
def test_switches_are_booleans(name):
    signals = make_sources()
    np.testing.assert_array_equal(
        si_sdr(*signals, **{name: np.True_}), si_sdr(*signals, **{name: True})
    )
    with pytest.raises(InvalidParameterError, match=f"'{name}' .* of si_sdr must be"):
        si_sdr(*signals, **{name: 1})
    with pytest.raises(TypeError, match="missing"):
        si_sdr(signals[0], **{name: True})
    with pytest.raises(TypeError, match="unknown"):
        si_sdr(*signals, unknown=True)


@pytest.mark.parametrize("gain", [1e-25, 1e25])
def test_single_precision_neither_overflows_nor_underflows(gain):
    reference, estimate = (s.astype(np.float32) for s in make_sources())
    np.testing.assert_allclose(
        si_sdr(reference * np.float32(gain), estimate / np.float32(gain)),
        si_sdr(reference, estimate),
        atol=1e-4,
    )


@pytest.mark.parametrize("db", [40, 59, 61, 90, 120, 150, 200, 250])
@pytest.mark.parametrize("gain", [1.0, 1e-3 / 7])
def test_no_digits_are_lost_near_a_perfect_estimate(db, gain):
    rng = np.random.default_rng(0)
    reference = rng.standard_normal(300)
    noise = rng.standard_normal(300)
    estimate = gain * (reference + 10 ** (-db / 20) * noise)
    score = si_sdr(reference[:, None], estimate[:, None])
    # Rounding adds some 2**-52 of the signal to the residual, hence 10**((db-313)/20)
    # of it, which are up to 9 times as many dB.
    tolerance = 1e-8 + 9 * 10 ** ((db - 313) / 20)
    np.testing.assert_allclose(score, exact_si_sdr(reference, estimate), atol=tolerance)


@pytest.mark.parametrize("gain", [1, -1, 0.1, 1e-5 / 3, 7e12])
@pytest.mark.parametrize("n_samples", [2, 100, 50000])
def test_a_perfect_estimate_has_the_highest_score(gain, n_samples):
    reference, _ = make_sources(n_samples, 2)
    scores = si_sdr(reference, gain * reference)
    np.testing.assert_array_equal(scores, MAX_DB)


def test_a_silent_estimate_has_the_lowest_score():
    reference, estimate = make_sources()
    expected, permutation = si_sdr(reference, estimate, return_permutation=True)
    estimate[:, permutation[1]] = 0
    scores = si_sdr(reference, estimate)
    assert scores[1] == -MAX_DB
    np.testing.assert_allclose(scores[[0, 2]], expected[[0, 2]], atol=1e-10)


def test_an_orthogonal_estimate_has_the_lowest_score():
    assert si_sdr([[1.0], [1.0]], [[1.0], [-1.0]]) == [-MAX_DB]


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_a_silent_reference_is_left_out(silent):
    reference, estimate = make_sources()
    reference[:, silent] = 0
    live = [k for k in range(3) if k != silent]
    expected, order = slow_best(reference[:, live], estimate)
    message = rf"reference is silent; the score of reference \[{silent}\] is undefined"
    with pytest.warns(UndefinedMetricWarning, match=message):
        scores, permutation = si_sdr(reference, estimate, return_permutation=True)
    assert np.isnan(scores[silent])
    np.testing.assert_allclose(scores[live], expected, atol=1e-10)
    np.testing.assert_array_equal(permutation[live], order)
    np.testing.assert_array_equal(np.sort(permutation), [0, 1, 2])


def test_the_warning_points_at_the_caller():
    with pytest.warns(UndefinedMetricWarning) as record:
        si_sdr(np.zeros((10, 1)), np.ones((10, 1)))
    assert record[0].filename == __file__


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_silence_everywhere():
    silence = np.zeros((100, 2))
    assert np.isnan(si_sdr(silence, silence)).all()
    assert np.isnan(si_sdr_improvement(silence, silence, silence)).all()


def test_a_constant_reference_is_silent_without_its_mean():
    reference, estimate = make_sources()
    reference[:, 0] = 0.1  # whose mean isn't 0.1 when summed in floating point
    assert np.isfinite(si_sdr(reference, estimate)).all()
    with pytest.warns(UndefinedMetricWarning, match=r"\[0\]"):
        scores = si_sdr(reference, estimate, zero_mean=True)
    np.testing.assert_array_equal(np.isnan(scores), [True, False, False])


def test_more_estimates_than_references():
    reference, estimate = make_sources(n_sources=2, n_estimates=4)
    expected, order = slow_best(reference, estimate)
    scores, permutation = si_sdr(reference, estimate, return_permutation=True)
    np.testing.assert_allclose(scores, expected, atol=1e-10)
    np.testing.assert_array_equal(permutation, order)
    with pytest.raises(ValueError, match=r"4 estimates of 2 .*permute=False"):
        si_sdr(reference, estimate, permute=False)


def ones(*shape):
    return np.ones(shape)


@pytest.mark.parametrize(
    ("reference", "estimate", "message"),
    [
        (ones(9, 2), ones(9, 1), "Got 1 estimates of 2 references"),
        (ones(9, 2), ones(8, 2), "Got 9 samples of reference, but 8 of estimate"),
        (ones(2, 9), ones(9, 2), r"reference of shape \(2, 9\), .* more channels"),
        (ones(9, 2), ones(2, 9), r"estimate of shape \(2, 9\), .* more channels"),
        (ones(9), ones(9, 1), "Expected 2D array, got 1D"),
        (ones(9, 1), ones(9, 1, 1), r"images\[:, :, ref_mic\]"),
        (ones(0, 2), ones(0, 2), r"0 sample\(s\)"),
        (ones(9, 1), np.inf * ones(9, 1), "estimate contains infinity"),
        (np.nan * ones(9, 1), ones(9, 1), "reference contains NaN"),
        (ones(9, 1), 1j * ones(9, 1), "Complex data not supported"),
        ("reference", ones(9, 1), "'reference' parameter"),
    ],
)
def test_bad_signals(reference, estimate, message):
    with pytest.raises(ValueError, match=message):
        si_sdr(reference, estimate)


finite = st.floats(allow_nan=False, allow_infinity=False)
signals = arrays(np.float64, (6, 2), elements=finite | st.sampled_from([0.0, 1.0]))


@settings(deadline=None)
@given(reference=signals, estimate=signals, zero_mean=st.booleans())
def test_scores_are_in_range_or_their_reference_silent(reference, estimate, zero_mean):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        scores = si_sdr(reference, estimate, zero_mean=zero_mean)
    undefined = np.isnan(scores)
    assert (abs(scores[~undefined]) <= MAX_DB).all()
    # A reference counts as silent where its energy underflows beside the other's.
    level = np.ptp(reference / 2, axis=0) if zero_mean else abs(reference).max(axis=0)
    assert (level[undefined] <= 1e-150 * abs(reference).max()).all()


def test_memory_does_not_grow_with_the_recording():
    reference, estimate = (s.astype(np.float32) for s in make_sources(400_000, 3))
    si_sdr(reference[:10], estimate[:10])
    tracemalloc.start()
    si_sdr(reference, estimate)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # a batch of 6 channels takes 0.4 MB in double precision, the signals 9.6 MB
    assert peak < 1e6


def test_every_source_has_its_own_baseline():
    reference, estimate = make_sources()
    mixture = reference @ [[1, 0.2], [0.3, 1], [0.1, 0.5]]
    scores = si_sdr(reference, estimate)
    for ref_mic in (0, 1):
        baseline = [slow_si_sdr(s, mixture[:, ref_mic]) for s in reference.T]
        np.testing.assert_allclose(
            si_sdr_improvement(reference, estimate, mixture, ref_mic=ref_mic),
            scores - baseline,
            atol=1e-10,
        )
    assert np.ptp(baseline) > 10
    np.testing.assert_allclose(
        si_sdr_improvement(reference, mixture[:, [0, 0, 0]], mixture), 0, atol=1e-10
    )


def test_improvement_takes_the_options_of_si_sdr():
    reference, estimate = make_sources(n_sources=2)
    mixture = 3 + reference @ [[1, 0.2], [0.3, 1]]
    kwargs = {"permute": False, "zero_mean": True}
    baseline = si_sdr(reference, mixture[:, [0, 0]], **kwargs)
    np.testing.assert_allclose(
        si_sdr_improvement(reference, estimate, mixture, **kwargs),
        si_sdr(reference, estimate, **kwargs) - baseline,
        atol=1e-10,
    )


def test_no_improvement_of_a_silent_reference():
    reference, estimate = make_sources()
    reference[:, 1] = 0
    mixture = reference @ [[1, 0.2], [0.3, 1], [0.1, 0.5]]
    with pytest.warns(UndefinedMetricWarning, match=r"silent.*\[1\]"):
        improvement = si_sdr_improvement(reference, estimate, mixture)
    live = si_sdr_improvement(reference[:, [0, 2]], estimate, mixture)
    np.testing.assert_allclose(improvement[[0, 2]], live, atol=1e-10)
    assert np.isnan(improvement[1])


@pytest.mark.parametrize("zero_mean", [False, True])
@pytest.mark.parametrize("gain", [1, 0.7])
def test_no_improvement_where_only_one_source_is_heard(gain, zero_mean):
    reference, estimate = make_sources(n_sources=2)
    mixture = gain * reference[:, [1, 1]]
    with pytest.warns(UndefinedMetricWarning, match=r"mixture equals.*\[1\]"):
        improvement = si_sdr_improvement(
            reference, estimate, mixture, zero_mean=zero_mean
        )
    assert np.isfinite(improvement[0])
    assert np.isnan(improvement[1])


def test_bad_mixtures():
    reference, estimate = make_sources(n_sources=2)
    mixture = reference @ [[1, 0.2], [0.3, 1]]
    with pytest.raises(ValueError, match="ref_mic=2, but the recording has 2 micro"):
        si_sdr_improvement(reference, estimate, mixture, ref_mic=2)
    with pytest.raises(ValueError, match=r"'ref_mic' parameter .* Got -1"):
        si_sdr_improvement(reference, estimate, mixture, ref_mic=-1)
    with pytest.raises(ValueError, match="3000 samples of reference, but 9 of mixture"):
        si_sdr_improvement(reference, estimate, mixture[:9])
    with pytest.raises(ValueError, match="silent at ref_mic=1"):
        si_sdr_improvement(reference, estimate, mixture * [1, 0], ref_mic=1)


@pytest.mark.peers
@pytest.mark.parametrize("n_sources", [1, 2, 3, 4])
@pytest.mark.parametrize("n_samples", [1000, 160_000])
@pytest.mark.parametrize("zero_mean", [False, True])
def test_agrees_with_fast_bss_eval(n_samples, n_sources, zero_mean):
    import fast_bss_eval

    reference, estimate = make_sources(n_samples, n_sources)
    estimate += 0.5
    scores, permutation = si_sdr(
        reference, estimate, zero_mean=zero_mean, return_permutation=True
    )
    # Its si_sdr needs torch. Allowing a filter of one sample, a gain, is the same.
    expected, order = fast_bss_eval.sdr(
        reference.T,
        estimate.T,
        filter_length=1,
        zero_mean=zero_mean,
        return_perm=True,
    )
    np.testing.assert_array_equal(permutation, order)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
