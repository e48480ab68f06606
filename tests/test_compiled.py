"""Compiled kernels give what their twins in numpy give."""

# License: BSD-3-Clause

import subprocess
import sys

import numpy as np
import pytest

from skbss import OnlineAuxIVA, compiled
from skbss.linalg import unpack_hermitian
from skbss.updates import IP1, online, online_nmf, spatial
from tests import reference

pytestmark = pytest.mark.skipif(
    compiled.kernels("online") is None,
    reason="no numba, or NUMBA_DISABLE_JIT",
)

WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None  # as if it weren't installed
import numpy as np
from skbss import OnlineAuxIVA, compiled
assert compiled.kernels("online") is None
X = np.load("X.npy")
np.save("Y.npy", OnlineAuxIVA(inner_iter=2).fit_transform(X))
"""


def make_state(n_mics, n_freqs, dtype, condition):
    """Demixing matrices, covariances of the past, a frame and its features."""
    X = reference.make_mixture(0, n_mics, 40, n_freqs)
    X *= np.geomspace(1, condition, n_mics)  # of unlike microphones
    X = np.ascontiguousarray(X.transpose(0, 2, 1), np.result_type(dtype, 1j))
    P = online.frame_features(X)
    weights = np.random.default_rng(0).gamma(1, size=(n_mics, len(X) - 1))
    B = online.weighted_sum(P[1:], weights.astype(dtype))
    online.load(B, 0)
    W = np.linalg.inv(X[-n_mics:].transpose(2, 1, 0)).transpose(1, 2, 0)
    return np.ascontiguousarray(W), B, X[0], P[0]


class PlainIP1(IP1):
    """Takes neither the kernels nor the shortcuts."""


def run_sweeps(state, per_bin, update):
    size = abs(state[0]).max() * abs(state[2]).max()

    def weigh(power):
        return (size / (power + size)).astype(power.dtype)

    return online.sweeps(*state, weigh, 3, update, per_bin)


@pytest.mark.parametrize("n_freqs", [1, 32, 65])
@pytest.mark.parametrize("per_bin", [False, True])
@pytest.mark.parametrize("n_mics", [2, 3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sweeps(dtype, n_mics, per_bin, n_freqs):
    state = make_state(n_mics, n_freqs, dtype, condition=10)
    exact_state = [a.astype(np.result_type(a, np.float64)) for a in state]
    W, y = run_sweeps(state, per_bin, IP1())
    exact_W, exact_y = run_sweeps(exact_state, per_bin, PlainIP1())
    assert W.dtype == y.dtype == state[0].dtype
    # Rounding grows by the condition of the covariances, some 1e4 here.
    tolerance = 1e5 * np.finfo(dtype).eps
    for new, exact in ((W, exact_W), (y, exact_y)):
        size = abs(exact).max(axis=tuple(range(exact.ndim - 1)))
        np.testing.assert_array_less(abs(new - exact) / size, tolerance)


@pytest.mark.parametrize("n_freqs", [1, 32, 65])
@pytest.mark.parametrize("n_mics", [2, 3, 4])
def test_batch_ip1(n_mics, n_freqs, monkeypatch):
    W, B, _, _ = make_state(n_mics, n_freqs, np.float64, condition=10)
    V = unpack_hermitian(B)
    new = spatial.ip1(W, V)
    monkeypatch.setattr(spatial, "kernels", lambda name: None)
    expected = spatial.ip1(W, V)
    size = abs(expected).max(axis=(0, 1))
    # Rounding grows by the condition of the covariances, some 1e4 here.
    np.testing.assert_array_less(abs(new - expected) / size, 1e5 * np.finfo(float).eps)


@pytest.mark.parametrize("n_mics", [2, 3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_image_mixing(dtype, n_mics, monkeypatch):
    W, B, _, _ = make_state(n_mics, 33, dtype, condition=1)
    R = B[0]
    R[:, 5] = 0  # nothing was heard there
    out, expected = np.empty((2, 33, n_mics, n_mics), W.dtype)
    online.image_mixing(W, R, 3.0, out)
    monkeypatch.setattr(online, "kernels", lambda name: None)
    online.image_mixing(W, R, 3.0, expected)
    # Sums of n_mics ** 2 terms that cancel by less than 1e3.
    atol = 1e4 * np.finfo(dtype).eps * abs(expected).max()
    np.testing.assert_allclose(out, expected, rtol=0, atol=atol)
    assert not out[5].any()


@pytest.mark.parametrize("n_freqs", [1, 128, 300])
@pytest.mark.parametrize("exponent", [0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_online_nmf(dtype, exponent, n_freqs, monkeypatch, rng):
    x = rng.normal(size=(7, n_freqs)) + 1j * rng.normal(size=(7, n_freqs))
    x *= 10.0 ** rng.uniform(-20, 18, (7, 1))
    x[2] = 0
    x = x.astype(np.result_type(dtype, 1j))
    B = online_nmf.normalize_basis(rng.gamma(0.5, size=(5, n_freqs)).astype(dtype))[0]
    members = (np.arange(2)[:, None] == [0, 0, 1, 1, 1]).astype(dtype)

    def run():
        V, levels = online_nmf.frame_powers(x)
        H, weights = online_nmf.activate(V, B, 5, exponent)
        return V, levels, H, weights, online_nmf.wiener_masks(H, B, members)

    results = run()
    monkeypatch.setattr(online_nmf, "kernels", lambda name: None)
    # Sums and quotients of positive numbers: each of five updates rounds n_freqs times
    # at most, and factors of frames of one bin are raised to the fifth power.
    rtol = 1e3 * np.finfo(dtype).eps
    for result, expected in zip(results, run(), strict=True):
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=rtol)


def test_separators_work_without_numba(tmp_path):
    X = reference.make_mixture(0, 3, 60, 33)
    np.save(tmp_path / "X.npy", X)
    subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], cwd=tmp_path, check=True)
    Y = OnlineAuxIVA(inner_iter=2).fit_transform(X)
    # Rounding grows from frame to frame while few of them are known.
    np.testing.assert_allclose(np.load(tmp_path / "Y.npy"), Y, atol=1e-6 * abs(Y).max())


def test_numbas_own_switch_turns_the_kernels_off(monkeypatch):
    import numba

    compiled.kernels.cache_clear()
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert compiled.kernels("online") is None
    compiled.kernels.cache_clear()
