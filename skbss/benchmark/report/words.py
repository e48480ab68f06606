"""Numbers and names as people write them."""

# License: BSD-3-Clause

import numpy as np

NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_LABELS = {
    "si_sdr": "SI-SDR",
    "si_sdr_improvement": "SI-SDR improvement",
    "si_sir": "SI-SIR",
    "si_sar": "SI-SAR",
}


def label(metric: str) -> str:
    """Return a metric's name."""
    return _LABELS.get(metric, metric.replace("_", " "))


def decibels(value: float, form: str = ".1f") -> str:
    """Write a level or a difference of levels, without its unit."""
    if not np.isfinite(value):
        return NOTHING
    value = round(float(value), 1) + 0.0  # no minus zero
    return f"{value:{form}}".replace("-", _MINUS)


def factor(value: float) -> str:
    """Write a real-time factor."""
    if not np.isfinite(value):
        return NOTHING
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def sorted_by(value: float) -> str:
    """Write what a column is sorted by."""
    return f"{value:.10g}" if np.isfinite(value) else ""


def count(n: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


FILTERS = {f.__name__: f for f in (label, decibels, factor, sorted_by)}
