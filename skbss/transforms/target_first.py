"""Put the output first that a known stretch of time belongs to."""

# License: BSD-3-Clause

from numbers import Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import validate_data

from skbss.callbacks import FitTask
from skbss.sklearn_parts import Interval, _fit_context
from skbss.transforms.loudest_first import OrderedOutputs


def prominence(X, samples):
    """Power of signals in a stretch, relative to that of all, (n_outputs,)."""
    peak = float(abs(X).max()) or 1.0
    inside, overall = (
        np.array([np.square(x / peak, dtype=float).mean() for x in some.T])
        for some in (X[samples], X)
    )
    return np.divide(inside, overall, out=np.zeros_like(inside), where=overall > 0)


class TargetFirst(OrderedOutputs):
    """Put the output first that speaks while no other one does.

    Blind separation can't know which of its outputs is who. Where it is known when
    somebody speaks alone, such as at the beginning, this step finds their output. It
    changes the order only, so that nothing is lost.

    Parameters
    ----------
    start : float
        Where the stretch of time begins, in seconds.
    end : float
        Where it ends, in seconds. A second or two will do. Others may be heard in it
        too, if they are much softer than else.
    sample_rate : float, default=16000
        In Hz.

    Attributes
    ----------
    order_ : ndarray of shape (n_outputs,)
        The outputs, by number: the target, and all others in the order that they had.
    shares_ : ndarray of shape (n_outputs,)
        The power of each output in that time, relative to its own mean power at all
        times, as shares that sum to one. Near to one for a target that was found
        without doubt.
    n_features_in_ : int
        Number of outputs.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the outputs. Defined only if the signals have names, all strings, as a
        data frame has.

    See Also
    --------
    LoudestFirst : Orders all outputs by how loud they are.
    make_separator : Does it last, if it gets a `target`.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import TargetFirst
    >>> y = np.array([[0.1, 2.0], [-0.1, -2.0], [5.0, 2.0], [-5.0, -2.0]])
    >>> TargetFirst(0, 2, sample_rate=1).fit_transform(y)
    array([[ 2. ,  0.1],
           [-2. , -0.1],
           [ 2. ,  5. ],
           [-2. , -5. ]])
    """

    _parameter_constraints: dict = {
        "start": [Interval(Real, 0, None, closed="left")],
        "end": [Interval(Real, 0, None, closed="neither")],
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, start: float, end: float, *, sample_rate: float = 16_000):
        self.start = start
        self.end = end
        self.sample_rate = sample_rate

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Find the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_outputs)
            Signals.
        y : None
            Ignored.

        Returns
        -------
        self : TargetFirst
            The fitted transformer.

        Raises
        ------
        ValueError
            If the stretch of time isn't in the recording, or `X` isn't a finite, real
            matrix.
        """
        task = FitTask(self, X, y)
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        first, last = (round(t * self.sample_rate) for t in (self.start, self.end))
        if not first < last <= len(X):
            raise ValueError(
                f"Got a target from {self.start} to {self.end} s, expected a time of "
                f"the recording, which has {len(X) / self.sample_rate:.6g} s."
            )
        share = prominence(X, slice(first, last))
        self.shares_ = share / (share.sum() or 1)
        target = int(np.argmax(share))
        others = [k for k in range(X.shape[1]) if k != target]
        self.order_ = np.array([target, *others])
        task.end()
        return self
