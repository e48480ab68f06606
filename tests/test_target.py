"""What is known of a target decides which output is the first."""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import eigh
from sklearn.pipeline import make_pipeline

from skbss import (
    ILRMA,
    ISTFT,
    STFT,
    AuxIVA,
    ProjectionBack,
    make_separator,
    steering_vectors,
)
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr
from skbss.updates import spatial
from skbss.updates.recording import Recording
from skbss.updates.target import Target, covariances_of
from tests.degenerate import DEGENERATE

RATE = 8000
SPATIAL = list(spatial.SPATIAL_UPDATES)


class UsersIP1(spatial.IP1):
    """As a user writes it."""


def make_solo(speaker, n_sources=2, n_mics=2, gain=1.0):
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
    images[speaker] *= gain
    return np.ascontiguousarray(images.sum(0)), images


def pipe(separator=AuxIVA, **params):
    stft = STFT(512, sample_rate=RATE)
    return make_pipeline(stft, separator(**params), ProjectionBack(), ISTFT())


def first_is(image, y):
    """Whether the first output is the one that sounds most like an image."""
    scores = [si_sdr(image[:, :1], y[:, k : k + 1])[0] for k in range(y.shape[1])]
    return np.argmax(scores) == 0


@pytest.mark.parametrize(
    ("update", "speaker"),
    list(zip([*SPATIAL, UsersIP1()], [0, 1, 0, 1, 0], strict=True)),
    ids=str,
)
def test_every_spatial_update_keeps_the_order(update, speaker):
    x, images = make_solo(speaker)
    y = pipe(spatial=update, target=(0, 0.75)).fit_transform(x)
    plain = pipe(spatial=update).fit_transform(x)
    reference = images[speaker, :, :1]
    score = si_sdr(reference, y[:, :1])[0]
    best = max(si_sdr(reference, plain[:, k : k + 1])[0] for k in range(2))
    assert score > best - 0.5
    assert score > si_sdr(reference, y[:, 1:])[0] + 10


@pytest.mark.parametrize(("n_mics", "speaker"), [(2, 1), (4, 0)])
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


@pytest.mark.parametrize(("source", "speaker"), [("laplace", 0), ("cliques", 2)])
def test_three_sources_and_other_models(source, speaker):
    x, images = make_solo(speaker, 3, 3)
    y = pipe(source=source, target=(0, 0.75)).fit_transform(x)
    scores = [si_sdr(images[speaker, :, :1], y[:, k : k + 1])[0] for k in range(3)]
    assert np.argmax(scores) == 0


def test_the_term_is_whitened_and_of_known_weight(rng):
    X = rng.normal(size=(50, 4, 3)) + 1j * rng.normal(size=(50, 4, 3))
    X[:, 2] = 0
    C = X.transpose(1, 2, 0) @ X.transpose(1, 0, 2).conj()
    target = Target(covariances_of(C, 3), Recording(X), 0.5)
    expected = 0.5 * np.tile(np.eye(3)[..., None], 4)  # the recording is white then
    expected[..., 2] = 0
    assert_allclose(target.Q, expected, atol=1e-12)


def test_the_update_minimizes_with_the_term(rng):
    # A single source among three: the background, whose covariance is I + Q, doesn't
    # hear the target, so that wᴴ V w - log wᴴ (I + Q) w is at its least.
    a, b = rng.normal(size=(2, 3, 6)) + 1j * rng.normal(size=(2, 3, 6))
    V = (a @ a.conj().T)[None, ..., None]
    Q = b[:, :1] @ b[:, :1].conj().T
    w = rng.normal(size=(1, 3, 1)) + 0j
    for _ in range(200):
        w = spatial.update_demixing(spatial.IP1(), w, V, Q[..., None])
    best = eigh(V[0, ..., 0], np.eye(3) + Q)[1][:, 0]
    found = w[0, :, 0].conj()
    cosine = abs(np.vdot(best, found)) / np.linalg.norm(best) / np.linalg.norm(found)
    assert_allclose(cosine, 1, atol=1e-6)


@pytest.mark.parametrize("speaker", [0, 1])
def test_ilrma_keeps_the_order(speaker):
    x, images = make_solo(speaker)
    params = {"max_iter": 15, "init_iter": 30, "random_state": 0}
    y = pipe(ILRMA, target=(0, 0.75), **params).fit_transform(x)
    assert first_is(images[speaker], y)


@pytest.mark.parametrize(
    ("update", "speaker"),
    list(zip([*SPATIAL, UsersIP1()], [1, 0, 1, 0, 1], strict=True)),
    ids=str,
)
def test_a_single_output_is_the_target(update, speaker):
    x, images = make_solo(speaker, n_mics=3)
    y = pipe(spatial=update, target=(0, 0.75), n_sources=1).fit_transform(x)
    assert y.shape[1] == 1
    scores = [si_sdr(image[:, :1], y)[0] for image in images]
    # They differ by 20 dB and more, and by 0.5 dB at the weight of several sources.
    assert scores[speaker] > scores[1 - speaker] + 15


def make_free_field(n_mics):
    """Return a recording of two talkers in a free field, images and directions."""
    sources = make_convolutive_mixture(
        24_000, sample_rate=RATE, rt60=0.05, random_state=0
    )[1]
    mics = np.array([[0, 0], [0.05, 0], [0.02, 0.04]])[:n_mics]
    directions = [1.0, 0.2], [-1.0, 0.8]
    images, steering = [], []
    for source, direction in zip(sources.T, directions, strict=True):
        vectors = steering_vectors(mics, direction, len(source) // 2 + 1, RATE)
        images.append(np.fft.irfft(np.fft.rfft(source) * vectors.T).T)
        steering.append(steering_vectors(mics, direction, 65, RATE))
    images = np.array(images)
    noise = 0.01 * images.std() * np.random.default_rng(0).normal(size=images[0].shape)
    return images.sum(0) + noise, images, steering


@pytest.mark.parametrize("speaker", [0, 1])
@pytest.mark.parametrize("separator", [AuxIVA, ILRMA])
def test_a_direction(separator, speaker):
    x, images, steering = make_free_field(2)
    params = {"n_sources": 2, "random_state": 0, "max_iter": 30}
    y = pipe(separator, target=steering[speaker], **params).fit_transform(x)
    assert first_is(images[speaker], y)


@pytest.mark.parametrize(
    ("method", "n_sources", "n_mics", "kind"),
    [
        ("auxiva", None, 2, "time"),
        ("auxiva", None, 2, "direction"),
        ("refined", None, 2, "direction"),
        ("refined", 2, 3, "time"),
        ("refined", 1, 3, "direction"),
    ],
)
def test_make_separator(method, n_sources, n_mics, kind):
    # The other one comes first where nothing is known.
    if kind == "direction":
        x, images, (target, _) = make_free_field(n_mics)
    else:
        x, images = make_solo(0, n_mics=n_mics, gain=0.3)
        target = 0, 0.75
    params = {"n_sources": n_sources, "target": target, "sample_rate": RATE}
    y = make_separator(method, **params).fit_transform(x)
    assert y.shape[1] == (n_sources or 2)
    scores = [si_sdr(image[:, :1], y[:, :1])[0] for image in images]
    assert np.argmax(scores) == 0


def test_the_target_is_found_among_masks():
    x, images, steering = make_free_field(2)
    x += np.roll(images[0], 9000, axis=0)[:, ::-1]  # somebody else, elsewhere
    # The other one comes first where nothing is known.
    separator = make_separator(
        n_sources=3, target=steering[0], sample_rate=RATE, random_state=0
    )
    y = separator.fit_transform(x)
    scores = [si_sdr(image[:, :1], y[:, :1])[0] for image in images]
    assert np.argmax(scores) == 0


def test_steering_vectors():
    mics = [[0, 0, 0], [0.1, 0, 0]]
    vectors = steering_vectors(mics, [2, 0, 0], 5, sample_rate=16_000)
    # The second microphone hears it first.
    phase = 2 * np.pi * np.linspace(0, 8000, 5) * 0.1 / 343
    assert_allclose(vectors[:, 1] / vectors[:, 0], np.exp(1j * phase))
    for direction in ([0, 0, 0], [1, 0]):
        with pytest.raises(ValueError, match="as many dimensions that"):
            steering_vectors(mics, direction)


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
    for target in ((0, 1, 2), np.ones((4, 3)), (np.nan, 1)):
        with pytest.raises(ValueError, match=r"expected a time \(start, end\), finite"):
            pipe(target=target).fit(x)
    with pytest.raises(ValueError, match="there is no frame"):
        pipe(target=(8, 9)).fit(x)
    record = STFT(512).fit_transform(x)
    for X in (record, record.data):
        with pytest.raises(ValueError, match="sample_rate"):
            AuxIVA(target=(0, 1)).fit(X)
