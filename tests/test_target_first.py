"""The output that speaks in a known time comes first."""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbss import TargetFirst, make_separator
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr


@parametrize_with_checks([TargetFirst(0, 1, sample_rate=1)])
def test_common_checks(estimator, check):
    check(estimator)


def test_the_order(rng):
    y = rng.normal(size=(100, 4)) * [4, 3, 2, 1e-3]
    y[20:40, [0, 1, 2]] *= 0.1  # only the softest one speaks
    target = TargetFirst(2, 4, sample_rate=10).fit(y)
    assert_array_equal(target.order_, [3, 0, 1, 2])
    assert target.shares_[3] > 0.9
    assert target.shares_.sum() == pytest.approx(1)
    assert_array_equal(target.transform(y[:50]), y[:50, [3, 0, 1, 2]])
    for scale in (1e-150, 1e150):
        again = TargetFirst(2, 4, sample_rate=10).fit(scale * y)
        assert_array_equal(again.order_, target.order_)
    assert list(target.get_feature_names_out()) == [f"source{k}" for k in range(4)]


def test_silence():
    y = np.zeros((10, 2))
    target = TargetFirst(0, 5, sample_rate=1).fit(y)
    assert_array_equal(target.order_, [0, 1])
    assert_array_equal(target.shares_, [0, 0])
    y[:, 1] = 1
    assert_array_equal(TargetFirst(0, 5, sample_rate=1).fit(y).order_, [1, 0])


@pytest.mark.parametrize(("start", "end"), [(3, 3), (4, 3), (5, 11), (9.9, 10.2)])
def test_times_that_are_not_in_the_recording(start, end):
    with pytest.raises(ValueError, match=f"from {start} to {end} s, .* has 10 s"):
        TargetFirst(start, end, sample_rate=1).fit(np.ones((10, 2)))


@pytest.mark.parametrize(("method", "speaker"), [("refined", 0), ("auxiva", 1)])
def test_separators_put_it_first(method, speaker):
    _, _, images = make_convolutive_mixture(
        24_000, 2, sample_rate=8000, rt60=0.05, return_images=True, random_state=0
    )
    images[1 - speaker, :6000] = 0
    images[speaker] *= 0.3  # or it would come first without being asked for
    params = {"sample_rate": 8000, "random_state": 0}
    x = images.sum(0)
    y = make_separator(method, target=(0, 0.75), **params).fit_transform(x)
    assert si_sdr(images[speaker, :, :1], y[:, :1])[0] > 5
    # All else is as without.
    plain = make_separator(method, **params).fit_transform(x)
    assert_array_equal(np.sort(y, axis=1), np.sort(plain, axis=1))
