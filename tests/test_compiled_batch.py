"""The batch separators' compiled loops agree with their twins in numpy."""

# License: BSD-3-Clause

from contextlib import contextmanager

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from skbss.compiled import kernels
from skbss.separators import ILRMA, AuxIVA
from skbss.updates.nmf import LowRankVariances
from skbss.updates.recording import Recording
from skbss.updates.source import Cliques, clique_sums
from tests.conftest import make_record
from tests.helpers import assert_never_rises

numba = pytest.importorskip("numba")

# Relative to the sum of what is added up without signs.
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}

every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


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
@pytest.mark.parametrize("scale", [1, 1e-14, 1e14])
@pytest.mark.parametrize("n_basis", [1, 2, 4, 5])
@pytest.mark.parametrize("n_bins", [1, 3, 4, 37])
def test_precisions(n_bins, n_basis, scale, dtype, rng, batch):
    basis = scale * rng.gamma(0.3, size=(2, n_bins + 3, n_basis)) + 1e-20
    activations = rng.uniform(0.1, 1, (2, n_basis, 77))
    basis, activations = basis.astype(dtype), activations.astype(dtype)
    expected = 1 / (basis[:, 3:].astype(float) @ activations)
    u = np.empty(expected.shape, dtype)
    log_precision = batch.precisions(basis, activations, 3, u)
    assert_allclose(u, expected, rtol=10 * TOLERANCE[dtype])
    assert_allclose(log_precision, np.log(u, dtype=float).sum(), rtol=1e-11)


@every_dtype
@pytest.mark.parametrize("widths", [[1], [3, 1], [9], [129]])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 4, 17), (3, 65, 40)])
def test_cliques(shape, widths, dtype, rng, batch):
    p = rng.gamma(0.1, size=shape).astype(dtype) + dtype(1e-3)
    p[0, shape[1] // 2] = 1e-30  # less than rounding errors of the others
    compiled = clique_sums(p, widths)
    with without_numba():
        expected = clique_sums(p, widths)
    for sums, others in zip(compiled, expected, strict=True):
        assert sums.dtype == others.dtype
        assert (sums > 0).all()
    regular = slice(None) if shape[0] == 1 else slice(1, None)
    for sums, others in zip(compiled, expected, strict=True):
        assert_allclose(sums[regular], others[regular], rtol=1e4 * TOLERANCE[dtype])


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
