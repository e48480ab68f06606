"""Blind source separation of multichannel audio, as scikit-learn estimators."""

# License: BSD-3-Clause

from importlib.metadata import version

from skbss.compose import EachRecording, make_separator
from skbss.config import load_yaml, save_yaml
from skbss.jsonl import read_jsonl
from skbss.separators import (
    ILRMA,
    AuxIVA,
    BlockBatch,
    OnlineAuxIVA,
    OnlineILRMA,
    OnlineISNMF,
)
from skbss.spectrogram import Spectrogram
from skbss.streaming import Stream
from skbss.transforms import ISTFT, STFT, ProjectionBack

__version__ = version("skbss")

__all__ = [
    "ILRMA",
    "ISTFT",
    "STFT",
    "AuxIVA",
    "BlockBatch",
    "EachRecording",
    "OnlineAuxIVA",
    "OnlineILRMA",
    "OnlineISNMF",
    "ProjectionBack",
    "Spectrogram",
    "Stream",
    "load_yaml",
    "make_separator",
    "read_jsonl",
    "save_yaml",
]
