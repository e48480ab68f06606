"""Scores by name."""

# License: BSD-3-Clause

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skbss.config import did_you_mean
from skbss.metrics._bss_eval import pairwise_scores
from skbss.metrics._delay import warn_if_delayed
from skbss.metrics._projections import Projections
from skbss.metrics._signals import (
    MIXTURE_CONSTRAINTS,
    SIGNAL_CONSTRAINTS,
    check_pair,
    validate_params,
    warn_if_undefined,
)
from skbss.metrics.decibels import improvement

_GAIN = "_improvement"
_IMPROVABLE = ("si_sdr", "si_sir", "sdr", "sir")
METRICS = (*_IMPROVABLE, "si_sar", "sar", *(name + _GAIN for name in _IMPROVABLE))
DEFAULT_METRICS = ("si_sdr", "si_sir", "si_sar")


def check_metrics(metrics):
    """Raise ValueError unless all are names of metrics, without repetition."""
    for name in metrics:
        if name not in METRICS:
            hint = did_you_mean(str(name), METRICS)
            raise ValueError(f"Got unknown metric {name!r}.{hint}")
    if not metrics or len(set(metrics)) < len(metrics):
        raise ValueError(f"Got metrics={metrics!r}, expected one or more, each once.")


@validate_params(
    SIGNAL_CONSTRAINTS | MIXTURE_CONSTRAINTS | {"metrics": [tuple, list]},
)
def score_separation(
    reference: ArrayLike,
    estimate: ArrayLike,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    mixture: ArrayLike | None = None,
    ref_mic: int = 0,
    permute: bool = True,
    zero_mean: bool = False,
    truncate: bool = False,
    check_delay: bool = False,
) -> Bunch:
    """Compute scores by name, all with one permutation.

    Parameters
    ----------
    reference : array-like of shape (n_samples, n_sources)
        The true sources, dry or as they sound at one microphone.
    estimate : array-like of shape (n_samples, n_estimates)
        The separated sources, in any order; at least as many as references.
    metrics : tuple or list of str, default=("si_sdr", "si_sir", "si_sar")
        Names of scores: "si_sdr", "si_sir" and "si_sar" as :func:`si_bss_eval` has
        them, "sdr", "sir" and "sar" as :func:`bss_eval`, which needs the extra
        ``bss_eval``, and all but the artifacts' with "_improvement" after the name.
    mixture : array-like of shape (n_samples, n_mics), default=None
        The recording that was separated, for the improvements over it.
    ref_mic : int, default=0
        The microphone of the mixture that the estimates are compared with.
    permute : bool, default=True
        Assign to each reference an estimate of its own, once for the whole signals and
        for all scores, such that the mean SI-SDR is highest. If False, column k of
        `estimate` is scored against column k of `reference`.
    zero_mean : bool, default=False
        Subtract each signal's mean first.
    truncate : bool, default=False
        Cut all signals to the length of the shortest. If False, different lengths are
        an error.
    check_delay : bool, default=False
        Warn of estimates that are delayed against their references, by how many
        samples, as :func:`estimate_delay` finds them.

    Returns
    -------
    scores : :class:`~sklearn.utils.Bunch`
        An ndarray of shape (n_sources,) by the name of each metric, in dB and in the
        order of the references, and the `permutation`: ``estimate[:, permutation]`` has
        the order of the references. Scores of silent references, and improvements over
        a mixture that leaves nothing to improve, are nan, with an
        UndefinedMetricWarning.

    Raises
    ------
    ValueError
        If a metric is unknown, or needs a mixture that wasn't given; else as for
        :func:`si_bss_eval`.

    See Also
    --------
    make_separation_scorer : The same for model selection.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.metrics import score_separation
    >>> reference = np.random.default_rng(0).standard_normal((8000, 2))
    >>> mixture = reference @ [[1, 0.5], [0.5, 1]]
    >>> estimate = reference + 0.1 * reference[:, ::-1]
    >>> metrics = ["sir", "si_sdr_improvement"]
    >>> scores = score_separation(
    ...     reference, estimate, metrics=metrics, mixture=mixture
    ... )
    >>> scores.sir.round(), scores.si_sdr_improvement.round()
    (array([20., 20.]), array([14., 26.]))
    """
    check_metrics(metrics)
    gains = [name for name in metrics if name.endswith(_GAIN)]
    if gains and mixture is None:
        raise ValueError(f"Got no mixture, which the metric {gains[0]!r} needs.")
    reference, estimate, mixture = check_pair(
        reference,
        estimate,
        mixture=mixture if gains else None,
        ref_mic=ref_mic,
        permute=permute,
        zero_mean=zero_mean,
        truncate=truncate,
    )
    if check_delay:
        warn_if_delayed(reference, estimate, permute)
    projections = Projections(reference, estimate, among=True)
    permutation = projections.permutation(permute)
    scores, before = projections.scores(permutation), {}
    if gains:
        before = Projections(reference, mixture, among=True).scores(
            np.zeros_like(permutation)
        )
    if not all(name.startswith("si_") for name in metrics):
        signals = estimate[:, permutation]
        if gains:
            signals = np.hstack([signals, mixture])
        for name, pairs in pairwise_scores(reference, signals).items():
            scores[name] = np.diag(pairs)
            before[name] = pairs[:, -1]
    warn_if_undefined(projections.silent, "A reference is silent")
    for name in gains:
        scores[name] = improvement(scores, before, name.removesuffix(_GAIN))
    return Bunch(permutation=permutation, **{name: scores[name] for name in metrics})
