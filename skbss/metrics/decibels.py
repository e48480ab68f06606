"""From energies to decibels, and what separation gained of them."""

# License: BSD-3-Clause

import numpy as np

from skbss.metrics._signals import warn_if_undefined

# A residual of 1e-15 of the signal, some units in the last place, is what a few
# roundings leave: smaller can't be told from none.
MAX_DB = 300
# BSS Eval finds energies from inner products, whose rounding is 1e-15 itself.
BSS_EVAL_MAX_DB = 150

_TINY = np.finfo(float).tiny

_NOTHING_TO_IMPROVE = {
    "sdr": "The mixture equals a reference",
    "sir": "The mixture has no interference",
}


def decibels(target, other, max_db=MAX_DB):
    """Return the level of one share over another; the lowest if there is no target."""
    limit = 10.0 ** (max_db / 10)
    ratio = target / np.maximum(other, _TINY)
    return 10 * np.log10(np.minimum(np.maximum(ratio, 1 / limit), limit))


def improvement(scores, before, name):
    """Return the gain of one score, nan where the mixture leaves nothing to gain."""
    ratio = name.removeprefix("si_")
    perfect = before[name] >= (BSS_EVAL_MAX_DB if name == ratio else MAX_DB)
    warn_if_undefined(perfect, _NOTHING_TO_IMPROVE[ratio], stacklevel=5)
    return np.where(perfect, np.nan, scores[name] - before[name])
