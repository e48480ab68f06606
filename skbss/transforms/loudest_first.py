"""Order outputs by how loud they are, and keep the loudest."""

# License: BSD-3-Clause

from numbers import Integral
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from skbss.callbacks import CallbackSupportMixin, FitTask
from skbss.sklearn_parts import Interval, _fit_context


class OrderedOutputs(CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Base of what learns in `fit` an order of outputs, `order_`, and applies it."""

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Return the outputs in the order that was learned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_outputs)
            What was fitted to, or later outputs.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_sources)
            Outputs in the order of those that were fitted to, of the precision of `X`.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.ascontiguousarray(X[:, self.order_])

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> np.ndarray:
        """Return the names of the outputs.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Only checked, against the names that were fitted.

        Returns
        -------
        names : ndarray of shape (n_sources,)
            ``source0``, ``source1``, ...
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features, generate_names=False)
        names = [f"source{k}" for k in range(len(self.order_))]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class LoudestFirst(OrderedOutputs):
    """Order outputs by how loud they are, and keep the loudest.

    Blind separation gives its outputs in no particular order. As the last step of a
    pipeline this one puts the loudest first, so that with fewer sources than
    microphones the sources come first and what is left of the room after them.

    Parameters
    ----------
    n_sources : int, default=None
        How many outputs to keep. None means all.
    keep_first : bool, default=False
        Whether the first output stays the first, however loud: the target of a
        separator that has one.

    Attributes
    ----------
    order_ : ndarray of shape (n_sources,)
        The outputs that were kept, by number, loudest first.
    n_features_in_ : int
        Number of outputs that came in.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the outputs. Defined only if the signals have names, all strings, as a
        data frame has.

    See Also
    --------
    ProjectionBack : Gives outputs the scale that makes loudness comparable.

    Notes
    -----
    The loudness is the power about the mean over all samples that were fitted.
    Outputs of equal loudness stay in their order. Outputs have new names: "source0" is
    the loudest.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import LoudestFirst
    >>> y = np.array([[1.0, 5.0, -3.0], [-1.0, -5.0, 3.0]])
    >>> LoudestFirst(n_sources=2).fit_transform(y)
    array([[ 5., -3.],
           [-5.,  3.]])
    """

    _parameter_constraints: dict = {
        "n_sources": [Interval(Integral, 1, None, closed="left"), None],
        "keep_first": ["boolean"],
    }

    def __init__(self, n_sources: int | None = None, *, keep_first: bool = False):
        self.n_sources = n_sources
        self.keep_first = keep_first

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn the order.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_outputs)
            Signals.
        y : None
            Ignored.

        Returns
        -------
        self : LoudestFirst
            The fitted transformer.

        Raises
        ------
        ValueError
            If there are fewer outputs than `n_sources`, or `X` isn't a finite, real
            matrix.
        """
        task = FitTask(self, X, y)
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        n_outputs = X.shape[1]
        n_sources = n_outputs if self.n_sources is None else self.n_sources
        if n_sources > n_outputs:
            raise ValueError(
                f"Got n_sources={n_sources}, but there are {n_outputs} outputs."
            )
        peak = float(np.abs(X).max()) or 1.0
        power = [np.var(x / peak, dtype=np.float64) for x in X.T]
        if self.keep_first:
            power[0] = np.inf
        self.order_ = np.argsort(-np.array(power), kind="stable")[:n_sources]
        task.end()
        return self
