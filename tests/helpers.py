"""What several test files say about separators."""

# License: BSD-3-Clause

import numpy as np


def level(X):
    return np.sqrt(np.mean(abs(X) ** 2))


def at_unit_level(record):
    return record.data / level(record.data)


def log_determinants(estimator, X):
    return 2 * len(X) * np.linalg.slogdet(estimator.demixing_).logabsdet.sum()


def assert_never_rises(estimator, record):
    """Check the objective of every iteration."""
    objective = estimator.objective_
    assert objective.shape == (estimator.n_iter_,)
    # It sums so many values of order one, each with a few roundings.
    assert np.diff(objective).max() < 1e-13 * record.data.size
    assert objective[-1] < objective[0]


def make_sources(n_samples=3000, n_sources=3, n_estimates=None, seed=0):
    """Draw references and mixtures of them with some noise, well off 0 dB."""
    rng = np.random.default_rng(seed)
    n_estimates = n_estimates or n_sources
    reference = rng.laplace(size=(n_samples, n_sources))
    estimate = 0.3 * reference @ rng.standard_normal((n_sources, n_estimates))
    estimate[:, :n_sources] += reference[:, rng.permutation(n_sources)]
    return reference, estimate + 0.1 * rng.standard_normal(estimate.shape)
