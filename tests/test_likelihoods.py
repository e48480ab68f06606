"""Exchangeable distributions: source models of AuxIVA, likelihoods of ILRMA."""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from skbss import ILRMA, AuxIVA
from skbss.updates import Cliques, Gauss, GeneralizedGauss, Laplace, StudentT
from tests import peers
from tests.helpers import assert_never_rises, at_unit_level, level, log_determinants
from tests.reference import make_factors, make_mixture, output_power, relative_error

LIKELIHOODS = [StudentT(1.0), StudentT(20.0), GeneralizedGauss(1.0), Laplace()]


@pytest.mark.parametrize("spatial", ["ip1", "ip2", "iss1", "iss2"])
@pytest.mark.parametrize("source", ["t", "ggd", StudentT(0.01)])
def test_the_objective_of_auxiva(source, spatial, record):
    auxiva = AuxIVA(source, spatial=spatial, max_iter=15).fit(record)
    assert_never_rises(auxiva, record)
    models = {"t": StudentT(), "ggd": GeneralizedGauss()}
    X = at_unit_level(record)
    power = output_power(auxiva.demixing_, X).mean(axis=1)
    cost = models.get(source, source) if isinstance(source, str) else source
    expected = X.shape[1] * cost.cost(power).sum() - log_determinants(auxiva, X)
    # Noise that is expected to be there.
    assert_allclose(auxiva.objective_[-1], expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("n_sources", [None, 1])
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_the_objective_of_ilrma(likelihood, n_sources, dtype, record):
    ilrma = ILRMA(
        3,
        n_sources=n_sources,
        likelihood=likelihood,
        init_iter=6,
        max_iter=20,
        random_state=0,
    ).fit(record.data.astype(dtype))
    objective = ilrma.objective_
    # Rounding of sums of so many terms of order one.
    rise = {np.complex64: 1e-4, np.complex128: 1e-13}[dtype] * record.data.size
    assert np.diff(objective).max() < rise
    assert objective[-1] < objective[0]
    if n_sources is None and dtype == np.complex128:
        X = at_unit_level(record)
        r = ilrma.basis_ @ ilrma.activations_ / level(record.data) ** 2
        power = output_power(ilrma.demixing_, X)
        cost = likelihood.cost(power / r) + np.log(r)
        expected = cost.sum() - log_determinants(ilrma, X)
        assert_allclose(objective[-1], expected, rtol=1e-7)


def test_likelihoods_by_name(record):
    for name, model in [("t", StudentT()), ("ggd", Laplace())]:
        named = ILRMA(likelihood=name, max_iter=3, init_iter=2, random_state=0)
        given = ILRMA(likelihood=model, max_iter=3, init_iter=2, random_state=0)
        expected = given.fit(record).demixing_
        assert_allclose(named.fit(record).demixing_, expected, rtol=1e-9)


def test_the_gaussian_likelihood_is_a_generalized_gauss_of_shape_2(record):
    ilrma = ILRMA(max_iter=5, init_iter=2, random_state=0)
    expected = ilrma.fit(record).demixing_
    ilrma.set_params(likelihood=GeneralizedGauss(2))
    assert relative_error(ilrma.fit(record).demixing_, expected) < 1e-9


@pytest.mark.parametrize(
    ("separator", "message"),
    [
        (ILRMA(likelihood=Cliques()), r"likelihood=Cliques\(\), which tells 512 bands"),
        (ILRMA(likelihood="cauchy"), "The 'likelihood' parameter of ILRMA"),
        (ILRMA(likelihood=StudentT(0)), "The 'dof' parameter of StudentT"),
        (AuxIVA(GeneralizedGauss(3)), "The 'shape' parameter of GeneralizedGauss"),
        (AuxIVA(StudentT(-1)), "The 'dof' parameter of StudentT"),
        (AuxIVA(Cliques(n_bands=0)), "The 'n_bands' parameter of Cliques"),
    ],
    ids=repr,
)
def test_bad_models(separator, message, record):
    with pytest.raises(ValueError, match=message):
        separator.fit(record)


def test_ilrma_takes_source_models_for_its_variances(record):
    """Gauss gives every bin its own power: finite, though it separates nothing."""
    ilrma = ILRMA(source=Gauss(), init_iter=2, max_iter=3).fit(record)
    assert np.isfinite(ilrma.demixing_).all()


class Recorder:
    """A source model that keeps the shapes that it is asked about."""

    def __init__(self, n_bands=None):
        self.shapes = set()
        if n_bands is not None:
            self.n_bands = n_bands

    def variance(self, power):
        self.shapes.add(power.shape)
        return power + 1e-3

    def cost(self, power):
        self.shapes.add(power.shape)
        return np.log(power + 1e-3)


@pytest.mark.parametrize("n_sources", [None, 2, 1])
def test_models_are_asked_in_the_shapes_that_they_know(n_sources):
    X = make_mixture(0, 3, n_frames=40, n_freqs=20)
    source = Recorder()
    # Bands are sorted after every iteration.
    AuxIVA(source, n_sources=n_sources, max_iter=4, sort_iter=1, init="identity").fit(X)
    assert source.shapes == {(n_sources or 3, 1, 40)}
    source = Recorder(n_bands=10)
    AuxIVA(source, n_sources=n_sources, max_iter=4, init="identity").fit(X)
    assert source.shapes == {(n_sources or 3, 10, 40)}


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (lambda power: power[0], r"cost\(\) returned an array of shape \(1, 128\)"),
        (lambda power: power.sum(), r"cost\(\) returned an array of shape \(\)"),
        (lambda power: power * np.nan, r"cost\(\) returned non-finite values"),
    ],
)
def test_a_cost_that_is_wrong(cost, message, record):
    class Wrong(Gauss):
        def cost(self, power):
            return cost(power)

    with pytest.raises(ValueError, match=message):
        AuxIVA(Wrong(), max_iter=2).fit(record)


@pytest.mark.parametrize("fails", ["variance", "cost"])
@pytest.mark.parametrize("separator", [AuxIVA(max_iter=4), ILRMA(max_iter=4)], ids=repr)
def test_what_was_fitted_stays_where_a_model_fails(separator, fails, record):
    """In the middle of learning from another recording."""

    class Fails(Gauss):
        n_left = 3

        def variance(self, power):
            self.count()
            return super().variance(power)

        def count(self):
            self.n_left -= 1
            if self.n_left < 0:
                raise KeyboardInterrupt

    separator = clone(separator)  # the next test must not find the source
    expected = separator.fit(record).transform(record)
    before = {key: np.copy(value) for key, value in vars(separator).items()}
    other = make_mixture(0, 3, n_frames=50, n_freqs=9)
    with pytest.raises(KeyboardInterrupt):
        separator.set_params(source=Fails()).fit(other)
    for key, value in vars(separator).items():
        if key != "source":
            np.testing.assert_array_equal(value, before[key])
    np.testing.assert_array_equal(separator.transform(record).data, expected.data)


@pytest.mark.peers
@pytest.mark.parametrize("n_mics", [2, 3])
@pytest.mark.parametrize("dof", [1.0, 10.0])
def test_ilrma_of_students_t_agrees_with_ssspy(dof, n_mics):
    X = make_mixture(n_mics, n_mics)
    start = make_factors(0, X, n_basis=3)
    ours = peers.fit_skbss_ilrma(X, 10, *start, likelihood=StudentT(dof))
    W, losses = peers.ssspy_tilrma(X, 10, *start, dof=dof)
    # It does not normalize here: rows agree up to one gain of each source.
    gain = np.linalg.norm(ours.demixing_, axis=(0, 2)) / np.linalg.norm(W, axis=(0, 2))
    assert relative_error(ours.demixing_, W * gain[:, None]) < 1e-8
    # Its loss stands before the factors follow: ours is lower, and the next is again.
    assert (ours.objective_ / len(X) < losses[1:]).all()
    assert (ours.objective_[:-1] / len(X) > losses[2:]).all()


@pytest.mark.peers
@pytest.mark.parametrize("shape", [0.7, 1.0, 1.8])
def test_ilrma_of_generalized_gauss_agrees_with_ssspy(shape):
    """The same objective; the factors' steps are others, and lead as far."""
    X = make_mixture(2, 2)
    start = make_factors(0, X, n_basis=3)
    ours = peers.fit_skbss_ilrma(X, 60, *start, likelihood=GeneralizedGauss(shape))
    loss = peers.ssspy_ggdilrma_loss(
        X, ours.demixing_, ours.basis_, ours.activations_, shape
    )
    # Bins 100 dB below their variance have a floor here, of whatever shape.
    assert_allclose(ours.objective_[-1] / len(X), loss, rtol=1e-5)
    _, losses = peers.ssspy_ggdilrma(X, 60, *start, shape=shape)
    start_loss = losses[0]
    assert ours.objective_[-1] / len(X) - losses[-1] < 0.03 * (start_loss - losses[-1])
