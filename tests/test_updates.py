"""Source models, spatial updates and features: what theory says about each."""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skbss.linalg import hermitian_features, matmul, unpack_hermitian
from skbss.updates import (
    IP1,
    IP2,
    ISS1,
    ISS2,
    Cliques,
    Gauss,
    GeneralizedGauss,
    Laplace,
    StudentT,
)
from skbss.updates.iteration import BinVariances, SourceVariances
from skbss.updates.nmf import LowRankVariances
from skbss.updates.recording import NOISE, Recording, level, loaded_covariance
from skbss.updates.spatial import update_demixing
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
@pytest.mark.parametrize("M", [1, 2, 3])
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


MODELS = [
    Gauss(),
    Laplace(),
    StudentT(0.1),
    StudentT(30),
    GeneralizedGauss(0.5),
    GeneralizedGauss(2),
]


@pytest.mark.parametrize("source", MODELS, ids=repr)
def test_source_models(source):
    power = np.geomspace(1e-6, 1e6, 49)[None, None]
    # variance is the inverse of the cost's slope
    step = 1e-5 * power
    rise = source.cost(power + step) - source.cost(power - step)
    slope = 1 / source.variance(power)
    # The difference quotient is off by the square of the step, and by cancellation.
    assert_allclose(rise / (2 * step), slope, rtol=1e-6, atol=1e-9)
    # and the cost lies below its tangents, which the updates rely on
    tangents = source.cost(power) + slope * (power.T - power)
    assert (tangents + 1e-9 * (1 + abs(tangents)) >= source.cost(power).T).all()


def test_source_models_that_are_one_another():
    power = np.geomspace(1e-6, 1e6, 49)[None, None]
    for method in ("cost", "variance"):
        laplace, generalized = Laplace(), GeneralizedGauss(1.0)
        assert_allclose(
            getattr(generalized, method)(power), getattr(laplace, method)(power)
        )
    # With few degrees of freedom Gauss, up to its scale; with many a constant variance.
    assert_allclose(StudentT(1e-9).variance(power), Gauss().variance(power), rtol=1e-3)
    assert_allclose(StudentT(1e12).variance(power), 1, rtol=1e-5)


@pytest.mark.parametrize("source", [*MODELS, Cliques()], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_source_models_keep_shape_and_precision(source, dtype, rng):
    power = rng.gamma(0.5, size=(3, 7, 11)).astype(dtype) + dtype(1e-3)
    before = power.copy()
    for values in (source.variance(power), source.cost(power)):
        assert values.shape == power.shape
        assert values.dtype == dtype
    assert_array_equal(power, before)


def naive_features(X):
    return np.einsum("tfm,tfn->mnft", X, X.conj())


def unpacked(recording):
    """The features of a recording as matrices (n_mics, n_mics, n_freqs, n_frames)."""
    F, T, M = recording.n_freqs, recording.n_frames, recording.n_mics
    P = recording.features[..., :T].transpose(1, 0, 2).reshape(M * M, -1)
    return unpack_hermitian(P).reshape(M, M, F, T)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("shape", [(1, 1, 1), (40, 9, 2), (150, 700, 3)])
def test_a_recording_is_whitened(shape, dtype, rng):
    X = (cnormal(rng, *shape) * 10 ** rng.uniform(-2, 2, size=(shape[1], 1))).astype(
        dtype
    )
    recording = Recording(X)
    P, Z = recording.features, recording.Z
    assert P.dtype == X.real.dtype
    assert P.flags.c_contiguous
    features = unpacked(recording)
    whitened = np.einsum("mnf,tfn->tfm", Z, X / recording.scale)
    # Some roundings, and the expected noise, relative to a unit power.
    tolerance = max(1e-12, 100 * np.finfo(dtype).eps) * abs(whitened).max() ** 2
    assert_allclose(features, naive_features(whitened), rtol=0, atol=tolerance)
    identity = np.eye(shape[2])[..., None] + 0 * Z
    assert_allclose(matmul(Z, recording.Z_inv), identity, atol=1e-9)
    if shape[0] > shape[2]:
        assert_allclose(features.mean(-1), identity, atol=1e-3)


def test_dependent_microphones_have_bounded_features(rng):
    x = cnormal(rng, 50, 9, 1)
    X = np.concatenate([x, 1e-3j * x, 0 * x], axis=2)
    X[:, 4] = 0
    recording = Recording(X)
    assert_array_equal(recording.features[4], 0)  # silence stays silence
    V = np.delete(unpacked(recording).mean(-1), 4, axis=-1).transpose(2, 0, 1)
    # Every direction has power: its own, or that of the noise.
    assert np.linalg.eigvalsh(V).min() > 0.01
    assert np.linalg.eigvalsh(V).max() < 1.1
    assert abs(recording.Z).max() < 1e4 / np.sqrt(NOISE)


def test_expected_noise_is_part_of_the_features(rng):
    """They are the mean features of the recording with such noise added."""
    X = cnormal(rng, 2000, 3, 2) @ np.array([[1, 1], [0, 1e-2]])
    recording = Recording(X, noise=0.1)
    V = unpacked(recording).mean(-1)
    C = np.einsum("tfm,tfn->mnf", X, X.conj()) / len(X) / recording.scale**2
    C += 0.1 * np.eye(2)[..., None] * np.einsum("mmf->mf", C).real
    Z = recording.Z
    expected = np.einsum("mif,ijf,njf->mnf", Z, C, Z.conj())
    assert_allclose(V, expected, atol=1e-12)
    assert_allclose(V, np.eye(2)[..., None] + 0 * V, atol=1e-12)


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


@pytest.mark.parametrize("n_bands", [1, 3, 8, 30, 100, 700])
@pytest.mark.parametrize("K", [1, 3])
def test_powers_and_covariances_in_bands(K, n_bands, rng):
    T, F, M = 60, 700, 3
    recording = Recording(cnormal(rng, T, F, M))
    P = unpacked(recording)
    W = cnormal(rng, K, M, F)
    of_bins = np.einsum("kmf,mnft,knf->kft", W, P, W.conj(), optimize=True).real
    size = F // n_bands
    expected = np.add.reduceat(of_bins, range(0, F, size), axis=1) / size
    power = recording.powers(W, n_bands)
    assert_allclose(power, expected, rtol=1e-10)  # sums of F * M ** 2 values
    weights = rng.gamma(1, size=power.shape)
    S = recording.covariances(weights, n_bands)
    of_bins = np.repeat(weights, size, axis=1)[:, :F]
    expected = np.einsum("kft,mnft->kmnf", of_bins, P, optimize=True)
    scale = abs(expected).max()
    assert_allclose(unpack_hermitian(S), expected, rtol=0, atol=1e-12 * scale)


def test_the_model_of_a_source_model(rng):
    T, F, M = 40, 30, 2
    X = cnormal(rng, T, F, M)
    recording = Recording(X)
    W = cnormal(rng, M, M, F)
    cost, S = SourceVariances(Gauss(), float).weigh(recording, W)
    power = recording.powers(W)
    assert_allclose(cost, F * (np.log(power) + 1).sum())
    assert_allclose(S, recording.covariances(1 / power) / T, atol=1e-12)


@pytest.mark.parametrize(("update", "exponent"), [("mm", 0.5), ("me", 1.0)])
@pytest.mark.parametrize("likelihood", [None, GeneralizedGauss(2.0), StudentT(1e9)])
def test_factors_in_blocks_of_bins(likelihood, update, exponent, rng):
    """Bases and activations in one pass over blocks are those of two passes."""
    T, F, M = 2001, 40, 2
    X = cnormal(rng, T, F, M)
    recording = Recording(X)
    white = np.einsum("mnf,tfn->tfm", recording.Z, X / recording.scale)
    W = cnormal(rng, M, M, F)
    basis = rng.uniform(0.1, 1, (M, F, 3))
    activations = rng.uniform(0.1, 1, (M, 3, T))
    model = LowRankVariances(basis, activations, exponent, float, likelihood)
    assert len(model._blocks(recording, slice(0, F))) > 2
    cost, S = model.weigh(recording, W)
    power = output_power(W.transpose(2, 0, 1), white)
    B, C = update_factors(power, basis, activations, update)
    # A t distribution of 1e9 degrees of freedom is nearly a Gaussian.
    rtol = 1e-6 if isinstance(likelihood, StudentT) else 1e-10
    assert_allclose(model.basis, B, rtol=rtol)
    assert_allclose(model.activations, C, rtol=rtol)
    r = B @ C
    assert_allclose(cost, (power / r + np.log(r)).sum(), rtol=rtol)
    expected = np.einsum("kft,mnft->kmnf", 1 / r, unpacked(recording)) / T
    scale = abs(expected).max()
    assert_allclose(unpack_hermitian(S), expected, rtol=0, atol=10 * rtol * scale)


def test_variances_of_bins_are_asked_for_powers(rng):
    class Remember:
        def variance(self, power):
            self.power = power.copy()
            return power + 1

    T, F, M = 50, 9, 2
    X = cnormal(rng, T, F, M)
    recording = Recording(X)
    white = np.einsum("mnf,tfn->tfm", recording.Z, X / recording.scale)
    W = cnormal(rng, M, M, F)
    source = Remember()
    cost, S = BinVariances(source).weigh(recording, W)
    power = output_power(W.transpose(2, 0, 1), white)
    mean = power.mean((1, 2), keepdims=True)
    assert_allclose(source.power, power / mean, atol=1e-12)
    r = power + mean
    assert_allclose(cost, (power / r + np.log(r)).sum(), rtol=1e-10)
    expected = np.einsum("kft,mnft->kmnf", 1 / r, unpacked(recording)) / T
    assert_allclose(unpack_hermitian(S), expected, atol=1e-12 * abs(expected).max())


# Fewer sources than microphones


def background_majorizer(W, V):
    """sum_k w_k^H V_k w_k - log det(W W^H) in every bin."""
    quadratic = np.einsum("kif,kijf,kjf->f", W, V, W.conj()).real
    gram = np.einsum("kif,lif->fkl", W, W.conj())
    return quadratic - np.linalg.slogdet(gram).logabsdet


class PlainIP1(IP1):
    """IP1 that is given the background as sources of its own."""


@pytest.mark.parametrize("spatial", [*UPDATES, PlainIP1()], ids=repr)
@pytest.mark.parametrize(("K", "M"), [(1, 2), (1, 6), (2, 3), (3, 5), (2, 8), (5, 7)])
def test_fewer_sources_never_raise_the_majorizer(spatial, K, M, rng):
    V = make_covariances(rng, M, 30)[:K]
    W = cnormal(rng, K, M, 30)
    value = first = background_majorizer(W, V)
    for _ in range(6):
        W = update_demixing(spatial, W, V)
        assert W.shape == (K, M, 30)
        assert W.flags.c_contiguous
        previous, value = value, background_majorizer(W, V)
        assert (value - previous).max() < 1e-11 * M  # rounding
    assert (value < first).all()


@pytest.mark.parametrize("spatial", UPDATES, ids=repr)
def test_one_source_ends_at_the_largest_eigenvalue(spatial, rng):
    """Of one source w^H V w - log |w|^2 is least at the smallest eigenvector of V."""
    V = make_covariances(rng, 4, 10, condition=5)[:1]
    W = cnormal(rng, 1, 4, 10)
    for _ in range(100):
        W = update_demixing(spatial, W, V)
    for f in range(10):
        values, vectors = np.linalg.eigh(V[0, ..., f])
        expected = vectors[:, 0].conj() / np.sqrt(values[0])
        inner = abs(np.vdot(expected, W[0, :, f]))
        assert_allclose(inner, 1 / values[0], rtol=1e-6)
