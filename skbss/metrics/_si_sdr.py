"""Scale-invariant signal-to-distortion ratio and its improvement."""

# License: BSD-3-Clause

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skbss.metrics._delay import warn_if_delayed
from skbss.metrics._projections import DEFERRED, Projections
from skbss.metrics._signals import (
    MIXTURE_CONSTRAINTS,
    SIGNAL_CONSTRAINTS,
    check_pair,
    validate_params,
    warn_if_undefined,
)
from skbss.metrics.decibels import improvement


@validate_params(
    SIGNAL_CONSTRAINTS | {"return_permutation": ["boolean"]},
)
def si_sdr(
    reference: ArrayLike,
    estimate: ArrayLike,
    *,
    permute: bool = True,
    zero_mean: bool = False,
    truncate: bool = False,
    check_delay: bool = False,
    return_permutation: bool = False,
) -> Any:
    """Compute the scale-invariant signal-to-distortion ratio (SI-SDR).

    How many decibels an estimate's component along its reference lies above all the
    rest of the estimate [1]_. Multiplying signals by constants doesn't change it.

    Parameters
    ----------
    reference : array-like of shape (n_samples, n_sources)
        The true sources, dry or as they sound at one microphone.
    estimate : array-like of shape (n_samples, n_estimates)
        The separated sources, in any order; at least as many as references.
    permute : bool, default=True
        Assign to each reference an estimate of its own, once for the whole signals,
        such that the mean score is highest. If False, column k of `estimate` is scored
        against column k of `reference`.
    zero_mean : bool, default=False
        Subtract each signal's mean first.
    truncate : bool, default=False
        Cut all signals to the length of the shortest. If False, different lengths are
        an error.
    check_delay : bool, default=False
        Warn of estimates that are delayed against their references, by how many
        samples, as :func:`estimate_delay` finds them.
    return_permutation : bool, default=False
        Whether to return the assignment too.

    Returns
    -------
    score : ndarray of shape (n_sources,)
        The SI-SDR in dB, in the order of the references. A silent reference has none:
        its score is nan, with an UndefinedMetricWarning; the other scores are those
        without it. Take the mean over sources with ``numpy.nanmean``.
    permutation : ndarray of shape (n_sources,)
        The assignment: ``estimate[:, permutation]`` has the order of the references,
        with an estimate that no other wanted for a silent one. Only if
        `return_permutation` is True.

    Raises
    ------
    ValueError
        If there are fewer estimates than references, NaN or infinite samples, or
        shapes that don't fit together.

    See Also
    --------
    si_sdr_improvement : The gain over the unprocessed mixture.

    Notes
    -----
    With the reference s and the estimate ŝ, the score is ``‖t‖² / ‖ŝ − t‖²`` in dB,
    where ``t = (⟨ŝ, s⟩ / ‖s‖²) s``.

    Scores keep within ±300 dB, or 10¹⁵ in amplitude, where rounding begins in
    float64: a perfect estimate scores 300 dB, a silent or orthogonal one −300 dB. That
    is finite, so that means over sources or recordings, and the ranking of a grid
    search, stay defined.

    Scores come from the inner products of all signals, in one pass; above 60 dB, where
    those lose digits, from the residual itself. Sums are in double precision, except
    that those of float32 are in single precision, in half the time, as long as scores
    within ±15 dB keep them exact to 1e-4 dB.

    References
    ----------
    .. [1] J. Le Roux, S. Wisdom, H. Erdogan and J. R. Hershey, "SDR – half-baked or
       well done?", ICASSP 2019. :doi:`10.1109/ICASSP.2019.8683855`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.metrics import si_sdr
    >>> reference = np.random.default_rng(0).standard_normal((8000, 2))
    >>> estimate = reference[:, ::-1] + [0.1, 0.01] * reference
    >>> score, permutation = si_sdr(reference, estimate, return_permutation=True)
    >>> score.round(1), permutation
    (array([40., 20.]), array([1, 0]))
    """
    reference, estimate, _ = check_pair(
        reference,
        estimate,
        permute=permute,
        zero_mean=zero_mean,
        truncate=truncate,
        defer=() if check_delay else DEFERRED,
    )
    if check_delay:
        warn_if_delayed(reference, estimate, permute)
    projections = Projections(reference, estimate)
    permutation = projections.permutation(permute)
    score = projections.si_sdr(permutation)
    warn_if_undefined(projections.silent, "A reference is silent")
    return (score, permutation) if return_permutation else score


@validate_params(
    SIGNAL_CONSTRAINTS | MIXTURE_CONSTRAINTS | {"mixture": ["array-like"]},
)
def si_sdr_improvement(
    reference: ArrayLike,
    estimate: ArrayLike,
    mixture: ArrayLike,
    *,
    ref_mic: int = 0,
    permute: bool = True,
    zero_mean: bool = False,
    truncate: bool = False,
    check_delay: bool = False,
) -> np.ndarray:
    """Compute by how much separation raised the SI-SDR of each source.

    The score of each reference's estimate minus that of the unprocessed reference
    microphone against the same reference.

    Parameters
    ----------
    reference : array-like of shape (n_samples, n_sources)
        The true sources, dry or as they sound at the reference microphone.
    estimate : array-like of shape (n_samples, n_estimates)
        The separated sources, in any order; at least as many as references.
    mixture : array-like of shape (n_samples, n_mics)
        The recording that was separated.
    ref_mic : int, default=0
        The microphone that the estimates are compared with.
    permute : bool, default=True
        Assign estimates to references as `si_sdr` does.
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
    improvement : ndarray of shape (n_sources,)
        In dB, in the order of the references. It is nan, with an
        UndefinedMetricWarning, for a silent reference, and for one that the reference
        microphone equals but for its scale, which leaves nothing to improve.

    Raises
    ------
    ValueError
        As for `si_sdr`; if `ref_mic` isn't a microphone of the mixture, or if that
        microphone is silent while references are not.

    See Also
    --------
    si_sdr : The score itself, its range and its treatment of silence.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.metrics import si_sdr_improvement
    >>> reference = np.random.default_rng(0).standard_normal((8000, 2))
    >>> mixture = reference @ [[1, 0.5], [0.5, 1]]
    >>> estimate = reference + 0.1 * reference[:, ::-1]
    >>> si_sdr_improvement(reference, estimate, mixture).round(1)
    array([14. , 26.3])
    """
    reference, estimate, mixture = check_pair(
        reference,
        estimate,
        mixture=mixture,
        ref_mic=ref_mic,
        permute=permute,
        zero_mean=zero_mean,
        truncate=truncate,
        defer=() if check_delay else DEFERRED,
    )
    if check_delay:
        warn_if_delayed(reference, estimate, permute)
    projections = Projections(reference, estimate)
    permutation = projections.permutation(permute)
    score = projections.si_sdr(permutation)
    before = Projections(reference, mixture).si_sdr(np.zeros_like(permutation))
    warn_if_undefined(projections.silent, "A reference is silent")
    return improvement({"si_sdr": score}, {"si_sdr": before}, "si_sdr")
