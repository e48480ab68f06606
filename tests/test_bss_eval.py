"""Test bss_eval: agreement with two packages, and what they can't score."""

# License: BSD-3-Clause

import sys
import warnings

import numpy as np
import pytest
from helpers import make_sources
from scipy.signal import lfilter
from sklearn.exceptions import UndefinedMetricWarning

from skbss.metrics import bss_eval, score_separation, si_bss_eval

MAX_DB = 150
NAMES = ("sdr", "sir", "sar")


def project(estimate, references, filter_length):
    """Project a padded estimate onto the delayed references by least squares."""
    delayed = [
        np.roll(np.pad(reference, (0, filter_length - 1)), delay)
        for reference in references.T
        for delay in range(filter_length)
    ]
    delayed = np.transpose(delayed)
    return delayed @ np.linalg.lstsq(delayed, estimate)[0]


def slow_scores(reference, estimate, k, filter_length):
    """Return SDR, SIR and SAR of one estimate of source k, as BSS Eval defines them."""
    estimate = np.pad(estimate, (0, filter_length - 1))
    target = project(estimate, reference[:, [k]], filter_length)
    span = project(estimate, reference, filter_length)
    interference, artifacts = span - target, estimate - span
    return 10 * np.log10(
        [
            target @ target / ((estimate - target) @ (estimate - target)),
            target @ target / (interference @ interference),
            span @ span / (artifacts @ artifacts),
        ]
    )


@pytest.mark.parametrize("filter_length", [1, 2, 20])
def test_agrees_with_the_projections(filter_length):
    reference, estimate = make_sources(500, 3)
    scores = bss_eval(reference, estimate, filter_length=filter_length)
    for k, j in enumerate(scores.permutation):
        expected = slow_scores(reference, estimate[:, j], k, filter_length)
        np.testing.assert_allclose(
            [scores[name][k] for name in NAMES], expected, atol=1e-8
        )


def test_filters_are_forgiven():
    reference, _ = make_sources(4000, 2)
    noise = np.random.default_rng(1).standard_normal(reference.shape)
    reference[-3:] = noise[-3:] = 0  # or the end of the filtered sources is cut
    estimate = lfilter([0.2, 0.5, -1, 0.3], 1, reference + 0.01 * noise, axis=0)
    scores = bss_eval(reference, estimate, filter_length=32)
    # Variances are 2 and 1e-4, and the same filter for both leaves their ratio.
    np.testing.assert_allclose(scores.sdr, 43, atol=1)
    assert (si_bss_eval(reference, estimate).si_sdr < 10).all()


def test_scale_does_not_matter():
    reference, estimate = make_sources(1000, 2)
    expected = bss_eval(reference, estimate, filter_length=16)
    for gain in (1e-12, -1, 1e8, 1e200):
        scores = bss_eval(reference * [gain, 1], estimate * [1, gain], filter_length=16)
        for name in NAMES:
            np.testing.assert_allclose(scores[name], expected[name], atol=1e-8)


def test_permutation_of_a_cycle():
    # a cycle of three isn't its own inverse: confusing the two is found out
    reference, _ = make_sources()
    noise = np.random.default_rng(1).standard_normal(reference.shape)
    estimate = (reference + 0.01 * noise)[:, [2, 0, 1]]
    scores = bss_eval(reference, estimate, filter_length=16)
    np.testing.assert_array_equal(scores.permutation, [1, 2, 0])
    assert (scores.sdr > 35).all()
    given = bss_eval(reference, estimate, filter_length=16, permute=False)
    np.testing.assert_array_equal(given.permutation, [0, 1, 2])
    assert (given.sdr < 0).all()


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_a_silent_reference_is_left_out(silent):
    reference, estimate = make_sources()
    reference[:, silent] = 0
    live = [k for k in range(3) if k != silent]
    with pytest.warns(UndefinedMetricWarning, match=rf"silent.*\[{silent}\]") as record:
        scores = bss_eval(reference, estimate, filter_length=16)
    assert record[0].filename == __file__
    expected = bss_eval(reference[:, live], estimate, filter_length=16)
    for name in NAMES:
        assert np.isnan(scores[name][silent])
        np.testing.assert_allclose(scores[name][live], expected[name], atol=1e-8)
    np.testing.assert_array_equal(scores.permutation[live], expected.permutation)
    np.testing.assert_array_equal(np.sort(scores.permutation), [0, 1, 2])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_silent_estimates_and_silence_everywhere():
    reference, estimate = make_sources()
    expected = bss_eval(reference, estimate, filter_length=16)
    estimate[:, expected.permutation[1]] = 0
    scores = bss_eval(reference, estimate, filter_length=16)
    np.testing.assert_array_equal(scores.permutation, expected.permutation)
    for name in NAMES:
        assert scores[name][1] == -MAX_DB
        np.testing.assert_allclose(
            scores[name][[0, 2]], expected[name][[0, 2]], atol=1e-8
        )
    silence = np.zeros((1000, 2))
    assert np.isnan(bss_eval(silence, silence).sdr).all()
    assert (bss_eval(reference, np.zeros_like(estimate)).sir == -MAX_DB).all()


def test_perfect_estimates_and_single_sources_stay_finite():
    reference, estimate = make_sources()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        perfect = bss_eval(reference, reference, filter_length=16)
        single = bss_eval(reference[:, :1], estimate, filter_length=16)
    for name in NAMES:
        # inner products leave some 1e-15 of the energy
        assert (perfect[name] > 140).all()
        assert (perfect[name] <= MAX_DB).all()
    assert single.sir == [MAX_DB]
    # the permutation is that of the SDR, where all have the same SIR
    each = [
        bss_eval(reference[:, :1], estimate[:, [k]], filter_length=16).sdr[0]
        for k in range(3)
    ]
    assert single.permutation == np.argmax(each)
    np.testing.assert_allclose(single.sdr, max(each))


def test_references_that_are_equal():
    reference, estimate = make_sources(n_sources=2)
    doubled = np.column_stack([reference, 0.5 * reference[:, 1]])
    estimate = np.column_stack([estimate, estimate[:, 0]])
    scores = bss_eval(doubled, estimate, filter_length=16, permute=False)
    expected = bss_eval(reference, estimate[:, :2], filter_length=16, permute=False)
    # 1e-10 of the energy decides between them
    for name in NAMES:
        np.testing.assert_allclose(scores[name][:2], expected[name], atol=1e-6)


def test_every_source_has_its_own_baseline():
    reference, estimate = make_sources()
    rng = np.random.default_rng(2)
    mixture = reference @ [[1, 0.2], [0.3, 1], [0.1, 0.5]]
    mixture += 0.1 * rng.standard_normal(mixture.shape)
    params = {"filter_length": 16}
    scores = bss_eval(reference, estimate, mixture=mixture, ref_mic=1, **params)
    before = bss_eval(reference, mixture[:, [1, 1, 1]], permute=False, **params)
    assert np.ptp(before.sdr) > 10
    for name in ("sdr", "sir"):
        np.testing.assert_allclose(
            scores[f"{name}_improvement"], scores[name] - before[name], atol=1e-8
        )
    with (
        pytest.warns(UndefinedMetricWarning, match=r"no interference.*\[1\]"),
        pytest.warns(UndefinedMetricWarning, match=r"equals a reference.*\[1\]"),
    ):
        alone = bss_eval(reference, estimate, mixture=reference[:, [1]], **params)
    np.testing.assert_array_equal(np.isnan(alone.sir_improvement), [False, True, False])


def test_bad_input():
    reference, estimate = make_sources(300)
    with pytest.raises(ValueError, match=r"300 samples, .* at least filter_length=512"):
        bss_eval(reference, estimate)
    with pytest.raises(ValueError, match="'filter_length' parameter"):
        bss_eval(reference, estimate, filter_length=0)
    with pytest.raises(ValueError, match=r"but 200 of estimate.*truncate=True"):
        bss_eval(reference, estimate[:200], filter_length=16)
    np.testing.assert_array_equal(
        bss_eval(reference, estimate[:200], filter_length=16, truncate=True).sdr,
        bss_eval(reference[:200], estimate[:200], filter_length=16).sdr,
    )


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_bss_eval", None)
    reference, estimate = make_sources(1000, 2)
    with pytest.raises(ImportError, match=r"pip install 'skbss\[bss_eval\]'"):
        bss_eval(reference, estimate)
    assert np.isfinite(si_bss_eval(reference, estimate).si_sdr).all()
    with pytest.raises(ImportError, match=r"extra 'bss_eval'"):
        score_separation(reference, estimate, metrics=["sdr"])
    assert np.isfinite(score_separation(reference, estimate).si_sar).all()


@pytest.mark.peers
@pytest.mark.parametrize("n_sources", [1, 2, 3])
@pytest.mark.parametrize("zero_mean", [False, True])
def test_agrees_with_fast_bss_eval(n_sources, zero_mean):
    import fast_bss_eval

    reference, estimate = make_sources(16_000, n_sources)
    estimate += 0.5
    scores = bss_eval(reference, estimate, zero_mean=zero_mean)
    *expected, permutation = fast_bss_eval.bss_eval_sources(
        reference.T, estimate.T, zero_mean=zero_mean, clamp_db=MAX_DB
    )
    np.testing.assert_array_equal(scores.permutation, permutation)
    for name, score in zip(NAMES, expected, strict=True):
        # the SIR of a single source is rounding, for it
        if (n_sources, name) == (1, "sir"):
            assert (score > 100).all()
            continue
        np.testing.assert_allclose(scores[name], score, atol=1e-6)


@pytest.mark.peers
@pytest.mark.filterwarnings(r"ignore:(?s).*mir_eval.separation:FutureWarning")
@pytest.mark.parametrize(("n_sources", "colored"), [(2, True), (3, False)])
def test_agrees_with_mir_eval(n_sources, colored):
    from mir_eval.separation import bss_eval_sources

    reference, estimate = make_sources(8000, n_sources)
    if colored:  # as speech, with most energy at low frequencies
        reference, estimate = (
            lfilter([1], [1, -0.95], s, axis=0) for s in (reference, estimate)
        )
    scores = bss_eval(reference, estimate)
    *expected, permutation = bss_eval_sources(reference.T, estimate.T)
    np.testing.assert_array_equal(scores.permutation, permutation)
    for name, score in zip(NAMES, expected, strict=True):
        np.testing.assert_allclose(scores[name], score, atol=1e-6)
