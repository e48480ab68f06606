"""The bundled recording and the synthetic ones."""

# License: BSD-3-Clause

from importlib import resources

import numpy as np
import pytest

from skbss.datasets import load_cocktail_party


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
