"""WPE predicts reverberation from the past as the equations say, and takes it off."""

# License: BSD-3-Clause

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skbss import WPE, Spectrogram, make_separator
from skbss.compose import METHODS
from skbss.datasets import make_convolutive_mixture
from skbss.updates import dereverberation
from tests.degenerate import DEGENERATE, make_outputs, record_of

PARAMS = {"taps": 3, "delay": 2}


def past_of(X, t, taps, delay):
    """Frames before frame t of one bin, the newest first, after silence."""
    frames = [t - delay - i for i in range(taps)]
    return np.concatenate([X[n] if n >= 0 else 0 * X[0] for n in frames])


def reference(X, taps, delay, max_iter, floor):
    """Filters (n_freqs, n_mics, n_mics, taps) and outputs, frame by frame."""
    T, F, M = X.shape
    Y, filters = X.copy(), np.empty((F, M, M, taps), complex)
    for f in range(F):
        past = np.array([past_of(X[:, f], t, taps, delay) for t in range(T)])
        for _ in range(max_iter):
            power = (abs(Y[:, f]) ** 2).mean(1)
            weights = 1 / np.maximum(power, floor * power.max())
            R = (past.T * weights) @ past.conj()
            P = (past.T * weights) @ X[:, f].conj()
            G = np.linalg.solve(R, P)
            Y[:, f] = X[:, f] - past @ G.conj()
        filters[f] = G.conj().T.reshape(M, taps, M).swapaxes(1, 2)
    return filters, Y


def reverberant(rng, n_frames=400, n_freqs=5, n_mics=2, delay=2, taps=3):
    """Return lively frames, the same with reverberation, and its filters."""
    size = n_frames, n_freqs, n_mics
    loud = rng.gamma(0.3, size=(n_frames, n_freqs, 1))
    S = loud * (rng.normal(size=(*size, 2)) @ [1, 1j])
    filters = 0.2 * (rng.normal(size=(n_freqs, n_mics, n_mics, taps, 2)) @ [1, 1j])
    filters *= 0.6 ** np.arange(taps)
    X = S.copy()
    for t in range(delay, n_frames):
        for i in range(min(taps, t - delay + 1)):
            X[t] += np.einsum("fmk,fk->fm", filters[..., i], X[t - delay - i])
    return S, X, filters


@pytest.fixture(params=["numba", "numpy"])
def lane(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(dereverberation, "kernels", lambda name: None)
    return request.param


@pytest.mark.parametrize("n_mics", [1, 2, 3])
@pytest.mark.parametrize(("taps", "delay"), [(1, 1), (3, 2), (6, 1)])
def test_it_is_what_the_equations_say(rng, lane, n_mics, taps, delay):
    X = reverberant(rng, n_mics=n_mics)[1]
    wpe = WPE(taps, delay=delay, max_iter=2, floor=1e-3)
    Y = wpe.fit_transform(X)
    filters, expected = reference(X, taps, delay, 2, 1e-3)
    assert_allclose(wpe.filters_, filters, atol=1e-9)
    assert_allclose(Y, expected, atol=1e-9 * abs(X).max())
    assert_allclose(wpe.transform(X), Y, atol=1e-12 * abs(X).max())


def test_long_recordings_are_summed_in_parts(rng, lane, monkeypatch):
    monkeypatch.setattr(dereverberation, "N_FRAMES", 100)
    X = reverberant(rng, n_frames=600)[1]
    Y = WPE(**PARAMS).fit_transform(X)
    assert_allclose(Y, reference(X, 3, 2, 3, 1e-4)[1], atol=1e-9 * abs(X).max())


@pytest.mark.parametrize("n_mics", [1, 2, 4])
def test_it_finds_the_filters_of_reverberation(rng, n_mics):
    S, X, filters = reverberant(rng, 2000, n_mics=n_mics)
    wpe = WPE(**PARAMS, max_iter=5)
    Y = wpe.fit_transform(X)
    assert np.linalg.norm(Y - S) < 0.1 * np.linalg.norm(X - S)
    assert_allclose(wpe.filters_, filters, atol=0.05)


def test_each_channel_by_itself(rng):
    X = reverberant(rng, n_mics=3)[1]
    wpe = WPE(**PARAMS, joint=False)
    Y = wpe.fit_transform(X)
    for k in range(3):
        alone = WPE(**PARAMS)
        expected = alone.fit_transform(X[..., k : k + 1])
        assert_allclose(Y[..., k : k + 1], expected, atol=1e-12 * abs(X).max())
        assert_allclose(wpe.filters_[:, k, k], alone.filters_[:, 0, 0], atol=1e-10)
    assert (wpe.filters_[:, ~np.eye(3, dtype=bool)] == 0).all()
    assert_allclose(wpe.transform(X), Y, atol=1e-12 * abs(X).max())


def test_later_audio_is_filtered_by_what_was_learned(rng):
    _, X, _ = reverberant(rng)
    wpe = WPE(**PARAMS).fit(X[:300])
    Y = wpe.transform(X)
    assert_allclose(Y[:300], wpe.transform(X[:300]), atol=1e-12)
    past = np.array([past_of(X[:, 2], t, 3, 2) for t in range(400)])
    G = wpe.filters_[2].swapaxes(1, 2).reshape(2, -1)
    assert_allclose(Y[:, 2], X[:, 2] - past @ G.T, atol=1e-9)


def test_short_recordings_get_short_filters(rng):
    X = reverberant(rng)[1]
    assert WPE().fit(X[:120]).filters_.shape == (5, 2, 2, 7)
    assert WPE().fit(X[:10]).filters_.shape == (5, 2, 2, 1)
    assert WPE(joint=False).fit(X[:120]).filters_.shape == (5, 2, 2, 15)
    assert_array_equal(WPE().fit_transform(X[:4]), X[:4])  # nothing is that late


def test_it_keeps_the_record():
    record = replace(make_outputs(2), mixing=None)
    Y = WPE(**PARAMS).fit_transform(record)
    assert isinstance(Y, Spectrogram)
    assert (Y.n_samples, Y.stft_params) == (record.n_samples, record.stft_params)
    assert Y.mixing is None
    assert_array_equal(Y.data, WPE(**PARAMS).fit_transform(record.data))
    # It is no longer one matrix away from the microphones.
    assert WPE(**PARAMS).fit_transform(record_of(record.data)).mixing is None


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("joint", [True, False])
def test_degenerate_recordings_leave_finite_numbers(name, joint, lane):
    X = DEGENERATE[name]
    for dtype in (np.complex128, np.complex64):
        if dtype == np.complex64 and abs(X).max() > 1e30:
            continue
        with np.errstate(all="raise", under="ignore"):
            data = X.astype(dtype)
            wpe = WPE(**PARAMS, joint=joint)
            Y = wpe.fit_transform(data)
        assert np.isfinite(Y).all()
        assert np.isfinite(wpe.filters_).all()
        # What it takes off is never much more than there was.
        assert np.linalg.norm(Y) <= 2 * np.linalg.norm(data)
        assert (Y[data == 0] == 0).all() or name not in ("silence", "one_frame")


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1e8, 1e150])
def test_the_level_does_not_matter(rng, scale):
    X = reverberant(rng)[1]
    wpe = WPE(**PARAMS)
    expected, filters = wpe.fit_transform(X), wpe.filters_
    Y = wpe.fit_transform(X * scale)
    assert_allclose(wpe.filters_, filters, atol=1e-9)
    assert_allclose(Y / scale, expected, atol=1e-9 * abs(X).max())


def test_single_precision_is_near_to_double(rng, lane):
    X = reverberant(rng)[1]
    expected = WPE(**PARAMS).fit_transform(X)
    for scale in (1e-25, 1, 1e25):
        Y = WPE(**PARAMS).fit_transform((scale * X).astype(np.complex64))
        assert Y.dtype == np.complex64
        error = np.linalg.norm(Y / np.float32(scale) - expected)
        assert error < 1e-4 * np.linalg.norm(expected)


def test_it_takes_little_memory(rng):
    X = (rng.normal(size=(800, 513, 2, 2)) @ [1, 1j]).astype(np.complex64)
    WPE().fit_transform(X[:60])  # loads what is loaded once
    tracemalloc.start()
    WPE().fit_transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The output, filters in double precision, and one block of bins.
    assert peak < 2.2 * X.nbytes


def test_refusals():
    X = make_outputs(2).data
    with pytest.raises(NotFittedError):
        WPE().transform(X)
    wpe = WPE(**PARAMS).fit(X)
    with pytest.raises(ValueError, match="3 features, but WPE is expe"):
        wpe.transform(make_outputs(3).data)
    with pytest.raises(ValueError, match="fitted on 17"):
        wpe.transform(X[:, 1:])
    with pytest.raises(ValueError, match="complex"):
        wpe.fit(abs(X))
    for params in ({"taps": 0}, {"delay": 0}, {"floor": -1.0}, {"max_iter": 0}):
        with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter"):
            WPE(**params).fit(X)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_sources", [None, 2])
def test_stages_of_a_separator(method, n_sources):
    params = {"n_sources": n_sources, "sample_rate": 8000, "random_state": 0}
    plain = make_separator(method, **params)
    pipeline = make_separator(method, dereverberate=True, **params)
    names = [name for name, _ in plain.steps]
    assert [name for name, _ in pipeline.steps] == [
        "dereverberate",
        *names[:-1],
        "dereverberate_again",
        "loudestfirst",
    ]
    assert pipeline["dereverberate"]["stft"].n_fft == 512
    assert pipeline["dereverberate"]["wpe"].joint
    assert not pipeline["dereverberate_again"]["wpe"].joint
    if method == "auxiva":
        x, _ = make_convolutive_mixture(16_000, 2, n_mics=3, sample_rate=8000)
        assert pipeline.fit_transform(x).shape == (len(x), n_sources or 3)
