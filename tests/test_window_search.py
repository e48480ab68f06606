"""The window is chosen by how little the outputs overlap."""

# License: BSD-3-Clause

import pickle
import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from skbss import ISTFT, STFT, AuxIVA, ProjectionBack, WindowSearch
from skbss.callbacks import OnProgress
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import overlap, si_sdr


def make_stage(n_fft, **params):
    separator = AuxIVA("laplace", max_iter=15)
    return make_pipeline(STFT(n_fft, **params), separator, ProjectionBack(), ISTFT())


@pytest.fixture(scope="module")
def scene():
    return make_convolutive_mixture(48_000, 2, random_state=0)


def test_overlap_of_what_is_known(rng):
    a = rng.normal(size=20_000)
    assert overlap(np.stack([a, a], axis=1)) == pytest.approx(1, abs=1e-9)
    assert overlap(np.stack([a, a, -a], axis=1)) == pytest.approx(1, abs=1e-9)
    assert overlap(np.stack([a, 0 * a], axis=1)) == 0
    assert overlap(a[:, None]) == 0
    # Two that share a half of the places, one of four shares of a bit each.
    b = np.where(np.arange(len(a)) < 10_000, a, 0)
    half = overlap(np.stack([a, b, 0 * a, 0 * a], axis=1))
    assert half == pytest.approx(1 / 2 * np.log(2) / np.log(4), rel=0.2)


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1, 1e20, 1e300])
def test_overlap_depends_on_neither_level_nor_order(rng, scale):
    y = rng.laplace(size=(5000, 3))
    expected = overlap(y)
    assert 0.1 < expected < 1
    assert overlap(scale * y[:, ::-1]) == pytest.approx(expected, rel=1e-9)


def test_leaks_overlap(scene):
    _, sources = scene
    y = sources[:, :2]
    values = [overlap(y + leak * y[:, ::-1]) for leak in (0, 0.03, 0.1, 0.3)]
    assert (np.diff(values) > 0).all()


def test_the_window_with_the_least_overlap_is_taken(scene):
    x, references = scene
    search = WindowSearch(make_stage(256))
    Y = search.fit_transform(x)
    tried = tuple(search.overlaps_)
    assert tried == tuple(256 << k for k in range(len(tried)))
    best = search.stage_["stft"].n_fft
    assert best > 256
    assert search.overlaps_[best] < 1.01 * min(search.overlaps_.values())
    # It was tried whether a longer one is better, if there is one that fits.
    assert tried[-1] == 2 * best or 2 * best * 2 * search.n_windows > len(x)
    assert_array_equal(make_stage(best).fit_transform(x), Y)
    assert_array_equal(search.transform(x), search.stage_.transform(x))
    assert_allclose(search.transform(x), Y, atol=1e-9)
    # What is hardly better or worse may be mistaken for another.
    scores = [si_sdr(references, make_stage(n).fit_transform(x)).mean() for n in tried]
    assert scores[tried.index(best)] > max(max(scores) - 2, scores[0] + 6)


def test_short_recordings_keep_the_shortest_window(scene):
    x, _ = scene
    for n_samples, n_tried in ((2047, 1), (3071, 1), (3072, 2)):
        search = WindowSearch(make_stage(256)).fit(x[:n_samples])
        assert len(search.overlaps_) <= n_tried
        assert 256 in search.overlaps_


def test_windows_are_halved_where_there_is_no_reverberation(scene):
    x, _ = scene
    dry = scene[1] @ [[1, 0.6], [0.5, 1]]
    search = WindowSearch(make_stage(2048)).fit(dry[:32_000])
    assert list(search.overlaps_) == [2048, 4096, 1024, 512]
    assert search.stage_["stft"].n_fft == 1024
    search = WindowSearch(make_stage(2048)).fit(x)
    assert search.stage_["stft"].n_fft >= 2048


def test_hop_grows_with_the_window(scene):
    x, _ = scene
    search = WindowSearch(make_stage(256, hop_length=128)).fit(x)
    stft = search.stage_["stft"]
    assert stft.n_fft > 256
    assert stft.hop_length == stft.n_fft // 2
    assert search.stage["stft"].n_fft == 256  # what was given stays as it was


@pytest.mark.parametrize("n_threads", [2, 4])
def test_two_at_a_time_find_the_same(scene, n_threads):
    x, _ = scene
    found = []
    for n in (1, n_threads):
        with threadpool_limits(n, user_api="blas"):
            search = WindowSearch(make_stage(256))
            found.append((search.fit_transform(x), search))
    (Y, one), (Z, two) = found
    assert_array_equal(Z, Y)
    assert list(two.overlaps_.items()) == list(one.overlaps_.items())
    assert two.stage_["stft"].n_fft == one.stage_["stft"].n_fft
    assert_array_equal(
        pickle.loads(pickle.dumps(two)).transform(x), two.stage_.transform(x)
    )


class Meet(BaseEstimator):
    """Waits until two of its kind are there, if they come at a time."""

    barrier = None

    def fit_transform(self, X, y=None):
        Meet.barrier.wait()
        return X

    def transform(self, X):
        return X


def test_two_at_a_time(scene, monkeypatch):
    monkeypatch.setattr(Meet, "barrier", threading.Barrier(2, timeout=10))
    with threadpool_limits(2, user_api="blas"):
        search = WindowSearch(make_pipeline(STFT(256), Meet(), ISTFT())).fit(scene[0])
    assert list(search.overlaps_) == [256, 512]


@pytest.mark.parametrize("why", ["threads", "memory", "callbacks"])
def test_one_at_a_time(scene, monkeypatch, why):
    """Where there is one thread, or little memory, or callbacks are told of each."""
    monkeypatch.setattr(Meet, "barrier", threading.Barrier(2, timeout=0.2))
    search = WindowSearch(make_pipeline(STFT(256), Meet(), ISTFT()))
    if why == "memory":
        monkeypatch.setattr("skbss.window_search.SMALL", 1000)
    if why == "callbacks":
        search.set_callbacks(OnProgress(print))
    with (
        threadpool_limits(1 if why == "threads" else 2, user_api="blas"),
        pytest.raises(threading.BrokenBarrierError),
    ):
        search.fit(scene[0])


def test_a_failure_leaves_what_was_fitted(scene):
    x, _ = scene
    search = WindowSearch(make_stage(256)).fit(x)
    before = search.overlaps_, search.stage_
    search.set_params(stage__auxiva__init=np.zeros((129, 2, 2)))
    with (
        threadpool_limits(2, user_api="blas"),
        pytest.raises(ValueError, match="Got init"),
    ):
        search.fit(x)
    assert (search.overlaps_, search.stage_) == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_silence(dtype):
    x = np.zeros((5000, 2), dtype)
    search = WindowSearch(make_stage(256))
    Y = search.fit_transform(x)
    assert Y.dtype == dtype
    assert_array_equal(Y, 0)
    assert list(search.get_feature_names_out()) == list(
        search.stage_.get_feature_names_out()
    )


def test_refusals(scene):
    x, _ = scene
    search = WindowSearch(make_stage(256))
    with pytest.raises(NotFittedError):
        search.transform(x)
    search.fit(x[:5000])
    with pytest.raises(ValueError, match="X has 3 features, but WindowSearch"):
        search.transform(np.ones((5000, 3)))
    with pytest.raises(ValueError, match="'n_windows' parameter of WindowSearch"):
        WindowSearch(make_stage(256), n_windows=0).fit(x)
