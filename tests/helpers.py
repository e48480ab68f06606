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
