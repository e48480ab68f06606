"""The bundled recording and the synthetic ones."""

# License: BSD-3-Clause

from importlib import resources

import numpy as np
import pytest
from scipy.stats import kurtosis

from skbss.datasets import load_cocktail_party, make_convolutive_mixture


def test_cocktail_party_is_consistent():
    data = load_cocktail_party()
    n_sources, n_samples, n_mics = data.images.shape
    assert (n_sources, n_mics, data.sample_rate) == (2, 2, 16000)
    assert 7.5 < n_samples / data.sample_rate < 8.5
    # 16-bit integers over 2**15: sums of them are exact in floating point.
    np.testing.assert_array_equal(data.images.sum(axis=0), data.mixture)
    np.testing.assert_array_equal(data.images[:, :, 0].T, data.references)
    assert np.abs(data.mixture).max() < 1
    assert data.mixture.flags.c_contiguous
    assert data.references.flags.c_contiguous
    assert np.linalg.norm(np.diff(data.mic_positions, axis=0)) == pytest.approx(0.05)
    assert data.source_positions.shape == (2, 3)
    assert data.rt60 == pytest.approx(0.25, abs=0.01)
    assert len(data.transcripts) == 2
    assert "License: BSD-3-Clause" in data.DESCR


def test_cocktail_party_is_a_fair_task():
    references = load_cocktail_party().references
    power = np.mean(references**2, axis=0)
    # Rounding to 16 bits is all that may make the powers differ.
    assert power[0] == pytest.approx(power[1], rel=1e-3)
    frames = references[: len(references) // 1600 * 1600].reshape(-1, 1600, 2)
    speaking = np.mean(frames**2, axis=1) > 1e-3 * power
    assert speaking.all(axis=1).mean() > 0.7 * speaking.any(axis=1).mean()


def test_cocktail_party_return_X_y():
    data = load_cocktail_party()
    X, y = load_cocktail_party(return_X_y=True)
    np.testing.assert_array_equal(X, data.mixture)
    np.testing.assert_array_equal(y, data.references)


def test_cocktail_party_is_small():
    folder = resources.files("skbss.datasets") / "data"
    sizes = [len(file.read_bytes()) for file in folder.iterdir()]
    assert len(sizes) == 4
    assert sum(sizes) < 500_000


@pytest.mark.parametrize("n_samples", [1, 10, 4000])
@pytest.mark.parametrize(("n_sources", "n_mics"), [(1, 1), (2, None), (3, 2), (2, 4)])
@pytest.mark.parametrize("rt60", [0.0, 0.1])
def test_mixture_is_the_sum_of_its_images(n_samples, n_sources, n_mics, rt60):
    X, y, images = make_convolutive_mixture(
        n_samples, n_sources, n_mics, rt60=rt60, return_images=True, random_state=0
    )
    n_mics = n_mics or n_sources
    assert X.shape == (n_samples, n_mics)
    assert y.shape == (n_samples, n_sources)
    assert images.shape == (n_sources, n_samples, n_mics)
    # Rounding of a sum of at most three images of size 0.5.
    np.testing.assert_allclose(images.sum(axis=0), X, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(images[:, :, 0].T, y)
    assert np.abs(X).max() == pytest.approx(0.5)
    np.testing.assert_allclose(np.mean(y**2, axis=0), np.mean(y[:, 0] ** 2))


def test_mixture_depends_on_random_state_alone():
    X, y = make_convolutive_mixture(2000, random_state=3)
    X_again, y_again = make_convolutive_mixture(2000, random_state=3)
    X_other, _ = make_convolutive_mixture(2000, random_state=4)
    np.testing.assert_array_equal(X, X_again)
    np.testing.assert_array_equal(y, y_again)
    assert np.abs(X - X_other).max() > 0.1


def test_noise_has_the_asked_level():
    clean, _, images = make_convolutive_mixture(
        noise=0.1, return_images=True, random_state=0
    )
    noise = clean - images.sum(axis=0)
    ratio = np.std(noise, axis=0) / np.std(images.sum(axis=0)[:, 0])
    # 80,000 samples: the standard deviation is known to 1 / sqrt(160,000) = 0.25 %.
    np.testing.assert_allclose(ratio, 0.1, rtol=0.01)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.02


def test_sources_are_super_gaussian_and_not_stationary():
    _, y = make_convolutive_mixture(n_sources=4, random_state=0)
    # Gaussian noise has 0.
    assert (kurtosis(y, axis=0) > 2).all()
    power = np.mean(y.reshape(-1, 800, 4) ** 2, axis=1)
    assert (power.max(axis=0) > 10 * np.median(power, axis=0)).all()
    # Independent sources: the correlation of 5 s of speech-like sound is small.
    assert np.abs(np.corrcoef(y.T) - np.eye(4)).max() < 0.1


def test_rt60_is_the_time_of_a_decay_by_60_decibels():
    from skbss.datasets.synthetic import _impulse_responses

    rng = np.random.RandomState(0)
    tails = _impulse_responses(20, 20, 16000, 0.2, rng)[..., 10:3200] ** 2
    level = 10 * np.log10(tails.mean(axis=(0, 1)))
    slope = np.polyfit(np.arange(len(level)) / 16000, level, 1)[0]
    # Delays of up to 8 samples and 400 responses: a few per mille.
    assert slope == pytest.approx(-60 / 0.2, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 0}, "n_samples"),
        ({"n_sources": 0}, "n_sources"),
        ({"rt60": -0.1}, "rt60"),
        ({"noise": "loud"}, "noise"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"The '{message}' parameter"):
        make_convolutive_mixture(**arguments)
