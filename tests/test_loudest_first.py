"""The loudest output comes first."""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbss import LoudestFirst


@parametrize_with_checks([LoudestFirst(), LoudestFirst(1)])
def test_common_checks(estimator, check):
    check(estimator)


@pytest.fixture
def signals(rng):
    return rng.normal(size=(1000, 4)) * [0.1, 3, 1, 10] + [100, 0, 0, 0]


@pytest.mark.parametrize("n_sources", [None, 1, 3, 4])
def test_order(signals, n_sources):
    step = LoudestFirst(n_sources).fit(signals)
    order = [3, 1, 2, 0][:n_sources]
    assert_array_equal(step.order_, order)
    Y = step.transform(signals)
    assert_array_equal(Y, signals[:, order])
    assert Y.flags.c_contiguous
    names = [f"source{k}" for k in range(len(order))]
    assert list(step.get_feature_names_out()) == names


def test_later_audio_keeps_the_order(signals):
    step = LoudestFirst().fit(signals)
    later = signals[:, ::-1] * 1.0
    assert_array_equal(step.transform(later), later[:, [3, 1, 2, 0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1, 1e30])
def test_levels_and_precisions(signals, dtype, scale):
    x = (signals * scale).astype(dtype)
    Y = LoudestFirst(2).fit_transform(x)
    assert Y.dtype == dtype
    assert_array_equal(Y, x[:, [3, 1]])


def test_levels_whose_squares_are_no_numbers(signals):
    for scale in (1e-300, 1e300):
        assert_array_equal(LoudestFirst().fit(signals * scale).order_, [3, 1, 2, 0])


def test_silence_and_equal_outputs_stay_in_order():
    assert_array_equal(LoudestFirst().fit(np.zeros((9, 3))).order_, [0, 1, 2])
    x = np.arange(9.0)[:, None] * [1, -1, 0]
    assert_array_equal(LoudestFirst().fit(x).order_, [0, 1, 2])
    assert_array_equal(LoudestFirst().fit(np.ones((1, 3))).order_, [0, 1, 2])


def test_a_table_comes_out_as_a_table(signals):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(signals, columns=list("abcd"))
    step = LoudestFirst(2).set_output(transform="pandas").fit(table)
    Y = step.transform(table)
    assert list(Y.columns) == ["source0", "source1"]
    assert_array_equal(Y, signals[:, [3, 1]])
    with pytest.raises(ValueError, match="feature names"):
        step.transform(table[["b", "a", "c", "d"]])


def test_refusals(signals):
    with pytest.raises(NotFittedError):
        LoudestFirst().transform(signals)
    with pytest.raises(
        ValueError, match=r"^Got n_sources=5, but there are 4 outputs\.$"
    ):
        LoudestFirst(5).fit(signals)
    with pytest.raises(ValueError, match="'n_sources' parameter"):
        LoudestFirst(0).fit(signals)
    with pytest.raises(ValueError, match="3 features"):
        LoudestFirst().fit(signals).transform(signals[:, 1:])
