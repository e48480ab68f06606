"""The slow reference against theory, and the separators against the slow reference."""

# License: BSD-3-Clause

import numpy as np
import pytest

from skbss.separators import AuxIVA
from tests.peers import fit_skbss_ilrma
from tests.reference import (
    auxiva,
    complex_normal,
    identity,
    ilrma,
    ilrma_objective,
    make_factors,
    make_mixture,
    output_power,
    relative_error,
    sweep,
    update_factors,
)

SPATIAL = ["ip1", "ip2", "iss1", "iss2"]
# Both sides compute in float64; ten iterations magnify rounding to some 1e-13 here.
RTOL = 1e-8


def largest_rise(objective, X):
    # The objective sums about X.size terms of order one, so that is its own scale.
    return np.max(np.diff(objective)) / X.size


@pytest.mark.parametrize("n_mics", [1, 3])
@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("source", ["gauss", "laplace"])
def test_auxiva_never_rises(source, spatial, n_mics):
    X = make_mixture(0, n_mics, n_frames=80, n_freqs=9)
    _, objective = auxiva(X, 6, source, spatial)
    assert objective[-1] < objective[0]
    assert largest_rise(objective, X) < 1e-12  # rounding of float64


@pytest.mark.parametrize("n_mics", [1, 3])
@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("update", ["mm", "me"])
def test_ilrma_never_rises(update, spatial, n_mics):
    """Both forms: the majorizer falls with "mm" and stays equal with "me"."""
    X = make_mixture(0, n_mics, n_frames=80, n_freqs=9)
    *_, objective = ilrma(X, 6, *make_factors(0, X, 2), update, spatial)
    assert objective[-1] < objective[0]
    assert largest_rise(objective, X) < 1e-12  # rounding of float64


@pytest.mark.parametrize("n_mics", [1, 2, 3, 4])
@pytest.mark.parametrize("spatial", SPATIAL)
def test_sweeps_converge_to_a_stationary_point(spatial, n_mics):
    """With V fixed the gradient ends at zero, which is W V_k w_k = e_k for every k."""
    rng = np.random.default_rng(0)
    G = complex_normal(rng, (n_mics, n_mics, 3 * n_mics))
    V = G @ G.conj().swapaxes(1, 2)
    W = np.eye(n_mics, dtype=complex)
    for _ in range(150):
        sweep(W, V, spatial)
    for k in range(n_mics):
        # 1e-10 leaves two digits for the condition of V, which is about 1e2.
        np.testing.assert_allclose(
            W @ V[k] @ W[k].conj(), np.eye(n_mics)[k], atol=1e-10
        )


@pytest.mark.parametrize("spatial", ["ip2", "iss2"])
def test_pairwise_updates_solve_two_sources_at_once(spatial):
    rng = np.random.default_rng(1)
    G = complex_normal(rng, (2, 2, 6))
    V = G @ G.conj().swapaxes(1, 2)
    W = complex_normal(rng, (2, 2))
    sweep(W, V, spatial)
    for k in range(2):
        np.testing.assert_allclose(W @ V[k] @ W[k].conj(), np.eye(2)[k], atol=1e-12)


def test_normalization_changes_nothing_but_the_scale():
    X = make_mixture(0, 3)
    factors = make_factors(0, X, 3)
    W, B, C, objective = ilrma(X, 10, *factors, normalized=True)
    W_free, B_free, C_free, objective_free = ilrma(X, 10, *factors, normalized=False)
    gain = output_power(W, X).mean((1, 2)) / output_power(W_free, X).mean((1, 2))
    np.testing.assert_allclose(W, W_free * np.sqrt(gain)[:, None], rtol=RTOL)
    np.testing.assert_allclose(B, B_free * gain[:, None, None], rtol=RTOL)
    np.testing.assert_allclose(C, C_free, rtol=RTOL)
    np.testing.assert_allclose(objective, objective_free, rtol=RTOL)


@pytest.mark.parametrize("n_mics", [1, 2, 3, 4])
@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("source", ["gauss", "laplace"])
def test_auxiva_equals_the_reference(source, spatial, n_mics):
    X = make_mixture(n_mics, n_mics, n_frames=80, n_freqs=9)
    # Laplace's cost is of the mean power here, of the sum in the reference.
    gain = np.sqrt(X.shape[1]) if source == "laplace" else 1.0
    separator = AuxIVA(source, spatial=spatial, max_iter=10, init=identity(X) / gain)
    separator.fit(X)
    W, objective = auxiva(X, 10, source, spatial)
    W, objective = W / gain, objective + 2 * X.size * np.log(gain)
    assert relative_error(separator.demixing_, W) < RTOL
    np.testing.assert_allclose(
        separator.objective_ / X.size, objective[1:] / X.size, atol=RTOL
    )


@pytest.mark.parametrize("n_mics", [1, 2, 3, 4])
@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("update", ["mm", "me"])
def test_ilrma_equals_the_reference(update, spatial, n_mics):
    X = make_mixture(n_mics, n_mics, n_frames=80, n_freqs=9)
    start = make_factors(0, X, n_basis=3)
    separator = fit_skbss_ilrma(X, 10, *start, update, spatial)
    W, (B, C), objective = identity(X), start, []
    for _ in range(10):
        W, B, C, _ = ilrma(X, 1, B, C, update, spatial, W=W)
        # The factors follow the demixing matrices once more.
        factors = update_factors(output_power(W, X), B, C, update)
        objective.append(ilrma_objective(W, X, *factors))
    assert relative_error(separator.demixing_, W) < RTOL
    np.testing.assert_allclose(separator.basis_, factors[0], rtol=RTOL)
    np.testing.assert_allclose(separator.activations_, factors[1], rtol=RTOL)
    np.testing.assert_allclose(
        separator.objective_ / X.size, np.array(objective) / X.size, atol=RTOL
    )
