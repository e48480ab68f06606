"""The objective after every iteration."""

# License: BSD-3-Clause

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from skbss.inspection._panels import check_names, find_step, make_panels

if TYPE_CHECKING:  # matplotlib is imported to draw only
    from matplotlib.axes import Axes


class ConvergenceDisplay:
    """Objective of one or several estimators after every iteration.

    Use `from_estimator` or `from_predictions` to make one.

    Parameters
    ----------
    objectives : list of ndarray of shape (n_iter,)
        The values after every iteration, one array for each line.
    names : list of str, default=None
        Of the lines. None stands for "run 0" and so on.

    Attributes
    ----------
    ax_ : Axes
        The plot.
    figure_ : Figure
        What it is in.
    lines_ : list of Line2D
        One for each array.

    See Also
    --------
    sklearn.callback.ScoringMonitor : How good the separation is after every iteration,
        which may improve when the objective is flat.

    Examples
    --------
    >>> from skbss import ILRMA, STFT
    >>> from skbss.datasets import load_cocktail_party
    >>> from skbss.inspection import ConvergenceDisplay
    >>> X = STFT(2048).fit_transform(load_cocktail_party().mixture)
    >>> runs = [ILRMA(k, max_iter=10, random_state=0).fit(X) for k in (1, 2)]
    >>> display = ConvergenceDisplay.from_estimator(*runs, names=["1 basis", "2 bases"])
    >>> bool(display.lines_[1].get_ydata()[-1] == runs[1].objective_[-1])
    True
    """

    def __init__(self, *, objectives: list[np.ndarray], names: list[str] | None = None):
        self.objectives = objectives
        self.names = names

    @classmethod
    def from_estimator(
        cls, *estimators: Any, names: list[str] | None = None, ax: "Axes | None" = None
    ) -> Self:
        """Show the objectives of fitted estimators.

        They are comparable if they have the same model and were fitted to the same
        recording.

        Parameters
        ----------
        *estimators : estimator instances
            Fitted, with an attribute `objective_`, or pipelines with such a step.
        names : list of str, default=None
            Of the lines. None stands for the classes of the estimators.
        ax : Axes, default=None
            Where to. None stands for a new figure.

        Returns
        -------
        display : ConvergenceDisplay
            Plotted.
        """
        steps = [find_step(each, "objective_") for each in estimators]
        if names is None:
            names = [type(step).__name__ for step in steps]
        objectives = [step.objective_ for step in steps]
        return cls.from_predictions(*objectives, names=names, ax=ax)

    @classmethod
    def from_predictions(
        cls, *objectives: Any, names: list[str] | None = None, ax: "Axes | None" = None
    ) -> Self:
        """Show the objectives that were kept, such as in a log.

        Parameters
        ----------
        *objectives : array-like of shape (n_iter,)
            The values after every iteration.
        names : list of str, default=None
            Of the lines. None stands for "run 0" and so on.
        ax : Axes, default=None
            Where to. None stands for a new figure.

        Returns
        -------
        display : ConvergenceDisplay
            Plotted.
        """
        if not objectives:
            raise ValueError("Got no objectives, expected those of one run at least.")
        arrays = [np.asarray(values, dtype=float) for values in objectives]
        return cls(objectives=arrays, names=names).plot(ax=ax)

    def plot(self, *, ax: "Axes | None" = None) -> Self:
        """Draw the lines.

        Parameters
        ----------
        ax : Axes, default=None
            Where to. None stands for a new figure.

        Returns
        -------
        display : ConvergenceDisplay
            This one.
        """
        names = check_names(self.names, len(self.objectives), "run")
        axes = make_panels(ax, 1, 1, f"{type(self).__name__}.plot", (6, 4))
        self.ax_, self.figure_ = axes[0, 0], axes[0, 0].figure
        self.lines_ = []
        for name, values in zip(names, self.objectives, strict=True):
            iterations = np.arange(1, len(values) + 1)
            marker = "." if len(values) <= 50 else ""
            self.lines_ += self.ax_.plot(iterations, values, marker=marker, label=name)
        self.ax_.set(xlabel="iteration", ylabel="objective (nats)")
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        self.ax_.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
        if len(names) > 1:
            self.ax_.legend()
        else:
            self.ax_.set_title(names[0])
        return self
