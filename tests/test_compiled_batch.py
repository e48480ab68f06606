"""The batch separators' compiled loops agree with their twins in numpy."""

# License: BSD-3-Clause

from contextlib import contextmanager

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from skbss.compiled import kernels
from skbss.separators import ILRMA, AuxIVA
from skbss.updates import IP1
from skbss.updates.nmf import LowRankVariances
from skbss.updates.recording import Recording, dot_rows, sum_rows
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

    products = dot_rows(P, u)
    expected = np.einsum("irt,kit->ikr", P, u, dtype=float)
    scale = np.einsum("irt,kit->ikr", abs(P), abs(u))
    assert products.dtype == dtype
    assert (abs(products - expected) <= TOLERANCE[dtype] * scale).all()

    sums = sum_rows(P, weights)
    expected = np.einsum("ikr,irt->kit", weights, P, dtype=float)
    scale = np.einsum("ikr,irt->kit", abs(weights), abs(P))
    assert sums.dtype == dtype
    assert (abs(sums - expected) <= TOLERANCE[dtype] * scale).all()


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


@pytest.mark.parametrize("n_bins", [1, 32, 37])
@pytest.mark.parametrize("M", [2, 3, 4])
def test_iterative_projection(M, n_bins, rng, batch):
    G = rng.normal(size=(M, M, 3 * M, n_bins, 2)) @ [1, 1j]
    V = np.einsum("kinf,kjnf->kijf", G, G.conj())
    W = rng.normal(size=(M, M, n_bins, 2)) @ [1, 1j]
    compiled = IP1().update(W, V)
    with without_numba():
        expected = IP1().update(W, V)
    # Rounding grows by the condition of W and V.
    assert_allclose(compiled, expected, rtol=1e-8)


@every_dtype
@pytest.mark.parametrize("exponent", [0.5, 1.0])
@pytest.mark.parametrize(("K", "M"), [(2, 2), (3, 3), (2, 5), (4, 4)])
@pytest.mark.parametrize(("T", "F", "n_basis"), [(1, 1, 2), (75, 33, 4), (313, 20, 5)])
def test_factors(T, F, n_basis, K, M, exponent, dtype, rng, batch):
    """An update of ILRMA's factors, and the covariances that they weigh."""
    X = (rng.normal(size=(T, F, M, 2)) @ [1, 1j]).astype(np.result_type(dtype, 1j))
    recording = Recording(X)
    W = rng.normal(size=(K, M, F, 2)) @ [1, 1j]
    factors = (
        rng.uniform(0.1, 1, (K, F, n_basis)),
        rng.uniform(0.1, 1, (K, n_basis, T)),
    )

    def adapt():
        model = LowRankVariances(*factors, exponent, dtype)
        cost, S = model.weigh(recording, W)
        return [model.basis, model.activations, S], cost

    compiled, cost = adapt()
    with without_numba():
        expected, expected_cost = adapt()
    for array, other in zip(compiled[:2], expected[:2], strict=True):
        assert array.dtype == dtype
        assert_allclose(array, other, rtol=100 * TOLERANCE[dtype])
    assert compiled[2].dtype == dtype
    # Sums with cancellation.
    atol = 100 * TOLERANCE[dtype] * abs(expected[2]).max()
    assert_allclose(compiled[2], expected[2], rtol=0, atol=atol)
    assert_allclose(cost, expected_cost, rtol=100 * TOLERANCE[dtype])


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
