"""The score over time, with moves and swaps."""

# License: BSD-3-Clause

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skbss.inspection._panels import check_names, make_panels
from skbss.metrics import framewise_si_sdr

if TYPE_CHECKING:  # matplotlib is imported to draw only
    from matplotlib.axes import Axes

# Scores outside of these limits, in dB, are silence or perfect: they would flatten
# whatever is between.
LIMITS = (-25.0, 80.0)


class FramewiseDisplay:
    """Score of each source over time.

    It shows how fast an online separator converges, what it loses when sources move,
    and when outputs swap. Use `from_estimator` or `from_predictions` to make one.

    Parameters
    ----------
    time : ndarray of shape (n_windows,)
        Centers of the windows in seconds.
    score : ndarray of shape (n_windows, n_sources)
        In dB, nan where a source is silent.
    moves : array-like of float, default=()
        Times at which sources move, in seconds.
    swaps : array-like of float, default=()
        Times at which outputs swap, in seconds.
    names : list of str, default=None
        Of the sources. None stands for "source 0" and so on.
    label : str, default="SI-SDR (dB)"
        Of the vertical axis.

    Attributes
    ----------
    ax_ : Axes
        The plot.
    figure_ : Figure
        What it is in.
    lines_ : list of Line2D
        One for each source, interrupted where it is silent.
    move_lines_ : list of Line2D
        Vertical lines at the moves.
    swap_marks_ : Line2D or None
        Triangles at the top, at the swaps. None if there are none.

    See Also
    --------
    skbss.metrics.framewise_si_sdr : The score.

    Examples
    --------
    >>> from skbss import ISTFT, STFT, OnlineAuxIVA, ProjectionBack
    >>> from skbss.datasets import load_cocktail_party
    >>> from skbss.inspection import FramewiseDisplay
    >>> from sklearn.pipeline import make_pipeline
    >>> recording = load_cocktail_party()
    >>> pipe = make_pipeline(STFT(2048), OnlineAuxIVA(), ProjectionBack(), ISTFT())
    >>> display = FramewiseDisplay.from_predictions(
    ...     recording.references,
    ...     pipe.fit_transform(recording.mixture),
    ...     mixture=recording.mixture,
    ...     sample_rate=recording.sample_rate,
    ... )
    >>> display.ax_.get_ylabel()
    'SI-SDR improvement (dB)'
    """

    def __init__(
        self,
        *,
        time: np.ndarray,
        score: np.ndarray,
        moves: ArrayLike = (),
        swaps: ArrayLike = (),
        names: list[str] | None = None,
        label: str = "SI-SDR (dB)",
    ):
        self.time = time
        self.score = score
        self.moves = moves
        self.swaps = swaps
        self.names = names
        self.label = label

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: np.ndarray,
        y: np.ndarray,
        *,
        sample_rate: float,
        **params: Any,
    ) -> Self:
        """Show how well an estimator's `transform` separates, over time.

        Of an online separator that is what it knows at the end, applied to all of the
        recording. To see it learn, give `from_predictions` what `fit_transform`
        returned.

        Parameters
        ----------
        estimator : estimator with `transform`
            Fitted, from signals to signals.
        X : ndarray of shape (n_samples, n_mics)
            The mixture.
        y : ndarray of shape (n_samples, n_sources)
            The references.
        sample_rate : float
            In Hz.
        **params : dict
            As for `from_predictions`.

        Returns
        -------
        display : FramewiseDisplay
            Plotted: the improvement over the mixture.
        """
        Y = estimator.transform(X)
        return cls.from_predictions(y, Y, mixture=X, sample_rate=sample_rate, **params)

    @classmethod
    def from_predictions(
        cls,
        reference: ArrayLike,
        estimate: ArrayLike,
        *,
        sample_rate: float,
        mixture: ArrayLike | None = None,
        ref_mic: int = 0,
        window: float = 1.0,
        hop: float | None = None,
        permute: bool | Literal["window"] = True,
        moves: ArrayLike = (),
        names: list[str] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Show how well something was separated, over time.

        Parameters
        ----------
        reference : array-like of shape (n_samples, n_sources)
            The true sources.
        estimate : array-like of shape (n_samples, n_estimates)
            What was separated, in any order.
        sample_rate : float
            In Hz.
        mixture : array-like of shape (n_samples, n_mics), default=None
            The recording. If given, the improvement over it is shown.
        ref_mic : int, default=0
            The microphone that the estimates are compared with.
        window : float, default=1.0
            Length of the windows in seconds.
        hop : float, default=None
            Time from one window to the next in seconds; half a window if None.
        permute : bool or "window", default=True
            As for `skbss.metrics.framewise_si_sdr`: with True, sources whose outputs
            have swapped are seen to fail, with "window" their swaps are only marked.
        moves : array-like of float, default=()
            Times at which sources are known to move, in seconds.
        names : list of str, default=None
            Of the sources. None stands for "source 0" and so on.
        ax : Axes, default=None
            Where to. None stands for a new figure.

        Returns
        -------
        display : FramewiseDisplay
            Plotted. Where the best assignment changes from window to window, a swap
            is marked.
        """
        params = {
            **{"sample_rate": sample_rate, "window": window, "hop": hop},
            **{"mixture": mixture, "ref_mic": ref_mic},
        }
        scores = framewise_si_sdr(reference, estimate, permute=permute, **params)
        best = scores
        if permute != "window":
            best = framewise_si_sdr(reference, estimate, permute="window", **params)
        display = cls(
            time=scores.time,
            score=scores.si_sdr if mixture is None else scores.si_sdr_improvement,
            moves=moves,
            swaps=swap_times(best.time, best.permutation, np.isnan(best.si_sdr)),
            names=names,
            label="SI-SDR (dB)" if mixture is None else "SI-SDR improvement (dB)",
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: "Axes | None" = None) -> Self:
        """Draw the lines and marks.

        Parameters
        ----------
        ax : Axes, default=None
            Where to. None stands for a new figure.

        Returns
        -------
        display : FramewiseDisplay
            This one.
        """
        names = check_names(self.names, self.score.shape[1], "source")
        axes = make_panels(ax, 1, 1, f"{type(self).__name__}.plot", (7.5, 3.5))
        self.ax_ = ax = axes[0, 0]
        self.figure_ = ax.figure
        self.lines_ = ax.plot(self.time, self.score, marker=".", label=names)
        self.move_lines_ = [
            ax.axvline(time, color="0.4", ls="--", label="_" if k else "move")
            for k, time in enumerate(self.moves)
        ]
        self.swap_marks_ = None
        if len(self.swaps):
            (self.swap_marks_,) = ax.plot(
                self.swaps,
                np.full(len(self.swaps), 0.97),
                "v",
                color="black",
                transform=ax.get_xaxis_transform(),
                label="swap",
            )
        bottom, top = ax.get_ylim()
        ax.set_ylim(max(bottom, LIMITS[0]), min(top, LIMITS[1]))
        ax.set(xlabel="time (s)", ylabel=self.label)
        ax.grid(axis="y", alpha=0.3)
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return self


def swap_times(time, permutations, silent):
    """Return when sources have another estimate than when they last sounded.

    Parameters
    ----------
    time : ndarray of shape (n_windows,)
        Centers of the windows.
    permutations : ndarray of shape (n_windows, n_sources)
        The estimate of each source.
    silent : ndarray of bool of shape (n_windows, n_sources)
        Where sources say nothing about it.

    Returns
    -------
    swaps : ndarray of shape (n_swaps,)
        Midway between the two windows.
    """
    swaps = set()
    for estimates, pauses in zip(permutations.T, silent.T, strict=True):
        heard = np.flatnonzero(~pauses)
        changed = np.flatnonzero(np.diff(estimates[heard]))
        swaps |= set((time[heard[changed]] + time[heard[changed + 1]]) / 2)
    return np.array(sorted(swaps))
