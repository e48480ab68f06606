"""Scorers for GridSearchCV and its kin."""

# License: BSD-3-Clause

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skbss.metrics.scores import DEFAULT_METRICS, check_metrics, score_separation
from skbss.spectrogram import Spectrogram
from skbss.transforms import ISTFT, ProjectionBack


def _to_time(X, ref_mic=None):
    """Return the signals of a spectrogram, and others as they are.

    A separator alone, without the steps that follow it in a pipeline, is scored as if
    they did: so `ScoringMonitor` can, on a separator inside a pipeline.
    """
    if not isinstance(X, Spectrogram):
        return X
    if ref_mic is not None and X.mixing is not None:
        X = ProjectionBack(ref_mic).fit_transform(X)
    return ISTFT().fit_transform(X)


def _check_recordings(references, *signals):
    """Return lists of references and of each of the signals, equally long."""
    if not isinstance(references, list | tuple):
        return [references], *([signal] for signal in signals)
    for recordings in signals:
        if not isinstance(recordings, list | tuple):
            raise TypeError(
                f"Got a list of references, but {type(recordings).__name__} as what "
                "they are compared with. Expected a list too, as EachRecording takes "
                "and returns."
            )
        if len(recordings) != len(references):
            raise ValueError(
                f"Got {len(references)} references of {len(recordings)} recordings."
            )
    return references, *signals


def _score(estimator, X, y, *, metrics, **params):
    """Return the mean of each metric over sources, then over recordings, by name.

    What is undefined is left out; the mean is nan if nothing is left. A name alone as
    `metrics` gives a number.
    """
    names = [metrics] if isinstance(metrics, str) else metrics
    recordings = _check_recordings(y, estimator.transform(X), X)
    means = {name: [] for name in names}
    for index, (reference, estimate, mixture) in enumerate(
        zip(*recordings, strict=True)
    ):
        try:
            scores = score_separation(
                reference,
                _to_time(estimate, params.get("ref_mic", 0)),
                mixture=_to_time(mixture),
                metrics=names,
                **params,
            )
        except ValueError as error:
            error.add_note(f"This was raised by recording {index}, counted from 0.")
            raise
        for name in names:
            defined = scores[name][~np.isnan(scores[name])]
            if defined.size:
                means[name].append(defined.mean())
    means = {n: float(np.mean(m)) if m else np.nan for n, m in means.items()}
    return means[metrics] if isinstance(metrics, str) else means


def make_separation_scorer(
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    *,
    ref_mic: int = 0,
    zero_mean: bool = False,
    truncate: bool = False,
    check_delay: bool = False,
) -> Callable:
    """Make a scorer of one metric or several.

    Pass what it returns as ``scoring`` to `GridSearchCV`, or, if of one metric, to
    `cross_val_score`. With several metrics, recordings are separated once for all, and
    `GridSearchCV` wants the name of one as ``refit``.

    Parameters
    ----------
    metrics : str, or tuple or list of str, default=("si_sdr", "si_sir", "si_sar")
        Names of scores, as :func:`score_separation` takes them. One name gives a scorer
        that returns a number; several, or one in a list, one that returns a dict.
    ref_mic : int, default=0
        The microphone of the mixtures that improvements compare with.
    zero_mean : bool, default=False
        Subtract each signal's mean first.
    truncate : bool, default=False
        Cut reference, estimate and mixture to the length of the shortest. If False,
        different lengths are an error.
    check_delay : bool, default=False
        Warn of estimates that are delayed against their references.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)`` with a separator of time signals that has
        `transform`, X the mixture of shape (n_samples, n_mics) or a list of such, and y
        the references of shape (n_samples, n_sources) or a list of such. It returns
        means in dB over sources, then over recordings, so that each recording weighs
        the same. What is undefined, as scores of silent references, is left out, with
        an UndefinedMetricWarning; a mean is nan if nothing is left. It can be pickled.

    Raises
    ------
    ValueError
        If a metric is unknown.

    See Also
    --------
    si_sdr_scorer : The most usual scorer, ready-made.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import FastICA
    >>> from sklearn.model_selection import GridSearchCV, KFold
    >>> from skbss.metrics import make_separation_scorer
    >>> y = np.random.default_rng(0).laplace(size=(40000, 2))
    >>> X = y @ [[1, 0.5], [0.5, 1]]
    >>> search = GridSearchCV(
    ...     FastICA(random_state=0),
    ...     {"fun": ["logcosh", "cube"]},
    ...     scoring=make_separation_scorer(["si_sdr_improvement", "si_sir"]),
    ...     refit="si_sdr_improvement",
    ...     cv=KFold(2),
    ... ).fit(X, y)
    >>> search.cv_results_["mean_test_si_sir"] > 30
    array([ True,  True])
    """
    if not isinstance(metrics, str):
        metrics = tuple(metrics)
    check_metrics((metrics,) if isinstance(metrics, str) else metrics)
    return partial(
        _score,
        metrics=metrics,
        ref_mic=ref_mic,
        zero_mean=zero_mean,
        truncate=truncate,
        check_delay=check_delay,
    )


def si_sdr_scorer(estimator: BaseEstimator, X: Any, y: Any) -> float:
    """Score an estimator by the mean SI-SDR of what its `transform` separates.

    Pass it as ``scoring=si_sdr_scorer`` to `GridSearchCV` or `cross_val_score`.
    Each recording weighs the same, however many sources it has or long it is.

    Parameters
    ----------
    estimator : estimator with `transform`
        A fitted separator of time signals, such as a pipeline from `STFT` to `ISTFT`,
        or `EachRecording` of one. Of a separator alone, what `ProjectionBack` and
        `ISTFT` make of its output is scored.
    X : ndarray of shape (n_samples, n_mics), Spectrogram, or list of such
        One mixture or several, as the estimator takes them.
    y : ndarray of shape (n_samples, n_sources), or list of such
        The references of each mixture. Of source images, those at the microphone
        whose scale the estimates take.

    Returns
    -------
    score : float
        The mean SI-SDR in dB. Silent references are left out, with an
        UndefinedMetricWarning; nan if all are silent.

    See Also
    --------
    si_sdr : The score of each source.
    si_sdr_improvement_scorer : The gain over the mixture.
    make_separation_scorer : Other metrics, and several at once.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import FastICA
    >>> from sklearn.model_selection import KFold, cross_val_score
    >>> from skbss.metrics import si_sdr_scorer
    >>> y = np.random.default_rng(0).laplace(size=(40000, 2))
    >>> X = y @ [[1, 0.5], [0.5, 1]]
    >>> ica = FastICA(random_state=0)
    >>> cross_val_score(ica, X, y, cv=KFold(2), scoring=si_sdr_scorer) > 30
    array([ True,  True])
    """
    return _score(estimator, X, y, metrics="si_sdr")


def si_sdr_improvement_scorer(
    estimator: BaseEstimator, X: Any, y: Any, *, ref_mic: int = 0
) -> float:
    """Score an estimator by the mean SI-SDR improvement over the mixture.

    Pass it as ``scoring=si_sdr_improvement_scorer``, or with another microphone as
    ``scoring=functools.partial(si_sdr_improvement_scorer, ref_mic=1)``. Each recording
    weighs the same, however many sources it has or long it is.

    Parameters
    ----------
    estimator : estimator with `transform`
        A fitted separator of time signals, such as a pipeline from `STFT` to `ISTFT`,
        or `EachRecording` of one. Of a separator alone, what `ProjectionBack` and
        `ISTFT` make of its output is scored.
    X : ndarray of shape (n_samples, n_mics), Spectrogram, or list of such
        One mixture or several, as the estimator takes them.
    y : ndarray of shape (n_samples, n_sources), or list of such
        The references of each mixture. Of source images, those at `ref_mic`.
    ref_mic : int, default=0
        The microphone of the mixtures that the estimates are compared with.

    Returns
    -------
    score : float
        The mean SI-SDR improvement in dB. References without one, as said in
        `si_sdr_improvement`, are left out, with an UndefinedMetricWarning; nan if none
        has one.

    See Also
    --------
    si_sdr_improvement : The improvement of each source.
    si_sdr_scorer : The score without a baseline.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import FastICA
    >>> from skbss.metrics import si_sdr_improvement_scorer
    >>> y = np.random.default_rng(0).laplace(size=(20000, 2))
    >>> X = y @ [[1, 0.5], [0.5, 1]]
    >>> ica = FastICA(random_state=0).fit(X)
    >>> si_sdr_improvement_scorer(ica, X, y) > 30
    True
    """
    return _score(estimator, X, y, metrics="si_sdr_improvement", ref_mic=ref_mic)
