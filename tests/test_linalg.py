"""The small linear algebra, one matrix at a time against numpy and scipy.

Tolerances are a few hundred roundings times the condition number of the problem.
"""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import eigh

from skbss.linalg import (
    eigh_pencil_2x2,
    hermitian_features,
    inv,
    log_abs_det,
    matmul,
    power_features,
    solve_hpd,
    unpack_hermitian,
    whitening,
)

N_MICS = [1, 2, 3, 4, 5, 6, 8]
EPS = np.finfo(float).eps


def cnormal(rng, *shape):
    return rng.normal(size=(*shape, 2)) @ [1, 1j]


def make_hpd(rng, M, n_bins, condition=1e3):
    """Hermitian matrices (M, M, n_bins) with eigenvalues from 1 to 1 / condition."""
    U, _ = np.linalg.qr(cnormal(rng, n_bins, M, M))
    V = (U * np.geomspace(1, 1 / condition, M)) @ U.conj().swapaxes(1, 2)
    return np.ascontiguousarray(V.transpose(1, 2, 0))


def bins(*arrays):
    """Iterate over the bins, which come last."""
    return zip(*(np.moveaxis(array, -1, 0) for array in arrays), strict=True)


@pytest.mark.parametrize("M", N_MICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_are_the_outer_product(M, dtype, rng):
    x = cnormal(rng, M, 4, 7)
    parts = x.real.astype(dtype), x.imag.astype(dtype)
    P = hermitian_features(*parts, out=np.empty((M * M, 4, 7), dtype))
    V = unpack_hermitian(P.swapaxes(0, 1))
    assert V.dtype == np.result_type(dtype, 1j)
    expected = np.einsum("itf,jtf->tijf", x, x.conj())
    assert_allclose(V, expected, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("M", N_MICS)
def test_unpacked_matrices_are_hermitian(M, rng):
    V = unpack_hermitian(rng.normal(size=(3, M * M, 5)))
    assert V.shape == (3, M, M, 5)
    np.testing.assert_array_equal(V, V.conj().swapaxes(1, 2))


@pytest.mark.parametrize("M", N_MICS)
@pytest.mark.parametrize("n_sources", [1, 3])
def test_power_features_give_powers(M, n_sources, rng):
    W = cnormal(rng, n_sources, M, 6)
    x = cnormal(rng, M, 6)
    P = hermitian_features(x.real, x.imag, np.empty((M * M, 6)))
    power = (power_features(W) * P).sum(1)
    assert_allclose(power, abs((W * x).sum(1)) ** 2, atol=200 * EPS * M)


@pytest.mark.parametrize("M", N_MICS)
def test_power_features_give_quadratic_forms(M, rng):
    """The sum over features of a weighted covariance is w^H V w."""
    W = cnormal(rng, 2, M, 6)
    S = rng.normal(size=(M * M, 6))
    forms = [w @ V @ w.conj().T for w, V in bins(W, unpack_hermitian(S))]
    expected = np.diagonal(forms, axis1=1, axis2=2).real.T
    assert_allclose((power_features(W) * S).sum(1), expected, atol=500 * EPS * M**2)


@pytest.mark.parametrize("M", N_MICS)
@pytest.mark.parametrize("condition", [1, 1e3, 1e9])
@pytest.mark.parametrize("right", [(), (1,), (3,)])
def test_solve_hpd(M, condition, right, rng):
    V = make_hpd(rng, M, 20, condition)
    b = cnormal(rng, M, *right, 20)
    V_before, b_before = V.copy(), b.copy()
    x = solve_hpd(V, b)
    assert x.shape == b.shape
    for V_f, b_f, x_f in bins(V, b, x):
        tolerance = 200 * EPS * condition * np.linalg.norm(np.linalg.solve(V_f, b_f))
        assert_allclose(x_f, np.linalg.solve(V_f, b_f), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(V, V_before)
    np.testing.assert_array_equal(b, b_before)


def test_solve_hpd_reads_the_lower_triangle(rng):
    V = make_hpd(rng, 4, 5)
    b = cnormal(rng, 4, 5)
    expected = solve_hpd(V, b)
    V[np.triu_indices(4, 1)] = np.nan
    np.testing.assert_array_equal(solve_hpd(V, b), expected)


@pytest.mark.parametrize("M", [2, 3, 5])
def test_solve_hpd_of_singular_matrices_is_finite(M, rng):
    x = cnormal(rng, M, 200)
    V = x[:, None] * x[None].conj()  # rank one: pivots are rounding errors
    assert np.isfinite(solve_hpd(V, cnormal(rng, M, 200))).all()


@pytest.mark.parametrize("M", N_MICS)
def test_inv_and_determinant(M, rng):
    W = cnormal(rng, M, M, 50)
    W[:, :, ::2] *= 10.0 ** rng.uniform(-9, 9, size=(M, 1, 25))  # rows of any scale
    A, log_det = inv(W), log_abs_det(W)
    for W_f, A_f, log_det_f in bins(W, A, log_det):
        scale = np.linalg.norm(W_f, axis=1)
        condition = np.linalg.cond(W_f / scale[:, None])
        unit = W_f / scale[:, None] @ (A_f * scale)
        assert_allclose(unit, np.eye(M), rtol=0, atol=200 * EPS * condition)
        expected = np.linalg.slogdet(W_f).logabsdet
        assert_allclose(log_det_f, expected, rtol=0, atol=1e3 * EPS * condition)


@pytest.mark.parametrize(
    "shapes", [((2, 2), (2, 3)), ((3, 2), (2, 1)), ((1, 1), (1, 1))]
)
def test_matmul(shapes, rng):
    A, B = (cnormal(rng, *shape, 9) for shape in shapes)
    expected = np.stack([a @ b for a, b in bins(A, B)], axis=-1)
    assert_allclose(matmul(A, B), expected, atol=100 * EPS)


def rayleigh(u, U):
    return (u.conj() @ U @ u).real


def check_pencil(U, V, rtol):
    """Compare the ratios u^H U u / u^H V u with the eigenvalues that LAPACK finds."""
    u = eigh_pencil_2x2(U, V)
    assert np.isfinite(u).all()
    for U_f, V_f, u_f in bins(U, V, u):
        expected = eigh(U_f, V_f, eigvals_only=True)[::-1]
        scale = abs(expected).max()
        ratios = [rayleigh(u_f[:, j], U_f) / rayleigh(u_f[:, j], V_f) for j in (0, 1)]
        assert_allclose(ratios, expected, rtol=0, atol=rtol * scale)
        cross = u_f[:, 0].conj() @ V_f @ u_f[:, 1]
        norm = np.sqrt(rayleigh(u_f[:, 0], V_f) * rayleigh(u_f[:, 1], V_f))
        assert abs(cross) < rtol * norm


@pytest.mark.parametrize("condition", [1, 1e2, 1e6])
def test_pencil(condition, rng):
    U = make_hpd(rng, 2, 50)
    V = make_hpd(rng, 2, 50, condition)
    check_pencil(U, V, rtol=100 * EPS * condition)


@pytest.mark.parametrize(
    ("U", "V"),
    [
        (np.eye(2), np.eye(2)),  # equal eigenvalues
        (np.diag([1, 3]), np.eye(2)),  # diagonal, both orders
        (np.diag([3, 1]), np.eye(2)),
        (np.diag([3, 1]), np.diag([2, 5])),
        (np.diag([1, 0]), np.eye(2)),  # rank one
        (np.diag([0, 1]), np.eye(2)),
        (np.zeros((2, 2)), np.eye(2)),
        (np.ones((2, 2)), np.eye(2)),
        (np.array([[1, 1j], [-1j, 1]]), np.eye(2)),
        (np.array([[0, 1], [1, 0]]), np.eye(2)),  # indefinite
        (np.array([[2, 1 + 1j], [1 - 1j, 5]]), np.array([[2, 1 + 1j], [1 - 1j, 5]])),
        (np.diag([1, 1 + 1e-12]), np.eye(2)),
        (np.diag([1e-40, 1e-41]), np.eye(2)),
        (np.diag([1e40, 1e38]), np.diag([1, 1e-3])),
    ],
)
def test_special_pencils(U, V):
    U, V = (np.asarray(A, dtype=complex)[..., None] for A in (U, V))
    check_pencil(U, V, rtol=1e-12)


def test_pencil_of_proportional_matrices(rng):
    V = make_hpd(rng, 2, 50)
    check_pencil(3 * V, V, rtol=1e3 * 100 * EPS)  # the condition of V is 1e3


def test_pencil_with_singular_denominator_is_finite(rng):
    x = cnormal(rng, 2, 50)
    V = x[:, None] * x[None].conj()
    for U in (make_hpd(rng, 2, 50), V, 0 * V):
        assert np.isfinite(eigh_pencil_2x2(U, V)).all()


@pytest.mark.parametrize("M", N_MICS)
def test_whitening(M, rng):
    C = make_hpd(rng, M, 20, 1e4) * 10.0 ** rng.uniform(-9, 9, size=20)
    Z, Z_inv, power = whitening(C, loading=1e-14)
    assert_allclose(power, np.diagonal(C).real.T)
    for C_f, Z_f, Z_inv_f in bins(C, Z, Z_inv):
        # The loading and rounding both count by the condition of C.
        assert_allclose(Z_f @ C_f @ Z_f.conj().T, np.eye(M), rtol=0, atol=1e-8)
        assert_allclose(Z_f @ Z_inv_f, np.eye(M), rtol=0, atol=1e-10)
        lower = np.tril(Z_f, -1) + np.diag(np.diagonal(Z_f).real)
        assert_allclose(Z_f, lower, rtol=0, atol=1e-12 * abs(Z_f).max())  # rounding


def test_whitening_follows_the_gain_of_each_microphone(rng):
    C = make_hpd(rng, 3, 20)
    gain = np.array([1, 1e-10, 1e7])[:, None]
    Z, _, _ = whitening(C, loading=1e-14)
    Z_scaled, _, _ = whitening(C * gain[:, None] * gain, loading=1e-14)
    # Rounding, magnified by the condition of 1e3.
    assert_allclose(Z_scaled * gain, Z, rtol=0, atol=1e-9 * abs(Z).max())


def test_whitening_of_dependent_microphones(rng):
    x = cnormal(rng, 3, 20)
    C = x[:, None] * x[None].conj()
    C[1] = C[:, 1] = 0  # a dead one
    C[..., :3] = 0  # silent bins
    Z, Z_inv, power = whitening(C, loading=1e-13)
    np.testing.assert_array_equal(power[1], 1)
    np.testing.assert_array_equal(power[:, :3], 1)
    assert abs(Z).max() < 1e8 / np.sqrt(abs(x).min())
    for Z_f, Z_inv_f, C_f in bins(Z, Z_inv, C):
        # Rows are up to 1e6.5 times those of a regular matrix.
        assert_allclose(Z_f @ Z_inv_f, np.eye(3), rtol=0, atol=1e-8)
        assert np.linalg.eigvalsh(Z_f @ C_f @ Z_f.conj().T).max() < 1 + 1e-2
