"""Peak memory of separating, by what numpy allocates, in spectrograms."""

# License: BSD-3-Clause

import tracemalloc

import numpy as np
import pytest

from skbss import Spectrogram, make_separator


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
        ilrma__init_iter=25,
        ilrma__max_iter=2,
        refine__max_iter=2,
        refine2__max_iter=2,
    )
    pipeline[:1].fit_transform(x)  # loads what is only loaded once
    sizes = []
    tracemalloc.start()
    try:
        data = x
        for _, step in pipeline.steps:
            data = step.fit_transform(data)
            if isinstance(data, Spectrogram):
                sizes.append(data.data.nbytes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * max(sizes)
    assert peak > 2 * min(sizes)  # allocations are seen
