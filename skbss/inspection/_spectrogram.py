"""Spectrograms over seconds and Hz."""

# License: BSD-3-Clause

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skbss.inspection._panels import (
    add_colorbar,
    amplitude_level,
    check_names,
    check_record,
    draw_level,
    loud_amplitude,
    make_panels,
    physical_axes,
)
from skbss.sklearn_parts import check_matplotlib_support
from skbss.spectrogram import Spectrogram

if TYPE_CHECKING:  # matplotlib is imported to draw only
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


class SpectrogramDisplay:
    """Spectrograms of all channels, one below the other.

    Use `from_estimator` or `from_predictions` to make one.

    Parameters
    ----------
    level : ndarray of shape (n_frames, n_freqs, n_channels)
        Levels in dB. 0 dB is what one value in a thousand exceeds.
    time : ndarray of shape (n_frames,)
        Centers of the frames in seconds.
    frequency : ndarray of shape (n_freqs,)
        Frequencies in Hz.
    duration : float, default=None
        Of the recording in seconds. None stands for the end of the last frame.
    names : list of str, default=None
        Titles of the panels. None stands for "channel 0" and so on.

    Attributes
    ----------
    ax_ : ndarray of shape (n_channels,) of Axes
        The panels.
    figure_ : Figure
        What they are in.
    images_ : list of AxesImage
        What is drawn in each.
    colorbar_ : Colorbar
        In dB, for all panels.

    See Also
    --------
    SeparationDisplay : Mixture, outputs and references side by side.

    Examples
    --------
    >>> from skbss import STFT
    >>> from skbss.datasets import load_cocktail_party
    >>> from skbss.inspection import SpectrogramDisplay
    >>> recording = load_cocktail_party()
    >>> stft = STFT(n_fft=1024, sample_rate=recording.sample_rate)
    >>> display = SpectrogramDisplay.from_estimator(stft, recording.mixture)
    >>> [round(float(limit), 2) for limit in display.ax_[0].get_ylim()]
    [0.0, 8000.0]
    """

    def __init__(
        self,
        *,
        level: np.ndarray,
        time: np.ndarray,
        frequency: np.ndarray,
        duration: float | None = None,
        names: list[str] | None = None,
    ):
        self.level = level
        self.time = time
        self.frequency = frequency
        self.duration = duration
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: object,
        *,
        sample_rate: float | None = None,
        names: list[str] | None = None,
        **params: Any,
    ) -> Self:
        """Show what an estimator makes of its input.

        Parameters
        ----------
        estimator : estimator with `transform`
            Returns a Spectrogram: `STFT`, a fitted separator, or the beginning of a
            pipeline, such as ``pipeline[:-1]``.
        X : object
            What it transforms.
        sample_rate : float, default=None
            In Hz, if the spectrogram has none.
        names : list of str, default=None
            Titles of the panels. None stands for "channel 0" and so on.
        **params : dict
            As for `plot`.

        Returns
        -------
        display : SpectrogramDisplay
            Plotted.
        """
        S = estimator.transform(X)
        return cls.from_predictions(S, sample_rate=sample_rate, names=names, **params)

    @classmethod
    def from_predictions(
        cls,
        spectrogram: Spectrogram,
        *,
        sample_rate: float | None = None,
        names: list[str] | None = None,
        **params: Any,
    ) -> Self:
        """Show a spectrogram.

        Parameters
        ----------
        spectrogram : Spectrogram
            From `STFT`, a separator or `ProjectionBack`.
        sample_rate : float, default=None
            In Hz, if the spectrogram has none.
        names : list of str, default=None
            Titles of the panels. None stands for "channel 0" and so on.
        **params : dict
            As for `plot`.

        Returns
        -------
        display : SpectrogramDisplay
            Plotted.

        Raises
        ------
        TypeError
            If it is no Spectrogram.
        ValueError
            If nobody knows the sample rate.
        """
        check_record(spectrogram, cls.__name__)
        axes = physical_axes(spectrogram, sample_rate)
        amplitude = np.abs(spectrogram.data)
        level = amplitude_level(amplitude, loud_amplitude(amplitude))
        return cls(level=level, names=names, **axes).plot(**params)

    def plot(
        self,
        *,
        ax: "Axes | ArrayLike | None" = None,
        dynamic_range: float = 80,
        cmap: "str | Colormap" = "magma",
    ) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            One for each channel, or one to be divided. None stands for a new figure.
        dynamic_range : float, default=80
            Of the colors, in dB below 0.
        cmap : str or Colormap, default="magma"
            The colors, best such as are perceptually uniform.

        Returns
        -------
        display : SpectrogramDisplay
            This one.
        """
        names = check_names(self.names, self.level.shape[2], "channel")
        axes = make_panels(
            ax,
            len(names),
            1,
            f"{type(self).__name__}.plot",
            (7.5, 2.6),
            sharex=True,
            sharey=True,
        )[:, 0]
        self.ax_, self.figure_ = axes, axes[0].figure
        self.images_ = [
            self._draw(axes[k], k, names[k], dynamic_range, cmap)
            for k in range(len(names))
        ]
        for each in axes[:-1]:
            each.set_xlabel("")
        self.colorbar_ = add_colorbar(self.images_[0], axes)
        return self

    def _draw(self, ax, channel, name, dynamic_range, cmap):
        image = draw_level(
            ax,
            self.level[:, :, channel],
            self.time,
            self.frequency,
            duration=self.duration,
            dynamic_range=dynamic_range,
            cmap=cmap,
        )
        ax.set(title=name, xlabel="time (s)", ylabel="frequency (Hz)")
        return image

    def save(
        self,
        folder: str | Path,
        *,
        dynamic_range: float = 80,
        cmap: "str | Colormap" = "magma",
        dpi: float = 150,
    ) -> list[Path]:
        """Save a picture of each channel.

        Parameters
        ----------
        folder : str or Path
            Where to. It is made if there is none.
        dynamic_range : float, default=80
            As for `plot`.
        cmap : str or Colormap, default="magma"
            As for `plot`.
        dpi : float, default=150
            Pixels per inch. A picture is 7.5 inches wide and 3 high.

        Returns
        -------
        paths : list of Path
            The PNG files, of the names of the channels, such as ``channel_0.png``.
        """
        check_matplotlib_support(f"{type(self).__name__}.save")
        from matplotlib.figure import Figure

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = check_names(self.names, self.level.shape[2], "channel")
        stems = [re.sub(r"[^\w.-]+", "_", name) for name in names]
        if len(set(stems)) < len(stems):
            raise ValueError(f"Got names that make the same file names: {names}.")
        paths = []
        for k, (name, stem) in enumerate(zip(names, stems, strict=True)):
            figure = Figure(figsize=(7.5, 3), layout="constrained")
            image = self._draw(figure.subplots(), k, name, dynamic_range, cmap)
            add_colorbar(image, image.axes)
            paths.append(folder / f"{stem}.png")
            figure.savefig(paths[-1], dpi=dpi)
        return paths
