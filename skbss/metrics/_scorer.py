"""Scorers for GridSearchCV and its kin."""

# License: BSD-3-Clause

from functools import partial

import numpy as np

from skbss.metrics._si_sdr import si_sdr, si_sdr_improvement


def _mean_over_recordings(metric, references, *signals):
    """Return the mean of metric(reference, *signals): over sources, then recordings.

    What is undefined is left out; the mean is nan if nothing is left.
    """
    if not isinstance(references, list | tuple):
        references, signals = [references], [[signal] for signal in signals]
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
    means = []
    for index, recording in enumerate(zip(references, *signals, strict=True)):
        try:
            scores = metric(*recording)
        except ValueError as error:
            error.add_note(f"This was raised by recording {index}, counted from 0.")
            raise
        defined = scores[~np.isnan(scores)]
        if defined.size:
            means.append(defined.mean())
    return float(np.mean(means)) if means else np.nan


def si_sdr_scorer(estimator, X, y):
    """Score an estimator by the mean SI-SDR of what its `transform` separates.

    Pass it as ``scoring=si_sdr_scorer`` to `GridSearchCV` or `cross_val_score`.
    Each recording weighs the same, however many sources it has or long it is.

    Parameters
    ----------
    estimator : estimator with `transform`
        A fitted separator of time signals, such as a pipeline from `STFT` to `ISTFT`,
        or `EachRecording` of one.
    X : ndarray of shape (n_samples, n_mics), or list of such
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
    return _mean_over_recordings(si_sdr, y, estimator.transform(X))


def si_sdr_improvement_scorer(estimator, X, y, *, ref_mic=0):
    """Score an estimator by the mean SI-SDR improvement over the mixture.

    Pass it as ``scoring=si_sdr_improvement_scorer``, or with another microphone as
    ``scoring=functools.partial(si_sdr_improvement_scorer, ref_mic=1)``. Each recording
    weighs the same, however many sources it has or long it is.

    Parameters
    ----------
    estimator : estimator with `transform`
        A fitted separator of time signals, such as a pipeline from `STFT` to `ISTFT`,
        or `EachRecording` of one.
    X : ndarray of shape (n_samples, n_mics), or list of such
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
    improvement = partial(si_sdr_improvement, ref_mic=ref_mic)
    return _mean_over_recordings(improvement, y, estimator.transform(X), X)
