"""Blind source separation of multichannel audio, as scikit-learn estimators."""

# License: BSD-3-Clause

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what editors see; below, modules are imported on first use
    from skbss.blocks import BlockBatch
    from skbss.compose import make_separator
    from skbss.config import load_yaml, save_yaml
    from skbss.each_recording import EachRecording
    from skbss.jsonl import read_jsonl
    from skbss.live import OnlineSeparator
    from skbss.loudest_sources import LoudestSources
    from skbss.separators import (
        ILRMA,
        AuxIVA,
        FullRankRefine,
        MaskSeparator,
        OnlineAuxIVA,
        OnlineILRMA,
        OnlineISNMF,
    )
    from skbss.sound_pipeline import RecordingWarning, SoundPipeline
    from skbss.spectrogram import Spectrogram
    from skbss.steering import steering_vectors
    from skbss.streaming import Stream
    from skbss.transforms import (
        ISTFT,
        STFT,
        WPE,
        AlignChannels,
        CrosstalkCanceller,
        LoudestFirst,
        NoiseReducer,
        OnlineWPE,
        ProjectionBack,
        RemixNoisyBins,
        ResampleChannels,
        SortFrequencies,
        TargetFirst,
    )
    from skbss.window_search import WindowSearch

__all__ = [
    "ILRMA",
    "ISTFT",
    "STFT",
    "WPE",
    "AlignChannels",
    "AuxIVA",
    "BlockBatch",
    "CrosstalkCanceller",
    "EachRecording",
    "FullRankRefine",
    "LoudestFirst",
    "LoudestSources",
    "MaskSeparator",
    "NoiseReducer",
    "OnlineAuxIVA",
    "OnlineILRMA",
    "OnlineISNMF",
    "OnlineSeparator",
    "OnlineWPE",
    "ProjectionBack",
    "RecordingWarning",
    "RemixNoisyBins",
    "ResampleChannels",
    "SortFrequencies",
    "SoundPipeline",
    "Spectrogram",
    "Stream",
    "TargetFirst",
    "WindowSearch",
    "load_yaml",
    "make_separator",
    "read_jsonl",
    "save_yaml",
    "steering_vectors",
]

_NAMES = {
    "blocks": ("BlockBatch",),
    "compose": ("make_separator",),
    "config": ("load_yaml", "save_yaml"),
    "each_recording": ("EachRecording",),
    "jsonl": ("read_jsonl",),
    "live": ("OnlineSeparator",),
    "loudest_sources": ("LoudestSources",),
    "sound_pipeline": ("RecordingWarning", "SoundPipeline"),
    "spectrogram": ("Spectrogram",),
    "steering": ("steering_vectors",),
    "streaming": ("Stream",),
    "transforms": (
        *("AlignChannels", "ResampleChannels"),
        *("ISTFT", "STFT", "CrosstalkCanceller", "LoudestFirst", "NoiseReducer"),
        *("OnlineWPE", "ProjectionBack", "RemixNoisyBins"),
        *("SortFrequencies", "TargetFirst", "WPE"),
    ),
    "window_search": ("WindowSearch",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
_SUBMODULES = (
    *("benchmark", "callbacks", "datasets", "inspection", "metrics", "separators"),
    *("transforms", "updates"),
)


def __getattr__(name):
    if name == "__version__":
        from importlib.metadata import version

        value = version("skbss")
    elif name in __all__:
        module = import_module(f"skbss.{_MODULES.get(name, 'separators')}")
        value = getattr(module, name)
    elif name in _SUBMODULES:
        return import_module(f"skbss.{name}")
    else:
        raise AttributeError(f"module 'skbss' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__, *_SUBMODULES, "__version__"})
