"""Peak memory of separating, by what numpy allocates, in spectrograms."""

# License: BSD-3-Clause

import tracemalloc

import numpy as np
import pytest
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from skbss import Spectrogram, make_separator

# The spectrogram and its features alone are 2, 3 and 5 spectrograms.
BOUNDS = {2: 2.25, 4: 3.35, 8: 5.6}
# Signals are a quarter of a spectrogram each: what goes into the search for a window,
# and what came out with the window before. Of noise, short windows are tried, too,
# whose bands have few bins at such low rates.
SEARCH = 0.9


def flat_steps(pipeline):
    for _, step in pipeline.steps:
        if isinstance(step, Pipeline):
            yield from flat_steps(step)
        else:
            yield step


@pytest.mark.parametrize(
    ("method", "n_mics", "seconds"),
    [
        *((method, n_mics, 45) for method in ("auxiva", "ilrma") for n_mics in BOUNDS),
        *(("refined", n_mics, 20) for n_mics in (2, 8)),
    ],
)
def test_little_more_memory_than_spectrogram_and_features(
    method, n_mics, seconds, monkeypatch
):
    """At a sample rate that keeps the test small.

    Matrices of 8 microphones are as large as some seconds of a recording.
    """
    # Where all is so small, two windows may be tried at a time.
    monkeypatch.setattr("skbss.window_search.SMALL", 0)
    # Takes most of the time, in such noise, and no memory.
    monkeypatch.setattr("skbss.updates.noisy_bins.MAX_ITER", 1)
    rng = np.random.default_rng(0)
    sample_rate = 32_000 // n_mics
    x = rng.laplace(size=(seconds * sample_rate, n_mics))
    pipeline = make_separator(method, sample_rate=sample_rate, random_state=0)
    iterations = "__max_iter", "__init_iter"
    names = [name for name in pipeline.get_params() if name.endswith(iterations)]
    pipeline.set_params(**dict.fromkeys(names, 2))
    pipeline.fit_transform(x[:4000, :2])  # loads what is only loaded once
    data, sizes = x, []
    limits = threadpool_limits(1)  # each thread has a block at work
    tracemalloc.start()
    try:
        for step in flat_steps(pipeline):
            data = step.fit_transform(data)
            if isinstance(data, Spectrogram):
                sizes.append(data.data.nbytes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        limits.restore_original_limits()
    bound = BOUNDS[n_mics] + (SEARCH if method == "refined" else 0)
    assert peak < bound * max(sizes)
    assert peak > max(sizes)  # allocations are seen
