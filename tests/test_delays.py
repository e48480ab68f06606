"""Delays between microphones."""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.signal import resample_poly

from skbss.updates.delays import find_delays


@pytest.mark.parametrize("seed", range(6))
def test_ends_are_no_delays(seed):
    # Two thirds of the spectrum are silent but for ends that don't fade.
    rng = np.random.default_rng(seed)
    signal = resample_poly(rng.normal(size=16_000), 3, 1)
    x = np.stack([signal[40:-40], signal[29:-51]], axis=1)
    x += 1e-5 * rng.normal(size=x.shape)
    delays, prominences = find_delays(x, 0, 24_000)
    assert_array_equal(delays, [0, 11])
    assert prominences[1] > 100
