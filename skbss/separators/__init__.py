"""Blind source separators."""

# License: BSD-3-Clause

from skbss.separators.auxiva import AuxIVA
from skbss.separators.ilrma import ILRMA
from skbss.separators.online_auxiva import OnlineAuxIVA
from skbss.separators.online_ilrma import OnlineILRMA
from skbss.separators.online_isnmf import OnlineISNMF
from skbss.separators.online_separator import OnlineSeparator

__all__ = [
    "ILRMA",
    "AuxIVA",
    "OnlineAuxIVA",
    "OnlineILRMA",
    "OnlineISNMF",
    "OnlineSeparator",
]
