"""Scale-invariant ratios of distortion, interference and artifacts at once."""

# License: BSD-3-Clause

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

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


@validate_params(SIGNAL_CONSTRAINTS | MIXTURE_CONSTRAINTS)
def si_bss_eval(
    reference: ArrayLike,
    estimate: ArrayLike,
    *,
    mixture: ArrayLike | None = None,
    ref_mic: int = 0,
    permute: bool = True,
    zero_mean: bool = False,
    truncate: bool = False,
    check_delay: bool = False,
) -> Bunch:
    """Compute SI-SDR, SI-SIR and SI-SAR with one permutation.

    The SI-SDR says how far all that isn't the source lies below it; SI-SIR and SI-SAR
    say which part of that is other sources, and which is in none of the references:
    noise, reverberation and what the separator made [1]_.

    Parameters
    ----------
    reference : array-like of shape (n_samples, n_sources)
        The true sources, dry or as they sound at one microphone.
    estimate : array-like of shape (n_samples, n_estimates)
        The separated sources, in any order; at least as many as references.
    mixture : array-like of shape (n_samples, n_mics), default=None
        The recording that was separated, for the improvements over it.
    ref_mic : int, default=0
        The microphone of the mixture that the estimates are compared with.
    permute : bool, default=True
        Assign to each reference an estimate of its own, once for the whole signals,
        such that the mean SI-SDR is highest. If False, column k of `estimate` is scored
        against column k of `reference`.
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
        Of each source, in the order of the references:

        si_sdr, si_sir, si_sar : ndarray of shape (n_sources,)
            In dB. Those of a silent reference are nan, with an UndefinedMetricWarning;
            the others are those without it.
        permutation : ndarray of shape (n_sources,)
            The assignment: ``estimate[:, permutation]`` has the order of the
            references.
        si_sdr_improvement, si_sir_improvement : ndarray of shape (n_sources,)
            By how many dB the scores lie above those of the unprocessed microphone
            against the same reference. Only if `mixture` is given. They are nan, with
            an UndefinedMetricWarning, where the mixture leaves nothing to improve.

    Raises
    ------
    ValueError
        If there are fewer estimates than references, NaN or infinite samples, or
        shapes that don't fit together; if `ref_mic` isn't a microphone of the mixture,
        or if that microphone is silent while references are not.

    See Also
    --------
    si_sdr : The first of the scores alone, faster.
    bss_eval : The ratios of BSS Eval, which forgive filters of 512 samples.
    framewise_si_sdr : The SI-SDR as time goes by.

    Notes
    -----
    An estimate ŝ of the source s is the sum of three parts: the target
    ``t = (⟨ŝ, s⟩ / ‖s‖²) s``, the interference, that is the projection of ``ŝ − t``
    onto the span of all references, and the artifacts, the rest. The scores are
    ``‖t‖²`` over the energy of the last two together, of the interference and of the
    artifacts, hence ``10^(−SDR/10) = 10^(−SIR/10) + 10^(−SAR/10)``. BSS Eval, also with
    filters of one sample, has another SAR [2]_: target *and* interference over
    artifacts, which is ``10 log₁₀(1 + 10^(−SIR/10))`` dB higher.

    A mixture is the sum of its sources' images, so it has no artifacts, and the SI-SAR
    no improvement.

    Scores keep within ±300 dB, and are as exact, as in :func:`si_sdr`. An estimate
    without any of its target has −300 dB in all three; without interference, as always
    if only one reference sounds, the SI-SIR is 300 dB. References that are equal, or
    combinations of others, count once in the span: what is in it is interference.

    Memory doesn't grow with the recording.

    References
    ----------
    .. [1] J. Le Roux, S. Wisdom, H. Erdogan and J. R. Hershey, "SDR – half-baked or
       well done?", ICASSP 2019. :doi:`10.1109/ICASSP.2019.8683855`

    .. [2] E. Vincent, R. Gribonval and C. Févotte, "Performance measurement in blind
       audio source separation", IEEE TASLP 14(4), 2006. :doi:`10.1109/TSA.2005.858005`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.metrics import si_bss_eval
    >>> s1, s2, noise = np.random.default_rng(0).standard_normal((3, 8000))
    >>> estimate = np.column_stack([s2 + 0.01 * noise, s1 + 0.1 * s2])
    >>> scores = si_bss_eval(np.column_stack([s1, s2]), estimate)
    >>> scores.permutation
    array([1, 0])
    >>> scores.si_sdr.round()
    array([20., 40.])
    >>> scores.si_sir.round()[0], scores.si_sar.round()[1]
    (np.float64(20.0), np.float64(40.0))
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
    projections = Projections(reference, estimate, among=True)
    permutation = projections.permutation(permute)
    scores = Bunch(permutation=permutation, **projections.scores(permutation))
    warn_if_undefined(projections.silent, "A reference is silent")
    if mixture is not None:
        before = Projections(reference, mixture, among=True).scores(
            np.zeros_like(permutation)
        )
        for name in ("si_sdr", "si_sir"):
            scores[f"{name}_improvement"] = improvement(scores, before, name)
    return scores
