"""Source models, spatial updates and variance models that users write."""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import uniform_filter
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline

from skbss import ILRMA, ISTFT, STFT, AuxIVA, OnlineAuxIVA, ProjectionBack
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr_improvement, si_sdr_scorer
from tests.helpers import assert_never_rises, at_unit_level, log_determinants
from tests.reference import output_power, relative_error

every_spatial = pytest.mark.parametrize("spatial", ["ip1", "ip2", "iss1", "iss2"])


class HeavyTail(BaseEstimator):
    """A heavy-tailed distribution of a frame, of a scale of its own."""

    def __init__(self, dof=4.0):
        self.dof = dof

    def cost(self, power):
        return np.log(self.dof + power)

    def variance(self, power):
        return self.dof + power


@every_spatial
def test_a_source_model_of_the_user(spatial, record):
    auxiva = AuxIVA(HeavyTail(dof=3.0), spatial=spatial, max_iter=15).fit(record)
    assert_never_rises(auxiva, record)
    X = at_unit_level(record)
    power = output_power(auxiva.demixing_, X).mean(axis=1)
    expected = 65 * auxiva.source.cost(power).sum() - log_determinants(auxiva, X)
    assert_allclose(auxiva.objective_[-1], expected, rtol=1e-9)


def test_a_heavy_tail_is_the_gauss_model(record):
    """For few degrees of freedom log(dof + p) is log p."""
    heavy = AuxIVA(HeavyTail(dof=1e-6), max_iter=10).fit(record)
    gauss = AuxIVA("gauss", max_iter=10).fit(record)
    # The quietest frames have a power of some 1e-3.
    assert relative_error(heavy.demixing_, gauss.demixing_) < 1e-2


def test_the_parameter_of_a_source_model_is_searched(recording):
    x, y = recording
    pipe = make_pipeline(STFT(128), AuxIVA(HeavyTail()), ProjectionBack(), ISTFT())
    search = GridSearchCV(
        pipe,
        {"auxiva__source__dof": [1.0, 10.0, 1e6], "auxiva__max_iter": [1, 20]},
        scoring=si_sdr_scorer,
        cv=KFold(2),
    ).fit(x, y)
    assert search.best_params_["auxiva__max_iter"] == 20
    assert (
        search.best_estimator_["auxiva"].source.dof
        == (search.best_params_["auxiva__source__dof"])
    )
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 6  # every parameter reaches the model


class OneByOne:
    """Iterative projection as in the paper, without scikit-learn's parameters."""

    def update(self, W, V):
        n_sources, _, n_bins = W.shape
        W = W.transpose(2, 0, 1).copy()
        V = V.transpose(0, 3, 1, 2)
        for k in range(n_sources):
            unit = np.broadcast_to(
                np.eye(n_sources)[:, k : k + 1], (n_bins, n_sources, 1)
            )
            w = np.linalg.solve(W @ V[k], unit)
            w /= np.sqrt((w.conj().swapaxes(1, 2) @ V[k] @ w).real)
            W[:, k] = w[..., 0].conj()
        return W.transpose(1, 2, 0)


@pytest.mark.parametrize(
    "separator",
    [AuxIVA(max_iter=10), ILRMA(max_iter=10, init_iter=5, random_state=0)],
    ids=["auxiva", "ilrma"],
)
def test_a_spatial_update_of_the_user(separator, record):
    expected = clone(separator).set_params(spatial="ip1").fit(record)
    separator = clone(separator).set_params(spatial=OneByOne()).fit(record)
    assert relative_error(separator.demixing_, expected.demixing_) < 1e-10
    assert_allclose(separator.objective_, expected.objective_, rtol=1e-12)


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (
            lambda W: W.transpose(2, 0, 1),
            r"shape \(65, 2, 2\), expected .* \(2, 2, 65\)",
        ),
        (lambda W: np.concatenate([W, W]), r"shape \(4, 2, 65\)"),
        (lambda W: None, r"shape \(\)"),
        (lambda W: W * np.nan, "non-finite"),
    ],
)
@pytest.mark.parametrize(
    "separator",
    [
        AuxIVA(max_iter=3),
        AuxIVA("cliques", max_iter=3),
        ILRMA(max_iter=3, init="identity"),
        OnlineAuxIVA(),
    ],
    ids=["auxiva", "cliques", "ilrma", "onlineauxiva"],
)
def test_a_spatial_update_that_fails(separator, update, message, record):
    class Wrong:
        def update(self, W, V):
            return update(W)

    with pytest.raises(ValueError, match=message):
        clone(separator).set_params(spatial=Wrong()).fit(record)


@pytest.mark.parametrize(
    ("variance", "message"),
    [
        (lambda power: power[0], "expected that of the power"),
        (lambda power: None, r"shape \(\)"),
        (lambda power: 0 * power, "zero, negative"),
        (lambda power: -power, "zero, negative"),
        (lambda power: power * np.nan, "non-finite"),
    ],
)
def test_a_source_model_that_fails(variance, message, record):
    class Wrong(HeavyTail):
        def variance(self, power):
            return variance(power)

    with pytest.raises(ValueError, match=message):
        AuxIVA(Wrong(), max_iter=3).fit(record)


class Smooth(BaseEstimator):
    """Powers smoothed over frequency and time, for ILRMA."""

    def __init__(self, size=3):
        self.size = size

    def variance(self, power):
        return uniform_filter(power, (0, self.size, self.size))


def test_a_variance_model_of_the_user(record):
    X = at_unit_level(record)
    ilrma = ILRMA(source=Smooth(), max_iter=10, init_iter=5).fit(X)
    power = output_power(ilrma.demixing_, X)
    assert_allclose(power.mean((1, 2)), 1)
    assert not hasattr(ilrma, "basis_")
    r = Smooth().variance(power)
    expected = np.sum(power / r + np.log(r)) - log_determinants(ilrma, X)
    assert_allclose(ilrma.objective_[-1], expected, rtol=1e-9)
    assert ilrma.objective_[-1] < ilrma.objective_[0]


@every_spatial
def test_a_variance_model_separates(spatial):
    x, y = make_convolutive_mixture(24_000, sample_rate=8000, random_state=2)
    ilrma = ILRMA(source=Smooth(5), spatial=spatial, max_iter=20)
    pipe = make_pipeline(STFT(1024), ilrma, ProjectionBack(), ISTFT())
    assert si_sdr_improvement(y, pipe.fit_transform(x), x).mean() > 5
    pipe.set_params(ilrma__source__size=1)
    assert pipe["ilrma"].source.size == 1


class Returns:
    def __init__(self, variance):
        self.variance = variance

    def __repr__(self):
        return "Returns()"


@pytest.mark.parametrize(
    ("variance", "message"),
    [
        (lambda power: power[0], r"shape \(65, 128\), expected .* \(2, 65, 128\)"),
        (lambda power: power.T, r"shape \(128, 65, 2\), expected .* \(2, 65, 128\)"),
        (lambda power: 1.0, r"shape \(\), expected .* \(2, 65, 128\)"),
        (lambda power: power - 100, "negative or non-finite"),
        (lambda power: power * np.nan, "negative or non-finite"),
        (lambda power: power + np.inf, "negative or non-finite"),
    ],
)
def test_a_variance_model_that_fails(variance, message, record):
    ilrma = ILRMA(source=Returns(variance), init_iter=2)
    with pytest.raises(ValueError, match=rf"Returns\(\)\.variance\(\) .*{message}"):
        ilrma.fit(record)


@pytest.mark.parametrize("variance", [np.zeros_like, np.ones_like, abs])
def test_variances_may_be_zero(variance, record):
    """A source model that hears nothing: floored relative to what it hears."""
    ilrma = ILRMA(source=Returns(variance), init_iter=2, max_iter=5).fit(record)
    assert np.isfinite(ilrma.demixing_).all()
    assert np.isfinite(ilrma.objective_).all()


def test_single_precision_variances(record):
    """A network that returns float32 doesn't matter, nor does a list."""
    ilrma = ILRMA(source=Smooth(), init_iter=2, max_iter=3)
    expected = ilrma.fit(record).demixing_
    single = Returns(lambda power: Smooth().variance(power).astype(np.float32))
    assert (
        relative_error(ilrma.set_params(source=single).fit(record).demixing_, expected)
        < 1e-3
    )
    listed = Returns(lambda power: Smooth().variance(power).tolist())
    assert_array_equal(ilrma.set_params(source=listed).fit(record).demixing_, expected)
