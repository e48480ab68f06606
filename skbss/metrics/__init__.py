"""How well sources were separated: scores, and scorers for model selection."""

# License: BSD-3-Clause

from skbss.metrics._bss_eval import bss_eval
from skbss.metrics._delay import estimate_delay
from skbss.metrics._framewise import framewise_si_sdr
from skbss.metrics._scorer import (
    make_separation_scorer,
    si_sdr_improvement_scorer,
    si_sdr_scorer,
)
from skbss.metrics._si_bss_eval import si_bss_eval
from skbss.metrics._si_sdr import si_sdr, si_sdr_improvement
from skbss.metrics.scores import score_separation
from skbss.window_search import overlap

__all__ = [
    "bss_eval",
    "estimate_delay",
    "framewise_si_sdr",
    "make_separation_scorer",
    "overlap",
    "score_separation",
    "si_bss_eval",
    "si_sdr",
    "si_sdr_improvement",
    "si_sdr_improvement_scorer",
    "si_sdr_scorer",
]
