"""The factorization of a source: spectra, activations and what they make."""

# License: BSD-3-Clause

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skbss.inspection._panels import (
    add_colorbar,
    amplitude_level,
    check_record,
    draw_level,
    edges,
    find_step,
    make_panels,
    physical_axes,
)
from skbss.spectrogram import Spectrogram

if TYPE_CHECKING:  # matplotlib is imported to draw only
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


class NMFDisplay:
    """Basis, activations and reconstruction of a source.

    The reconstruction is below the activations, whose times it shares, and beside the
    basis, whose frequencies it shares. Use `from_estimator` or `from_predictions` to
    make one.

    Parameters
    ----------
    basis : ndarray of shape (n_freqs, n_basis)
        Spectra, powers.
    activations : ndarray of shape (n_basis, n_frames)
        Their loudness over time.
    time : ndarray of shape (n_frames,)
        Centers of the frames in seconds.
    frequency : ndarray of shape (n_freqs,)
        Frequencies in Hz.
    duration : float, default=None
        Of the recording in seconds. None stands for the end of the last frame.

    Attributes
    ----------
    ax_ : ndarray of shape (3,) of Axes
        The panels of the basis, of the activations, and of the reconstruction.
    figure_ : Figure
        What they are in.
    images_ : list of AxesImage
        What is drawn in each: levels in dB, relative to the highest of each.
    colorbar_ : Colorbar
        In dB, for all panels.

    See Also
    --------
    skbss.ILRMA : Learns the factorizations.

    Examples
    --------
    >>> from skbss import ILRMA, STFT
    >>> from skbss.datasets import load_cocktail_party
    >>> from skbss.inspection import NMFDisplay
    >>> recording = load_cocktail_party()
    >>> stft = STFT(2048, sample_rate=recording.sample_rate)
    >>> X = stft.fit_transform(recording.mixture)
    >>> separator = ILRMA(4, max_iter=10, random_state=0).fit(X)
    >>> display = NMFDisplay.from_estimator(separator, X, source=1)
    >>> display.basis.shape, display.activations.shape
    ((1025, 4), (4, 250))
    """

    def __init__(
        self,
        *,
        basis: np.ndarray,
        activations: np.ndarray,
        time: np.ndarray,
        frequency: np.ndarray,
        duration: float | None = None,
    ):
        self.basis = basis
        self.activations = activations
        self.time = time
        self.frequency = frequency
        self.duration = duration

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Spectrogram,
        *,
        source: int = 0,
        ref_mic: int | None = 0,
        sample_rate: float | None = None,
        **params: Any,
    ) -> Self:
        """Show what an estimator has learned of a source.

        Parameters
        ----------
        estimator : estimator instance
            Fitted, with `basis_` and `activations_` of all frames, such as `ILRMA`.
        X : Spectrogram
            What it was fitted to, for times and frequencies.
        source : int, default=0
            The source.
        ref_mic : int or None, default=0
            The microphone that spectra are shown at, as `ProjectionBack` scales the
            outputs. With None they are those of the outputs as they are, which are
            nearly white.
        sample_rate : float, default=None
            In Hz, if the spectrogram has none.
        **params : dict
            As for `plot`.

        Returns
        -------
        display : NMFDisplay
            Plotted.

        Raises
        ------
        TypeError
            If `X` is no Spectrogram.
        ValueError
            If there is no such source, the estimator has no factorization, or it was
            fitted to something else.
        """
        check_record(X, cls.__name__)
        estimator = find_step(estimator, "activations_")
        basis, activations = estimator.basis_, estimator.activations_
        if basis.ndim != 3 or activations.ndim != 3:
            raise ValueError(
                f"Got {estimator!r}, which has no activations of all frames. Expected "
                "ILRMA."
            )
        if not 0 <= source < len(basis):
            raise ValueError(f"Got source={source}, but there are {len(basis)}.")
        learned_from = activations.shape[2], basis.shape[1]
        if learned_from != X.shape[:2]:
            raise ValueError(
                f"Got a spectrogram of {X.shape[0]} frames and {X.shape[1]} "
                f"frequencies, but the estimator was fitted to {learned_from[0]} and "
                f"{learned_from[1]}."
            )
        axes = physical_axes(X, sample_rate)
        basis = basis[source]
        if ref_mic is not None:
            gain = np.abs(estimator.mixing_[:, ref_mic, source])
            basis = basis * gain[:, None] ** 2
        return cls.from_predictions(basis, activations[source], **axes, **params)

    @classmethod
    def from_predictions(
        cls,
        basis: ArrayLike,
        activations: ArrayLike,
        *,
        time: ArrayLike,
        frequency: ArrayLike,
        duration: float | None = None,
        **params: Any,
    ) -> Self:
        """Show a factorization.

        Parameters
        ----------
        basis : array-like of shape (n_freqs, n_basis)
            Spectra, powers.
        activations : array-like of shape (n_basis, n_frames)
            Their loudness over time.
        time : array-like of shape (n_frames,)
            Centers of the frames in seconds.
        frequency : array-like of shape (n_freqs,)
            Frequencies in Hz.
        duration : float, default=None
            Of the recording in seconds. None stands for the end of the last frame.
        **params : dict
            As for `plot`.

        Returns
        -------
        display : NMFDisplay
            Plotted.
        """
        arrays = {"basis": basis, "activations": activations}
        arrays |= {"time": time, "frequency": frequency}
        arrays = {name: np.asarray(a, dtype=float) for name, a in arrays.items()}
        return cls(**arrays, duration=duration).plot(**params)

    def plot(
        self,
        *,
        ax: "Axes | ArrayLike | None" = None,
        dynamic_range: float = 60,
        cmap: "str | Colormap" = "magma",
    ) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : Axes or array-like of 3 Axes, default=None
            One for each of basis, activations and reconstruction, or one to be divided.
            None stands for a new figure.
        dynamic_range : float, default=60
            Of the colors, in dB below the highest level of each panel.
        cmap : str or Colormap, default="magma"
            The colors, best such as are perceptually uniform.

        Returns
        -------
        display : NMFDisplay
            This one.
        """
        n_basis = self.basis.shape[1]
        self.ax_ = self._panels(ax, n_basis)
        self.figure_ = self.ax_[0].figure
        number = np.arange(n_basis)
        panels = [
            (self.basis.T, number, self.frequency),
            (self.activations.T, self.time, number),
            ((self.basis @ self.activations).T, self.time, self.frequency),
        ]
        self.images_ = []
        for each, (power, x, y) in zip(self.ax_, panels, strict=True):
            level = amplitude_level(np.sqrt(power))
            image = draw_level(
                each,
                level,
                x,
                y,
                duration=None if each is self.ax_[0] else self.duration,
                dynamic_range=dynamic_range,
                cmap=cmap,
                interpolation="auto" if each is self.ax_[2] else "nearest",
            )
            self.images_.append(image)
        left, top, middle = self.ax_
        left.set(xlabel="basis", ylabel="frequency (Hz)", xlim=edges(number))
        ticks = number[:: -(-n_basis // 5)]
        left.set_xticks(ticks)
        top.set(ylabel="basis", ylim=edges(number)[::-1], yticks=ticks)
        top.tick_params(labelleft=True)
        middle.set(xlabel="time (s)")
        for title, each in zip(
            ("spectra", "activations", "reconstruction"), self.ax_, strict=True
        ):
            each.set_title(title)
        self.colorbar_ = add_colorbar(self.images_[0], self.ax_, extend="min")
        return self

    def _panels(self, ax, n_basis):
        """Axes of basis, activations and reconstruction, of the sizes they need."""
        caller = f"{type(self).__name__}.plot"
        if ax is not None and np.size(ax) == 3:
            return make_panels(ax, 3, 1, caller, (0, 0))[:, 0]
        share = min(0.08 + 0.03 * n_basis, 0.4)
        grid = make_panels(
            ax,
            2,
            2,
            caller,
            (4, 2.6),
            sharex="col",
            sharey="row",
            gridspec_kw={"width_ratios": (share, 1), "height_ratios": (1.5 * share, 1)},
        )
        grid[0, 0].set_visible(False)
        return np.array([grid[1, 0], grid[0, 1], grid[1, 1]])
