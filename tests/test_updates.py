"""Source models, spatial updates and features: what theory says about each."""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skbss.compiled import LINE_BYTES
from skbss.linalg import (
    hermitian_features,
    matmul,
    power_features,
    unpack_hermitian,
)
from skbss.separators.auxiva import weigh
from skbss.updates import IP1, IP2, ISS1, ISS2, Gauss, Laplace
from skbss.updates.features import (
    NOISE,
    level,
    loaded_covariance,
    whitened_features,
    whole_lines,
)
from skbss.updates.frames import MatrixProducts, VectorProducts
from skbss.updates.nmf import GivenVariances, LowRankVariances, bin_blocks
from tests.reference import output_power, update_factors

UPDATES = [IP1(), IP2(), ISS1(), ISS2()]
EPS = np.finfo(float).eps

every_update = pytest.mark.parametrize("spatial", UPDATES, ids=repr)


def cnormal(rng, *shape):
    return rng.normal(size=(*shape, 2)) @ [1, 1j]


def make_covariances(rng, M, n_bins, condition=1e2):
    """One covariance per source and bin, (M, M, M, n_bins)."""
    U, _ = np.linalg.qr(cnormal(rng, n_bins, M, M, M))
    V = (U * np.geomspace(1, 1 / condition, M)) @ U.conj().swapaxes(-1, -2)
    return np.ascontiguousarray(V.transpose(1, 2, 3, 0))


def majorizer(W, V):
    """sum_k w_k^H V_k w_k - 2 log|det W| in every bin."""
    quadratic = np.einsum("kif,kijf,kjf->f", W, V, W.conj()).real
    return quadratic - 2 * np.linalg.slogdet(W.transpose(2, 0, 1)).logabsdet


def assert_same_up_to_phase(W, expected, tolerance):
    inner = (W * expected.conj()).sum(1, keepdims=True)
    aligned = W * (inner.conj() / abs(inner))
    norm = np.linalg.norm(expected, axis=1, keepdims=True)
    assert_allclose(aligned / norm, expected / norm, rtol=0, atol=tolerance)


@every_update
@pytest.mark.parametrize("M", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("condition", [1, 1e2, 1e8])
def test_the_majorizer_never_rises(spatial, M, condition, rng):
    V = make_covariances(rng, M, 40, condition)
    W = cnormal(rng, M, M, 40)
    value = first = majorizer(W, V)
    for _ in range(5):
        W_before = W.copy()
        W = spatial.update(W, V)
        previous, value = value, majorizer(W_before, V)
        assert_allclose(value, previous)  # W isn't changed in place
        value = majorizer(W, V)
        # Rounding of the quadratic form, which is about M, and of its arguments.
        assert (value - previous).max() < 100 * EPS * condition * M
    assert (value < first).all()


@every_update
@pytest.mark.parametrize("M", [1, 2, 3, 4])
def test_sweeps_end_where_the_gradient_is_zero(spatial, M, rng):
    """There W V_k w_k = e_k for every k."""
    V = make_covariances(rng, M, 10, condition=10)
    W = cnormal(rng, M, M, 10)
    for _ in range(400):
        W = spatial.update(W, V)
    gradient = np.einsum("lif,kijf,kjf->lkf", W, V, W.conj())
    # Convergence is linear: 400 sweeps leave rounding only, here below 1e-10.
    assert_allclose(gradient, np.eye(M)[..., None] + 0 * gradient, atol=1e-9)


@pytest.mark.parametrize("spatial", [IP2(), ISS2()], ids=repr)
def test_pairwise_updates_solve_two_microphones_at_once(spatial, rng):
    V = make_covariances(rng, 2, 100)
    W = spatial.update(cnormal(rng, 2, 2, 100), V)
    gradient = np.einsum("lif,kijf,kjf->lkf", W, V, W.conj())
    assert_allclose(gradient, np.eye(2)[..., None] + 0 * gradient, atol=1e-11)
    # nothing is left to gain, for these or any other updates
    least = majorizer(W, V)
    for other in UPDATES:
        assert_allclose(majorizer(other.update(W, V), V), least, atol=1e-11)
    perturbed = W + 1e-3 * cnormal(rng, 2, 2, 100)
    assert (majorizer(perturbed, V) > least).all()


@every_update
@pytest.mark.parametrize("M", [1, 2, 3, 5])
def test_the_microphones_may_be_transformed(spatial, M, rng):
    """Updating W B on covariances of B^-1 x gives what updating W gives, times B."""
    V = make_covariances(rng, M, 20)
    W, B = cnormal(rng, M, M, 20), cnormal(rng, M, M, 20)
    B_inv = np.linalg.inv(B.transpose(2, 0, 1)).transpose(1, 2, 0)
    V_B = np.einsum("ilf,klmf,jmf->kijf", B_inv, V, B_inv.conj())
    expected = matmul(spatial.update(W, V), B)
    # B is random: the worst of 20 has a condition of some 1e3, which enters squared.
    assert_same_up_to_phase(spatial.update(matmul(W, B), V_B), expected, 1e-6)


@every_update
@pytest.mark.parametrize("M", [1, 2, 3, 5])
def test_the_scale_of_the_rows_does_not_matter(spatial, M, rng):
    V = make_covariances(rng, M, 20)
    W = cnormal(rng, M, M, 20)
    scale = 10 ** rng.uniform(-6, 6, size=(M, 1, 20)) * np.exp(
        1j * rng.uniform(0, 6, size=(M, 1, 20))
    )
    expected = spatial.update(W, V)
    # Condition of V, 1e2, times that of W.
    assert_same_up_to_phase(spatial.update(W * scale, V), expected, 1e-9)


@every_update
def test_louder_covariances_make_smaller_matrices(spatial, rng):
    V = make_covariances(rng, 3, 20)
    W = cnormal(rng, 3, 3, 20)
    expected = spatial.update(W, V) / 1e4
    assert_same_up_to_phase(spatial.update(W, 1e8 * V), expected, 1e-10)
    norms = [np.linalg.norm(w, axis=1) for w in (spatial.update(W, 1e8 * V), expected)]
    assert_allclose(*norms, rtol=1e-10)


@pytest.mark.parametrize("spatial", [IP1(), IP2()], ids=repr)
@pytest.mark.parametrize("M", [1, 2, 4])
def test_projections_give_every_row_unit_power(spatial, M, rng):
    V = make_covariances(rng, M, 20)
    W = spatial.update(cnormal(rng, M, M, 20), V)
    power = np.einsum("kif,kijf,kjf->kf", W, V, W.conj())
    assert_allclose(power, 1 + 0 * power, atol=1e-11)


@every_update
def test_equal_covariances_are_no_special_case(spatial, rng):
    """All sources alike: the eigenvalues of every pair are equal."""
    V = make_covariances(rng, 3, 20)
    V[:] = V[0]
    W = spatial.update(cnormal(rng, 3, 3, 20), V)
    assert np.isfinite(W).all()
    gradient = np.einsum("lif,kijf,kjf->lkf", W, V, W.conj())
    # any W with W V W^H = I is a minimizer; orthogonal pairs reach it in one sweep
    if not isinstance(spatial, ISS1):
        assert_allclose(gradient, np.eye(3)[..., None] + 0 * gradient, atol=1e-9)


@pytest.mark.parametrize("source", [Gauss(), Laplace()], ids=repr)
@pytest.mark.parametrize("n_freqs", [1, 65])
def test_source_models(source, n_freqs):
    power = np.geomspace(1e-6, 1e6, 49)[None]
    # variance is the inverse of the cost's slope
    step = 1e-5 * power
    rise = source.cost(power + step, n_freqs) - source.cost(power - step, n_freqs)
    # The difference quotient is off by the square of the step, and by cancellation.
    assert_allclose(rise / (2 * step) * source.variance(power, n_freqs), 1, rtol=1e-7)
    # and the cost lies below its tangents, which the updates rely on
    slope = 1 / source.variance(power, n_freqs)
    tangents = source.cost(power, n_freqs) + slope * (power.T[:, :, None] - power)
    assert (source.cost(power, n_freqs).T[:, :, None] <= tangents + 1e-9).all()


def naive_features(X):
    return np.einsum("tfm,tfn->mnft", X, X.conj())


@pytest.mark.parametrize("frames_last", [False, True])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("shape", [(1, 1, 1), (40, 9, 2), (150, 700, 3)])
def test_whitened_features(shape, dtype, frames_last, rng):
    X = (cnormal(rng, *shape) * 10 ** rng.uniform(-2, 2, size=(shape[1], 1))).astype(
        dtype
    )
    P, Z, Z_inv, scale = whitened_features(X, frames_last=frames_last)
    assert P.dtype == X.real.dtype
    assert P.flags.c_contiguous
    if frames_last:
        assert P.ctypes.data % LINE_BYTES == P[0, 0].nbytes % LINE_BYTES == 0
        assert_array_equal(P[..., shape[0] :], 0)
        P = P[..., : shape[0]]
    P = P.transpose(1, 0, 2) if frames_last else P.transpose(1, 2, 0)
    features = unpack_hermitian(P.reshape(shape[2] ** 2, -1))
    features = features.reshape(shape[2], shape[2], shape[1], shape[0])
    whitened = np.einsum("mnf,tfn->tfm", Z, X / scale)
    # Some roundings, and the assumed noise, relative to a unit power.
    tolerance = max(1e-12, 100 * np.finfo(dtype).eps) * abs(whitened).max() ** 2
    assert_allclose(features, naive_features(whitened), rtol=0, atol=tolerance)
    assert_allclose(matmul(Z, Z_inv), np.eye(shape[2])[..., None] + 0 * Z, atol=1e-9)
    if shape[0] > shape[2]:
        expected = np.eye(shape[2])[..., None] + 0 * Z
        assert_allclose(features.mean(-1), expected, atol=1e-3)


@pytest.mark.parametrize("frames_last", [False, True])
def test_dependent_microphones_have_bounded_features(frames_last, rng):
    x = cnormal(rng, 50, 9, 1)
    X = np.concatenate([x, 1e-3j * x, 0 * x], axis=2)
    X[:, 4] = 0
    P, Z, _, _ = whitened_features(X, frames_last=frames_last)
    P = P[..., :50].transpose(1, 0, 2) if frames_last else P.transpose(1, 2, 0)
    assert_array_equal(P[:, 4], 0)  # silence stays silence
    V = unpack_hermitian(P.mean(-1))
    V = np.delete(V, 4, axis=-1).transpose(2, 0, 1)
    # Every direction has power: its own, or that of the noise.
    assert np.linalg.eigvalsh(V).min() > 0.01
    assert np.linalg.eigvalsh(V).max() < 1.1
    assert abs(Z).max() < 1e4 / np.sqrt(NOISE)


@pytest.mark.parametrize("scale", [1, 1e-300, 1e-160, 1e160, 1e300])
def test_level_without_overflow(scale, rng):
    X = cnormal(rng, 20, 5, 2)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_allclose(level(X * scale), scale * np.sqrt((abs(X) ** 2).mean()))


def test_level_of_special_signals():
    assert level(np.zeros((3, 4, 2), complex)) == 1
    assert_allclose(level(np.full((2, 2, 1), -5e-324j)), 5e-324)
    largest = np.full((2, 2, 1), np.finfo(np.float32).max, np.complex64)
    assert_allclose(level(largest), np.finfo(np.float32).max)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loaded_covariance(dtype, rng):
    x = cnormal(rng, 3, 50, 6)
    S = hermitian_features(x.real, x.imag, np.empty((9, 50, 6))).mean(1)
    S[:, 2] = 0  # silence
    x[1] = 2 * x[0]
    S[:, 3] = hermitian_features(x.real, x.imag, np.empty((9, 50, 6))).mean(1)[:, 3]
    S = S.astype(dtype)
    V = loaded_covariance(S[None])[0]
    assert V.dtype == np.complex128
    eps = np.finfo(dtype).eps
    assert_array_equal(V[..., 2], np.eye(3))
    assert (np.linalg.eigvalsh(V.transpose(2, 0, 1)).min(1) > 0).all()
    audible = [0, 1, 3, 4, 5]
    expected = unpack_hermitian(S)[..., audible]
    assert_allclose(V[..., audible], expected, rtol=0, atol=20 * eps * abs(S).max())


@pytest.mark.parametrize("products", [MatrixProducts, VectorProducts])
@pytest.mark.parametrize("n_sources", [1, 3])
def test_weighing_in_blocks_of_frames(n_sources, products, rng):
    """One product per block of frames is one product."""
    T, F, M = 300, 700, 3  # several blocks
    X = cnormal(rng, T, F, M)
    P = np.empty((T, M * M, F))
    parts = X.transpose(2, 0, 1)
    hermitian_features(parts.real, parts.imag, P.transpose(1, 0, 2))
    W = cnormal(rng, n_sources, M, F)
    products = products(P, n_sources)
    assert products.step < T / 2
    weigh(products, 2 * W, 1e-3, Gauss())  # leaves nothing behind
    power, variance, S = weigh(products, W, 1e-3, Gauss())
    expected = (abs(np.einsum("kmf,tfm->ktf", W, X)) ** 2).sum(-1)
    assert_allclose(power, expected, rtol=1e-11)  # sums of F * M values
    assert_allclose(variance, expected / F, rtol=1e-11)
    covariance = np.einsum("tfm,tfn,kt->kmnf", X, X.conj(), 1 / variance, optimize=True)
    assert_allclose(unpack_hermitian(S), covariance / T, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("update", "exponent"), [("mm", 0.5), ("me", 1.0)])
def test_factors_in_blocks_of_bins(update, exponent, rng):
    """Bases and activations in one pass over blocks are those of two passes."""
    T, F, M = 2001, 40, 2
    X = cnormal(rng, T, F, M)
    P = features_by_bin(X)
    assert len(bin_blocks(P, M)) > 2
    W = cnormal(rng, M, M, F)
    basis = rng.uniform(0.1, 1, (M, F, 3))
    activations = rng.uniform(0.1, 1, (M, 3, T))
    model = LowRankVariances(basis, activations, exponent, float)
    model.update(P, power_features(W))
    power = output_power(W.transpose(2, 0, 1), X)
    B, C = update_factors(power, basis, activations, update)
    assert_allclose(model.basis, B, rtol=1e-10)
    assert_allclose(model.activations, C, rtol=1e-10)
    u = np.empty((M, 7, T))
    model.precision(slice(3, 10), u)
    assert_allclose(u, 1 / (B @ C)[:, 3:10], rtol=1e-10)
    assert_weighs(model, P, 1 / (B @ C))
    model.scale(np.array([2.0, 3.0]))
    assert_allclose(model.basis, B * np.array([2, 3])[:, None, None], rtol=1e-10)


def test_given_variances_are_asked_for_powers(rng):
    class Remember:
        def variance(self, power):
            self.power = power
            return power + 1

    T, F, M = 50, 9, 2
    X = cnormal(rng, T, F, M)
    P = features_by_bin(X)
    W = cnormal(rng, M, M, F)
    source = Remember()
    model = GivenVariances(source, M, T)
    model.update(P, power_features(W))
    expected = output_power(W.transpose(2, 0, 1), X)
    assert_allclose(source.power, expected, atol=1e-12)
    u = np.empty((M, 4, T))
    model.precision(slice(2, 6), u)
    assert_allclose(u, 1 / (expected[:, 2:6] + 1), rtol=1e-12)
    assert_weighs(model, P, 1 / (expected + 1))


def features_by_bin(X):
    """Features of X, (n_freqs, n_mics ** 2, n_frames) and a few columns of zeros."""
    T, F, M = X.shape
    P = whole_lines((F, M * M, T), X.real.dtype)
    assert P.shape[-1] > T
    parts = X.transpose(2, 1, 0)
    hermitian_features(parts.real, parts.imag, P[..., :T].transpose(1, 0, 2))
    return P


def assert_weighs(model, P, precision):
    """Features averaged with weights (n_sources, n_freqs, n_frames), their log-sum."""
    S, log_precision = model.weigh(P)
    T = precision.shape[-1]
    expected = np.einsum("kft,fit->kif", precision, P[..., :T]) / T
    assert_allclose(S, expected, rtol=1e-10, atol=1e-10 * abs(expected).max())
    assert_allclose(log_precision, np.log(precision).sum(), rtol=1e-10)
