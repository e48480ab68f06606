"""Fewer sources than microphones."""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import FitCallback
from sklearn.pipeline import make_pipeline

from skbss import (
    ILRMA,
    ISTFT,
    STFT,
    AuxIVA,
    ProjectionBack,
    Spectrogram,
    make_separator,
)
from skbss.compose import METHODS
from skbss.datasets import make_convolutive_mixture
from skbss.inspection import DirectivityDisplay
from skbss.loudest_sources import LoudestSources, spread_microphones
from skbss.metrics import si_sdr_improvement
from skbss.separators._batch import principal
from skbss.updates.recording import Recording
from tests.helpers import assert_never_rises
from tests.reference import relative_error
from tests.test_robustness import CASES

SPATIAL = ["ip1", "ip2", "iss1", "iss2"]
SEPARATORS = [
    *(AuxIVA(spatial=spatial, max_iter=8) for spatial in SPATIAL),
    *(
        ILRMA(spatial=spatial, max_iter=8, init_iter=6, random_state=0)
        for spatial in SPATIAL
    ),
    AuxIVA("cliques", max_iter=8),
    AuxIVA("t", spatial="ip2", max_iter=8),
    ILRMA(update="me", likelihood="t", max_iter=8, init_iter=6, random_state=0),
    ILRMA(3, init="identity", max_iter=8, random_state=0),
]
every_separator = pytest.mark.parametrize("separator", SEPARATORS, ids=repr)


@pytest.fixture(scope="module")
def scene():
    """Two sources on five microphones."""
    params = {"sample_rate": 4000, "noise": 0.01, "random_state": 3}
    return make_convolutive_mixture(12_000, 2, n_mics=5, rt60=0.06, **params)


@pytest.fixture(scope="module")
def spectrogram(scene):
    return STFT(n_fft=256).fit_transform(scene[0][:8000])


def with_sources(separator, n_sources):
    return clone(separator).set_params(n_sources=n_sources)


@every_separator
def test_as_many_sources_as_microphones_are_none(separator, record):
    expected = clone(separator).fit(record)
    fitted = with_sources(separator, 2).fit(record)
    assert_array_equal(fitted.demixing_, expected.demixing_)
    assert_array_equal(fitted.objective_, expected.objective_)


@pytest.mark.parametrize(
    ("separator", "n_sources"),
    list(zip(SEPARATORS, [4] * 4 + [1] * 4 + [4, 1] * 2, strict=True)),
    ids=repr,
)
def test_shapes_and_objective(separator, n_sources, spectrogram):
    separator = with_sources(separator, n_sources)
    Y = separator.fit_transform(spectrogram)
    F, M = 129, 5
    assert Y.shape == (*spectrogram.shape[:2], n_sources)
    assert separator.demixing_.shape == (F, n_sources, M)
    assert separator.mixing_.shape == (F, M, n_sources)
    assert Y.mixing.shape == (1, F, M, n_sources)
    names = separator.get_feature_names_out()
    assert names.tolist() == [f"source{k}" for k in range(n_sources)]
    if getattr(separator, "update", "mm") == "mm" and separator.get_params().get(
        "source"
    ) in ("gauss", "nmf", "t"):
        assert_never_rises(separator, spectrogram)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_the_mixing_matrix_is_what_the_outputs_explain(dtype, spectrogram):
    """E[x y^H] E[y y^H]^-1, up to the noise that is expected."""
    X = spectrogram.data.astype(dtype)
    separator = AuxIVA(n_sources=2, noise=1e-9, max_iter=10).fit(X)
    Y = separator.transform(X)
    cross = np.einsum("tfm,tfk->fmk", X, Y.conj())
    power = np.einsum("tfk,tfl->fkl", Y, Y.conj())
    expected = cross @ np.linalg.inv(power)
    size = np.linalg.norm(expected, axis=1, keepdims=True)
    tolerance = {np.complex64: 1e-2, np.complex128: 1e-5}[dtype]
    assert_allclose(separator.mixing_ / size, expected / size, atol=tolerance)
    eye = np.eye(2) + 0 * power
    assert_allclose(separator.demixing_ @ separator.mixing_, eye, atol=1e-9)


def score(separators, scene, n_fft=256):
    x, y = scene
    pipe = make_pipeline(STFT(n_fft), *separators, ProjectionBack(), ISTFT())
    return si_sdr_improvement(y, pipe.fit_transform(x), x).mean()


@pytest.mark.parametrize(
    "separator",
    [ILRMA(random_state=0), AuxIVA(spatial="iss2")],
    ids=repr,
)
def test_more_microphones_separate_better(separator, scene):
    few = score([clone(separator)], (scene[0][:, :2], scene[1]))
    # Each microphone has a reverberation of its own here, more unlike than in rooms.
    separator = with_sources(separator, 2).set_params(noise=0.01)
    assert score([separator], scene) > few + 1  # measured: 2 to 5 dB


def test_cliques_refine_fewer_sources(scene):
    start = [AuxIVA(n_sources=2, noise=0.01)]
    assert score([*start, AuxIVA("cliques", max_iter=20)], scene) > score(start, scene)


def test_users_updates_are_given_the_background(spectrogram):
    class Square:
        def update(self, W, V):
            assert W.shape[:2] == (5, 5)
            assert V.shape[:3] == (5, 5, 5)
            K = 2
            inner = np.einsum("kmf,lmf->klf", W[:K], W[K:].conj())
            assert abs(inner).max() < 1e-9  # the background is orthogonal
            eye = np.eye(5)[..., None]
            assert_array_equal(V[K:], np.broadcast_to(eye, V[K:].shape))
            return W

    AuxIVA(n_sources=2, spatial=Square(), max_iter=3, init="identity").fit(spectrogram)


def test_the_start_is_the_loudest(scene, spectrogram):
    recording = Recording(spectrogram.data)
    W = principal(recording, 2)
    assert W.shape == (2, 5, 129)
    x = spectrogram.data[:, 40] / recording.scale
    C = np.einsum("tm,tn->mn", x, x.conj()) / len(x)
    vectors = np.linalg.eigh(C)[1][:, ::-1][:, :2].conj().T
    demixing = (W[..., 40] @ recording.Z[..., 40])[None]
    demixing /= np.linalg.norm(demixing, axis=2, keepdims=True)
    assert relative_error(demixing, vectors[None]) < 1e-5  # of expected noise


def test_warm_start_and_init(spectrogram):
    separator = AuxIVA(n_sources=2, max_iter=5, sort_iter=0).fit(spectrogram)
    given = AuxIVA(n_sources=2, max_iter=5, sort_iter=0, init=separator.demixing_).fit(
        spectrogram
    )
    separator.set_params(warm_start=True).fit(spectrogram)
    assert relative_error(given.demixing_, separator.demixing_) < 1e-9
    first = AuxIVA(n_sources=2, max_iter=5, init="identity").fit(spectrogram)
    eye = np.tile(np.eye(2, 5), (129, 1, 1))
    given = AuxIVA(n_sources=2, max_iter=5, init=eye).fit(spectrogram)
    assert_array_equal(first.demixing_, given.demixing_)


@pytest.mark.parametrize("separator", [AuxIVA(), ILRMA()], ids=repr)
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_sources": 6}, "n_sources=6, but the recording has 5 microphones"),
        ({"n_sources": 0}, "The 'n_sources' parameter"),
        ({"n_sources": 2.0}, "The 'n_sources' parameter"),
        ({"n_sources": 2, "noise": 1}, "The 'noise' parameter"),
        (
            {"n_sources": 2, "init": np.ones((129, 5, 5))},
            r"init of shape \(129, 5, 5\), expected .* \(129, 2, 5\)",
        ),
        ({"n_sources": 2, "init": np.ones((129, 2, 5))}, "singular"),
    ],
)
def test_bad_parameters(separator, params, message, spectrogram):
    with pytest.raises(ValueError, match=message):
        clone(separator).set_params(**params).fit(spectrogram)


# IP knows the background by its basis, ISS by more rows.
@pytest.mark.parametrize("separator", [SEPARATORS[k] for k in (0, 3, 4, 8)], ids=repr)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("error")
def test_whatever_comes_in_outputs_are_finite(separator, case):
    X = CASES[case]
    single = complex if "150" in case else np.complex64  # beyond its range
    for n_sources, dtype in [(1, complex), (min(2, X.shape[2]), single)]:
        record = Spectrogram(X.astype(dtype), {"n_fft": 32, "hop_length": 8}, 800)
        fitted = with_sources(separator, n_sources).set_params(max_iter=4)
        Y = fitted.fit_transform(record)
        Z = ProjectionBack().fit_transform(Y)
        learned = {k: v for k, v in vars(fitted).items() if k.endswith("_")}
        for name, value in {"Y": Y.data, "Z": Z.data, **learned}.items():
            assert np.isfinite(value).all(), name
        assert Z.data.dtype == dtype
        loudest = abs(X[..., 0]).max()
        assert abs(Z.data).max() <= 1e3 * loudest or loudest == 0


# Whole pipelines


def make_room(n_mics, n_samples, sample_rate=16_000, noise=0.003):
    params = {"sample_rate": sample_rate, "noise": noise, "random_state": 1}
    return make_convolutive_mixture(n_samples, 2, n_mics=n_mics, rt60=0.1, **params)


@pytest.mark.parametrize("method", METHODS)
def test_loudest_first(method):
    x, _ = make_room(3, 4000)
    for n_sources in (None, 2):
        pipe = make_separator(
            method, n_sources=n_sources, sample_rate=4000, random_state=0
        )
        y = pipe.fit_transform(x)
        assert y.shape == (len(x), n_sources or 3)
        power = (y**2).mean(0)
        assert_array_equal(power, np.sort(power)[::-1])


def test_refined_with_fewer_sources():
    # Every microphone has a reverberation of its own here, unlike in rooms, so that
    # more of them help against noise.
    x, y = make_room(5, 32_000, 8000, noise=0.1)
    params = {"sample_rate": 8000, "random_state": 0}
    pipe = make_separator(n_sources=2, **params)
    z = pipe.fit_transform(x)
    few = make_separator(**params).fit_transform(x[:, :2])
    improvement = si_sdr_improvement(y, z, x).mean()
    assert improvement > 1 + si_sdr_improvement(y, few, x).mean()
    # Later audio of the room; outputs stay where they are.
    later = pipe.transform(x[:20_000])
    assert si_sdr_improvement(y[:20_000], later, x[:20_000]).mean() > 10
    assert pipe["sources"].mics_[0] == 0
    assert len(pipe["sources"].mics_) == 4
    assert pipe["sources"].get_feature_names_out().tolist() == ["source0", "source1"]


def test_the_scale_is_that_of_the_reference():
    """What is missing in the sum of the outputs is the background, and is small."""
    x, _ = make_room(4, 12_000)
    x = x * [1, 2, 5, 3]
    pipe = make_separator(n_sources=2, ref_mic=2, random_state=0)
    y = pipe.fit_transform(x)
    rest = x[:, 2] - y.sum(1)
    assert (rest**2).mean() < 0.05 * (x[:, 2] ** 2).mean()


def test_more_sources_than_microphones(scene):
    for method in ("auxiva", "ilrma"):
        with pytest.raises(ValueError, match="n_sources=6, but the recording has 5"):
            make_separator(method, n_sources=6).fit_transform(scene[0])
    with pytest.raises(ValueError, match="ref_mic=5, but the recording has 5"):
        make_separator(n_sources=2, ref_mic=5).fit_transform(scene[0])


@pytest.mark.parametrize(
    ("damage", "dtype"),
    [
        ("duplicate", np.float64),
        *((d, np.float32) for d in ("dead_reference", "duplicate")),
        *((d, np.float32) for d in ("silence", "short", "tiny", "huge")),
    ],
)
def test_damaged_recordings(damage, dtype):
    x, _ = make_room(4, 1200)
    x = {
        "dead_reference": x * [0, 1, 1, 1],
        "duplicate": x[:, [0, 0, 1, 1]],
        "silence": 0 * x,
        "short": x[:7],
        "tiny": 1e-30 * x,
        "huge": 1e30 * x,
    }[damage].astype(dtype)
    pipe = make_separator(n_sources=2, sample_rate=1000, random_state=0)
    y = pipe.fit_transform(x)
    assert y.dtype == dtype
    assert y.shape == (len(x), 2)
    assert np.isfinite(y).all()


def test_spread_microphones():
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 16_000))
    x = np.stack([a, a, 0.1 * a, b, a + 0.1 * b, c, 0 * a], axis=1)
    assert set(spread_microphones(x, 3)) == {0, 3, 5}
    assert spread_microphones(x, 3, ref_mic=5)[0] == 5
    assert spread_microphones(x, 9) == list(range(7))
    assert spread_microphones(1e-200 * x, 3) == spread_microphones(x, 3)
    assert len(spread_microphones(0 * x, 4)) == 4


def test_parameters_are_reached_through_the_parts():
    pipe = make_separator(n_sources=2)
    pipe.set_params(
        sources__separator__first__auxiva__max_iter=3,
        sources__refine__second__stage__refine__noise=0.1,
    )
    sources = pipe["sources"]
    assert isinstance(sources, LoudestSources)
    assert sources.separator["first"]["auxiva"].max_iter == 3
    assert sources.refine["second"].stage["refine"].noise == 0.1


def test_as_many_sources_as_microphones_are_separated_as_well_as_without_a_number():
    x, _ = make_convolutive_mixture(14_000, 2, random_state=0)
    unknown = make_separator(sample_rate=2000, random_state=0)
    known = make_separator(n_sources=2, sample_rate=2000, random_state=0)
    y = unknown.fit_transform(x)
    assert len(unknown["second"].overlaps_) > 1  # windows were compared
    # Up to rounding: columns that are chosen lie elsewhere in memory.
    assert_allclose(known.fit_transform(x), y, atol=1e-9 * abs(y).max())
    assert known["sources"].refine_ is None
    assert_allclose(known.transform(x), y, atol=1e-9 * abs(y).max())


# What follows


def test_cliques_after_fewer_sources_lead_back_to_all_microphones(spectrogram):
    steps = AuxIVA(n_sources=3, max_iter=5), AuxIVA("cliques", n_sources=2, max_iter=5)
    Y = make_pipeline(*steps).fit_transform(spectrogram)
    assert Y.mixing.shape == (1, 129, 5, 2)
    for ref_mic in (0, 4):
        Z = ProjectionBack(ref_mic).fit_transform(Y)
        assert_allclose(Z.mixing[:, :, ref_mic], 1)


def test_directivity_of_fewer_sources(spectrogram):
    separator = AuxIVA(n_sources=2, max_iter=3).fit(spectrogram)
    positions = np.column_stack([0.05 * np.arange(5), np.zeros(5)])
    display = DirectivityDisplay.from_estimator(separator, positions, sample_rate=4000)
    assert len(display.figure_.axes) >= 2


def test_callbacks_see_the_search(spectrogram):
    names = []

    class Names(FitCallback):
        def on_fit_task_begin(self, estimator, context):
            names.append(context.task_name)

    AuxIVA(n_sources=2, max_iter=3).set_callbacks(Names()).fit(spectrogram)
    assert names.count("search-iteration") == 25
    assert names.count("iteration") == 3
