"""Agreement with independent packages, run live; where they differ, why.

None of these tests needs a package's numbers to be frozen: both sides are computed
here, from the same mixture and the same start. "The reference" is tests/reference.py.
"""

# License: BSD-3-Clause

import numpy as np
import pytest

from skbss.datasets import load_cocktail_party
from skbss.transforms import STFT, WPE
from tests import peers
from tests.reference import (
    auxiva,
    auxiva_objective,
    auxiva_variance,
    identity,
    ilrma,
    ip2_pair,
    make_factors,
    make_mixture,
    output_power,
    relative_error,
    update_factors,
)

pytestmark = pytest.mark.peers

SPATIAL = ["ip1", "ip2", "iss1", "iss2"]
N_MICS = [2, 3, 4]
AUXIVA_PEERS = [
    (peers.pyroomacoustics_auxiva, "ip1"),
    (peers.oobss_auxiva, "ip1"),
    (peers.ssspy_auxiva, "ip1"),
    (peers.ssspy_auxiva, "ip2"),
    (peers.ssspy_auxiva, "iss1"),
    (peers.ssspy_auxiva, "iss2"),
]
# All compute in float64; ten iterations magnify rounding to some 1e-13 here.
RTOL = 1e-8


def reference_auxiva(X, n_iter, source, spatial):
    return auxiva(X, n_iter, source, spatial)[0]


def reference_ilrma(X, n_iter, basis, activations, update, spatial):
    return ilrma(X, n_iter, basis, activations, update, spatial)[0]


def unit_power(W, X):
    """Demixing matrices whose outputs have unit mean power, source by source."""
    return W / np.sqrt(output_power(W, X).mean(axis=(1, 2)))[:, np.newaxis]


def update_pair(W, X, r, k, l):
    """IP2 of one pair of rows in all bins, weighted by 1 / r."""
    W = W.copy()
    for f in range(X.shape[1]):
        x = X[:, f]
        V = np.array([(x.T / r[j, f]) @ x.conj() / len(x) for j in range(len(r))])
        ip2_pair(W[f], V, k, l)
    return W


# Where they agree.


@pytest.mark.parametrize("ours", [reference_auxiva, peers.skbss_auxiva])
@pytest.mark.parametrize("n_mics", N_MICS)
@pytest.mark.parametrize("source", ["gauss", "laplace"])
@pytest.mark.parametrize(("peer", "spatial"), AUXIVA_PEERS)
def test_auxiva_agrees(peer, spatial, source, n_mics, ours):
    # See test_ssspy_laplace_ip2_weighs_anew_for_every_pair.
    anew = (peer, source, spatial) == (peers.ssspy_auxiva, "laplace", "ip2")
    X = make_mixture(n_mics, n_mics)
    error = relative_error(ours(X, 10, source, spatial), peer(X, 10, source, spatial))
    assert (error > 1e-4) if anew and n_mics > 2 else (error < RTOL)


@pytest.mark.parametrize("n_mics", N_MICS)
@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("update", ["mm", "me"])
@pytest.mark.parametrize("ours", [reference_ilrma, peers.skbss_ilrma])
def test_ilrma_agrees_with_ssspy(ours, update, spatial, n_mics):
    X = make_mixture(n_mics, n_mics)
    start = make_factors(0, X, n_basis=3)
    W = ours(X, 10, *start, update, spatial)
    assert relative_error(W, peers.ssspy_ilrma(X, 10, *start, update, spatial)) < RTOL
    free = peers.ssspy_ilrma(X, 10, *start, update, spatial, normalized=False)
    assert relative_error(W, unit_power(free, X)) < RTOL


@pytest.mark.parametrize("n_mics", N_MICS)
@pytest.mark.parametrize("ours", [reference_ilrma, peers.skbss_ilrma])
def test_ilrma_agrees_with_oobss(ours, n_mics):
    """oobss has the faster of the two updates ("me") and does not normalize."""
    X = make_mixture(n_mics, n_mics)
    start = make_factors(0, X, n_basis=3)
    W = ours(X, 10, *start, "me", "ip1")
    assert relative_error(W, unit_power(peers.oobss_ilrma(X, 10, *start), X)) < RTOL


@pytest.mark.parametrize("n_mics", N_MICS)
def test_ilrma_agrees_with_pyroomacoustics_step_by_step(n_mics):
    """Ten single steps of pyroomacoustics, each from the reference's present state.

    Step by step, because from the second iteration on it goes astray by itself; see
    test_pyroomacoustics_ilrma_scales_columns.
    """
    X = make_mixture(n_mics, n_mics)
    B, C = make_factors(0, X, n_basis=3)
    W = identity(X)
    for _ in range(10):
        Y, _ = peers.pyroomacoustics_ilrma_outputs(X, 1, B, C, W0=W)
        W, B, C, _ = ilrma(X, 1, B, C, W=W)
        W_peer = peers.least_squares_demixing(Y, X)
        assert relative_error(unit_power(W_peer, X), W) < RTOL


@pytest.fixture(scope="module")
def recording():
    """Spectrogram of the bundled recording, of unit power as skbss makes it inside."""
    X = np.asarray(STFT(n_fft=2048).fit_transform(load_cocktail_party().mixture))
    return X / np.sqrt(np.mean(abs(X) ** 2))


@pytest.mark.parametrize(("peer", "spatial"), AUXIVA_PEERS)
def test_auxiva_agrees_on_a_recording(peer, spatial, recording):
    """Low bins of close microphones have condition numbers of up to 3e4."""
    W = peers.skbss_auxiva(recording, 10, "gauss", spatial)
    assert relative_error(W, peer(recording, 10, "gauss", spatial)) < RTOL


@pytest.mark.parametrize(
    ("peer", "update"),
    [(peers.oobss_ilrma, "me"), (peers.ssspy_ilrma, "mm"), (peers.ssspy_ilrma, "me")],
)
def test_ilrma_agrees_on_a_recording(peer, update, recording):
    start = make_factors(0, recording, n_basis=4)
    W = peers.skbss_ilrma(recording, 10, *start, update)
    W_peer = peer(recording, 10, *start, update)
    assert relative_error(W, unit_power(W_peer, recording)) < RTOL


def test_objective_agrees():
    X = make_mixture(0, 3)
    start = make_factors(0, X, n_basis=3)
    *_, expected = ilrma(X, 5, *start, update="me")
    oobss = peers.make_oobss_ilrma(X, *start)
    losses = []
    for _ in range(5):
        oobss.step()
        losses.append(oobss.loss)
    np.testing.assert_allclose(losses, expected[1:], rtol=RTOL)

    ssspy = peers.make_ssspy_ilrma(3, "me", loss=True)
    ssspy(X.T, n_iter=5, basis=start[0], activation=start[1])
    # Its loss is the mean over frames.
    np.testing.assert_allclose(np.array(ssspy.loss) * len(X), expected, rtol=RTOL)

    ssspy = peers.make_ssspy_auxiva("laplace", record_loss=True)
    ssspy(X.T / 2, n_iter=5)
    _, expected = auxiva(X, 5, "laplace")
    np.testing.assert_allclose(np.array(ssspy.loss) * len(X), expected, rtol=RTOL)


# Where they differ.


def test_ssspy_laplace_ip2_weighs_anew_for_every_pair():
    """ssspy's Laplace IP2 takes new weights before every pair.

    The reference (and ssspy's own Gauss IP2, ISS2 and ILRMA) keeps those from the start
    of the sweep, which needs one pass over the data instead of one per pair. Both
    lower the objective.
    """
    X = make_mixture(3, 3)
    W = identity(X)
    for _ in range(10):
        for k, l in [(0, 1), (0, 2), (1, 2)]:
            r = auxiva_variance(output_power(W, X), "laplace")
            W = update_pair(W, X, r, k, l)
    W_peer = peers.ssspy_auxiva(X, 10, "laplace", "ip2")
    assert relative_error(W_peer, W) < RTOL
    W_reference, objective = auxiva(X, 10, "laplace", "ip2")
    assert relative_error(W_peer, W_reference) > 1e-6
    assert auxiva_objective(W_peer, X, "laplace") < objective[0]


def test_oobss_ip2_omits_pairs():
    """oobss's IP2 of four sources pairs 0 with 1 and 2 with 3, twice, and no others.

    With two and three sources all pairs are visited and the results agree.
    """
    for n_mics in (2, 3):
        X = make_mixture(n_mics, n_mics)
        W, _ = auxiva(X, 10, "gauss", "ip2")
        assert relative_error(peers.oobss_auxiva(X, 10, "gauss", "ip2"), W) < RTOL

    X = make_mixture(4, 4)
    W = identity(X)
    for _ in range(10):
        r = auxiva_variance(output_power(W, X), "gauss")
        for k, l in [(0, 1), (2, 3), (0, 1), (2, 3)]:
            W = update_pair(W, X, r, k, l)
    W_peer = peers.oobss_auxiva(X, 10, "gauss", "ip2")
    assert relative_error(W_peer, W) < RTOL
    _, objective = auxiva(X, 10, "gauss", "ip2")
    assert objective[-1] < auxiva_objective(W_peer, X, "gauss")


def test_oobss_ilrma_ip2_uses_outdated_powers():
    """oobss's ILRMA with IP2 updates a pair's factors before every pair.

    It takes the output powers from the start of the iteration, although the pairs
    before have moved the demixing matrices: rows are fitted to powers they no longer
    have. The reference updates the factors once an iteration, as the paper does.
    """
    X = make_mixture(3, 3)
    B, C = make_factors(0, X, n_basis=3)
    W_peer = peers.oobss_ilrma(X, 3, B, C, spatial="ip2")
    W = identity(X)
    for _ in range(3):
        power = output_power(W, X)
        for k, l in [(0, 1), (2, 0), (1, 2)]:
            pair = [k, l]
            B[pair], C[pair] = update_factors(power[pair], B[pair], C[pair], "me")
            W = update_pair(W, X, B @ C, k, l)
    assert relative_error(W_peer, W) < RTOL


def test_oobss_pairwise_solver_returns_nan():
    """oobss's 2 x 2 eigenvectors are NaN where the two matrices are proportional."""
    from oobss.separators.utils import solve_2x2HEAD

    V = np.diag([2.0, 1.0]).astype(complex)[np.newaxis]
    with np.errstate(all="ignore"):
        _, vectors = solve_2x2HEAD(V, 3 * V)
    assert np.isnan(vectors).any()


@pytest.mark.parametrize(
    ("n_mics", "taps", "n_iter"), [(1, 6, 1), (2, 6, 3), (4, 3, 3)]
)
def test_wpe_agrees(n_mics, taps, n_iter):
    # The weights of a single microphone grow until a frame is predicted exactly, which
    # magnifies rounding.
    X = make_mixture(n_mics, n_mics, n_frames=400)
    X[4:] += 0.5 * X[:-4]
    wpe = WPE(taps, delay=3, max_iter=n_iter, floor=1e-10)  # nara_wpe's
    error = relative_error(wpe.fit_transform(X), peers.nara_wpe(X, taps, 3, n_iter))
    assert error < RTOL


def test_oobss_gauss_loss_has_the_wrong_sign():
    """oobss's Gauss loss counts log r negative, and once instead of in every bin.

    Doubling the recording leaves W alone, so the negative log-likelihood rises by
    log 4 for every source, frame and bin. The loss falls.
    """
    from oobss import AuxIVA

    X = make_mixture(0, 2)
    peer, doubled = AuxIVA(X), AuxIVA(2 * X)
    peer.run(5)
    doubled.run(5)
    np.testing.assert_array_equal(peer.demix_filter, doubled.demix_filter)
    W = peer.demix_filter
    rise = auxiva_objective(W, 2 * X, "gauss") - auxiva_objective(W, X, "gauss")
    np.testing.assert_allclose(rise, X.size * np.log(4), rtol=RTOL)
    assert doubled.loss < peer.loss


@pytest.mark.parametrize("n_mics", N_MICS)
def test_pyroomacoustics_ilrma_scales_columns(n_mics):
    """pyroomacoustics' ILRMA normalizes the columns of W where rows are meant.

    After one iteration its outputs are right, but the W it returns is not the one that
    made them. From the second iteration on the outputs are wrong as well.
    """
    X = make_mixture(n_mics, n_mics)
    start = make_factors(0, X, n_basis=3)
    Y, W_returned = peers.pyroomacoustics_ilrma_outputs(X, 1, *start)
    W_applied = unit_power(peers.least_squares_demixing(Y, X), X)
    assert relative_error(W_applied, ilrma(X, 1, *start)[0]) < RTOL
    assert relative_error(unit_power(W_returned, X), W_applied) > 1e-3

    Y, _ = peers.pyroomacoustics_ilrma_outputs(X, 10, *start)
    W_applied = unit_power(peers.least_squares_demixing(Y, X), X)
    assert relative_error(W_applied, ilrma(X, 10, *start)[0]) > 1e-3


@pytest.mark.parametrize(
    ("peer", "spatial"), [case for case in AUXIVA_PEERS if case[1] != "iss1"]
)
def test_peers_fail_on_a_silent_bin(peer, spatial):
    """The weighted covariances of a silent bin are singular, and nothing is done."""
    X = make_mixture(0, 2)
    X[:, 4] = 0
    with pytest.raises(np.linalg.LinAlgError):
        peer(X, 10, "gauss", spatial)
    assert np.isfinite(peers.skbss_auxiva(X, 10, "gauss", spatial)).all()


@pytest.mark.parametrize("peer", [peers.pyroomacoustics_auxiva, peers.oobss_auxiva])
def test_peers_with_absolute_floors_depend_on_the_level(peer):
    """Gauss AuxIVA doesn't depend on the level, but floors like 1e-15 make it do so."""
    X = make_mixture(0, 2)
    W = peers.skbss_auxiva(X, 10)
    assert relative_error(peer(X, 10), W) < RTOL
    assert relative_error(peers.skbss_auxiva(1e-8 * X, 10), W) < RTOL
    assert relative_error(peer(1e-8 * X, 10), W) > 0.1
