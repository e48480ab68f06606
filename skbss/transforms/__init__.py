"""Transforms between signals and spectrograms, and what mends separated outputs."""

# License: BSD-3-Clause

from skbss.transforms.alignment import AlignChannels, ResampleChannels
from skbss.transforms.crosstalk_canceller import CrosstalkCanceller
from skbss.transforms.loudest_first import LoudestFirst
from skbss.transforms.noise_reducer import NoiseReducer
from skbss.transforms.online_wpe import OnlineWPE
from skbss.transforms.projection_back import ProjectionBack
from skbss.transforms.remix_noisy_bins import RemixNoisyBins
from skbss.transforms.scaling import (
    normalized_mixing,
    projection_back,
    projection_back_lstsq,
)
from skbss.transforms.sort_frequencies import SortFrequencies
from skbss.transforms.stft import ISTFT, STFT
from skbss.transforms.target_first import TargetFirst
from skbss.transforms.wpe import WPE

__all__ = [
    "ISTFT",
    "STFT",
    "WPE",
    "AlignChannels",
    "CrosstalkCanceller",
    "LoudestFirst",
    "NoiseReducer",
    "OnlineWPE",
    "ProjectionBack",
    "RemixNoisyBins",
    "ResampleChannels",
    "SortFrequencies",
    "TargetFirst",
    "normalized_mixing",
    "projection_back",
    "projection_back_lstsq",
]
