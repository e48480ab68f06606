"""OnlineISNMF: its equations, the contract of an online model, what it separates."""

# License: BSD-3-Clause

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import MiniBatchNMF
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_array
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbss import ISTFT, STFT, OnlineISNMF, ProjectionBack, Spectrogram
from skbss.datasets import load_cocktail_party
from skbss.metrics import si_sdr_improvement
from skbss.updates.nmf import FLOOR
from tests.helpers import level
from tests.processes import run_code

N_FREQS = 17


def make_frames(n_frames=30, n_freqs=N_FREQS, random_state=0):
    """Noise of two alternating spectra."""
    rng = np.random.default_rng(random_state)
    spectra = rng.gamma(0.5, size=(2, n_freqs)) + 0.01
    loudness = rng.gamma(0.5, size=(n_frames, 2)) + 0.01
    noise = rng.normal(size=(n_frames, n_freqs, 2)) @ [1, 1j]
    return (np.sqrt(loudness @ spectra) * noise)[..., None]


def separator(**params):
    defaults = {"n_components": 6, "batch_size": 4, "inner_iter": 3, "random_state": 0}
    return OnlineISNMF(**(defaults | params))


def in_chunks(X, cuts):
    return [X[a:b] for a, b in pairwise([0, *cuts, len(X)]) if b > a]


def divergence(X, basis, activations):
    """Mean Itakura-Saito divergence from the model basis @ activations."""
    ratio = abs(X[:, :, 0]) ** 2 / (activations @ basis.T)
    return np.mean(ratio - np.log(ratio) - 1)


class LiftedOnlineISNMF(OnlineISNMF):
    """Take and return 2-D real arrays: the features are the bins of one channel."""

    def fit(self, X, y=None):
        X = self._lift(X)
        super().fit(X)
        self.n_features_in_ = X.shape[1]
        return self

    def partial_fit(self, X, y=None):
        X = self._lift(X, fitted=hasattr(self, "basis_"))
        super().partial_fit(X)
        self.n_features_in_ = X.shape[1]
        return self

    def fit_transform(self, X, y=None):
        return self.fit(X).transform(X)

    def transform(self, X):
        X = self._lift(X, fitted=hasattr(self, "basis_"))
        return super().transform(X)[:, :, 0].real

    def _lift(self, X, fitted=False):
        dtypes = [np.float64, np.float32]
        X = check_array(X, dtype=dtypes, ensure_all_finite=False, estimator=self)
        if fitted and X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return X[:, :, None].astype(np.result_type(X, np.complex64))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


@parametrize_with_checks([OnlineISNMF(), LiftedOnlineISNMF(6, n_sources=1)])
def test_common_checks(estimator, check):
    check(estimator)


# The equations


def reference(X, basis, owner, *, batch_size, forget, n_iter, exponent):
    """Follow the paper frame by frame, in the units of the recording."""
    basis = basis / basis.mean(axis=0)
    L = basis.shape[1]
    P, Q = basis**2 / L, np.full(basis.shape, 1 / L)
    P_new, Q_new = np.zeros_like(P), np.zeros_like(Q)
    masks = []
    for t, x in enumerate(X[:, :, 0]):
        power = abs(x) ** 2
        noise = FLOOR * power.mean()
        v = power + noise
        h = np.full(L, power.mean() / L)
        for _ in range(n_iter):
            m = basis @ h + noise
            h = h * ((basis.T @ (v / m**2)) / (basis.T @ (1 / m))) ** exponent
        m = basis @ h + noise
        masks.append([(basis * h)[:, owner == k].sum(1) for k in range(max(owner) + 1)])
        P_new += basis**2 * np.outer(v / m**2, h)
        Q_new += np.outer(1 / m, h)
        if (t + 1) % batch_size == 0:
            P, Q = forget**batch_size * P + P_new, forget**batch_size * Q + Q_new
            P_new, Q_new = np.zeros_like(P), np.zeros_like(Q)
            basis = np.sqrt(P / Q)
            scale = basis.mean(axis=0)
            basis, h, P, Q = basis / scale, h * scale, P / scale, Q * scale
    masks = np.array(masks).transpose(0, 2, 1)
    return masks / masks.sum(axis=2, keepdims=True), basis, h


@pytest.mark.parametrize("update", ["me", "mm"])
@pytest.mark.parametrize("n_iter", [1, 4])
def test_agrees_with_a_slow_reference(update, n_iter, rng):
    X = make_frames(25)
    basis = rng.gamma(1, size=(N_FREQS, 6))
    owner = np.array([0, 1, 2, 0, 1, 2])
    model = separator(
        n_sources=3,
        component_to_source=owner,
        basis_init=basis,
        forget=0.9,
        inner_iter=n_iter,
        batch_size=5,
        update=update,
    )
    Y = model.fit_transform(X)
    exponent = {"me": 1, "mm": 0.5}[update]
    masks, basis, h = reference(
        X, basis, owner, batch_size=5, forget=0.9, n_iter=n_iter, exponent=exponent
    )
    assert_allclose(Y, masks * X, rtol=1e-10, atol=1e-10 * level(X))
    assert_allclose(model.basis_, basis, rtol=1e-10)
    # 25 frames end with a renewal, after which the activations fit the new basis.
    assert_allclose(model.activations_, h, rtol=1e-10)


def test_one_step_is_that_of_scikit_learn(rng):
    L, n_frames = 5, 8
    basis = rng.gamma(1, size=(N_FREQS, L)) + 0.1
    basis /= basis.mean(axis=0)
    X = make_frames(n_frames)
    # Frames of this level give both the same activations to start from.
    X *= np.sqrt(L / (abs(X) ** 2).mean(axis=1, keepdims=True))
    referee = MiniBatchNMF(
        L,
        beta_loss="itakura-saito",
        init="custom",
        fresh_restarts=True,
        fresh_restarts_max_iter=3,
        tol=0,
        forget_factor=0.5,
    )
    powers = abs(X[:, :, 0]) ** 2
    referee.partial_fit(powers, W=np.ones((n_frames, L)), H=basis.T.copy())

    model = separator(
        n_components=L,
        basis_init=basis,
        batch_size=n_frames,
        forget=0.5 ** (1 / 8),
        update="mm",
    ).partial_fit(X[:1])
    # Scikit-learn begins with these statistics.
    state = clone(model).partial_fit(X[:1]).get_state() | {
        "numerator": basis.T,
        "denominator": np.ones(basis.T.shape),
    }
    model.set_state(state).partial_fit(X[1:])
    expected = referee.components_.T / referee.components_.mean(axis=1)
    # The trace of noise in the model, 1e-10 of the mean, shows in the weakest bins.
    assert_allclose(model.basis_, expected, rtol=1e-6)


def test_objective_is_as_low_as_that_of_scikit_learn(rng):
    L = 4
    X = make_frames(400)
    X /= np.sqrt((abs(X) ** 2).mean(axis=1, keepdims=True))
    powers = abs(X[:, :, 0]) ** 2
    basis = rng.uniform(0.1, 1, (N_FREQS, L))
    referee = MiniBatchNMF(
        L,
        beta_loss="itakura-saito",
        init="custom",
        fresh_restarts=True,
        fresh_restarts_max_iter=20,
        forget_factor=0.9**0.02,
        batch_size=20,
        tol=0,
    )
    model = separator(
        n_components=L, basis_init=basis, batch_size=20, forget=0.9**0.001
    )
    model.set_params(inner_iter=20, update="mm")
    for k in range(200):
        batch = slice(20 * (k % 20), 20 * (k % 20) + 20)
        start = {"W": np.ones((20, L)), "H": basis.T.copy()} if k == 0 else {}
        referee.partial_fit(powers[batch], **start)
        model.partial_fit(X[batch])
    # Both bases judged by the same referee.
    values = []
    for spectra in (model.basis_, referee.components_.T):
        referee.components_ = np.ascontiguousarray(spectra.T)
        values.append(divergence(X, spectra, referee.transform(powers)))
    # They begin with other statistics and end in optima that differ by percents.
    assert values[0] < 1.03 * values[1]
    assert values[0] < 0.8 * divergence(X, np.ones((N_FREQS, 1)), np.ones((400, 1)))


def test_learning_lowers_the_divergence():
    X = make_frames(300)

    def heldout(model):
        frozen = clone(model).set_params(
            basis_init=model.basis_, update_basis=False, inner_iter=50
        )
        values = []
        for x in X[200:]:
            h = frozen.partial_fit(x[None]).activations_
            values.append(divergence(x[None], frozen.basis_, h[None]))
        return np.mean(values)

    model = separator(n_components=2, inner_iter=10)
    before = heldout(model.partial_fit(X[:1]))
    assert heldout(model.partial_fit(X[1:200])) < 0.7 * before


# The contract of an online model


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
@pytest.mark.parametrize("n_freqs", [1, N_FREQS, 513])
def test_division_into_blocks_never_changes_a_bit(n_freqs, dtype):
    X = make_frames(75, n_freqs).astype(dtype)
    X[10:13] = X[40] = 0
    whole = separator()
    expected = whole.fit_transform(X)
    assert expected.dtype == dtype
    for cuts in (range(75), [1, 5, 40], [64]):
        model = separator()
        Y = [model.partial_fit_transform(x) for x in in_chunks(X, cuts)]
        assert_array_equal(np.concatenate(Y), expected)
        for key, value in whole.get_state().items():
            assert_array_equal(model.get_state()[key], value, err_msg=key)
    assert_array_equal(separator().fit(X).basis_, whole.basis_)
    frozen = whole.transform(X)
    one_by_one = [whole.transform(x[None]) for x in X]
    assert_array_equal(np.concatenate(one_by_one), frozen)


def test_fit_forgets_and_partial_fit_goes_on():
    X = make_frames()
    model = separator().fit(X)
    basis = model.basis_.copy()
    assert_array_equal(model.fit(X).basis_, basis)
    assert abs(model.partial_fit(X).basis_ - basis).max() > 1e-3
    assert_array_equal(model.fit_transform(X), separator().fit_transform(X))


def test_transform_learns_nothing():
    X = make_frames()
    model = separator().fit(X)
    before = model.get_state()
    model.transform(X)
    model.masks(X)
    for key, value in before.items():
        assert_array_equal(model.get_state()[key], value)
    with pytest.raises(NotFittedError):
        separator().transform(X)
    with pytest.raises(NotFittedError):
        separator().masks(X)


def test_frozen_basis_stays():
    X = make_frames()
    model = separator(update_basis=False).fit(X)
    again = separator(update_basis=False).partial_fit(X[:1])
    assert_array_equal(model.basis_, again.basis_)
    assert_allclose(model.fit_transform(X), model.transform(X), rtol=0, atol=0)
    assert model.activations_.sum() > 0


def test_memory_does_not_grow():
    X = make_frames(1)
    model = separator(update_basis=True, batch_size=4)
    sizes = []
    for _ in range(100):
        model.partial_fit(X)
        sizes.append(len(pickle.dumps(model)))
    assert max(sizes[40:]) <= max(sizes[:40])


def test_state_goes_on_bit_by_bit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = make_frames(30)
    model = separator().fit(X[:14])  # amid two renewals of the basis
    np.savez("state.npz", **model.get_state())
    np.save("rest.npy", X[14:])
    expected = model.partial_fit_transform(X[14:])
    script = (
        "import numpy as np; from skbss import OnlineISNMF;"
        "model = OnlineISNMF(6, batch_size=4, inner_iter=3);"
        "model.set_state(np.load('state.npz'));"
        "np.save('out.npy', model.partial_fit_transform(np.load('rest.npy')))"
    )
    assert run_code(script) == 0
    assert_array_equal(np.load("out.npy"), expected)


def test_state_is_a_copy():
    X = make_frames()
    model = separator().fit(X)
    state = model.get_state()
    kept = {key: value.copy() for key, value in state.items()}
    twin = separator().set_state(state)
    model.partial_fit(X)
    twin.partial_fit(X)
    for key, value in kept.items():
        assert_array_equal(state[key], value)
        assert_array_equal(twin.get_state()[key], model.get_state()[key])


def test_state_that_does_not_fit():
    state = separator().fit(make_frames(6)).get_state()
    with pytest.raises(
        ValueError, match=r"basis has shape \(17, 6\), but .* needs \(17, 5"
    ):
        separator(n_components=5).set_state(state)
    with pytest.raises(ValueError, match=r"shape \(17, 6\), but .* needs \(9, 6\)"):
        separator().fit(make_frames(6, 9)).set_state(state)
    with pytest.raises(ValueError, match=r"numerator has shape \(3,\), but"):
        separator().set_state(state | {"numerator": np.ones(3)})
    with pytest.raises(ValueError, match="isn't finite"):
        separator().set_state(state | {"basis": state["basis"] * np.nan})
    del state["basis"]
    with pytest.raises(ValueError, match="without 'basis'"):
        separator().set_state(state)


def test_pickle_and_clone():
    X = make_frames(30)
    model = separator().fit(X[:14])
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.partial_fit_transform(X), model.partial_fit_transform(X))
    assert not hasattr(clone(model), "basis_")


# Levels, silence, bad input


@pytest.mark.parametrize("gain", [1e-150, 1e-6, 1e6, 1e150])
def test_level_does_not_matter(gain):
    X = make_frames(60)
    expected = separator().fit(X)
    model = separator().fit(gain * X)
    # A hundred updates, each with some roundings.
    assert_allclose(model.basis_, expected.basis_, rtol=1e-10)
    Y = model.transform(gain * X)
    assert_allclose(Y / gain, expected.transform(X), rtol=1e-10)
    # Not even when it jumps.
    gains = np.where(np.arange(60) < 30, 1, gain)[:, None, None]
    assert_allclose(separator().fit(gains * X).basis_, expected.basis_, rtol=1e-10)


def test_silent_frames_are_passed_over():
    X = make_frames(20)
    expected = separator().fit_transform(X)
    silence = np.zeros((1000, N_FREQS, 1), complex)
    Y = separator(forget=0.01).fit_transform(np.concatenate([X[:9], silence, X[9:]]))
    assert not Y[9:1009].any()
    Y = separator().fit_transform(np.concatenate([silence, X[:9], silence, X[9:]]))
    assert_array_equal(np.delete(Y, np.r_[:1000, 1009:2009], axis=0), expected)
    only = separator().fit(silence)
    assert_array_equal(only.activations_, 0)
    assert_allclose(only.masks(silence).sum(axis=2), 1)


def test_never_locked_at_zero():
    """After a long time of one spectrum, another is learned as well."""
    loud, other = make_frames(400, random_state=1), make_frames(400, random_state=2)
    loud[:, 5:] = 0
    other[:, :5] = 0
    model = separator(n_components=2, forget=0.95).fit(loud)
    assert model.basis_[5:].max() < 1e-8
    model.partial_fit(other)
    assert model.basis_[5:].mean(axis=0).max() > 1
    assert model.basis_.min() > 0


bad_blocks = st.lists(
    st.tuples(
        st.sampled_from(["noise", "zero", "click", "band", "constant", "denormal"]),
        st.integers(1, 6),
        st.floats(-30, 30),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=50, deadline=None)
@given(
    blocks=bad_blocks,
    dtype=st.sampled_from([np.complex64, np.complex128]),
    forget=st.sampled_from([0.0, 0.5, 0.999, 1.0]),
    update=st.sampled_from(["me", "mm"]),
)
def test_finite_whatever_comes(blocks, dtype, forget, update):
    model = separator(forget=forget, update=update, batch_size=3)
    for k, (kind, n_frames, exponent) in enumerate(blocks):
        x = make_frames(n_frames, random_state=k)
        if kind in ("zero", "constant"):
            x[:] = kind == "constant"
        elif kind == "click":
            x[:, 1:] = 0
        elif kind == "band":
            x[:, 3:8] *= 1e-12
        x *= 1e-320 if kind == "denormal" else 10.0**exponent
        x = x.astype(dtype)
        Y = model.partial_fit_transform(x)
        assert np.isfinite(Y).all()
        masks = model.masks(x)
        assert masks.min() >= 0
        # A few roundings.
        assert_allclose(masks.sum(axis=2), 1, rtol=4 * np.finfo(dtype).eps)
    for value in model.get_state().values():
        assert np.isfinite(value).all()
    assert model.basis_.min() > 0
    # It still learns: after good frames no output is stuck.
    Y = model.partial_fit_transform(make_frames(20).astype(dtype))
    assert abs(Y).sum(axis=(1, 2)).min() > 0


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_sources": 7}, "a component for each source"),
        ({"component_to_source": [0, 1]}, r"component_to_source=\[0, 1\], expected"),
        ({"component_to_source": [0, 1, 0, 1, 0, 2]}, "0 to 1, for each of 6"),
        ({"basis_init": np.ones((9, 6))}, r"\(9, 6\), expected .* = \(17, 6\)"),
        ({"basis_init": -np.ones((17, 6))}, "negative or non-finite"),
        ({"basis_init": np.zeros((17, 6))}, "all zero"),
        ({"forget": 1.5}, "'forget' parameter"),
        ({"batch_size": 0}, "'batch_size' parameter"),
    ],
)
def test_bad_parameters(params, match):
    for method in ("fit", "partial_fit", "partial_fit_transform", "fit_transform"):
        with pytest.raises(ValueError, match=match):
            getattr(separator(**params), method)(make_frames())


def test_bad_input():
    X = make_frames()
    model = separator().fit(X)
    two = np.concatenate([X, X], axis=2)
    for method in (separator().fit, model.partial_fit, model.transform, model.masks):
        with pytest.raises(ValueError, match="X has 2 features"):
            method(two)
    for method in (model.partial_fit_transform, model.transform, model.masks):
        with pytest.raises(ValueError, match=r"9 frequency bins, but .* fitted on 17"):
            method(make_frames(3, 9))
    with pytest.raises(ValueError, match="complex spectrogram"):
        model.transform(X.real)


# In a pipeline


def test_projection_back_passes_the_sources_through():
    x = np.random.default_rng(0).normal(size=(4000, 1))
    steps = STFT(n_fft=128), separator(n_sources=3)
    plain = make_pipeline(*steps, ISTFT()).fit_transform(x)
    assert plain.shape == (4000, 3)
    assert_allclose(plain.sum(axis=1), x[:, 0], atol=1e-12)
    for method in ("inverse", "least_squares"):
        back = ProjectionBack(method=method)
        scaled = make_pipeline(*steps, back, ISTFT()).fit_transform(x)
        # With least squares every source is brought nearest to the mixture instead.
        if method == "inverse":
            assert_array_equal(scaled, plain)
        assert np.isfinite(scaled).all()
    record = make_pipeline(*steps).fit_transform(x)
    assert isinstance(record, Spectrogram)
    assert_array_equal(record.mixing, np.ones((1, 65, 1, 3)))
    pipe = make_pipeline(*steps, ProjectionBack(), ISTFT()).fit(x)
    assert list(pipe[:-2].get_feature_names_out()) == ["source0", "source1", "source2"]


def test_masks_are_what_transform_applies():
    X = make_frames()
    model = separator(n_sources=3).fit(X)
    masks = model.masks(X)
    assert masks.shape == (*X.shape[:2], 3)
    assert_array_equal(model.transform(X), masks * X)
    assert_array_equal(model.masks(X[:1]), masks[:1])


def test_separates_known_voices():
    """Trained on the first half of each voice, it separates the second."""
    voices = load_cocktail_party().references
    half = len(voices) // 2
    stft = STFT(n_fft=2048)
    bases = []
    for k in range(2):
        model = OnlineISNMF(10, n_sources=1, random_state=0)
        for _ in range(5):
            model.partial_fit(stft.fit_transform(voices[:half, [k]]))
        bases.append(model.basis_)
    separator = OnlineISNMF(20, basis_init=np.hstack(bases), update_basis=False)
    mixture = voices[half:].sum(axis=1, keepdims=True)
    estimate = make_pipeline(stft, separator, ISTFT()).fit_transform(mixture)
    gain = si_sdr_improvement(voices[half:], estimate, mixture, permute=False)
    assert gain.min() > 3
