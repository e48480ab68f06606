"""Test si_bss_eval against projections word by word, and by a peer."""

# License: BSD-3-Clause

import tracemalloc
import warnings

import numpy as np
import pytest
from helpers import make_sources
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.exceptions import UndefinedMetricWarning

from skbss.metrics import si_bss_eval, si_sdr, si_sdr_improvement

MAX_DB = 300
NAMES = ("si_sdr", "si_sir", "si_sar")


def project(estimate, references):
    """Project onto the span of columns by least squares on the signals themselves."""
    return references @ np.linalg.lstsq(references, estimate, rcond=1e-7)[0]


def slow_scores(reference, estimate, k):
    """Return the three scores of one estimate of source k."""
    target = project(estimate, reference[:, [k]])
    interference = project(estimate - target, reference)
    artifacts = estimate - target - interference
    energies = [part @ part for part in (estimate - target, interference, artifacts)]
    return 10 * np.log10(target @ target / energies)


@pytest.mark.parametrize("n_samples", [10, 8191, 8192, 8193, 20000])
@pytest.mark.parametrize("n_sources", [2, 3, 4])
def test_agrees_with_the_projections(n_samples, n_sources):
    reference, estimate = make_sources(n_samples, n_sources)
    reference[:, 0] += reference[:, 1]  # references need not be orthogonal
    scores = si_bss_eval(reference, estimate)
    for k, j in enumerate(scores.permutation):
        np.testing.assert_allclose(
            [scores[name][k] for name in NAMES],
            slow_scores(reference, estimate[:, j], k),
            atol=1e-9,
        )


def test_sdr_and_permutation_are_those_of_si_sdr():
    reference, estimate = make_sources(n_sources=3, n_estimates=5)
    score, permutation = si_sdr(reference, estimate, return_permutation=True)
    scores = si_bss_eval(reference, estimate)
    np.testing.assert_array_equal(scores.si_sdr, score)
    np.testing.assert_array_equal(scores.permutation, permutation)
    assert set(scores) == {*NAMES, "permutation"}
    # the residual's parts are orthogonal
    total = sum(10 ** (-scores[name] / 10) for name in ("si_sir", "si_sar"))
    np.testing.assert_allclose(-10 * np.log10(total), score, atol=1e-9)


def test_the_order_of_sources_and_estimates_does_not_matter():
    reference, estimate = make_sources()
    scores = si_bss_eval(reference, estimate)
    order, shuffle = [2, 0, 1], [1, 2, 0]
    other = si_bss_eval(reference[:, order], estimate[:, shuffle])
    for name in NAMES:
        np.testing.assert_allclose(other[name], scores[name][order], atol=1e-9)
    np.testing.assert_array_equal(
        np.array(shuffle)[other.permutation], scores.permutation[order]
    )


def test_permutation_of_a_cycle():
    # a cycle of three isn't its own inverse: confusing the two is found out
    reference, _ = make_sources()
    noise = np.random.default_rng(1).standard_normal(reference.shape)
    scores = si_bss_eval(reference, (reference + 0.01 * noise)[:, [2, 0, 1]])
    np.testing.assert_array_equal(scores.permutation, [1, 2, 0])
    assert (scores.si_sdr > 35).all()


@pytest.mark.parametrize("gain", [1e-300, 1e-8, -1, 1e8, 1e300])
def test_level_does_not_matter(gain):
    reference, estimate = make_sources()
    expected = si_bss_eval(reference, estimate)
    for scores in (
        si_bss_eval(reference * gain, estimate),
        si_bss_eval(reference, estimate * gain),
    ):
        for name in NAMES:
            np.testing.assert_allclose(scores[name], expected[name], atol=1e-9)


@pytest.mark.parametrize("gain", [1e-8, -1, 1e8])
def test_level_of_one_source_does_not_matter(gain):
    reference, estimate = make_sources()
    expected = si_bss_eval(reference, estimate)
    scores = si_bss_eval(reference * [1, gain, 1], estimate * [1, 1, gain])
    for name in NAMES:
        np.testing.assert_allclose(scores[name], expected[name], atol=1e-9)


@pytest.mark.parametrize("db", [30, 59, 61, 90, 120, 150])
def test_no_digits_are_lost_near_a_perfect_estimate(db):
    # orthogonal to all references by construction, so that the scores are known
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((500, 3)))
    reference = basis[:, :2] @ [[1, 0.5], [0, 1]]  # the second has some of the first
    small = 10 ** (-db / 20)
    interference = reference[:, 0] - 0.4 * reference[:, 1]
    estimate = np.column_stack(
        [
            basis[:, 0] + 0.1 * basis[:, 1] + small * basis[:, 2],
            reference[:, 1] + small * interference + basis[:, 2],
        ]
    )
    scores = si_bss_eval(reference, estimate, permute=False)
    # Rounding is some 1e-16 of the signal: 10**(db/20 - 16) of the part, and 9 times
    # as many dB, with a margin for the sums.
    tolerance = 1e-8 + 100 * 10 ** (db / 20 - 16)
    assert scores.si_sar[0] == pytest.approx(db, abs=tolerance)
    assert scores.si_sir[0] == pytest.approx(20, abs=1e-8)
    norm = np.linalg.norm(interference) / np.linalg.norm(reference[:, 1])
    assert scores.si_sir[1] == pytest.approx(db - 20 * np.log10(norm), abs=tolerance)


@pytest.mark.parametrize("gain", [1, -0.1, 7e12])
@pytest.mark.parametrize("n_samples", [20, 50000])
def test_a_perfect_estimate_has_the_highest_scores(gain, n_samples):
    reference, _ = make_sources(n_samples, 2)
    scores = si_bss_eval(reference, gain * reference)
    for name in NAMES:
        np.testing.assert_array_equal(scores[name], MAX_DB)


def test_an_estimate_without_its_target_has_the_lowest_scores():
    reference, estimate = make_sources(n_sources=2)
    expected = si_bss_eval(reference, estimate, permute=False)
    estimate[:, 1] = 0
    scores = si_bss_eval(reference, estimate, permute=False)
    orthogonal = si_bss_eval([[1.0], [1.0]], [[1.0], [-1.0]])
    for name in NAMES:
        np.testing.assert_allclose(scores[name][0], expected[name][0], atol=1e-9)
        assert scores[name][1] == orthogonal[name][0] == -MAX_DB


def test_nothing_interferes_with_a_single_source():
    reference, estimate = make_sources(n_sources=1)
    scores = si_bss_eval(reference, estimate)
    assert scores.si_sir == [MAX_DB]
    np.testing.assert_allclose(scores.si_sar, scores.si_sdr, atol=1e-9)


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_a_silent_reference_is_left_out(silent):
    reference, estimate = make_sources()
    reference[:, silent] = 0
    live = [k for k in range(3) if k != silent]
    with pytest.warns(UndefinedMetricWarning, match=rf"silent.*\[{silent}\]") as record:
        scores = si_bss_eval(reference, estimate)
    assert record[0].filename == __file__
    expected = si_bss_eval(reference[:, live], estimate)
    for name in NAMES:
        assert np.isnan(scores[name][silent])
        np.testing.assert_allclose(scores[name][live], expected[name], atol=1e-9)
    np.testing.assert_array_equal(scores.permutation[live], expected.permutation)
    np.testing.assert_array_equal(np.sort(scores.permutation), [0, 1, 2])


@pytest.mark.parametrize("noise", [0, 1e-9])
def test_references_that_repeat_others_add_nothing_to_the_span(noise):
    reference, estimate = make_sources(n_sources=3)
    extra = reference @ [[1, 1], [0, -2], [0, 0]]
    extra += noise * np.random.default_rng(0).standard_normal(extra.shape)
    spare = np.random.default_rng(1).standard_normal((len(reference), 2))
    scores = si_bss_eval(
        np.hstack([reference, extra]), np.hstack([estimate, spare]), permute=False
    )
    expected = si_bss_eval(reference, estimate, permute=False)
    for name in NAMES:
        # the noise is the difference of references only where it can be told
        np.testing.assert_allclose(scores[name][:3], expected[name], atol=1e-6)
        assert np.isfinite(scores[name]).all()


def test_every_source_has_its_own_baseline():
    reference, estimate = make_sources()
    rng = np.random.default_rng(2)
    mixture = reference @ [[1, 0.2], [0.3, 1], [0.1, 0.5]]
    mixture += 0.1 * rng.standard_normal(mixture.shape)
    scores = si_bss_eval(reference, estimate, mixture=mixture, ref_mic=1)
    assert "si_sar_improvement" not in scores
    before = np.transpose([slow_scores(reference, mixture[:, 1], k) for k in range(3)])
    for name, baseline in zip(NAMES[:2], before, strict=False):
        assert np.ptp(baseline) > 10
        np.testing.assert_allclose(
            scores[f"{name}_improvement"], scores[name] - baseline, atol=1e-9
        )
    np.testing.assert_array_equal(
        scores.si_sdr_improvement,
        si_sdr_improvement(reference, estimate, mixture, ref_mic=1),
    )


def test_no_improvement_where_only_one_source_is_heard():
    reference, estimate = make_sources(n_sources=2)
    with pytest.warns(UndefinedMetricWarning) as record:
        scores = si_bss_eval(reference, estimate, mixture=reference[:, [1]])
    messages = [str(warning.message) for warning in record]
    assert [m.split(";")[0] for m in messages] == [
        "The mixture equals a reference",
        "The mixture has no interference",
    ]
    assert {warning.filename for warning in record} == {__file__}
    for name in NAMES[:2]:
        np.testing.assert_array_equal(
            np.isnan(scores[f"{name}_improvement"]), [False, True]
        )


@pytest.mark.parametrize("zero_mean", [False, True])
def test_zero_mean(zero_mean):
    reference, estimate = make_sources()
    reference, estimate = reference + [1, 0, -3], estimate + [5, 0, 1]
    scores = si_bss_eval(reference, estimate, permute=False, zero_mean=zero_mean)
    if zero_mean:
        reference, estimate = (s - s.mean(axis=0) for s in (reference, estimate))
    expected = [slow_scores(reference, estimate[:, k], k) for k in range(3)]
    for name, score in zip(NAMES, np.transpose(expected), strict=True):
        np.testing.assert_allclose(scores[name], score, atol=1e-9)


def test_lengths_are_aligned_on_request():
    reference, estimate = make_sources()
    mixture = reference @ [[1, 0.2], [0.3, 1], [0.1, 0.5]]
    cut = reference[:2500] + 1, estimate[:2500], mixture[:2500]
    expected = si_bss_eval(*cut[:2], mixture=cut[2], zero_mean=True)
    scores = si_bss_eval(
        reference + 1, estimate[:2500], mixture=mixture[:2700], truncate=True,
        zero_mean=True,
    )  # fmt: skip
    for name in expected:
        # the mean is that of the samples that are left
        np.testing.assert_array_equal(scores[name], expected[name])
    for function in (si_sdr, si_bss_eval):
        with pytest.raises(ValueError, match=r"but 2500 of estimate.*truncate=True"):
            function(reference, estimate[:2500])
    np.testing.assert_array_equal(
        si_sdr(reference[:2500], estimate, truncate=True),
        si_sdr(reference[:2500], estimate[:2500]),
    )


def test_bad_mixtures():
    reference, estimate = make_sources(n_sources=2)
    mixture = reference @ [[1, 0.2], [0.3, 1]]
    with pytest.raises(ValueError, match="ref_mic=2, but the recording has 2 micro"):
        si_bss_eval(reference, estimate, mixture=mixture, ref_mic=2)
    with pytest.raises(ValueError, match="silent at ref_mic=1"):
        si_bss_eval(reference, estimate, mixture=mixture * [1, 0], ref_mic=1)
    with pytest.raises(ValueError, match="3000 samples of reference, but 9 of mixture"):
        si_bss_eval(reference, estimate, mixture=mixture[:9])


finite = st.floats(allow_nan=False, allow_infinity=False)
signals = arrays(np.float64, (6, 2), elements=finite | st.sampled_from([0.0, 1.0]))


@settings(deadline=None)
@given(reference=signals, estimate=signals, zero_mean=st.booleans())
def test_scores_are_in_range_or_their_reference_silent(reference, estimate, zero_mean):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        scores = si_bss_eval(reference, estimate, zero_mean=zero_mean)
    undefined = np.isnan(scores.si_sdr)
    for name in NAMES:
        np.testing.assert_array_equal(np.isnan(scores[name]), undefined)
        assert (abs(scores[name][~undefined]) <= MAX_DB).all()
    assert (scores.si_sir >= scores.si_sdr)[~undefined].all()
    assert (scores.si_sar >= scores.si_sdr)[~undefined].all()


def test_memory_does_not_grow_with_the_recording():
    reference, estimate = (s.astype(np.float32) for s in make_sources(400_000, 3))
    estimate[:, 0] = reference @ [1, 1, 1]  # within the span, up to rounding
    si_bss_eval(reference[:10], estimate[:10])
    tracemalloc.start()
    si_bss_eval(reference, estimate, mixture=estimate)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # a batch of 6 channels takes 0.8 MB in double precision, the signals 9.6 MB
    assert peak < 1e6


@pytest.mark.peers
@pytest.mark.parametrize("n_sources", [2, 3, 4])
@pytest.mark.parametrize("n_samples", [1000, 160_000])
@pytest.mark.parametrize("zero_mean", [False, True])
def test_agrees_with_fast_bss_eval(n_samples, n_sources, zero_mean):
    # Its public si_bss_eval_sources needs torch, but not the one in its numpy module.
    from fast_bss_eval.numpy import si_bss_eval_sources

    reference, estimate = make_sources(n_samples, n_sources)
    estimate += 0.5
    scores = si_bss_eval(reference, estimate, zero_mean=zero_mean)
    sdr, sir, sar, permutation = si_bss_eval_sources(
        reference.T, estimate.T, zero_mean=zero_mean
    )
    np.testing.assert_array_equal(scores.permutation, permutation)
    np.testing.assert_allclose(scores.si_sdr, sdr, atol=1e-6)
    np.testing.assert_allclose(scores.si_sir, sir, atol=1e-6)
    # its artifacts are compared with all that is in the span, as in BSS Eval
    in_span = scores.si_sar + 10 * np.log10(1 + 10 ** (-scores.si_sir / 10))
    np.testing.assert_allclose(in_span, sar, atol=1e-6)


@pytest.mark.parametrize("interference", [0.3, 0.1, 0.01, 1e-4, 0])
@pytest.mark.parametrize("artifacts", [0.3, 0.1, 0.01, 1e-4])
def test_single_precision_is_exact_enough(interference, artifacts):
    rng = np.random.default_rng(0)
    reference, noise = rng.laplace(size=(2, 50_000, 2)).astype(np.float32)
    reference[:, 1] += reference[:, 0]  # references are correlated
    estimate = reference + np.float32(interference) * reference[:, ::-1]
    estimate += np.float32(artifacts) * noise
    scores = si_bss_eval(reference, estimate)
    exact = si_bss_eval(reference.astype(np.float64), estimate.astype(np.float64))
    for name in ("si_sdr", "si_sir", "si_sar"):
        np.testing.assert_allclose(scores[name], exact[name], atol=1e-4)
