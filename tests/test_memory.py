"""Peak memory of separating, by what numpy allocates, in spectrograms."""

# License: BSD-3-Clause

import tracemalloc

import numpy as np
import pytest

from skbss import Spectrogram, make_separator
from skbss.commands.separate import flat_steps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_little_more_memory_than_spectrogram_and_features(dtype):
    """The features of two microphones are as large as the spectrogram.

    What doesn't grow with the recording, some 6 MB, is an eighth of it here.
    """
    rng = np.random.default_rng(0)
    x = rng.laplace(size=(720_000, 2)).astype(dtype)  # 45 s
    pipeline = make_separator("refined", random_state=0)
    # As many iterations as there are before bands are sorted.
    pipeline.set_params(
        first__ilrma__init_iter=25,
        first__ilrma__max_iter=2,
        first__refine__max_iter=2,
        second__refine__max_iter=2,
    )
    pipeline["first"][:1].fit_transform(x)  # loads what is only loaded once
    sizes = []
    tracemalloc.start()
    try:
        data = x
        for _, step in flat_steps(pipeline):
            data = step.fit_transform(data)
            if isinstance(data, Spectrogram):
                sizes.append(data.data.nbytes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.8 * max(sizes)
    assert peak > 2 * min(sizes)  # allocations are seen
