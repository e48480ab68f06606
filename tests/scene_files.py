"""Scenes on disk for several test files."""

# License: BSD-3-Clause

import numpy as np

from skbss.datasets import save_scene

N_SAMPLES, SAMPLE_RATE = 4000, 8000


def make_scene(seed=0, n_sources=2, n_mics=2, n_samples=N_SAMPLES):
    rng = np.random.default_rng(seed)
    # On the grid of 16 bits, so that every format gives back the same samples.
    images = rng.integers(-(2**12), 2**12, size=(n_sources, n_samples, n_mics)) / 2**15
    return {
        "mixture": images.sum(axis=0),
        "references": images[:, :, 0].T,
        "images": images,
        "sample_rate": SAMPLE_RATE,
        "metadata": {"rt60": 0.25, "places": np.eye(3), "speakers": ["a", "b"]},
    }


def write_scenes(root):
    """Write three scenes of two sources on two microphones, in both formats."""
    for k, (suffix, subtype) in enumerate(
        [(".wav", "PCM_16"), (".flac", "PCM_16"), (".wav", "FLOAT")]
    ):
        save_scene(
            root / f"scene_{k:04d}", make_scene(k), suffix=suffix, subtype=subtype
        )
    return root
