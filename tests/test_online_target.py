"""What is known of a target decides which output is the first, live too."""

# License: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skbss import OnlineSeparator, steering_vectors
from skbss.metrics import si_sdr
from tests.test_target import RATE, make_free_field, make_solo


def make_separator(**params):
    return OnlineSeparator(RATE, latency=0.3, window=5.0, period=2.0, **params)


def test_a_time():
    # The other one comes first where nothing is known.
    speaker = 1
    x, images = make_solo(speaker, gain=0.5)
    x, images = np.tile(x, (2, 1)), np.tile(images, (1, 2, 1))
    y = make_separator(target=(0, 0.75)).fit_transform(x)
    half = slice(len(x) // 2, None)
    scores = [si_sdr(images[speaker, half, :1], y[half, k : k + 1])[0] for k in (0, 1)]
    assert scores[0] > scores[1] + 5


def test_a_direction_and_states():
    for speaker in range(2):
        x, images, steering = make_free_field(2)
        separator = make_separator(target=steering[speaker])
        y = separator.fit_transform(x)
        half = slice(len(x) // 2, None)
        scores = [si_sdr(image[half, :1], y[half, :1])[0] for image in images]
        assert np.argmax(scores) == speaker
    # A state goes on to the same bits.
    separator = make_separator(target=(0.2, 1.5))
    separator.partial_fit(x[:19_000])
    other = make_separator(target=(0.2, 1.5)).set_state(separator.get_state())
    rest = [each.partial_fit_transform(x[19_000:]) for each in (separator, other)]
    assert_array_equal(*rest)


def test_refusals():
    x = np.zeros((100, 2))
    vectors = steering_vectors(np.eye(3), [1, 0, 0])
    with pytest.raises(ValueError, match="finite steering vectors"):
        make_separator(target=vectors).fit(x)
