"""Blind source separation of multichannel audio, as scikit-learn estimators."""

# License: BSD-3-Clause

from importlib.metadata import version

from skbss.spectrogram import Spectrogram

__version__ = version("skbss")

__all__ = ["Spectrogram"]
