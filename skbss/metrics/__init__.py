"""How well sources were separated: scores, and scorers for model selection."""

# License: BSD-3-Clause

from skbss.metrics._scorer import si_sdr_improvement_scorer, si_sdr_scorer
from skbss.metrics._si_sdr import si_sdr, si_sdr_improvement

__all__ = [
    "si_sdr",
    "si_sdr_improvement",
    "si_sdr_improvement_scorer",
    "si_sdr_scorer",
]
