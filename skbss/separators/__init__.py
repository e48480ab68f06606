"""Blind source separators."""

# License: BSD-3-Clause

from skbss.separators.auxiva import AuxIVA
from skbss.separators.full_rank_refine import FullRankRefine
from skbss.separators.ilrma import ILRMA
from skbss.separators.mask_separator import MaskSeparator
from skbss.separators.online_auxiva import OnlineAuxIVA
from skbss.separators.online_ilrma import OnlineILRMA
from skbss.separators.online_isnmf import OnlineISNMF

__all__ = [
    "ILRMA",
    "AuxIVA",
    "FullRankRefine",
    "MaskSeparator",
    "OnlineAuxIVA",
    "OnlineILRMA",
    "OnlineISNMF",
]
