"""Blind source separators."""

# License: BSD-3-Clause

from skbss.separators.auxiva import AuxIVA
from skbss.separators.block_batch import BlockBatch
from skbss.separators.ilrma import ILRMA

__all__ = ["ILRMA", "AuxIVA", "BlockBatch"]
