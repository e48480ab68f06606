"""Online separators: right, independent of chunking, robust, and resumable."""

# License: BSD-3-Clause

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbss import (
    ISTFT,
    STFT,
    EachRecording,
    OnlineAuxIVA,
    OnlineILRMA,
    ProjectionBack,
    Spectrogram,
)
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr_improvement, si_sdr_scorer
from skbss.separators import _online
from skbss.updates import IP1
from tests import reference, reference_online
from tests.processes import run_code
from tests.test_common import Lift

ONLINE = [
    OnlineAuxIVA(),
    OnlineAuxIVA(0.98, inner_iter=2, source="laplace", spatial="iss1", lookback=5),
    OnlineILRMA(random_state=0),
    OnlineILRMA(3, forget=0.98, spatial="iss1", inner_iter=2, random_state=0),
]


def make_frames(n_mics, n_frames=30, n_freqs=9, random_state=0):
    return reference.make_mixture(random_state, n_mics, n_frames, n_freqs)


def assert_agree(separator, slow, X, atol):
    """Compare after every frame, each from the same state.

    Where few frames leave the covariances nearly singular, rounding would grow from
    frame to frame.
    """
    for x in X:
        slow.frame(x)
        separator.partial_fit(x[None])
        error = reference.relative_error(separator.demixing_, slow.W)
        np.testing.assert_allclose(error, 0, atol=atol)
        slow.W = reference.align_phase(slow.W, separator.demixing_)
        state = separator.get_state()
        state["demixing"] = slow.W.transpose(1, 2, 0) * state["scale"]
        separator.set_state(state)
    mixing = slow.mixing()
    np.testing.assert_allclose(separator.mixing_, mixing, atol=atol * abs(mixing).max())


# One update from a given state agrees to 1e-10; three let rounding grow.
ATOL = {1: 1e-10, 3: 1e-9}


@pytest.mark.parametrize("n_mics", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("spatial", ["ip1", "iss1"])
@pytest.mark.parametrize(("source", "inner_iter"), [("gauss", 1), ("laplace", 3)])
def test_auxiva_agrees_with_slow_reference(n_mics, spatial, source, inner_iter):
    X = make_frames(n_mics, n_frames=8)
    params = {"spatial": spatial, "inner_iter": inner_iter, "lookback": 4}
    slow = reference_online.OnlineAuxIVA(9, n_mics, 0.9, source=source, **params)
    separator = OnlineAuxIVA(0.9, source=source, **params)
    assert_agree(separator, slow, X, ATOL[inner_iter])


@pytest.mark.parametrize("n_mics", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("spatial", ["ip1", "iss1"])
@pytest.mark.parametrize("inner_iter", [1, 3])
def test_ilrma_agrees_with_the_slow_reference(n_mics, spatial, inner_iter):
    X = make_frames(n_mics, n_frames=8)
    params = {"forget": 0.9, "spatial": spatial, "inner_iter": inner_iter}
    params |= {"lookback": 4, "blend": 0.6, "basis_forget": 0.95}
    separator = OnlineILRMA(3, random_state=0, **params).fit(0 * X)
    slow = reference_online.OnlineILRMA(separator.basis_, **params)
    assert_agree(separator, slow, X, ATOL[inner_iter])
    np.testing.assert_allclose(separator.basis_, slow.B, rtol=1e-6)


def make_jump(n_mics, random_state=0):
    """Frames of which the last 45 come from other places than the first 85."""
    places = [make_frames(n_mics, 85, random_state=random_state + k) for k in (0, 1)]
    return np.concatenate([places[0], places[1][:45]])


@pytest.mark.parametrize(("name", "n_mics"), [("auxiva", 2), ("ilrma", 3)])
def test_a_jump_is_noticed_as_the_slow_reference_does(name, n_mics, monkeypatch):
    # Random frames aren't speech: their outputs are less coherent after a jump.
    monkeypatch.setattr(_online, "JUMP", 0.1)
    monkeypatch.setattr(reference_online, "JUMP", 0.1)
    X = make_jump(n_mics)
    if name == "auxiva":
        separator = OnlineAuxIVA(0.99)
        slow = reference_online.OnlineAuxIVA(9, n_mics, 0.99, 1, "gauss", "ip1", 64)
    else:
        separator = OnlineILRMA(random_state=0, forget=0.99).fit(0 * X)
        slow = reference_online.OnlineILRMA(
            separator.basis_, 0.99, 1, "ip1", 64, separator.blend, 0.999
        )
    assert_agree(separator, slow, X, 1e-10)
    assert slow.first > 64
    assert separator.get_state()["n_kept"] == len(X) - slow.first


def test_a_users_spatial_update_is_called_and_gives_the_same():
    class MyIP1(IP1):
        n_calls = 0

        def update(self, W, V):
            type(self).n_calls += 1
            return super().update(W, V)

    for n_mics in (2, 3, 4):
        X = make_frames(n_mics)
        fast = OnlineAuxIVA(inner_iter=2).fit(X)
        general = OnlineAuxIVA(inner_iter=2, spatial=MyIP1()).fit(X)
        # Two algorithms for one update: rounding of some 30 ill-conditioned frames.
        error = reference.relative_error(fast.demixing_, general.demixing_)
        np.testing.assert_allclose(error, 0, atol=1e-6)
    assert MyIP1.n_calls == 3 * len(X) * 2


SIZES = [(2, np.complex64), (3, np.complex128)]


@pytest.mark.parametrize("separator", ONLINE, ids=repr)
class TestEveryOnlineSeparator:
    @pytest.mark.parametrize(("n_mics", "dtype"), SIZES)
    def test_chunking_changes_nothing(self, separator, n_mics, dtype):
        X = make_frames(n_mics, n_frames=80, n_freqs=33).astype(dtype)
        record = Spectrogram(X, {"n_fft": 64}, 0)
        whole = clone(separator).fit_transform(record)
        assert whole.data.dtype == whole.mixing.dtype == dtype
        for sizes in ([1] * 80, [7, 65, 1, 7]):
            parts = clone(separator)
            start = 0
            for size in sizes:
                block = Spectrogram(X[start : start + size], {"n_fft": 64}, 0)
                out = parts.partial_fit_transform(block)
                frames = slice(start, start + size)
                np.testing.assert_array_equal(out.data, whole.data[frames])
                shape = size, *out.mixing.shape[1:]
                mixing = np.broadcast_to(out.mixing_of(slice(None)), shape)
                np.testing.assert_array_equal(mixing, whole.mixing_of(frames))
                start += size
            assert start == 80

    def test_fit_and_partial_fit_learn_the_same_as_fit_transform(self, separator):
        X = make_frames(2)
        causal = clone(separator)
        Y = causal.fit_transform(X)
        assert isinstance(Y, np.ndarray)
        for other in (
            clone(separator).fit(X),
            clone(separator).fit(X[::-1]).fit(X),
            clone(separator).partial_fit(X[:11]).partial_fit(X[11:]),
        ):
            np.testing.assert_array_equal(other.demixing_, causal.demixing_)
            np.testing.assert_array_equal(other.mixing_, causal.mixing_)

    def test_transform_is_frozen(self, separator):
        X = make_frames(2)
        fitted = clone(separator).fit(X)
        before = fitted.get_state()
        Y = fitted.transform(X)
        W = fitted.demixing_
        np.testing.assert_allclose(Y, np.einsum("fkm,tfm->tfk", W, X), atol=1e-12)
        np.testing.assert_equal(fitted.get_state(), before)

    @pytest.mark.parametrize(
        ("dtype", "factor"), [(np.complex64, 1e-6), (np.complex128, 1e6)]
    )
    def test_level_changes_nothing_but_the_level(self, separator, dtype, factor):
        X = make_frames(2, n_frames=60)
        images = clone(separator).fit_transform(to_record(X.astype(dtype)))
        scaled = clone(separator).fit_transform(to_record((factor * X).astype(dtype)))
        expected = factor * ProjectionBack().transform(images).data
        actual = ProjectionBack().transform(scaled).data
        # Rounding, grown over 60 frames of 9 bins.
        tolerance = {np.complex64: 2e-2, np.complex128: 1e-8}[dtype]
        error = abs(actual - expected).max() / abs(expected).max()
        np.testing.assert_allclose(error, 0, atol=tolerance)

    def test_silence_teaches_nothing(self, separator):
        X = make_frames(2)
        fitted = clone(separator).fit(X)
        demixing = fitted.demixing_
        for quiet in (np.zeros_like(X), 1e-4 * X[:10]):
            Y = fitted.partial_fit_transform(quiet)
            np.testing.assert_array_equal(fitted.demixing_, demixing)
            np.testing.assert_allclose(Y, fitted.transform(quiet), rtol=1e-10)
        assert fitted.n_frames_seen_ == len(X)

    def test_a_dead_microphone_teaches_nothing(self, separator):
        X = make_frames(2)
        fitted = clone(separator).fit(X)
        demixing = fitted.demixing_
        fitted.partial_fit(X * [1, 0])
        np.testing.assert_array_equal(fitted.demixing_, demixing)
        assert fitted.n_frames_seen_ == len(X)
        assert fitted.partial_fit(X).n_frames_seen_ == 2 * len(X)

    def test_a_quieter_signal_is_followed_but_no_steady_noise(self, separator):
        X = make_frames(2, n_frames=30)
        half = round(0.5 / (1 - separator.forget))
        # 80 dB down, for two thirds of a memory.
        steady = 1e-4 * np.repeat(X[:1], 4 * half // 3, axis=0)
        changing = 1e-4 * make_frames(2, n_frames=4 * half // 3, random_state=1)
        assert clone(separator).fit(X).partial_fit(steady).n_frames_seen_ == 30
        followed = clone(separator).fit(X).partial_fit(changing)
        # From where half a memory had passed.
        np.testing.assert_allclose(followed.n_frames_seen_, 30 + half // 3, atol=2)

    def test_silence_first(self, separator):
        X = make_frames(2)
        silence = np.zeros_like(X)
        late = clone(separator).fit(silence)
        assert not late.transform(silence).any()
        np.testing.assert_array_equal(late.mixing_, 0)
        late.partial_fit(X)
        np.testing.assert_array_equal(late.demixing_, clone(separator).fit(X).demixing_)

    @pytest.mark.parametrize(("n_mics", "dtype"), SIZES)
    def test_faults_leave_finite_output(self, separator, n_mics, dtype):
        X = make_frames(n_mics, n_frames=30).astype(dtype)
        dead, twins, bins, click = X.copy(), X.copy(), X.copy(), X.copy()
        dead[:, :, 1] = 0
        twins[:, :, 1] = twins[:, :, 0]
        bins[:, 3:] = 0
        click[3] *= 1e8
        fitted = clone(separator)
        for part in (dead, X, twins, bins, click, 1e-9 * X, 1e9 * X, 1e-25 * X, dead):
            Y = fitted.partial_fit_transform(to_record(part.astype(dtype)))
            assert np.isfinite(Y.data).all()
            assert np.isfinite(Y.mixing).all()
            assert np.isfinite(ProjectionBack(1).transform(Y).data).all()

    def test_nan_is_refused_and_changes_nothing(self, separator):
        X = make_frames(2)
        fitted = clone(separator).fit(X)
        before = fitted.get_state()
        bad = X.copy()
        bad[4, 3, 1] = np.nan
        with pytest.raises(ValueError, match=r"frame 4, frequency bin 3, microphone 1"):
            fitted.partial_fit(bad)
        np.testing.assert_equal(fitted.get_state(), before)

    def test_other_shapes_are_refused(self, separator):
        fitted = clone(separator).fit(make_frames(2))
        with pytest.raises(ValueError, match="X has 3 features"):
            fitted.partial_fit(make_frames(3))
        with pytest.raises(ValueError, match="X has 5 frequency bins"):
            fitted.partial_fit(make_frames(2, n_freqs=5))
        fitted.fit(make_frames(3, n_freqs=5))
        assert fitted.demixing_.shape == (5, 3, 3)

    def test_not_fitted(self, separator):
        for method in ("get_state", "transform"):
            args = [make_frames(2)] if method == "transform" else []
            with pytest.raises(NotFittedError):
                getattr(clone(separator), method)(*args)
        assert not hasattr(separator, "demixing_")

    def test_state_round_trip(self, separator, tmp_path):
        X = make_frames(2, n_frames=90)
        fitted = clone(separator).fit(X[:70])
        np.savez(tmp_path / "state.npz", **fitted.get_state())
        expected = fitted.partial_fit_transform(X[70:])
        with np.load(tmp_path / "state.npz") as state:
            again = clone(separator).set_state(state)
        np.testing.assert_array_equal(again.partial_fit_transform(X[70:]), expected)
        np.testing.assert_equal(again.get_state(), fitted.get_state())

    def test_state_is_a_copy(self, separator):
        X = make_frames(2)
        fitted = clone(separator).fit(X)
        state = fitted.get_state()
        again = clone(separator).set_state(state)
        before = {key: np.copy(value) for key, value in state.items()}
        fitted.partial_fit(X)
        again.partial_fit(X)
        np.testing.assert_equal(state, before)

    def test_pickle_goes_on(self, separator):
        X = make_frames(2, n_frames=90)
        fitted = clone(separator).fit(X[:50])
        again = pickle.loads(pickle.dumps(fitted))
        expected = fitted.partial_fit_transform(X[50:])
        np.testing.assert_array_equal(again.partial_fit_transform(X[50:]), expected)

    def test_wrong_states_are_refused(self, separator):
        fitted = clone(separator).fit(make_frames(2))
        other = clone(separator).fit(make_frames(3))
        with pytest.raises(ValueError, match=r"\(3, 3, 9\).*needs \(2, 2, 9\)"):
            fitted.set_state(other.get_state())
        lookback = separator.lookback
        message = (
            rf"ring has shape \({lookback}, 4, 9\).*needs \({lookback + 1}, 4, 9\)"
        )
        longer = clone(separator).set_params(lookback=lookback + 1)
        with pytest.raises(ValueError, match=message):
            longer.set_state(fitted.get_state())
        assert not hasattr(longer, "demixing_")
        state = fitted.get_state()
        with pytest.raises(ValueError, match="isn't finite"):
            longer.set_params(lookback=lookback).set_state(state | {"power": np.nan})
        del state["covariance"]
        with pytest.raises(ValueError, match=r"expected .*'covariance'"):
            fitted.set_state(state)
        with pytest.raises(ValueError, match="without 'demixing'"):
            fitted.set_state({})

    def test_memory_is_constant(self, separator):
        X = make_frames(2, n_frames=200)
        fitted = clone(separator).fit(X[:100])
        size = len(pickle.dumps(fitted))
        assert abs(len(pickle.dumps(fitted.partial_fit(X[100:]))) - size) < 100


def to_record(X):
    return Spectrogram(X, {"n_fft": 2 * X.shape[1] - 2}, 0)


RESUME = """
import numpy as np
from skbss import OnlineAuxIVA, OnlineILRMA
for k, separator in enumerate({separators}):
    with np.load(f"state{{k}}.npz") as state:
        separator.set_state(state)
    np.save(f"out{{k}}.npy", separator.partial_fit_transform(np.load("rest.npy")))
"""


def test_another_process_goes_on_bit_by_bit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = make_frames(3, n_frames=80, n_freqs=65)
    np.save("rest.npy", X[40:])
    fitted = [clone(separator).fit(X[:40]) for separator in ONLINE]
    for k, one in enumerate(fitted):
        np.savez(f"state{k}.npz", **one.get_state())
    assert run_code(RESUME.format(separators=ONLINE)) == 0
    for k, one in enumerate(fitted):
        expected = one.partial_fit_transform(X[40:])
        np.testing.assert_array_equal(np.load(f"out{k}.npy"), expected)


BAD_BLOCKS = {
    "speech": lambda X, rng: X,
    "silence": lambda X, rng: 0 * X,
    "quiet": lambda X, rng: X * 10.0 ** rng.uniform(-12, 0),
    "loud": lambda X, rng: X * 10.0 ** rng.uniform(0, 9),
    "dead channel": lambda X, rng: X * (np.arange(X.shape[2]) != 0),
    "one channel": lambda X, rng: X * (np.arange(X.shape[2]) == 0),
    "equal channels": lambda X, rng: np.repeat(X[:, :, :1], X.shape[2], axis=2),
    "opposite channels": lambda X, rng: X[:, :, :1] * (-1.0) ** np.arange(X.shape[2]),
    "one bin": lambda X, rng: X * (np.arange(X.shape[1]) == 2)[:, None],
    "same frame": lambda X, rng: np.repeat(X[:1], len(X), axis=0),
    "impulse": lambda X, rng: np.where(rng.random(X.shape) < 0.01, 1e6 * X, 0),
    "subnormal": lambda X, rng: X * 1e-40,
    "real": lambda X, rng: X.real + 0j,
}


@pytest.mark.parametrize("separator", ONLINE, ids=repr)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    kinds=st.lists(st.sampled_from(sorted(BAD_BLOCKS)), min_size=1, max_size=6),
    n_mics=st.integers(1, 4),
    single=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_random_bad_blocks_leave_finite_output(separator, kinds, n_mics, single, seed):
    rng = np.random.default_rng(seed)
    fitted = clone(separator)
    dtype = np.complex64 if single else np.complex128
    for kind in kinds:
        X = make_frames(n_mics, n_frames=8, n_freqs=5, random_state=seed)
        block = to_record(BAD_BLOCKS[kind](X, rng).astype(dtype))
        Y = fitted.partial_fit_transform(block)
        assert np.isfinite(Y.data).all()
        assert np.isfinite(Y.mixing).all()
        assert np.isfinite(ProjectionBack().transform(Y).data).all()
    assert all(np.isfinite(v).all() for v in fitted.get_state().values())


@pytest.mark.parametrize(
    ("separator", "name"),
    [
        (OnlineAuxIVA(), "lookback"),
        (OnlineILRMA(random_state=0), "lookback"),
        (OnlineILRMA(random_state=0), "n_basis"),
    ],
)
def test_sizes_do_not_change_while_learning(separator, name):
    X = make_frames(2, n_frames=40, n_freqs=9)
    fitted = clone(separator).fit(X)
    size = getattr(fitted, name)
    state = fitted.get_state()
    for other in [size - 1, size + 1]:
        fitted.set_params(**{name: other})
        with pytest.raises(ValueError, match=f"{name}={other} after .* {name}={size}"):
            fitted.partial_fit(X)
    for key, value in fitted.get_state().items():
        assert np.array_equal(value, state[key])
    fitted.fit(X)
    expected = clone(separator).set_params(**{name: other}).fit_transform(X)
    assert np.array_equal(fitted.fit_transform(X), expected)


NEARLY_SINGULAR = {
    "an empty bin": lambda x, rng: x,
    "one source, noise at -80 dB": lambda x, rng: noisy_copies(x, 1e-4, rng),
    "one source, noise at -120 dB": lambda x, rng: noisy_copies(x, 1e-6, rng),
    "the same in all": lambda x, rng: noisy_copies(x, 0, rng),
    "constant": lambda x, rng: np.ones_like(x),
}


def noisy_copies(x, level, rng):
    return x[:, :1] + level * rng.standard_normal(x.shape)


@pytest.mark.parametrize("kind", NEARLY_SINGULAR)
@pytest.mark.parametrize("separator", [ONLINE[0], ONLINE[2]], ids=repr)
def test_nearly_singular_recordings_in_single_precision(separator, kind):
    rng = np.random.default_rng(0)
    x = NEARLY_SINGULAR[kind](rng.laplace(size=(2000, 5)), rng)
    X = STFT(n_fft=128).fit_transform(x.astype(np.float32))
    if kind == "an empty bin":
        X.data[:, 3] = 0
    assert np.isfinite(clone(separator).fit_transform(X).data).all()


def pipe(separator):
    return make_pipeline(STFT(n_fft=512), separator, ProjectionBack(), ISTFT())


@pytest.mark.parametrize(
    "separator",
    [OnlineAuxIVA(0.99, spatial="iss1"), OnlineILRMA(forget=0.99)],
    ids=repr,
)
def test_it_separates(separator):
    x, y = make_convolutive_mixture(48000, sample_rate=8000, rt60=0.03, random_state=0)
    estimate = pipe(separator).fit_transform(x)
    last = slice(24000, None)
    gain = si_sdr_improvement(y[last], estimate[last], x[last])
    # Measured: 12 dB and more.
    assert np.mean(gain) > 8


def test_grid_search_over_forget():
    recordings = [
        make_convolutive_mixture(16000, sample_rate=8000, rt60=0.03, random_state=seed)
        for seed in range(2)
    ]
    mixtures, references = map(list, zip(*recordings, strict=True))
    search = GridSearchCV(
        EachRecording(pipe(OnlineAuxIVA())),
        {"estimator__onlineauxiva__forget": [0.5, 0.99]},
        scoring=si_sdr_scorer,
        cv=2,
    ).fit(mixtures, references)
    assert search.best_params_ == {"estimator__onlineauxiva__forget": 0.99}


class LiftedOnline(Lift):
    def partial_fit(self, X, y=None):
        return super().partial_fit(self._lift(X))

    def fit_transform(self, X, y=None):
        return super().fit_transform(self._lift(X))[:, 0].real


class LiftedOnlineILRMA(LiftedOnline, OnlineILRMA):
    pass


CAUSAL = "fit_transform separates each frame by what was learned when it arrived"


@parametrize_with_checks(
    [
        LiftedOnlineILRMA(),
        *ONLINE[1:3],
    ],
    expected_failed_checks=lambda estimator: (
        {
            "check_transformer_general": CAUSAL,
            "check_transformer_data_not_an_array": CAUSAL,
        }
        if isinstance(estimator, Lift)
        else {}
    ),
)
def test_common_checks(estimator, check):
    check(estimator)
