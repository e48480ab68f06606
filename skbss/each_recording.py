"""One estimator, many recordings."""

# License: BSD-3-Clause

from collections.abc import Sequence
from numbers import Integral
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.utils.parallel import Parallel, delayed

from skbss.callbacks import CallbackSupportMixin, FitTask, call_within
from skbss.sklearn_parts import HasMethods, _fit_context


def _check_recordings(X):
    if not isinstance(X, list | tuple):
        shape = f" of shape {X.shape}" if hasattr(X, "shape") else ""
        remedy = "For a single recording, wrap it in a list: [X]."
        if np.ndim(X) == 3 and not np.iscomplexobj(X):
            remedy = "Recordings in a single array become one by list(X)."
        raise TypeError(
            f"Got {type(X).__name__}{shape}, expected a list of recordings. {remedy}"
        )
    if not X:
        raise ValueError("Got an empty list, expected at least one recording.")
    for index, recording in enumerate(X):
        if len(np.shape(recording)) not in (2, 3):
            raise ValueError(
                f"Got recording {index} of shape {np.shape(recording)}, expected "
                "(n_samples, n_mics) or (n_frames, n_freqs, n_mics)."
            )


def _fit_transform_one(estimator, recording, index, caller, task):
    try:
        if task is None:
            return estimator.fit_transform(recording)
        return call_within(task, caller, estimator, "fit_transform", recording)
    except Exception as error:
        error.add_note(f"This was raised by recording {index}, counted from 0.")
        raise


class EachRecording(
    MetaEstimatorMixin, TransformerMixin, CallbackSupportMixin, BaseEstimator
):
    """Separate each recording of a list on its own.

    Recordings have different lengths and different rooms, so that blind separation
    has nothing to learn from one for another: `transform` fits a fresh clone of the
    estimator to each recording. This makes a list of recordings what scikit-learn's
    model selection takes for samples.

    Parameters
    ----------
    estimator : estimator with `fit_transform`
        What separates one recording, usually a pipeline from `STFT` to `ISTFT`. It is
        cloned, never fitted itself.
    n_jobs : int, default=None
        How many recordings to separate at a time. None means 1 unless in a
        `joblib.parallel_config` context, -1 all processors. The result doesn't depend
        on it.

    See Also
    --------
    skbss.metrics.si_sdr_scorer : Scores lists too.

    Notes
    -----
    There is nothing to fit: `fit` only checks its input, and `transform` works without
    it. A search by `GridSearchCV` therefore separates each recording once for each
    candidate and fold that scores it. For a pipeline with ``memory=``, recordings seen
    before come from its cache.

    Where separating a recording raises an error, a note on the error says which one it
    was.

    To keep what was learned of each recording, such as `demixing_`, fit clones of the
    estimator in a loop.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import FastICA
    >>> from skbss import EachRecording
    >>> rng = np.random.default_rng(0)
    >>> mixing = np.array([[1, 0.5], [0.5, 1]])
    >>> recordings = [rng.laplace(size=(n, 2)) @ mixing for n in (8000, 5000)]
    >>> separated = EachRecording(FastICA(random_state=0)).fit_transform(recordings)
    >>> [y.shape for y in separated]
    [(8000, 2), (5000, 2)]
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit_transform", "get_params"])],
        "n_jobs": [Integral, None],
    }

    def __init__(self, estimator: BaseEstimator, *, n_jobs: int | None = None):
        self.estimator = estimator
        self.n_jobs = n_jobs

    # estimator is validated when it is fitted, in transform
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Sequence, y: object = None) -> Self:
        """Check the parameters and the recordings; nothing is learned.

        Parameters
        ----------
        X : list of recordings
            As for `transform`.
        y : None
            Ignored.

        Returns
        -------
        self : EachRecording
            The estimator itself.
        """
        task = FitTask(self, X, y)
        _check_recordings(X)
        task.end()
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit_transform(self, X: Sequence, y: object = None) -> list:
        """Separate each recording as `transform` does, and tell callbacks of it.

        Parameters
        ----------
        X : list of recordings
            As for `transform`.
        y : None
            Ignored.

        Returns
        -------
        separated : list
            As from `transform`.
        """
        _check_recordings(X)
        task = FitTask(self, X, y, len(X))
        separated = self._separate(X, self, task.subtasks("recording", len(X)))
        task.end()
        return separated

    def transform(self, X: Sequence) -> list:
        """Separate each recording with a clone of the estimator fitted to it.

        Parameters
        ----------
        X : list of array-like or Spectrogram
            The recordings, each as the estimator takes it: of shape
            (n_samples, n_mics), or spectrograms of shape (n_frames, n_freqs, n_mics).

        Returns
        -------
        separated : list
            What the estimator's `fit_transform` returned for each recording.

        Raises
        ------
        TypeError
            If `X` isn't a list, such as a single recording.
        """
        _check_recordings(X)
        return self._separate(X, None, [None] * len(X))

    def _separate(self, X, caller, tasks):
        return Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_transform_one)(clone(self.estimator), *rest, caller, task)
            for *rest, task in zip(X, range(len(X)), tasks, strict=True)
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # a list of them
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []  # as a list has none
        return tags
