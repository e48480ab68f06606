"""The ratios of BSS Eval, through fast_bss_eval."""

# License: BSD-3-Clause

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from sklearn.utils import Bunch

from skbss.metrics._signals import (
    MIXTURE_CONSTRAINTS,
    SIGNAL_CONSTRAINTS,
    check_pair,
    peak,
    validate_params,
    warn_if_undefined,
)
from skbss.metrics.decibels import BSS_EVAL_MAX_DB, decibels, improvement
from skbss.sklearn_parts import Interval

# References alike leave filters undetermined; this share of their energy decides.
_LOADING = 1e-10
_MAX_ROUNDING = 1e-6


def _import_fast_bss_eval():
    try:
        import fast_bss_eval
    except ImportError as error:
        raise ImportError(
            "bss_eval needs the package fast_bss_eval. Install it by the extra "
            "'bss_eval': pip install 'skbss[bss_eval]'. si_bss_eval needs no other "
            "package."
        ) from error
    return fast_bss_eval


def _project(reference, estimate, filter_length):
    """Return the energies of estimates in the spans of one and of all references.

    Both of shape (n_references, n_estimates), as shares of the estimates' energy. No
    signal may be silent.
    """
    square_cosines = _import_fast_bss_eval().numpy.square_cosine_metrics
    # The library takes a norm below 1e-6 for silence.
    signals = [np.array([s / peak(s) for s in x.T]) for x in (reference, estimate)]
    for loading in (None, _LOADING):
        try:
            one, all_ = square_cosines(
                *signals, filter_length=filter_length, load_diag=loading
            )
        except np.linalg.LinAlgError:
            continue
        if (one > -_MAX_ROUNDING).all() and (all_ < 1 + _MAX_ROUNDING).all():
            break
    return one, all_


def pairwise_scores(reference, estimate, filter_length=512):
    """Return sdr, sir and sar of all pairs by name, nan for silent references."""
    if len(reference) < filter_length:
        raise ValueError(
            f"Got {len(reference)} samples, expected at least "
            f"filter_length={filter_length}."
        )
    sounds = reference.any(axis=0), estimate.any(axis=0)
    pairs = np.ix_(*sounds)
    energies = np.zeros((2, reference.shape[1], estimate.shape[1]))
    if sounds[0].any() and sounds[1].any():
        energies[:, *pairs] = _project(
            reference[:, sounds[0]], estimate[:, sounds[1]], filter_length
        )
    target, span = energies
    scores = {
        "sdr": decibels(target, 1 - target, BSS_EVAL_MAX_DB),
        "sir": decibels(target, span - target, BSS_EVAL_MAX_DB),
        "sar": decibels(span, 1 - span, BSS_EVAL_MAX_DB),
    }
    for score in scores.values():
        score[~sounds[0]] = np.nan
    return scores


@validate_params(
    {k: v for k, v in SIGNAL_CONSTRAINTS.items() if k != "check_delay"}
    | MIXTURE_CONSTRAINTS
    | {"filter_length": [Interval(Integral, 1, None, closed="left")]},
)
def bss_eval(
    reference: ArrayLike,
    estimate: ArrayLike,
    *,
    filter_length: int = 512,
    mixture: ArrayLike | None = None,
    ref_mic: int = 0,
    permute: bool = True,
    zero_mean: bool = False,
    truncate: bool = False,
) -> Bunch:
    """Compute SDR, SIR and SAR of BSS Eval, which forgive filtering.

    The ratios that most papers on source separation give [1]_: whatever a short filter
    can make of a reference counts as the source. Use them to compare with papers, and
    :func:`si_bss_eval` to compare separators: a separator that distorts the source by
    such a filter isn't charged for it.

    It needs the extra ``bss_eval``, which installs fast_bss_eval [2]_.

    Parameters
    ----------
    reference : array-like of shape (n_samples, n_sources)
        The true sources, dry or as they sound at one microphone.
    estimate : array-like of shape (n_samples, n_estimates)
        The separated sources, in any order; at least as many as references.
    filter_length : int, default=512
        Length of the filters in samples, as in BSS Eval: 32 ms at 16 kHz.
    mixture : array-like of shape (n_samples, n_mics), default=None
        The recording that was separated, for the improvements over it.
    ref_mic : int, default=0
        The microphone of the mixture that the estimates are compared with.
    permute : bool, default=True
        Assign to each reference an estimate of its own, once for the whole signals,
        such that the mean SIR is highest, as in BSS Eval; with only one reference that
        sounds, the SDR. If False, column k of `estimate` is scored against column k of
        `reference`.
    zero_mean : bool, default=False
        Subtract each signal's mean first.
    truncate : bool, default=False
        Cut all signals to the length of the shortest. If False, different lengths are
        an error.

    Returns
    -------
    scores : :class:`~sklearn.utils.Bunch`
        Of each source, in the order of the references:

        sdr, sir, sar : ndarray of shape (n_sources,)
            In dB, within ±150 dB. Those of a silent reference are nan, with an
            UndefinedMetricWarning; the others are those without it.
        permutation : ndarray of shape (n_sources,)
            The assignment: ``estimate[:, permutation]`` has the order of the
            references.
        sdr_improvement, sir_improvement : ndarray of shape (n_sources,)
            By how many dB the scores lie above those of the unprocessed microphone
            against the same reference. Only if `mixture` is given. They are nan, with
            an UndefinedMetricWarning, where the mixture leaves nothing to improve.

    Raises
    ------
    ImportError
        If fast_bss_eval isn't installed.
    ValueError
        As for :func:`si_bss_eval`, and if there are fewer samples than `filter_length`.

    See Also
    --------
    si_bss_eval : The ratios without filters.

    Notes
    -----
    A silent estimate scores −150 dB. If only one reference sounds, nothing interferes,
    and the SIR is 150 dB. Equal references leave their filters undetermined; then
    10⁻¹⁰ of their energy is added to the diagonal of the normal equations.

    Filters delay up to `filter_length` − 1 samples, and don't advance: a late estimate
    is forgiven, an early one isn't. See :func:`estimate_delay`.

    Memory grows with the recording, and with the square of
    ``n_sources * filter_length``.

    References
    ----------
    .. [1] E. Vincent, R. Gribonval and C. Févotte, "Performance measurement in blind
       audio source separation", IEEE TASLP 14(4), 2006. :doi:`10.1109/TSA.2005.858005`

    .. [2] R. Scheibler, "SDR – Medium rare with fast computations", ICASSP 2022.
       :doi:`10.48550/arXiv.2110.06440`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.metrics import bss_eval, si_bss_eval
    >>> reference = np.random.default_rng(0).standard_normal((8000, 2))
    >>> estimate = reference + 0.1 * reference[:, ::-1]
    >>> estimate[1:] += 0.3 * estimate[:-1]  # a filter
    >>> bss_eval(reference, estimate).sdr.round()
    array([20., 20.])
    >>> si_bss_eval(reference, estimate).si_sdr.round()
    array([10., 10.])
    """
    reference, estimate, mixture = check_pair(
        reference,
        estimate,
        mixture=mixture,
        ref_mic=ref_mic,
        permute=permute,
        zero_mean=zero_mean,
        truncate=truncate,
    )
    signals = estimate if mixture is None else np.hstack([estimate, mixture])
    pairs = pairwise_scores(reference, signals, filter_length)
    silent = np.isnan(pairs["sdr"][:, 0])
    rows = permutation = np.arange(len(silent))
    if permute:
        criterion = pairs["sir" if (~silent).sum() > 1 else "sdr"]
        criterion = np.nan_to_num(criterion[:, : estimate.shape[1]])
        permutation = linear_sum_assignment(criterion, maximize=True)[1]
    scores = Bunch(permutation=permutation)
    for name, score in pairs.items():
        scores[name] = score[rows, permutation]
    warn_if_undefined(silent, "A reference is silent")
    if mixture is not None:
        before = {name: score[:, -1] for name, score in pairs.items()}
        for name in ("sdr", "sir"):
            scores[f"{name}_improvement"] = improvement(scores, before, name)
    return scores
