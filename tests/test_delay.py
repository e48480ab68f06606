"""Test estimate_delay and the warnings of check_delay."""

# License: BSD-3-Clause

import tracemalloc
import warnings

import numpy as np
import pytest
from helpers import make_sources
from scipy.signal import lfilter

from skbss.metrics import (
    bss_eval,
    estimate_delay,
    si_bss_eval,
    si_sdr,
    si_sdr_improvement,
)

MIXING = np.array([[1, 0.5], [0.6, 1]])


def delayed(signals, delays):
    """Shift each column, with zeros where it begins late or ends early."""
    out = np.zeros_like(signals)
    for column, signal, delay in zip(out.T, signals.T, delays, strict=True):
        if delay >= 0:
            column[delay:] = signal[: len(signal) - delay]
        else:
            column[:delay] = signal[-delay:]
    return out


@pytest.mark.parametrize("n_samples", [2500, 8192, 50_000])
@pytest.mark.parametrize("delays", [(0, 0), (1, -1), (1006, 40), (-2000, 2400)])
def test_delays_are_found(n_samples, delays):
    reference, _ = make_sources(n_samples, 2)
    estimate = delayed(reference @ MIXING, delays)
    if n_samples > 10_000:
        # the delay matters, not what else was done to the signals
        estimate = lfilter([1e-5], [1, -0.3], estimate, axis=0)
        estimate += 1e-6 * np.random.default_rng(1).standard_normal(estimate.shape)
    found = estimate_delay(reference, -estimate)
    np.testing.assert_array_equal(found, delays)
    np.testing.assert_array_equal(
        estimate_delay(reference, estimate[:, ::-1]), delays
    )  # the assignment holds though the samples don't match
    np.testing.assert_array_equal(
        estimate_delay(reference, estimate, permute=False), delays
    )


@pytest.mark.parametrize("max_delay", [0, 5, 100, 5000])
def test_agrees_with_the_correlation_of_whole_signals(max_delay):
    reference, estimate = make_sources(3000, 3)
    found = estimate_delay(reference, estimate, max_delay=max_delay, permute=False)
    for k in range(3):
        correlation = abs(np.correlate(estimate[:, k], reference[:, k], "full"))
        lags = np.arange(-2999, 3000)
        correlation[abs(lags) > max_delay] = 0
        assert found[k] == lags[correlation.argmax()]


def test_the_least_delay_of_a_tone():
    t = np.arange(8000)[:, None]
    assert estimate_delay(np.sin(2 * np.pi * t / 40), np.sin(2 * np.pi * t / 40)) == 0
    late = np.sin(2 * np.pi * (t - 3) / 40)
    assert estimate_delay(np.sin(2 * np.pi * t / 40), late, max_delay=10) == 3


def test_silence_has_no_delay():
    reference, estimate = make_sources(n_sources=2)
    reference[:, 0] = 0
    assert estimate_delay(reference, reference * 0).tolist() == [0, 0]
    assert estimate_delay(reference, estimate, permute=False)[0] == 0


def test_lengths_may_differ():
    reference, _ = make_sources()
    late = np.vstack([np.zeros((300, 3)), reference])
    np.testing.assert_array_equal(estimate_delay(reference, late), 300)
    np.testing.assert_array_equal(estimate_delay(late, reference), -300)


def test_bad_input():
    reference, estimate = make_sources()
    with pytest.raises(ValueError, match="Got 2 estimates of 3 references"):
        estimate_delay(reference, estimate[:, :2])
    with pytest.raises(ValueError, match=r"'max_delay' parameter .* Got -1"):
        estimate_delay(reference, estimate, max_delay=-1)


def test_memory_does_not_grow_with_the_recording():
    reference, estimate = (s.astype(np.float32) for s in make_sources(500_000, 2))
    peaks = []
    for n_samples in (100_000, 500_000):
        tracemalloc.start()
        estimate_delay(reference[:n_samples], estimate[:n_samples], max_delay=8192)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # one sample of both signals takes 16 bytes
    assert peaks[1] - peaks[0] < 400_000


@pytest.mark.parametrize("metric", [si_sdr, si_bss_eval, si_sdr_improvement])
def test_late_estimates_are_warned_of(metric):
    reference, _ = make_sources(20_000, 2)
    mixture = reference @ MIXING
    noisy = reference + 0.1 * np.random.default_rng(1).standard_normal(reference.shape)
    estimate = delayed(noisy, (0, 1006))[:, ::-1]
    args = (mixture,) if metric is si_sdr_improvement else ()
    with pytest.warns(UserWarning, match="1006 samples") as record:
        metric(reference, estimate, *args, check_delay=True)
    (warning,) = record
    assert warning.filename == __file__
    message = str(warning.message)
    assert message.startswith("Estimate 0 lags reference 1 by 1006 samples")
    score = si_sdr(reference[:-1006], noisy[:-1006])[1]  # of what was not shifted out
    assert f"would be {score:.1f} dB instead of -" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric(reference, estimate, *args)


def test_early_estimates_are_warned_of():
    reference, _ = make_sources(20_000, 2)
    message = "leads reference 1 by 40 samples.*would be 300.0 dB"
    with pytest.warns(UserWarning, match=message):
        si_sdr(reference, delayed(reference, (0, -40)), check_delay=True)


def echo(signals):
    """Reverberate: echoes that together are as strong as the direct sound."""
    rng = np.random.default_rng(3)
    response = rng.standard_normal(2000) * np.exp(-np.arange(2000) / 300) / 12
    response[0] = 1
    return lfilter(response, 1, signals, axis=0)


@pytest.mark.parametrize(
    "make_estimate",
    [
        lambda reference: reference,
        lambda reference: reference @ MIXING,
        echo,
        lambda reference: 0 * reference,
    ],
    ids=["perfect", "mixed", "reverberant", "silent"],
)
@pytest.mark.parametrize("n_samples", [1000, 30_000])
def test_estimates_that_are_in_time_are_not(make_estimate, n_samples):
    reference, _ = make_sources(n_samples, 2)
    estimate = make_estimate(reference)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        si_sdr(reference, estimate, check_delay=True)


@pytest.mark.parametrize(
    "make_estimate",
    [
        lambda reference: np.random.default_rng(2).laplace(size=reference.shape),
        lambda reference: reference[:, [0, 0]],
    ],
    ids=["unrelated", "one source twice"],
)
@pytest.mark.parametrize("n_samples", [1000, 30_000])
def test_estimates_that_resemble_nothing_are_warned_of(make_estimate, n_samples):
    reference, _ = make_sources(n_samples, 2)
    with pytest.warns(UserWarning, match="at no delay of up to"):
        si_sdr(reference, make_estimate(reference), check_delay=True)


def test_long_delays_are_warned_of():
    reference, _ = make_sources(50_000, 2)
    estimate = delayed(reference, (12_000, 12_000))
    with pytest.warns(UserWarning, match="lags reference 0 by 12000 samples"):
        si_sdr(reference, estimate, check_delay=True, permute=False)


def test_filters_of_bss_eval_forgive_late_estimates_only():
    reference, _ = make_sources(20_000, 2)
    late, early = (delayed(reference, (d, d)) for d in (100, -100))
    assert (bss_eval(reference, late).sdr > 15).all()
    assert (bss_eval(reference, early).sdr < 0).all()


def test_long_delays_are_found_and_chance_is_told():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((60_000, 2))
    late = np.pad(reference[:-30_000], ((30_000, 0), (0, 0)))
    np.testing.assert_array_equal(estimate_delay(reference, late), 30_000)
    with pytest.warns(UserWarning, match="resembles reference 0 at no delay"):
        estimate_delay(reference[:, :1], rng.standard_normal((60_000, 1)))
