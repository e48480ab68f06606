"""WPE frame by frame: what it learns, and that chunks and levels don't matter."""

# License: BSD-3-Clause

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skbss import ISTFT, STFT, OnlineAuxIVA, OnlineWPE, ProjectionBack, Stream
from tests.conftest import make_recording
from tests.degenerate import DEGENERATE, make_outputs
from tests.test_wpe import reverberant

PARAMS = {"taps": 3, "delay": 2}


@pytest.mark.parametrize("n_mics", [1, 2, 4])
def test_it_takes_reverberation_off(rng, n_mics):
    S, X, filters = reverberant(rng, 3000, n_mics=n_mics)
    wpe = OnlineWPE(**PARAMS)
    Y = wpe.fit_transform(X)
    late = slice(1500, None)
    left = np.linalg.norm(Y[late] - S[late]) / np.linalg.norm(X[late] - S[late])
    assert left < 0.4
    assert_allclose(wpe.filters_, filters, atol=0.15)
    assert wpe.n_frames_seen_ == 3000
    # Even the first frames are not made worse.
    first = slice(100)
    assert np.linalg.norm((Y - S)[first]) < 1.1 * np.linalg.norm((X - S)[first])


def test_it_is_what_the_equations_say(rng):
    X = reverberant(rng, 60, n_freqs=9)[1]
    wpe = OnlineWPE(3, delay=2, forget=0.98, floor=0.01)
    Y = wpe.fit_transform(X)
    T, F, M = X.shape
    padded = np.concatenate([np.zeros((5, F, M)), X])
    for f in (0, 5):
        R, P, G = np.zeros((6, 6)), np.zeros((6, 2)), np.zeros((6, 2))
        power, waiting = 0.0, []
        for t in range(T):
            past = np.concatenate([padded[t + 5 - 2 - i, f] for i in range(3)])
            y = X[t, f] - G.conj().T @ past
            assert_allclose(Y[t, f], y, atol=1e-9 * abs(X).max())
            p = (abs(y) ** 2).mean()
            power += max(0.02, 1 / (t + 1)) * (p - power)
            waiting.append((past, X[t, f], power / max(p, 0.01 * power)))
            if (t + 1) % 8 == f % 8:
                for past, x, weight in waiting[-8:]:
                    R = 0.98 * R + weight * np.outer(past, past.conj())
                    P = 0.98 * P + weight * np.outer(past, x.conj())
                waiting = []
                G = np.linalg.solve(R + 10 * power * np.eye(6), P)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_how_many_frames_come_at_a_time_does_not_matter(rng, size):
    X = reverberant(rng, 150)[1]
    expected = OnlineWPE(**PARAMS).fit_transform(X)
    wpe = OnlineWPE(**PARAMS)
    parts = [wpe.partial_fit_transform(X[k : k + size]) for k in range(0, 150, size)]
    assert_array_equal(np.concatenate(parts), expected)


def test_states_go_on_elsewhere(rng):
    X = reverberant(rng, 200)[1]
    expected = OnlineWPE(**PARAMS).fit_transform(X)[100:]
    wpe = OnlineWPE(**PARAMS).partial_fit(X[:100])
    state, pickled = wpe.get_state(), pickle.dumps(wpe)
    wpe.partial_fit(X[100:])  # doesn't change what was handed out
    for other in (OnlineWPE(**PARAMS).set_state(state), pickle.loads(pickled)):
        assert_array_equal(other.partial_fit_transform(X[100:]), expected)
    with pytest.raises(ValueError, match="shape"):
        OnlineWPE(taps=4, delay=2).set_state(state)
    with pytest.raises(ValueError, match="without 'frames'"):
        OnlineWPE().set_state({})


def test_it_stands_in_a_stream():
    x, _ = make_recording(2, 6000)
    steps = STFT(128), OnlineWPE(4, delay=2), OnlineAuxIVA(), ProjectionBack(), ISTFT()
    pipeline = make_pipeline(*steps)
    expected = pipeline.fit_transform(x)
    stream = Stream(pipeline)
    blocks = (x[k : k + 500] for k in range(0, 6000, 500))
    y = np.concatenate(list(stream.blocks(blocks)))
    assert_allclose(y, expected, atol=1e-7)


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_recordings_leave_finite_numbers(name):
    X = DEGENERATE[name]
    with np.errstate(all="raise", under="ignore"):
        wpe = OnlineWPE(**PARAMS)
        Y = wpe.fit_transform(X)
    assert np.isfinite(Y).all()
    assert np.isfinite(wpe.filters_).all()
    assert np.linalg.norm(Y) <= 2 * np.linalg.norm(X)
    assert np.isfinite(wpe.transform(X)).all()


@pytest.mark.parametrize("scale", [1e-140, 1e-8, 1e8, 1e140])
def test_the_level_does_not_matter(rng, scale):
    X = reverberant(rng)[1]
    expected = OnlineWPE(**PARAMS).fit_transform(X)
    Y = OnlineWPE(**PARAMS).fit_transform(X * scale)
    assert_allclose(Y / scale, expected, atol=1e-9 * abs(X).max())
    single = OnlineWPE(**PARAMS).fit_transform(X.astype(np.complex64))
    assert single.dtype == np.complex64
    assert_allclose(single, expected, atol=1e-4 * abs(X).max())


def test_refusals():
    X = make_outputs(2).data
    with pytest.raises(NotFittedError):
        OnlineWPE().transform(X)
    wpe = OnlineWPE(**PARAMS).partial_fit(X)
    with pytest.raises(ValueError, match="3 features, but OnlineWPE is expe"):
        wpe.partial_fit(make_outputs(3).data)
    with pytest.raises(ValueError, match="complex"):
        wpe.partial_fit(abs(X))
    with pytest.raises(ValueError, match="'floor' parameter"):
        OnlineWPE(floor=0.0).fit(X)
