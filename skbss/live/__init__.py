"""Separation of what is being recorded."""

# License: BSD-3-Clause

from skbss.live.online_separator import OnlineSeparator

__all__ = ["OnlineSeparator"]
