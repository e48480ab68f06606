"""Progress and monitoring: scikit-learn's callbacks, around every iteration.

What scikit-learn has of its young callback interface is used here and nowhere else.
"""

# License: BSD-3-Clause

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
from sklearn.callback import FitCallback

from skbss.jsonl import append_jsonl
from skbss.sklearn_parts import callback_management_context

__all__ = ["JsonlLogger"]

# What `_fit_context` puts around methods, for generators that fit.
fit_context = callback_management_context


class FitTask:
    """One call of `fit`, whose parts callbacks are told of.

    To be made at the beginning of a method that `_fit_context` wraps, and ended with
    `end`.

    Parameters
    ----------
    estimator : estimator instance
        With the methods of scikit-learn's CallbackSupportMixin.
    X : object
        What it is fitted to, for scores.
    y : object
        What callbacks compare with, for scores.
    n_parts : int or None, default=0
        Most iterations, blocks or recordings; None if that is unknown.

    Attributes
    ----------
    estimator, X, y : object
        As given.
    context : CallbackContext
        scikit-learn's.
    is_watched : bool
        Whether the estimator has callbacks. If not, `iterations` and `parts` cost
        nothing.
    """

    def __init__(self, estimator, X, y, n_parts=0):
        self.estimator, self.X, self.y = estimator, X, y
        self.context = estimator._init_callback_context(max_subtasks=n_parts)
        self.is_watched = hasattr(estimator, "_skl_callbacks")
        self.context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)

    def iterations(self, iterations, learned, name="iteration"):
        """Draw from a generator of (state, objective), each draw a task.

        Parameters
        ----------
        iterations : iterator
            Yields the initial state with its objective, then one iteration at a time.
        learned : callable
            Called with a state and the list of objectives so far, it returns the fitted
            attributes by name. Only if a callback asks for them.
        name : str, default='iteration'
            Of the tasks.

        Returns
        -------
        iterations : iterator
            The one given, if there are no callbacks. It ends when a callback asks to
            stop.
        """
        if not self.is_watched:
            return iterations
        return self._iterations(iterations, learned, name)

    def _iterations(self, iterations, learned, name):
        objectives = []
        yield next(iterations)
        while True:
            task = self._begin(name)
            start = time.perf_counter()
            state, objective = next(iterations)
            task.seconds = time.perf_counter() - start
            objectives.append(objective)
            stop = self._end(task, partial(learned, state, objectives))
            yield state, objective
            if stop:
                return

    def parts(self, parts, learned, name):
        """Loop over parts of the data, each a task.

        Parameters
        ----------
        parts : iterable
            The parts.
        learned : callable
            As in `iterations`, called without arguments.
        name : str
            Of the tasks.

        Returns
        -------
        parts : iterable
            The one given, if there are no callbacks. All parts are there, also if a
            callback asks to stop.
        """
        return self._parts(parts, learned, name) if self.is_watched else parts

    def _parts(self, parts, learned, name):
        for part in parts:
            task = self._begin(name)
            start = time.perf_counter()
            yield part
            task.seconds = time.perf_counter() - start
            self._end(task, learned)

    def subtasks(self, name, n_parts):
        """Make tasks ahead of time, for `call_within`, here or in other processes.

        Parameters
        ----------
        name : str
            Of the tasks.
        n_parts : int
            Their number.

        Returns
        -------
        subtasks : list of CallbackContext
            One for each part.
        """
        return [self.context.subcontext(task_name=name) for _ in range(n_parts)]

    def end(self):
        """Tell callbacks that the estimator is fitted."""
        self._end(self.context, dict)

    def _begin(self, name):
        task = self.context.subcontext(task_name=name)
        return task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def _end(self, task, learned):
        return task.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes=learned,
        )


def call_within(task, caller, estimator, method, X):
    """Call a method of an estimator inside another one, which is a task.

    Parameters
    ----------
    task : CallbackContext
        From `FitTask.subtasks`.
    caller : estimator instance
        The outer estimator. Those of its callbacks that go down to the estimators
        inside it go down to this one, for as long as the call lasts.
    estimator : estimator instance
        The inner estimator.
    method : str
        'fit' or 'fit_transform'.
    X : object
        What the method is called with.

    Returns
    -------
    result : object
        What the method returned.
    """
    with task.propagate_callback_context(estimator):
        task.call_on_fit_task_begin(estimator=caller, X=X)
        result = getattr(estimator, method)(X)
        task.call_on_fit_task_end(estimator=caller, X=X)
    return result


class OnProgress(FitCallback):
    """Callback that calls a function with the fraction that is done.

    Parameters
    ----------
    function : callable
        Called with a number from 0 to 1 after every iteration, block or part of an
        estimator, those of estimators inside it left out.
    """

    def __init__(self, function):
        self.function = function

    def on_fit_task_end(self, estimator, context) -> None:
        """Call the function, if the task is one of a known number of parts."""
        whole = context.parent
        if whole is not None and whole.parent is None and whole.max_subtasks:
            self.function(min(1.0, (context.task_id + 1) / whole.max_subtasks))


class JsonlLogger(FitCallback):
    """Callback that appends an object to a JSON Lines file after every iteration.

    Set on a separator, a pipeline or a search, it logs the iterations of all estimators
    inside too, also of those in other processes. A program that is killed leaves all
    that was logged behind it, and `skbss.read_jsonl` reads it, at any time.

    Parameters
    ----------
    path : str or Path
        The file. What is there is kept.
    scoring : callable or dict of str to callable, default=None
        Scores to log with each iteration: scorers ``(estimator, X, y)``, such as
        `skbss.metrics.si_sdr_scorer`, by name. A single one that returns a number is
        logged as "score". They are only called where `fit` was given a `y`, the
        references, and take much longer than an iteration does.
    max_propagation_depth : int, default=None
        How many estimators deep to log. 0 is the outermost only, None all.

    See Also
    --------
    sklearn.callback.ProgressBar : Shows how far it is.
    sklearn.callback.ScoringMonitor : Keeps scores in memory.

    Notes
    -----
    The objects have the keys

    - run: the same for all that belongs to one call of `fit`,
    - path: names and numbers of the tasks inside one another, such as
      "fit 0/search 0/candidate-split-evaluation 3": different for each inner fit,
    - estimator and task: the class, and what the iteration is one of: "iteration",
      "auxiva-iteration" where `ILRMA` starts by `AuxIVA`, "frames" of online models,
    - iteration: counted from 1,
    - objective: after the iteration, null if the estimator has none,
    - seconds: that the iteration took, callbacks left out,
    - and the names of the scores.

    Several processes may write to the same file if it is on a disk of the machine that
    they run on.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skbss import STFT, AuxIVA, read_jsonl
    >>> from skbss.callbacks import JsonlLogger
    >>> from skbss.datasets import load_cocktail_party
    >>> X = STFT(2048).fit_transform(load_cocktail_party().mixture)
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "log.jsonl"
    ...     separator = AuxIVA(max_iter=20).set_callbacks(JsonlLogger(path)).fit(X)
    ...     log = read_jsonl(path)
    >>> [line["iteration"] for line in log] == list(range(1, 21))
    True
    >>> [line["objective"] for line in log] == separator.objective_.tolist()
    True
    """

    def __init__(
        self,
        path: str | Path,
        *,
        scoring: Callable | dict[str, Callable] | None = None,
        max_propagation_depth: int | None = None,
    ):
        self.path = path
        self.scoring = scoring
        self.max_propagation_depth = max_propagation_depth

    def setup(self, estimator: BaseEstimator, context: object) -> None:
        """Check that the file can be written to.

        Parameters
        ----------
        estimator : estimator instance
            The outermost one.
        context : CallbackContext
            Its task.
        """
        # Workers may have another working directory.
        self.path = os.path.abspath(self.path)
        with open(self.path, "ab"):
            pass

    def on_fit_task_end(
        self,
        estimator: BaseEstimator,
        context: Any,
        *,
        X: object = None,
        y: object = None,
        fitted_estimator: BaseEstimator | None = None,
    ) -> None:
        """Log an iteration.

        Parameters
        ----------
        estimator : estimator instance
            The one that is being fitted.
        context : CallbackContext
            The task that ends. Others than iterations are not logged.
        X, y : object, default=None
            What it is fitted to.
        fitted_estimator : estimator instance, default=None
            As if `fit` had stopped here.
        """
        seconds = getattr(context, "seconds", None)
        if seconds is None or fitted_estimator is None:
            return
        objectives: Any = getattr(fitted_estimator, "objective_", ())
        record = {
            "run": context.root_uuid.hex,
            "path": "/".join(_names(context.parent)),
            "estimator": context.estimator_name,
            "task": context.task_name,
            "iteration": context.task_id + 1,
            "objective": float(objectives[-1]) if len(objectives) else None,
            "seconds": seconds,
        }
        if self.scoring is not None and X is not None and y is not None:
            record |= _scores(self.scoring, fitted_estimator, X, y)
        append_jsonl(self.path, record)


def _names(context):
    """Names and numbers of a task and those around it, from the outside in."""
    if context is None:
        return []
    name = context.source_task_name or context.task_name
    return [*_names(context.parent), f"{name} {context.task_id}"]


def _scores(scoring, estimator, X, y):
    """Return scores by name."""
    if isinstance(scoring, dict):
        return {name: scorer(estimator, X, y) for name, scorer in scoring.items()}
    scores = scoring(estimator, X, y)
    return scores if isinstance(scores, dict) else {"score": scores}
