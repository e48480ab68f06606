"""Scale-invariant signal-to-distortion ratio and its improvement."""

# License: BSD-3-Clause

import warnings
from numbers import Integral

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_array, gen_batches
from sklearn.utils._param_validation import Interval, validate_params

from skbss.transforms.projection_back import check_ref_mic

# A residual of 1e-15 of the signal, some units in the last place, is what a few
# roundings leave: smaller can't be told from none.
_MIN_RATIO = 1e-30
_MAX_DB = -10 * np.log10(_MIN_RATIO)

# Inner products leave 1 - cos² an absolute error of some 1e-15: 1e-8 dB here.
_INNER_PRODUCTS_MAX_DB = 60

_BATCH_SIZE = 8192  # samples: a batch of some channels stays in the cache


def _check_signals(signals, name, zero_mean):
    """Return real, finite signals of shape (n_samples, n_channels)."""
    signals = check_array(signals, input_name=name)
    if signals.shape[1] > signals.shape[0]:
        raise ValueError(
            f"Got {name} of shape {signals.shape}, which has more channels than "
            "samples. Expected (n_samples, n_channels)."
        )
    if zero_mean:
        signals = signals / _peak(signals)
        # The first sample goes first so that a constant becomes zero exactly.
        signals = signals - signals[0]
        signals -= signals.mean(axis=0)
    return signals


def _check_same_samples(reference, other, name):
    if len(other) != len(reference):
        raise ValueError(
            f"Got {len(reference)} samples of reference, but {len(other)} of {name}."
        )


def _peak(signals):
    """Return the largest magnitude, or 1 for silence, to divide by."""
    return max(np.float64(signals.max()), -np.float64(signals.min())) or np.float64(1)


def _inner_products(reference, estimate):
    """Return the Gram matrix of all channels, references first, both at unit peak."""
    n_references = reference.shape[1]
    n_channels = n_references + estimate.shape[1]
    reference_peak, estimate_peak = _peak(reference), _peak(estimate)
    gram = np.zeros((n_channels, n_channels))
    buffer = np.empty((n_channels, _BATCH_SIZE))
    for rows in gen_batches(len(reference), _BATCH_SIZE):
        batch = buffer[:, : rows.stop - rows.start]
        np.divide(reference[rows].T, reference_peak, out=batch[:n_references])
        np.divide(estimate[rows].T, estimate_peak, out=batch[n_references:])
        gram += batch @ batch.T
    return gram


def _pairwise_si_sdr(reference, estimate):
    """Return the SI-SDR of every estimate for every reference, nan for silent ones."""
    n_references = reference.shape[1]
    gram = _inner_products(reference, estimate)
    norms = np.sqrt(np.diag(gram))
    silent = norms == 0
    norms[silent] = 1
    cosine = (gram / norms[:, None] / norms)[:n_references, n_references:]
    target = np.clip(cosine**2, _MIN_RATIO, 1)
    residual = np.clip(1 - target, _MIN_RATIO, 1)
    scores = 10 * np.log10(target / residual)
    scores[silent[:n_references]] = np.nan
    return scores


def _si_sdr_of_residual(reference, estimate):
    """Return the SI-SDR of one pair from the residual signal itself."""
    reference = reference / _peak(reference)
    estimate = estimate / _peak(estimate)
    energy = reference @ reference
    gain = estimate @ reference / energy
    residual = estimate - gain * reference
    # The gain was rounded; what it left of the reference is not distortion.
    residual -= residual @ reference / energy * reference
    distortion = residual @ residual / (gain**2 * energy)
    return -10 * np.log10(max(distortion, _MIN_RATIO))


def _si_sdr(reference, estimate, permute):
    """Return the SI-SDR of each reference and the estimate it was assigned."""
    pairs = _pairwise_si_sdr(reference, estimate)
    if permute:
        # A silent reference prefers none, so it takes what the others leave.
        _, permutation = linear_sum_assignment(np.nan_to_num(pairs), maximize=True)
    else:
        permutation = np.arange(len(pairs))
    scores = pairs[np.arange(len(pairs)), permutation]
    for k in np.flatnonzero(scores > _INNER_PRODUCTS_MAX_DB):
        scores[k] = _si_sdr_of_residual(
            reference[:, k].astype(np.float64),
            estimate[:, permutation[k]].astype(np.float64),
        )
    return scores, permutation


def _check_reference_and_estimate(reference, estimate, permute, zero_mean):
    reference = _check_signals(reference, "reference", zero_mean)
    estimate = _check_signals(estimate, "estimate", zero_mean)
    _check_same_samples(reference, estimate, "estimate")
    n_references, n_estimates = reference.shape[1], estimate.shape[1]
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
    return reference, estimate


def _warn_if_undefined(undefined, what):
    if undefined.any():
        warnings.warn(
            f"{what}; the score of reference {np.flatnonzero(undefined).tolist()} is "
            "undefined and set to nan.",
            UndefinedMetricWarning,
            stacklevel=4,  # past the metric and the wrapper of validate_params
        )


@validate_params(
    {
        "reference": ["array-like"],
        "estimate": ["array-like"],
        "permute": ["boolean"],
        "zero_mean": ["boolean"],
        "return_permutation": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def si_sdr(
    reference, estimate, *, permute=True, zero_mean=False, return_permutation=False
):
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

    Whatever the input's dtype, sums are in double precision. Scores come from the
    inner products of all signals, in one pass; above 60 dB, where those lose digits,
    from the residual itself.

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
    reference, estimate = _check_reference_and_estimate(
        reference, estimate, permute, zero_mean
    )
    score, permutation = _si_sdr(reference, estimate, permute)
    _warn_if_undefined(np.isnan(score), "A reference is silent")
    return (score, permutation) if return_permutation else score


@validate_params(
    {
        "reference": ["array-like"],
        "estimate": ["array-like"],
        "mixture": ["array-like"],
        "ref_mic": [Interval(Integral, 0, None, closed="left")],
        "permute": ["boolean"],
        "zero_mean": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def si_sdr_improvement(
    reference, estimate, mixture, *, ref_mic=0, permute=True, zero_mean=False
):
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
    reference, estimate = _check_reference_and_estimate(
        reference, estimate, permute, zero_mean
    )
    mixture = _check_signals(mixture, "mixture", zero_mean)
    _check_same_samples(reference, mixture, "mixture")
    check_ref_mic(ref_mic, mixture.shape[1])
    unprocessed = np.broadcast_to(mixture[:, [ref_mic]], reference.shape)
    baseline, _ = _si_sdr(reference, unprocessed, permute=False)
    silent = np.isnan(baseline)
    if not silent.all() and not unprocessed.any():
        raise ValueError(
            f"Got a mixture that is silent at ref_mic={ref_mic}, but references that "
            "are not. There is nothing to compare with."
        )
    _warn_if_undefined(silent, "A reference is silent")
    perfect = baseline >= _MAX_DB
    _warn_if_undefined(perfect, "The mixture equals a reference")
    baseline[perfect] = np.nan
    return _si_sdr(reference, estimate, permute)[0] - baseline
