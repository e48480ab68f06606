"""Which ranges of frequency were swapped, and what that was good for."""

# License: BSD-3-Clause

from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skbss.inspection._panels import check_names, edges, find_step, make_panels

if TYPE_CHECKING:  # matplotlib is imported to draw only
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


def warp(frequency):
    """Scale on which blocks of frequencies have about the same height."""
    return np.log1p(np.maximum(frequency, 0) / 300)


def unwarp(height):
    """Inverse of `warp`."""
    return 300 * np.expm1(np.maximum(height, 0))


class SortingDisplay:
    """Ranges of frequency that were swapped, and how well they go together.

    On the left a column for each output after sorting, in which the color of a range
    tells from which output it came. On the right how well the ranges agree with all
    others about when outputs are loud, before and after. Use `from_estimator` to make
    one.

    Parameters
    ----------
    order : ndarray of shape (n_freqs, n_sources)
        Which output went to each place, bin by bin.
    frequency : ndarray of shape (n_freqs,)
        Frequencies in Hz.
    block_edges : ndarray of shape (n_blocks + 1,)
        First bins of blocks, and the number of bins.
    agreement : ndarray of shape (2, n_blocks)
        Of each block with the others, before and after.
    names : list of str, default=None
        Of the outputs as they came. None stands for "output 0" and so on.

    Attributes
    ----------
    ax_ : ndarray of shape (2,) of Axes
        The panels.
    figure_ : Figure
        What they are in.
    mesh_ : QuadMesh
        The colored ranges.
    lines_ : list of Line2D
        The agreement before and after.

    See Also
    --------
    skbss.SortFrequencies : What finds and swaps the ranges.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from skbss import STFT, SortFrequencies
    >>> from skbss.datasets import load_cocktail_party
    >>> from skbss.inspection import SortingDisplay
    >>> recording = load_cocktail_party()
    >>> stft = STFT(2048, sample_rate=recording.sample_rate)
    >>> record = stft.fit_transform(recording.references)
    >>> data = record.data.copy()
    >>> data[:, 300:500] = data[:, 300:500, ::-1]
    >>> sort = SortFrequencies().fit(replace(record, data=data))
    >>> display = SortingDisplay.from_estimator(sort)
    >>> display.mesh_.get_array().shape
    (1025, 2)
    """

    def __init__(
        self,
        *,
        order: np.ndarray,
        frequency: np.ndarray,
        block_edges: np.ndarray,
        agreement: np.ndarray,
        names: list[str] | None = None,
    ):
        self.order = order
        self.frequency = frequency
        self.block_edges = block_edges
        self.agreement = agreement
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        *,
        names: list[str] | None = None,
        ax: "Axes | ArrayLike | None" = None,
    ) -> Self:
        """Show what was swapped.

        Parameters
        ----------
        estimator : estimator instance
            A fitted `SortFrequencies`, or a pipeline with such a step.
        names : list of str, default=None
            Of the outputs as they came. None stands for "output 0" and so on.
        ax : Axes or array-like of Axes, default=None
            One for each panel, or one to be divided. None stands for a new figure.

        Returns
        -------
        display : SortingDisplay
            Plotted.
        """
        step = find_step(estimator, "agreement_")
        display = cls(
            order=step.order_,
            frequency=step.frequency_,
            block_edges=step.edges_,
            agreement=step.agreement_,
            names=names,
        )
        return display.plot(ax=ax)

    def plot(
        self, *, ax: "Axes | ArrayLike | None" = None, cmap: "str | Colormap" = "tab10"
    ) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            One for each panel, or one to be divided. None stands for a new figure.
        cmap : str or Colormap, default="tab10"
            Colors of the outputs, of a map that lists them.

        Returns
        -------
        display : SortingDisplay
            This one.
        """
        n_sources = self.order.shape[1]
        names = check_names(self.names, n_sources, "output")
        caller = f"{type(self).__name__}.plot"
        self.ax_ = make_panels(ax, 1, 2, caller, (3.6, 4.5), sharey=True)[0]
        self.figure_ = self.ax_[0].figure
        left, right = self.ax_
        from matplotlib import colormaps
        from matplotlib.patches import Patch

        colors = colormaps.get_cmap(cmap)
        bottom, top = edges(self.frequency)
        bin_edges = np.linspace(bottom, top, len(self.frequency) + 1).clip(0)
        places = np.arange(n_sources + 1) - 0.5
        self.mesh_ = left.pcolormesh(
            places, bin_edges, self.order, cmap=colors, vmin=-0.5, vmax=colors.N - 0.5
        )
        left.set(xlabel="output after sorting", ylabel="frequency (Hz)")
        left.set_xticks(range(n_sources))
        patches = [Patch(color=colors(k), label=name) for k, name in enumerate(names)]
        # Above, as below it would hide ranges.
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1)}
        left.legend(handles=patches, title="came from", ncols=2, **place)
        heights = bin_edges[self.block_edges]
        self.lines_ = [
            right.plot(
                [*values, values[-1]],
                heights,
                drawstyle="steps-pre",
                label=label,
                color=color,
            )[0]
            for label, color, values in zip(
                ("before", "after"), ("0.7", "black"), self.agreement, strict=True
            )
        ]
        right.set(xlabel="agreement with other ranges")
        right.legend()
        for each in self.ax_:
            each.set_yscale("function", functions=(warp, unwarp))
            each.set_ylim(0, top)
            ticks = [0, 100, 200, 500, 1000, 2000, 4000, 8000, 16_000]
            each.set_yticks([tick for tick in ticks if tick <= top])
        return self
