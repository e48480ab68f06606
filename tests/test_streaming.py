"""Block-by-block separation equals that of the whole signal."""

# License: BSD-3-Clause

import pickle
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline

from skbss import (
    ISTFT,
    STFT,
    WPE,
    AuxIVA,
    CrosstalkCanceller,
    OnlineAuxIVA,
    OnlineILRMA,
    OnlineISNMF,
    ProjectionBack,
    Spectrogram,
)
from skbss.streaming import Stream
from tests.conftest import make_recording
from tests.processes import run_code

X = make_recording(n_samples=3001)[0]


def make_online(separator=None, ref_mic=0, **stft_params):
    stft = STFT(**{"n_fft": 128, "sample_rate": 8000} | stft_params)
    separator = OnlineAuxIVA() if separator is None else separator
    return make_pipeline(stft, separator, ProjectionBack(ref_mic), ISTFT())


def make_frozen(dtype=np.float64, **stft_params):
    """Return a pipeline that was fitted to another recording in the room."""
    pipeline = make_online(AuxIVA(max_iter=3), **stft_params)
    return pipeline.fit(X[:2000].astype(dtype))


def cut(x, size):
    return [x[k : k + size] for k in range(0, len(x), size)]


def run(stream, blocks):
    return np.concatenate(list(stream.blocks(blocks)))


def assert_same(y, expected):
    assert y.shape == expected.shape
    assert y.dtype == expected.dtype
    # The sums are the same, in FFTs and products of other sizes: a few roundings.
    atol = 50 * np.finfo(y.dtype).eps * max(1, abs(expected).max())
    np.testing.assert_allclose(y, expected, rtol=0, atol=atol)


WINDOWS = {
    "hann": {"n_fft": 64},
    "odd hop": {"n_fft": 64, "hop_length": 13, "window": "hamming"},
    "no overlap": {"n_fft": 64, "hop_length": 64, "window": "boxcar"},
    "odd window": {"n_fft": 63, "hop_length": 7, "window": "blackman"},
    "one sample": {"n_fft": 1, "hop_length": 1, "window": "boxcar"},
    # Frames that have no weight at the signal are left out, at either end.
    "late": {"n_fft": 64, "hop_length": 5, "window": np.r_[np.zeros(58), np.ones(6)]},
    "early": {"n_fft": 64, "hop_length": 5, "window": np.r_[np.ones(6), np.zeros(58)]},
}


@pytest.mark.parametrize(
    ("n_samples", "dtype"),
    [(1, np.float64), (10, np.float64), (577, np.float64), (577, np.float32)],
)
@pytest.mark.parametrize("window", WINDOWS)
def test_frozen_equals_transform(window, n_samples, dtype):
    pipeline = make_frozen(dtype, **WINDOWS[window])
    x = X[:n_samples].astype(dtype)
    expected = pipeline.transform(x) if n_samples > 1 else None
    for size in (1, 64, 97, 1000):
        y = run(Stream(pipeline), cut(x, size))
        if expected is None:  # STFT takes no single sample
            assert y.shape == (1, 2)
            assert y.dtype == dtype
        else:
            assert_same(y, expected)


SEPARATORS = [OnlineAuxIVA(), OnlineILRMA(random_state=0)]


@pytest.mark.parametrize("separator", SEPARATORS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    ("size", "dtype"),
    [(size, np.float64) for size in (1, 31, 128, 5000)] + [(32, np.float32)],
)
def test_online_equals_fit_transform(size, dtype, separator):
    pipeline = make_online(separator, ref_mic=1)
    x = X.astype(dtype)
    expected = pipeline.fit_transform(x)
    y = run(Stream(pipeline), cut(x, size))
    assert y.dtype == expected.dtype == dtype
    # What is learned amplifies the roundings of the FFT: 1e-10 is 1e6 of them, and
    # still far below what a frame more or less would do.
    atol = 1e-10 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(y, expected, rtol=0, atol=atol * abs(expected).max())


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 900), max_size=12),
    hop=st.integers(1, 40),
    n_samples=st.integers(2, 900),
)
def test_any_blocks(cuts, hop, n_samples):
    pipeline = make_pipeline(STFT(n_fft=64, hop_length=hop, window="hamming"), ISTFT())
    x = X[:n_samples]
    y = run(Stream(pipeline), np.split(x, np.sort(np.minimum(cuts, n_samples))))
    assert_same(y, x)


@pytest.mark.parametrize("size", [1, 5, 16, 100])
@pytest.mark.parametrize("window", WINDOWS)
def test_latency(window, size):
    stream = Stream(make_frozen(**WINDOWS[window]))
    assert stream.latency == WINDOWS[window]["n_fft"] - 1
    assert stream.latency_seconds == stream.latency / 8000
    n_in = n_out = most = 0
    for block in cut(X[:700], size):
        n_in += len(block)
        n_out += len(stream.process(block))
        most = max(most, n_in - n_out)
    assert most <= stream.latency
    if size == 1:
        assert most == stream.latency  # it is not a loose bound
    assert n_out + len(stream.flush()) == n_in


def test_latency_without_rate():
    stream = Stream(make_pipeline(STFT(n_fft=100), ISTFT()))
    assert stream.latency == 99
    assert stream.hop_length == 25
    assert stream.latency_seconds is None


def test_empty_blocks():
    stream = Stream(make_online())
    assert stream.flush().shape == (0, 0)
    assert stream.process(X[:0]).shape == (0, 2)
    assert stream.flush().shape == (0, 2)
    expected = make_online().fit_transform(X[:500])
    y = run(stream, [X[:0], X[:300], X[:0], X[300:500]])
    np.testing.assert_allclose(y, expected, atol=1e-10)


def test_integers_and_mixed_precision():
    levels = np.rint(X * 1000).astype(np.int16)
    pipeline = make_frozen()
    assert_same(run(Stream(pipeline), cut(levels, 100)), pipeline.transform(levels))
    # The first block decides.
    x = X.astype(np.float32)
    y = run(Stream(make_frozen(np.float32)), [x[:400], X[400:600], x[600:900]])
    assert_same(y, make_frozen(np.float32).transform(x[:900]))


def test_three_microphones():
    x = make_recording(3, 2000)[0]
    expected = make_online(ref_mic=2).fit_transform(x)
    y = run(Stream(make_online(ref_mic=2)), cut(x, 77))
    np.testing.assert_allclose(y, expected, atol=1e-10)


def test_more_sources_than_microphones(tmp_path):
    separator = OnlineISNMF(n_components=6, n_sources=3, random_state=0)
    pipeline = make_pipeline(STFT(n_fft=128), separator, ISTFT())
    blocks = cut(X[:, :1], 97)
    stream = Stream(pipeline)
    head = [stream.process(block) for block in blocks[:9]]
    np.savez(tmp_path / "state.npz", **stream.get_state())
    rest = run(stream, blocks[9:])
    expected = pipeline.fit_transform(X[:, :1])
    np.testing.assert_allclose(np.concatenate([*head, rest]), expected, atol=1e-10)
    with np.load(tmp_path / "state.npz") as state:
        assert np.array_equal(run(Stream(pipeline).set_state(state), blocks[9:]), rest)


def test_pipeline_is_copied():
    pipeline = make_online()
    stream = Stream(pipeline)
    run(stream, cut(X, 100))
    assert not hasattr(pipeline["onlineauxiva"], "demixing_")
    learned = stream.pipeline["onlineauxiva"].demixing_
    np.testing.assert_allclose(
        learned, pipeline.fit(X)["onlineauxiva"].demixing_, rtol=1e-8
    )


def test_fitted_online_separator_begins_anew():
    pipeline = make_online()
    expected = pipeline.fit_transform(X)
    y = run(Stream(pipeline), cut(X, 100))
    np.testing.assert_allclose(y, expected, atol=1e-10)


def test_flush_goes_on_and_reset_begins_anew():
    stream = Stream(make_online())
    first = run(stream, cut(X, 100))
    second = run(stream, cut(X, 100))
    stream.reset()
    assert np.array_equal(run(stream, cut(X, 100)), first)
    # The second time it knew the room.
    pipeline = make_online().fit(X)
    record = pipeline["stft"].transform(X)
    record = pipeline["onlineauxiva"].partial_fit_transform(record)
    expected = pipeline[2:].transform(record)
    np.testing.assert_allclose(second, expected, atol=1e-9)
    assert abs(second - first).max() > 1e-3


def test_reset_in_the_middle():
    stream = Stream(make_online())
    stream.process(X[:777])
    assert stream.reset() is stream
    assert np.array_equal(
        run(stream, cut(X, 100)), run(Stream(make_online()), cut(X, 100))
    )


def test_other_microphones_after_reset():
    stream = Stream(make_online())
    run(stream, cut(X, 500))
    x = make_recording(3)[0]
    assert run(stream.reset(), cut(x, 500)).shape == x.shape


def test_memory_does_not_grow():
    stream = Stream(make_online())
    stream.process(X)  # of a long block nothing is kept but its end
    size = len(pickle.dumps(stream))
    for _ in range(5):
        for block in cut(X, 32):
            stream.process(block)
    # The input buffer holds some samples more or less, at most those of a frame.
    assert abs(len(pickle.dumps(stream)) - size) < 128 * 2 * 8 + 100


# ---- state


@pytest.mark.parametrize("separator", SEPARATORS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    ("n_before", "dtype"), [(1, np.float64), (13, np.float64), (5, np.float32)]
)
def test_state_continues_to_the_bit(tmp_path, n_before, dtype, separator):
    blocks = cut(X.astype(dtype), 97)
    stream = Stream(make_online(separator))
    for block in blocks[:n_before]:
        stream.process(block)
    np.savez(tmp_path / "state.npz", **stream.get_state())
    pickled = pickle.loads(pickle.dumps(stream))
    expected = run(stream, blocks[n_before:])
    with np.load(tmp_path / "state.npz") as state:
        resumed = Stream(make_online(separator)).set_state(state)
    assert np.array_equal(run(resumed, blocks[n_before:]), expected)
    assert np.array_equal(run(pickled, blocks[n_before:]), expected)


def test_state_is_a_copy():
    stream = Stream(make_online())
    stream.process(X[:1000])
    state = stream.get_state()
    saved = {name: np.copy(value) for name, value in state.items()}
    expected = stream.process(X[1000:])
    assert all(np.array_equal(state[name], saved[name]) for name in state)
    other = Stream(make_online()).set_state(state)
    other.process(X[1000:])
    assert np.array_equal(stream.set_state(state).process(X[1000:]), expected)


KILLABLE = {  # with the signal; the last one's state is written last
    "auxiva": (OnlineAuxIVA(), X),
    "ilrma": (OnlineILRMA(random_state=0), X),
    "isnmf": (OnlineISNMF(4, n_sources=2, random_state=0), X[:, :1]),
}

KILLED = """
import os, signal
import numpy as np
from tests.test_streaming import KILLABLE, Stream, cut, make_online

resumed = os.path.exists("isnmf.npz")
for name, (separator, x) in KILLABLE.items():
    stream, blocks = Stream(make_online(separator)), cut(x, 97)
    if resumed:
        stream.set_state(np.load(f"{name}.npz"))
    with open(f"{name}.raw", "ab") as file:
        for block in blocks[12:] if resumed else blocks[:12]:
            file.write(stream.process(block).tobytes())
        np.savez(f"{name}.npz", **stream.get_state())
        if resumed:
            file.write(stream.flush().tobytes())
if not resumed:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_process_continues_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_code(KILLED) == -signal.SIGKILL
    assert run_code(KILLED) == 0
    for name, (separator, x) in KILLABLE.items():
        y = np.fromfile(tmp_path / f"{name}.raw").reshape(-1, 2)
        expected = run(Stream(make_online(separator)), cut(x, 97))
        assert np.array_equal(y, expected)


def test_frozen_state():
    pipeline = make_frozen()
    stream = Stream(pipeline)
    head = stream.process(X[:1000])
    resumed = Stream(pipeline).set_state(stream.get_state())
    assert_same(np.concatenate([head, run(resumed, [X[1000:]])]), pipeline.transform(X))


def test_states_that_do_not_fit():
    stream = Stream(make_online())
    with pytest.raises(NotFittedError, match="before the first block"):
        stream.get_state()
    stream.process(X[:1000])
    state = stream.get_state()
    with pytest.raises(ValueError, match=r"n_fft=128, .* n_fft=256"):
        Stream(make_online(n_fft=256)).set_state(state)
    with pytest.raises(ValueError, match=r"hop_length=32, .* hop_length=64"):
        Stream(make_online(hop_length=64)).set_state(state)
    three = Stream(make_online())
    three.process(make_recording(3)[0])
    with pytest.raises(ValueError, match=r"2 microphones, .* 3"):
        three.set_state(state)


# ---- what is refused


class Doubler(BaseEstimator):
    """A step without transform."""

    def fit(self, X, y=None):
        return self


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (make_online(AuxIVA()), "can't learn with AuxIVA, .* fit the pipeline"),
        (make_pipeline(STFT(), OnlineAuxIVA()), "Got STFT, OnlineAuxIVA"),
        (make_pipeline(OnlineAuxIVA(), ISTFT()), "Got OnlineAuxIVA, ISTFT"),
        (make_pipeline(ISTFT()), "Got ISTFT"),
        (make_pipeline(STFT(), ISTFT(), STFT(), ISTFT()), "no other of them between"),
        (Pipeline([("a", STFT()), ("b", Doubler()), ("c", ISTFT())]), "Doubler"),
        (
            make_pipeline(
                STFT(), OnlineAuxIVA(), ProjectionBack(method="least_squares"), ISTFT()
            ),
            "least_squares",
        ),
        (make_pipeline(STFT(n_fft=0), ISTFT()), "n_fft"),
        (make_pipeline(STFT(n_fft=8, hop_length=9), ISTFT()), "isn't invertible"),
        (make_online(OnlineAuxIVA(forget=2)), "forget"),
        (make_online(ref_mic=-1), "ref_mic"),
    ],
)
def test_pipelines_that_cannot_be_streamed(pipeline, message):
    with pytest.raises(ValueError, match=message):
        Stream(pipeline)


def test_not_a_pipeline():
    with pytest.raises(TypeError, match="Got OnlineAuxIVA"):
        Stream(OnlineAuxIVA())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.pop("overlap"), "without overlap"),
        (lambda state: state.pop("n_frames"), "without n_frames"),
        (
            lambda state: state.update(input=state["input"][:, 0]),
            "input isn't a finite",
        ),
        (
            lambda state: state.update(input=state["input"] * np.nan),
            "input isn't a fini",
        ),
        (lambda state: state.update(overlap=0), "overlap isn't a finite matrix"),
        (lambda state: state.update(overlap=state["overlap"][1:]), "rows, expected"),
    ],
)
def test_a_damaged_state(damage, message):
    stream = Stream(make_online())
    stream.process(X[:1000])
    state = stream.get_state()
    damage(state)
    other = Stream(make_online())
    with pytest.raises(ValueError, match=message):
        other.set_state(state)
    assert_same(run(other, cut(X, 50)), run(Stream(make_online()), cut(X, 50)))


def test_passthrough():
    steps = [("a", STFT(n_fft=64)), ("b", "passthrough"), ("c", None), ("d", ISTFT())]
    assert_same(run(Stream(Pipeline(steps)), cut(X, 50)), X)


def test_ref_mic_out_of_range():
    with pytest.raises(ValueError, match="ref_mic=5, but the recording has 2"):
        Stream(make_online(ref_mic=5)).process(X[:0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((3, 2), np.nan), "NaN"),
        (np.full((3, 2), np.inf), "infinity"),
        (X[:3, 0], "2D array"),
        (X[:3, :1], "1 channels, but the stream began with 2"),
        (np.ones((3, 2), complex), "Complex"),
        (np.full((3, 2), 1e300), "1e.300 in a block, expected at most"),
    ],
)
def test_bad_blocks_change_nothing(bad, message):
    stream = Stream(make_online())
    head = stream.process(X[:1000])
    with pytest.raises(ValueError, match=message):
        stream.process(bad)
    y = np.concatenate([head, run(stream, [X[1000:]])])
    good = Stream(make_online())
    expected = np.concatenate([good.process(X[:1000]), run(good, [X[1000:]])])
    assert np.array_equal(y, expected)


def test_step_of_another_project():
    class Halve(BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            assert isinstance(X, Spectrogram)
            return Spectrogram(X.data / 2, X.stft_params, X.n_samples, X.mixing)

        def __sklearn_is_fitted__(self):
            return True

    pipeline = make_pipeline(STFT(n_fft=64), Halve(), ISTFT())
    assert_same(run(Stream(clone(pipeline)), cut(X, 50)), X / 2)


def test_a_window_that_asks_for_the_recording():
    pipeline = make_pipeline(STFT(64, min_frames=9), OnlineAuxIVA(), ISTFT())
    with pytest.raises(ValueError, match="min_frames=9, which asks for the whole"):
        Stream(pipeline)


@pytest.mark.parametrize("step", [WPE(), CrosstalkCanceller()])
def test_steps_that_filter_over_frames_are_refused(step):
    pipeline = make_pipeline(STFT(n_fft=128), step, ISTFT())
    with pytest.raises(ValueError, match=f"can't use {type(step).__name__}, which"):
        Stream(pipeline.fit(X))


def test_a_buffer_may_be_used_again():
    stream, buffer = Stream(make_online()), np.empty((100, X.shape[1]))
    done = []
    for start in range(0, 3000, 100):
        buffer[:] = X[start : start + 100]
        done.append(stream.process(buffer))
    assert_same(np.concatenate(done), Stream(make_online()).process(X[:3000]))


def test_separation_goes_on_after_long_silence():
    silence = np.zeros((50_000, X.shape[1]))
    stream = Stream(make_online())
    stream.process(X)
    assert np.isfinite(stream.process(silence)).all()
    y = np.concatenate([stream.process(X), stream.flush()])
    assert np.isfinite(y).all()
    assert np.square(y).sum(axis=0).min() > 0.01 * np.square(X).sum() / X.shape[1]
