"""Blind source separators."""

# License: BSD-3-Clause

from skbss.separators.auxiva import AuxIVA

__all__ = ["AuxIVA"]
