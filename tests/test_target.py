"""What is known of a target decides which output is the first."""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.pipeline import make_pipeline

from skbss import ISTFT, STFT, AuxIVA, ProjectionBack
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr
from skbss.updates import spatial
from skbss.updates.recording import Recording
from tests.degenerate import DEGENERATE

RATE = 8000
SPATIAL = list(spatial.SPATIAL_UPDATES)


class UsersIP1(spatial.IP1):
    """As a user writes it."""


def make_solo(speaker, n_sources=2, n_mics=2):
    """Return a recording whose first 0.75 s are one speaker's alone, and the images."""
    images = make_convolutive_mixture(
        24_000,
        n_sources,
        n_mics=n_mics,
        sample_rate=RATE,
        rt60=0.05,
        return_images=True,
        random_state=0,
    )[2]
    images[[k for k in range(n_sources) if k != speaker], :6000] = 0
    return np.ascontiguousarray(images.sum(0)), images


def pipe(**params):
    stft = STFT(512, sample_rate=RATE)
    return make_pipeline(stft, AuxIVA(**params), ProjectionBack(), ISTFT())


@pytest.mark.parametrize("update", [*SPATIAL, UsersIP1()], ids=str)
@pytest.mark.parametrize("speaker", [0, 1])
def test_every_spatial_update_keeps_the_order(update, speaker):
    x, images = make_solo(speaker)
    y = pipe(spatial=update, target=(0, 0.75)).fit_transform(x)
    plain = pipe(spatial=update).fit_transform(x)
    reference = images[speaker, :, :1]
    score = si_sdr(reference, y[:, :1])[0]
    best = max(si_sdr(reference, plain[:, k : k + 1])[0] for k in range(2))
    assert score > best - 0.5
    assert score > si_sdr(reference, y[:, 1:])[0] + 10


@pytest.mark.parametrize("n_mics", [2, 3, 4])
@pytest.mark.parametrize("speaker", [0, 1])
def test_fewer_sources_and_other_knowledge(n_mics, speaker):
    x, images = make_solo(speaker, n_mics=n_mics)
    stft = STFT(512, sample_rate=RATE)
    solo = stft.fit_transform(images[speaker]).data.transpose(1, 2, 0)
    covariances = solo @ solo.conj().swapaxes(1, 2)
    steering = np.linalg.eigh(covariances).eigenvectors[:, :, -1]
    reference = images[speaker, :, :1]
    for target in ((0, 0.75), covariances, 1e-80j * steering):
        y = pipe(target=target, n_sources=2).fit_transform(x)
        scores = [si_sdr(reference, y[:, k : k + 1])[0] for k in range(2)]
        assert scores[0] > scores[1] + 5


@pytest.mark.parametrize("source", ["laplace", "cliques"])
def test_three_sources_and_other_models(source):
    for speaker in range(3):
        x, images = make_solo(speaker, 3, 3)
        y = pipe(source=source, target=(0, 0.75)).fit_transform(x)
        scores = [si_sdr(images[speaker, :, :1], y[:, k : k + 1])[0] for k in range(3)]
        assert np.argmax(scores) == 0


def test_the_prior_is_whitened_and_of_unit_power(rng):
    X = rng.normal(size=(50, 4, 3)) + 1j * rng.normal(size=(50, 4, 3))
    X[:, 2] = 0
    recording = Recording(X)
    C = X.transpose(1, 2, 0) @ X.transpose(1, 0, 2).conj()
    prior = recording.prior(C, 0.5)
    expected = np.zeros((9, 4))
    expected[:3] = 0.5  # the recording itself is white then
    expected[:, 2] = 0
    assert_allclose(prior, expected, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_the_level_does_not_matter(scale):
    x, _ = make_solo(1)
    expected = pipe(target=(0, 0.75), max_iter=10).fit_transform(x)
    y = pipe(target=(0, 0.75), max_iter=10).fit_transform(x * scale)
    assert_allclose(y / scale, expected, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in DEGENERATE if name != "one_output"])
def test_degenerate_recordings_leave_finite_numbers(name):
    X = DEGENERATE[name]
    target = X[: len(X) // 2 + 1].transpose(1, 2, 0)
    target = target / (abs(target).max() or 1)
    target = target @ target.conj().swapaxes(1, 2)
    with np.errstate(all="raise", under="ignore"):
        separator = AuxIVA(max_iter=3, target=target).fit(X)
    assert np.isfinite(separator.demixing_).all()


def test_refusals():
    x, _ = make_solo(0)
    for target in ((0, 1, 2), np.ones((4, 2)), (np.nan, 1)):
        with pytest.raises(ValueError, match=r"expected a time \(start, end\), finite"):
            pipe(target=target).fit(x)
    with pytest.raises(ValueError, match="there is no frame"):
        pipe(target=(8, 9)).fit(x)
    with pytest.raises(ValueError, match="n_sources=1, expected at least 2"):
        pipe(target=(0, 1), n_sources=1).fit(x)
    record = STFT(512).fit_transform(x)
    for X in (record, record.data):
        with pytest.raises(ValueError, match="sample_rate"):
            AuxIVA(target=(0, 1)).fit(X)
