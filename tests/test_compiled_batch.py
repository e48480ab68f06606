"""The batch separators' compiled loops agree with their twins in numpy."""

# License: BSD-3-Clause

from contextlib import contextmanager

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skbss.compiled import kernels
from skbss.linalg import hermitian_features, log_abs_det, power_features
from skbss.separators import ILRMA, AuxIVA
from skbss.updates.features import loaded_covariance, whole_lines
from skbss.updates.frames import CompiledProducts, MatrixProducts
from skbss.updates.nmf import low_rank_variances
from skbss.updates.source import Cliques, box_mean
from tests.conftest import make_record
from tests.helpers import assert_never_rises

numba = pytest.importorskip("numba")

# Relative to the sum of what is added up without signs.
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}

every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)
every_size = pytest.mark.parametrize(
    # The last one is read through in blocks, in both precisions.
    "shape",
    [(1, 1, 1), (1, 25, 37), (3, 9, 313), (2, 16, 1), (1, 4, 5001), (281, 50, 313)],
)


@contextmanager
def without_numba():
    """Let the package take its paths in numpy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", 1)
        kernels.cache_clear()
        assert kernels("batch") is None
        yield
    kernels.cache_clear()


@pytest.fixture(scope="module")
def batch():
    module = kernels("batch")
    if module is None:
        pytest.skip("numba's compiler is switched off")
    return module


@every_dtype
@every_size
@pytest.mark.parametrize("n_sources", [1, 2, 3, 4, 5])
def test_products(n_sources, shape, dtype, rng, batch):
    """Products of rows with rows, and sums of rows."""
    n, n_rows, size = shape
    P = rng.normal(size=shape).astype(dtype)
    u = rng.normal(size=(n_sources, n, size)).astype(dtype)
    weights = rng.normal(size=(n, n_sources, n_rows)).astype(dtype)

    out = np.full((n, n_sources, n_rows), np.nan, dtype)  # whatever it holds
    batch.dot_rows(P, u, out)
    expected = np.einsum("irt,kit->ikr", P, u, dtype=float)
    scale = np.einsum("irt,kit->ikr", abs(P), abs(u))
    assert (abs(out - expected) <= TOLERANCE[dtype] * scale).all()

    sums = u.copy()
    batch.sum_rows(P, weights, sums, True)
    expected = np.einsum("ikr,irt->kit", weights, P, dtype=float) + u
    scale = np.einsum("ikr,irt->kit", abs(weights), abs(P)) + abs(u)
    assert (abs(sums - expected) <= TOLERANCE[dtype] * scale).all()

    batch.sum_rows(P, weights, sums, False)  # whatever they hold
    assert (abs(sums - (expected - u)) <= TOLERANCE[dtype] * scale).all()


@every_dtype
@pytest.mark.parametrize("scale", [1, 1e-14, 1e14])
@pytest.mark.parametrize("n_bins", [1, 3, 4, 37])
def test_sum_log(n_bins, scale, dtype, rng, batch):
    x = (scale * rng.gamma(0.3, size=(2, n_bins, 77)) + 1e-20).astype(dtype)
    expected = np.log(x, dtype=float).sum()
    assert_allclose(batch._sum_log(x), expected, rtol=1e-11)
    x[0, n_bins // 2, 50] = 0
    assert batch._sum_log(x) == -np.inf


@every_dtype
@pytest.mark.parametrize("width", [1, 3, 9, 129])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 4, 17), (3, 65, 40)])
def test_box_mean(shape, width, dtype, rng, batch):
    p = rng.gamma(0.1, size=shape).astype(dtype)
    p[0, shape[1] // 2] = 1e-30  # less than rounding errors of the others
    compiled = box_mean(p, width)
    assert compiled.dtype == dtype
    assert (compiled >= p.min() / 2).all()
    with without_numba():
        expected = box_mean(p, width)
    assert_allclose(compiled, expected, rtol=0, atol=TOLERANCE[dtype] * p.max())


@every_dtype
@pytest.mark.parametrize("n_bins", [1, 37])
@pytest.mark.parametrize("M", [1, 2, 3, 4, 5])
def test_packing(M, n_bins, dtype, rng, batch):
    """Rows of matrices to features, features to matrices."""
    W = rng.normal(size=(M, M, n_bins, 2)) @ [1, 1j]
    W = W.astype(np.result_type(dtype, 1j))
    S = rng.normal(size=(3, M * M, n_bins)).astype(dtype)
    S[:, :M] = abs(S[:, :M]) + 1
    Q, V = power_features(W), loaded_covariance(S)
    assert Q.dtype == dtype
    with without_numba():
        expected = power_features(W)
        assert_allclose(Q, expected, atol=TOLERANCE[dtype] * abs(expected).max())
        assert_array_equal(V, loaded_covariance(S))


@pytest.mark.parametrize("n_bins", [1, 32, 37])
@pytest.mark.parametrize("M", [2, 3, 4])
def test_log_abs_det(M, n_bins, rng, batch):
    W = rng.normal(size=(M, M, n_bins, 2)) @ [1, 1j]
    W *= 10.0 ** rng.uniform(-60, 60, n_bins)
    W[..., 0] = 1  # singular
    W[..., 1:2] = np.diag(np.arange(M) + 1j)[..., None]
    compiled = log_abs_det(W)
    assert compiled[0] == -np.inf
    with without_numba(), np.errstate(divide="ignore"):
        assert_allclose(compiled, log_abs_det(W), rtol=1e-12, atol=1e-12)


@every_dtype
@pytest.mark.parametrize("M", [2, 3, 4, 5])
@pytest.mark.parametrize(("T", "F"), [(1, 1), (1, 40), (150, 1), (75, 33)])
def test_frame_products(T, F, M, dtype, rng, batch):
    """AuxIVA's products, by blocks of frames."""
    P = features(rng, T, F, M).astype(dtype)
    W = rng.normal(size=(M, M, F, 2)) @ [1, 1j]
    Q = power_features(W).reshape(M, -1).astype(dtype)
    weights = rng.gamma(0.5, size=(M, T)).astype(dtype)
    results = []
    for products in [CompiledProducts(P, M), MatrixProducts(P, M)]:
        products.start(Q)
        products.add(slice(0, 5), weights[:, :5])
        products.start(Q)  # leaves nothing behind
        power = np.empty((M, T), dtype)
        for block in [slice(0, 64), slice(64, T)] if T > 64 else [slice(0, T)]:
            power[:, block] = products.powers(block)
            products.add(block, weights[:, block])
        results.append((power, products.total()))
    for compiled, expected in zip(*results, strict=True):
        assert compiled.dtype == dtype
        # The powers are sums with cancellation.
        atol = 10 * TOLERANCE[dtype] * abs(expected).max()
        assert_allclose(compiled, expected, rtol=0, atol=atol)


@every_dtype
@pytest.mark.parametrize("exponent", [0.5, 1.0])
@pytest.mark.parametrize("M", [2, 3, 4, 5])
@pytest.mark.parametrize(("T", "F", "n_basis"), [(1, 1, 2), (75, 33, 4), (313, 20, 5)])
def test_factors(T, F, n_basis, M, exponent, dtype, rng, batch):
    """An update of ILRMA's factors, and the covariances that they weigh."""
    P = features(rng, F, T, M).astype(dtype)
    W = rng.normal(size=(M, M, F, 2)) @ [1, 1j]
    factors = (
        rng.uniform(0.1, 1, (M, F, n_basis)),
        rng.uniform(0.1, 1, (M, n_basis, T)),
    )
    compiled = updated_factors(factors, exponent, P, W)
    with without_numba():
        expected = updated_factors(factors, exponent, P, W)
    *arrays, S, log_precision = compiled
    *others, expected_S, expected_log = expected
    for array, other in zip(arrays, others, strict=True):
        assert array.dtype == dtype
        assert_allclose(array, other, rtol=100 * TOLERANCE[dtype])
    assert S.dtype == dtype
    # Sums with cancellation.
    atol = 100 * TOLERANCE[dtype] * abs(expected_S).max()
    assert_allclose(S, expected_S, rtol=0, atol=atol)
    assert_allclose(log_precision, expected_log, rtol=100 * TOLERANCE[dtype])


def updated_factors(factors, exponent, P, W):
    T = P.shape[-1]
    P = padded(P)
    model = low_rank_variances(*factors, exponent, P.dtype)
    model.update(P, power_features(W))
    bins = slice(len(P) // 2, len(P))
    precision = np.empty((len(W), bins.stop - bins.start, T), P.dtype)
    model.precision(bins, precision)
    return model.basis, model.activations, precision, *model.weigh(P)


def padded(P):
    rows = whole_lines(P.shape, P.dtype)
    rows[..., : P.shape[-1]] = P
    return rows


def features(rng, n_rows, n_columns, M):
    x = rng.normal(size=(2, M, n_rows, n_columns))
    P = np.empty((n_rows, M * M, n_columns))
    hermitian_features(*x, P.transpose(1, 0, 2))
    return P


@every_dtype
@pytest.mark.parametrize("M", [2, 3, 4])
@pytest.mark.parametrize(
    ("separator", "precision"),
    # Cliques' running sums over bands keep rounding errors of the loudest of them.
    [(AuxIVA(), 1e-11), (AuxIVA(Cliques(n_bands=20)), 1e-9), (ILRMA(), 1e-11)],
)
def test_separation(separator, precision, M, dtype, batch):
    """Whole fits agree, and the objective never rises."""
    record = make_record(M)
    X = record.data.astype(np.result_type(dtype, 1j))
    separator.set_params(max_iter=8, random_state=0)
    compiled = clone(separator).fit(X)
    with without_numba():
        expected = clone(separator).fit(X)
    # Single precision drifts apart; that it still separates as well is the objective's.
    if dtype == np.float64:
        largest = abs(expected.demixing_).max()
        difference = abs(compiled.demixing_ - expected.demixing_).max()
        assert difference < 1e-7 * largest
        assert_never_rises(compiled, record)
    tolerance = {np.float64: precision, np.float32: 1e-4}[dtype]
    assert_allclose(compiled.objective_, expected.objective_, rtol=tolerance)
