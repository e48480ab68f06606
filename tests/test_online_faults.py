"""Online separators in trouble: failures, interruptions, wrong states, other steps."""

# License: BSD-3-Clause

import pickle
import sys
import tracemalloc

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal, assert_equal
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline, make_pipeline

from skbss import (
    ISTFT,
    STFT,
    AuxIVA,
    OnlineAuxIVA,
    OnlineILRMA,
    OnlineISNMF,
    ProjectionBack,
    Spectrogram,
)
from skbss.streaming import Stream
from skbss.updates import ISS1, Cliques, GeneralizedGauss, StudentT
from tests import reference
from tests.conftest import make_recording

RECURSIVE = [OnlineAuxIVA(), OnlineILRMA(random_state=0)]
ONLINE = [*RECURSIVE, OnlineISNMF(4, batch_size=3, random_state=0)]


def make_frames(separator, n_frames=40, n_mics=2, seed=0):
    X = reference.make_mixture(seed, n_mics, n_frames, 9)
    return X[:, :, :1] if isinstance(separator, OnlineISNMF) else X


def to_record(X, **kwargs):
    return Spectrogram(X, {"n_fft": 2 * X.shape[1] - 2}, 0, **kwargs)


class Fails(BaseEstimator):
    """Source model or spatial update that raises an error when it is asked often."""

    def __init__(self, calls, error=RuntimeError):
        self.calls, self.error = calls, error

    def _count(self):
        self.n_calls = getattr(self, "n_calls", 0) + 1
        if self.n_calls == self.calls:
            raise self.error("enough")

    def variance(self, power):
        self._count()
        return power

    def update(self, W, V):
        self._count()
        return ISS1().update(W, V)


# ---- failures and interruptions


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("calls", [*range(1, 10), 202])
def test_a_failing_source_model_leaves_the_last_whole_frame(calls, error):
    X = make_frames(None)
    source = Fails(10**9)
    separator = OnlineAuxIVA(0.9, source=source, lookback=5).fit(X[:20])
    source.n_calls, source.calls, source.error = 0, calls, error
    with pytest.raises(error, match="enough"):
        separator.partial_fit(np.concatenate([X[20:]] * 5))
    n_learned = separator.n_frames_seen_ - 20
    source.calls = 10**9
    expected = OnlineAuxIVA(0.9, lookback=5).fit(X[:20])
    for x in np.concatenate([X[20:]] * 5)[:n_learned]:
        expected.partial_fit(x[None])
    assert_equal(separator.get_state(), expected.get_state())


@pytest.mark.parametrize("separator", RECURSIVE, ids=repr)
def test_a_failing_spatial_update_leaves_the_last_whole_frame(separator):
    X = make_frames(separator)
    for calls in range(1, 20, 3):
        spatial = Fails(10**9)
        failing = clone(separator).set_params(lookback=5, spatial=spatial).fit(X)
        expected = clone(failing).fit(X)
        failing.spatial.n_calls, failing.spatial.calls = 0, calls
        with pytest.raises(RuntimeError):
            failing.partial_fit(X)
        failing.spatial.calls = 10**9
        expected.partial_fit(X[: calls - 1]) if calls > 1 else None
        assert_equal(failing.get_state(), expected.get_state())


@pytest.mark.parametrize("separator", ONLINE, ids=repr)
def test_an_interruption_anywhere_leaves_whole_frames(separator):
    """Whatever line it comes at, some whole number of frames is learned."""
    X = make_frames(separator, 8)
    states = [clone(separator).fit(X).get_state()]
    going_on = clone(separator).fit(X)
    for x in X:
        states.append(going_on.partial_fit(x[None]).get_state())
    files = ("skbss/separators", "skbss/updates")
    for line in range(1, 900, 37):
        stopped, n_lines = clone(separator).fit(X), 0

        def interrupt(frame, event, arg, line=line):
            nonlocal n_lines
            if not any(name in frame.f_code.co_filename for name in files):
                return None
            n_lines += event == "line"
            if n_lines == line:
                sys.settrace(None)
                raise KeyboardInterrupt
            return interrupt

        tracer = sys.gettrace()
        sys.settrace(interrupt)
        try:
            for x in X:
                stopped.partial_fit(x[None])
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(tracer)
        state = stopped.get_state()
        assert any(
            all(np.array_equal(state[key], other[key]) for key in state)
            for other in states
        )


BAD_FITS = {
    "NaN": lambda X: ({}, X * np.nan),
    "real": lambda X: ({}, X.real),
    "two dimensions": lambda X: ({}, X[0]),
    "a parameter": lambda X: ({"forget": 7}, X),
    "a microphone": lambda X: ({"ref_mic": 9}, X),
    "bands": lambda X: ({"source": Cliques()}, X),
    "variances": lambda X: ({"source": Fails(30)}, X),
    "an update": lambda X: ({"spatial": Fails(30)}, X),
    "an interruption": lambda X: ({"spatial": Fails(30, KeyboardInterrupt)}, X),
    "components": lambda X: ({"component_to_source": [0, 5]}, X),
    "a basis": lambda X: ({"basis_init": [[-1.0]]}, X),
}


@pytest.mark.parametrize("kind", BAD_FITS)
@pytest.mark.parametrize("separator", ONLINE, ids=repr)
def test_a_failed_fit_leaves_what_was_fitted(separator, kind):
    X = make_frames(separator, 10)
    params, bad = BAD_FITS[kind](make_frames(separator, seed=1))
    if not set(params) <= set(separator.get_params()):
        pytest.skip("no such parameter")
    for method in ("fit", "fit_transform"):
        fitted, fresh = clone(separator).fit(X), clone(separator)
        before = fitted.get_state()
        for estimator in (fitted, fresh):
            estimator.set_params(**clone_all(params))
            with pytest.raises((ValueError, RuntimeError, KeyboardInterrupt)):
                getattr(estimator, method)(bad)
            estimator.set_params(**separator.get_params())
        assert_equal(fitted.get_state(), before)
        assert not hasattr(fresh, "n_features_in_")
        assert_equal(fresh.fit(X).get_state(), before)


def clone_all(params):
    return {name: clone(value, safe=False) for name, value in params.items()}


# ---- source models


class Bad(BaseEstimator):
    def __init__(self, kind):
        self.kind = kind

    def variance(self, power):
        return {
            "nan": power * np.nan,
            "inf": power / 0.0,
            "zero": 0 * power,
            "negative": -power,
            "shape": power[:, 0],
            "number": 1.0,
        }[self.kind]


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("kind", ["nan", "inf", "zero", "negative", "shape", "number"])
def test_a_users_variances_are_checked(kind):
    X = make_frames(None)
    separator = OnlineAuxIVA(source=Bad(kind))
    with pytest.raises(ValueError, match=r"Bad\(kind=.*variance\(\) returned"):
        separator.fit(X)
    fitted = OnlineAuxIVA().fit(X)
    before = fitted.get_state()
    fitted.set_params(source=Bad(kind))
    with pytest.raises(ValueError, match=r"variance\(\) returned"):
        fitted.partial_fit(X)
    assert_equal(fitted.get_state(), before)


def test_source_models_are_asked_about_mean_powers_of_whole_frames():
    class Asked(BaseEstimator):
        shapes = set()

        def variance(self, power):
            self.shapes.add((power.shape[:2], power.ndim))
            return power

    X = make_frames(None)
    asked = OnlineAuxIVA(source=Asked()).fit(X)
    assert Asked.shapes == {((2, 1), 3)}
    assert_array_equal(asked.demixing_, OnlineAuxIVA().fit(X).demixing_)


@pytest.mark.parametrize(
    "source", ["t", "ggd", StudentT(), GeneralizedGauss(0.5)], ids=repr
)
def test_every_model_of_whole_frames(source):
    X = make_frames(None)
    assert np.isfinite(OnlineAuxIVA(source=source).fit_transform(X)).all()


def test_models_of_several_bands_are_refused():
    X = make_frames(None)
    with pytest.raises(ValueError, match=r"Cliques\(\), a model of 512 bands"):
        OnlineAuxIVA(source=Cliques()).fit(X)
    with pytest.raises(ValueError, match="source"):
        OnlineAuxIVA(source="cliques").fit(X)


# ---- states


@pytest.mark.parametrize("separator", ONLINE, ids=repr)
def test_every_entry_of_a_state_is_checked(separator):
    X = make_frames(separator)
    state = clone(separator).fit(X[:31]).get_state()
    fitted = clone(separator).fit(X)
    before = fitted.get_state()
    signed = {"quiet", "demixing", "held", "held_at", "ref_mic"}
    for key, value in state.items():
        value = np.asarray(value)
        wrong = [value * np.nan, value.astype(str), value[None], value + 0j + 1j]
        wrong.append(value.astype(object))
        if value.ndim:
            wrong += [value[..., :-1], value.astype(np.float32)]
            wrong.append(value.astype(np.clongdouble))
        if key not in signed:
            wrong.append(-1 - value)
        if key in ("demixing", "held"):
            del wrong[3]  # any finite complex numbers will do
        if key.startswith("pending"):
            wrong = [w for w in wrong if w.dtype != np.float32]
        for bad in wrong:
            with pytest.raises(ValueError, match="Got a state"):
                fitted.set_state(state | {key: bad})
        with pytest.raises(ValueError, match="Got a state"):
            fitted.set_state({k: v for k, v in state.items() if k != key})
        assert_equal(fitted.get_state(), before)
    with pytest.raises(ValueError, match="Got a state"):
        fitted.set_state(state | {"more": 1})
    assert_equal(fitted.set_state(state).get_state(), state)


def test_states_that_contradict_themselves():
    X = make_frames(None)
    fitted = OnlineAuxIVA().fit(X)
    state = fitted.get_state()
    for change in (
        {"n_kept": 10**6},
        {"held_at": 10**6},
        {"scale": 0.0},
        {"power": 0.0},
        {"ref_mic": 1},
    ):
        with pytest.raises(ValueError, match="Got "):
            fitted.set_state(state | change)
    assert_equal(fitted.get_state(), state)


@pytest.mark.parametrize("separator", ONLINE, ids=repr)
def test_set_state_draws_no_random_numbers(separator):
    if "random_state" not in separator.get_params():
        pytest.skip("not random")
    X = make_frames(separator)
    state = clone(separator).fit(X).get_state()
    rng = np.random.RandomState(3)
    clone(separator).set_params(random_state=rng).set_state(state)
    assert rng.uniform() == np.random.RandomState(3).uniform()


@pytest.mark.parametrize("n_bins", [1, 9])
@pytest.mark.parametrize(
    "separator", [*ONLINE, OnlineILRMA(1), OnlineISNMF(1, n_sources=1)], ids=repr
)
def test_attributes_are_copies(separator, n_bins):
    X = np.ascontiguousarray(make_frames(separator)[:, :n_bins])
    fitted = clone(separator).fit(X)
    before = fitted.get_state()
    names = "demixing_", "mixing_", "basis_", "activations_"
    arrays = [getattr(fitted, name) for name in names if hasattr(fitted, name)]
    assert arrays
    for array in arrays:
        array[:] = 7
    assert_equal(fitted.get_state(), before)
    Y = fitted.partial_fit_transform(to_record(X))
    before = fitted.get_state()
    Y.data[:] = 0
    Y.mixing[:] = 0
    assert_equal(fitted.get_state(), before)


def test_the_reference_microphone_does_not_change_while_learning():
    X = to_record(make_frames(None))
    fitted = OnlineAuxIVA().fit(X).set_params(ref_mic=1)
    with pytest.raises(ValueError, match="ref_mic=1 after learning with ref_mic=0"):
        fitted.partial_fit(X)
    with pytest.raises(ValueError, match="ref_mic=2, but the recording has 2"):
        OnlineAuxIVA(ref_mic=2).fit(X)


# ---- records, separators in a row, streams


def test_outputs_of_records_are_images_at_the_reference_microphone():
    X = make_frames(None, 200, 3)
    separator = OnlineAuxIVA(ref_mic=2)
    Y = separator.fit_transform(to_record(X))
    assert Y.images_at == 2
    assert ProjectionBack(2).fit_transform(Y) is Y
    exact = np.empty_like(Y.data)
    learner = OnlineAuxIVA()
    for t, x in enumerate(X):
        learner.partial_fit(x[None])
        y = np.einsum("fkm,fm->fk", learner.demixing_, x)
        exact[t] = learner.mixing_[:, 2] * y
    error = abs(Y.data - exact) ** 2
    assert error.sum() < 1e-2 * (abs(exact) ** 2).sum()
    # In the frames that matrices are from they are exact.
    new = np.flatnonzero(np.diff(Y.mixing_index, prepend=-1))
    assert 30 < len(new) < 80
    assert_allclose(Y.data[new], exact[new], atol=1e-8 * abs(exact).max())


def in_a_row(*separators):
    return [(f"s{k}", clone(separator)) for k, separator in enumerate(separators)]


FIRST = [AuxIVA(max_iter=5), OnlineILRMA(random_state=0)]


@pytest.mark.parametrize("second", RECURSIVE, ids=repr)
@pytest.mark.parametrize("first", FIRST, ids=repr)
def test_separators_in_a_row_lead_back_to_the_microphones(first, second):
    ref_mic = 1
    X = to_record(make_frames(None, 140))
    between = clone(first).fit_transform(X)
    separator = clone(second).set_params(ref_mic=ref_mic)
    Y = separator.fit_transform(between)
    Z = ProjectionBack(ref_mic).fit_transform(Y)
    # Least squares: the outputs explain the microphone but for what is correlated.
    x = X.data[60:, :, ref_mic]
    assert (abs(Z.data[60:].sum(2) - x) ** 2).sum() < 0.2 * (abs(x) ** 2).sum()
    A = Y.mixing_of(slice(None))
    back = np.einsum("tfmk,tfk->tfm", A, Y.data)[60:]
    error = (abs(back - X.data[60:]) ** 2).sum() / (abs(X.data[60:]) ** 2).sum()
    assert error < 0.3


@pytest.mark.parametrize("ref_mic", [0, 1, 2])
def test_one_channel_after_another_separator(ref_mic):
    X = to_record(make_frames(None, n_mics=3))
    one = AuxIVA(max_iter=5, n_sources=1).fit_transform(X)
    Y = OnlineISNMF(4, random_state=0).fit_transform(one)
    assert Y.mixing.shape == (1, 9, 3, 2)
    expected = ProjectionBack(ref_mic).fit_transform(one).data[..., 0]
    images = ProjectionBack(ref_mic).fit_transform(Y).data
    assert_allclose(images.sum(2), expected, atol=1e-12)


def test_a_single_channel_is_where_its_sources_are():
    X = to_record(make_frames(ONLINE[2]))
    Y = clone(ONLINE[2]).fit_transform(X)
    assert X.images_at is None
    assert Y.images_at == 0
    assert ProjectionBack().fit_transform(Y) is Y


def test_records_of_few_matrices_are_hashed_and_pickled():
    X = to_record(make_frames(None, 100))
    Y, again = (OnlineAuxIVA().fit_transform(X) for _ in range(2))
    assert joblib.hash(Y) == joblib.hash(again)
    copy = pickle.loads(pickle.dumps(Y))
    assert_array_equal(copy.mixing_index, Y.mixing_index)


@pytest.mark.parametrize(
    "index", [np.zeros(39, int), np.zeros(40), np.full(40, 99), np.full(40, -1)]
)
def test_wrong_indices_are_refused(index):
    Y = OnlineAuxIVA().fit_transform(to_record(make_frames(None)))
    wrong = to_record(Y.data, mixing=Y.mixing, mixing_index=index)
    with pytest.raises(ValueError, match="Got mixing_index"):
        ProjectionBack(1).fit_transform(wrong)


def test_projections_take_the_matrix_of_each_frame():
    Y = OnlineAuxIVA().fit_transform(to_record(make_frames(None, 100)))
    each = to_record(Y.data, mixing=Y.mixing_of(slice(None)))
    for params in ({"ref_mic": 1}, {"ref_mic": "sum"}, {"method": "least_squares"}):
        few = ProjectionBack(**params).fit_transform(Y)
        expected = ProjectionBack(**params).fit_transform(each)
        assert_array_equal(few.data, expected.data)
        assert_array_equal(few.mixing_of(slice(None)), expected.mixing)


X_TIME = make_recording(n_samples=1501)[0]


def make_two():
    steps = [("stft", STFT(n_fft=64)), *in_a_row(OnlineAuxIVA(), RECURSIVE[1])]
    return Pipeline([*steps, ("back", ProjectionBack()), ("istft", ISTFT())])


@pytest.mark.parametrize("size", [50, 999])
def test_two_online_steps_in_a_stream(size):
    expected = make_two().fit_transform(X_TIME)
    blocks = [X_TIME[k : k + size] for k in range(0, len(X_TIME), size)]
    y = np.concatenate(list(Stream(make_two()).blocks(blocks)))
    assert_allclose(y, expected, rtol=0, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("key", ["s0.demixing", "s1.basis", "s1.n_frames", "overlap"])
def test_the_state_of_a_stream_is_set_in_all_steps_or_none(key):
    stream = Stream(make_two())
    stream.process(X_TIME[:1000])
    state = stream.get_state()
    other = Stream(make_two())
    other.process(X_TIME[1000:])
    before = other.get_state()
    value = np.asarray(state[key])
    for bad in (value * np.nan, value[None], value.astype(str)):
        with pytest.raises(ValueError, match="Got a state"):
            other.set_state(state | {key: bad})
    assert_equal(other.get_state(), before)
    other.set_state(state)
    assert_array_equal(other.process(X_TIME[1000:]), stream.process(X_TIME[1000:]))


def test_buffers_of_a_state_are_checked():
    stream = Stream(make_two())
    stream.process(X_TIME[:1000])
    state = stream.get_state()
    before = stream.get_state()
    for change in (
        {"n_frames": -1},
        {"n_frames": 1.5},
        {"input": np.zeros((64, 2))},
        {"input": np.zeros((5, 2), np.float32)},
        {"input": np.zeros((5, 2), np.longdouble)},
        {"input": np.zeros((5, 2), complex)},
        {"overlap": np.zeros((48, 3))},
        {"overlap": np.zeros((48, 2), int)},
    ):
        with pytest.raises(ValueError, match="Got a state"):
            stream.set_state(state | change)
        assert_equal(stream.get_state(), before)


# ---- memory


def test_a_pipeline_needs_three_spectrograms_at_most():
    """Of whole recordings. Frames are few bins here, which changes no share."""
    x = np.random.default_rng(0).laplace(size=(16_000, 2))
    x *= 1 + np.sin(np.arange(len(x))[:, None] / 2000)
    steps = STFT(128), OnlineAuxIVA(), ProjectionBack(), ISTFT()
    make_pipeline(*map(clone, steps)).fit_transform(x[:1000])  # loads what is needed
    data, size, peak = x, 0, 0
    tracemalloc.start()
    try:
        for step in steps:
            data = step.fit_transform(data)
            size = max(size, getattr(data, "data", data).nbytes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 2 * size < peak < 3 * size
