"""Pictures, in the manner of scikit-learn's displays."""

# License: BSD-3-Clause

from skbss.inspection._convergence import ConvergenceDisplay
from skbss.inspection._directivity import DirectivityDisplay
from skbss.inspection._framewise import FramewiseDisplay
from skbss.inspection._nmf import NMFDisplay
from skbss.inspection._separation import SeparationDisplay
from skbss.inspection._sorting import SortingDisplay
from skbss.inspection._spectrogram import SpectrogramDisplay

__all__ = [
    "ConvergenceDisplay",
    "DirectivityDisplay",
    "FramewiseDisplay",
    "NMFDisplay",
    "SeparationDisplay",
    "SortingDisplay",
    "SpectrogramDisplay",
]
