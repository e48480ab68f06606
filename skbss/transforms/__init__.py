"""Transforms between signals and spectrograms, and the scale of the outputs."""

# License: BSD-3-Clause

from skbss.transforms.projection_back import (
    ProjectionBack,
    normalized_mixing,
    projection_back,
    projection_back_lstsq,
)
from skbss.transforms.stft import ISTFT, STFT

__all__ = [
    "ISTFT",
    "STFT",
    "ProjectionBack",
    "normalized_mixing",
    "projection_back",
    "projection_back_lstsq",
]
