"""Recordings that several test files share, small enough to be fast; a browser."""

# License: BSD-3-Clause

import numpy as np
import pytest

from skbss import STFT
from skbss.datasets import make_convolutive_mixture
from tests.browser import start_browser
from tests.processes import CONTEXT  # noqa: F401, sets how processes start


def make_recording(n_mics=2, n_samples=4000, random_state=0):
    """Return half a second of a mixture in a small room, and its references."""
    return make_convolutive_mixture(
        n_samples, n_mics, sample_rate=8000, rt60=0.03, random_state=random_state
    )


def make_record(n_mics=2, n_samples=4000, random_state=0):
    """Return the spectrogram of a recording: 65 bins, 128 frames of 4000 samples."""
    x, _ = make_recording(n_mics, n_samples, random_state)
    return STFT(n_fft=128).fit_transform(x)


@pytest.fixture(scope="session")
def recording():
    x, y = make_recording()
    x.flags.writeable = y.flags.writeable = False  # shared
    return x, y


@pytest.fixture(scope="session")
def record():
    record = make_record()
    record.data.flags.writeable = False  # shared
    return record


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    browser = start_browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()
