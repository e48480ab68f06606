"""What all metrics ask of their signals."""

# License: BSD-3-Clause

import warnings
from functools import wraps
from inspect import signature
from numbers import Integral

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_array

from skbss.base import all_finite, check_ref_mic, is_float_matrix
from skbss.sklearn_parts import Interval, validate_parameter_constraints

SIGNAL_CONSTRAINTS = {
    "reference": ["array-like"],
    "estimate": ["array-like"],
    "permute": ["boolean"],
    "zero_mean": ["boolean"],
    "truncate": ["boolean"],
    "check_delay": ["boolean"],
}
MIXTURE_CONSTRAINTS = {
    "mixture": ["array-like", None],
    "ref_mic": [Interval(Integral, 0, None, closed="left")],
}


def validate_params(constraints):
    """Return a decorator that checks a metric's parameters as scikit-learn does.

    That takes as long as to score a second of signals, so arrays with switches alone,
    which are the most frequent call, don't go through it.
    """
    switches = {name for name, allowed in constraints.items() if "boolean" in allowed}

    def decorate(metric):
        parameters = signature(metric)

        @wraps(metric)
        def validated(*args, **kwargs):
            plain = kwargs.keys() <= switches and {*map(type, kwargs.values())} <= {
                bool
            }
            if not plain or {*map(type, args)} != {np.ndarray}:
                values = parameters.bind(*args, **kwargs).arguments
                validate_parameter_constraints(constraints, values, metric.__name__)
            return metric(*args, **kwargs)

        return validated

    return decorate


def peak(signals):
    """Return the largest magnitude, or 1 for silence, to divide by."""
    return max(np.float64(signals.max()), -np.float64(signals.min())) or np.float64(1)


def _check_signals(signals, name, defer):
    """Return real, finite signals of shape (n_samples, n_channels)."""
    if np.ndim(signals) == 3:
        raise ValueError(
            f"Got {name} of shape {np.shape(signals)}, expected (n_samples, "
            "n_channels). Of source images of shape (n_sources, n_samples, n_mics) "
            "take those at one microphone: images[:, :, ref_mic].T."
        )
    if not (is_float_matrix(signals) and (defer or all_finite(signals))):
        signals = check_array(signals, input_name=name)
    if signals.shape[1] > signals.shape[0]:
        raise ValueError(
            f"Got {name} of shape {signals.shape}, which has more channels than "
            "samples. Expected (n_samples, n_channels): transpose it."
        )
    return signals


def _subtract_mean(signals):
    signals = signals / peak(signals)
    # The first sample goes first so that a constant becomes zero exactly.
    signals = signals - signals[0]
    signals -= signals.mean(axis=0)
    return signals


def check_signals(*, zero_mean, truncate, defer=(), **signals):
    """Return the signals by name, checked, equally long and of zero mean if asked.

    Those named in `defer` may still have NaN or infinite samples.
    """
    if zero_mean or truncate:
        defer = ()
    checked = {
        name: _check_signals(signal, name, name in defer)
        for name, signal in signals.items()
    }
    if truncate:
        n_samples = min(map(len, checked.values()))
        checked = {name: signal[:n_samples] for name, signal in checked.items()}
    for name, signal in checked.items():
        if len(signal) != len(checked["reference"]):
            raise ValueError(
                f"Got {len(checked['reference'])} samples of reference, but "
                f"{len(signal)} of {name}. Expected as many; truncate=True cuts all "
                "to the shortest."
            )
    return [_subtract_mean(s) if zero_mean else s for s in checked.values()]


def check_numbers(n_references, n_estimates, permute):
    """Raise ValueError unless every reference can have an estimate of its own."""
    if n_estimates < n_references:
        raise ValueError(
            f"Got {n_estimates} estimates of {n_references} references, expected at "
            "least one for each."
        )
    if not permute and n_estimates != n_references:
        raise ValueError(
            f"Got {n_estimates} estimates of {n_references} references, expected as "
            "many with permute=False."
        )


def check_pair(reference, estimate, *, mixture=None, ref_mic=0, permute=True, **kwargs):
    """Return reference, estimate and, as one column, the mixture's microphone."""
    named = {"reference": reference, "estimate": estimate}
    if mixture is not None:
        named["mixture"] = mixture
    reference, estimate, *rest = check_signals(**named, **kwargs)
    check_numbers(reference.shape[1], estimate.shape[1], permute)
    if not rest:
        return reference, estimate, None
    (mixture,) = rest
    check_ref_mic(ref_mic, mixture.shape[1])
    mixture = mixture[:, ref_mic : ref_mic + 1]  # no copy
    if reference.any() and not mixture.any():
        raise ValueError(
            f"Got a mixture that is silent at ref_mic={ref_mic}, but references that "
            "are not. There is nothing to compare with."
        )
    return reference, estimate, mixture


def warn_if_undefined(undefined, what, stacklevel=4):
    """Warn of the references whose score is nan, in the name of the metric's caller."""
    if undefined.any():
        warnings.warn(
            f"{what}; the score of reference {np.flatnonzero(undefined).tolist()} is "
            "undefined and set to nan.",
            UndefinedMetricWarning,
            stacklevel=stacklevel,  # past the metric and validate_params
        )
