"""What the demixing matrices pick up by direction."""

# License: BSD-3-Clause

from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array

from skbss.inspection._panels import (
    add_colorbar,
    amplitude_level,
    check_names,
    draw_level,
    find_step,
    make_panels,
)

if TYPE_CHECKING:  # matplotlib is imported to draw only
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


def steering_vectors(mic_positions, frequency, azimuth, elevation, speed_of_sound):
    """Return how plane waves arrive at the microphones.

    Parameters
    ----------
    mic_positions : ndarray of shape (n_mics, 3)
        In meters.
    frequency : ndarray of shape (n_freqs,)
        In Hz.
    azimuth : ndarray of shape (n_directions,)
        In degrees, counterclockwise from the x axis.
    elevation : float
        In degrees above the plane of x and y.
    speed_of_sound : float
        In m/s.

    Returns
    -------
    steering : ndarray of shape (n_freqs, n_mics, n_directions)
        Of absolute value one, and one at the origin.
    """
    azimuth, elevation = np.deg2rad(azimuth), np.deg2rad(elevation)
    toward_source = np.stack(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.full(azimuth.shape, np.sin(elevation)),
        ]
    )
    # Microphones nearer to the source are reached earlier.
    lead = mic_positions @ toward_source / speed_of_sound
    return np.exp(2j * np.pi * frequency[:, None, None] * lead)


class DirectivityDisplay:
    """What the demixing matrices pick up by direction and frequency.

    A panel for each output shows the gain for plane waves from all around, relative to
    the direction that is picked up best at that frequency. Separation is seen as dark
    stripes in the directions of all other sources: with as many sources as microphones,
    demixing matrices cancel. Above the frequency at which microphones are half a
    wavelength apart, stripes repeat in other directions; microphones on a line cannot
    tell front from back. Use `from_estimator` or `from_predictions` to make one.

    Parameters
    ----------
    gain : ndarray of shape (n_sources, n_freqs, n_directions)
        In dB.
    azimuth : ndarray of shape (n_directions,)
        In degrees.
    frequency : ndarray of shape (n_freqs,)
        In Hz.
    directions : array-like of float, default=()
        Azimuths of the sources in degrees, if they are known.
    names : list of str, default=None
        Of the outputs. None stands for "source 0" and so on.

    Attributes
    ----------
    ax_ : ndarray of shape (n_sources,) of Axes
        The panels.
    figure_ : Figure
        What they are in.
    images_ : list of AxesImage
        What is drawn in each.
    colorbar_ : Colorbar
        In dB, for all panels.

    See Also
    --------
    skbss.transforms.normalized_mixing : How sources arrive at the microphones.

    Examples
    --------
    >>> from skbss import STFT, AuxIVA
    >>> from skbss.datasets import load_cocktail_party
    >>> from skbss.inspection import DirectivityDisplay
    >>> recording = load_cocktail_party()
    >>> separator = AuxIVA().fit(STFT(2048).fit_transform(recording.mixture))
    >>> display = DirectivityDisplay.from_estimator(
    ...     separator,
    ...     [[-0.025, 0, 0], [0.025, 0, 0]],
    ...     sample_rate=recording.sample_rate,
    ... )
    >>> display.gain.shape  # 2 sources, 1025 frequencies, every 2 degrees
    (2, 1025, 181)
    """

    def __init__(
        self,
        *,
        gain: np.ndarray,
        azimuth: np.ndarray,
        frequency: np.ndarray,
        directions: ArrayLike = (),
        names: list[str] | None = None,
    ):
        self.gain = gain
        self.azimuth = azimuth
        self.frequency = frequency
        self.directions = directions
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        mic_positions: ArrayLike,
        *,
        sample_rate: float,
        **params: Any,
    ) -> Self:
        """Show what a separator picks up.

        Parameters
        ----------
        estimator : estimator instance
            Fitted, with `demixing_`, or a pipeline with such a step.
        mic_positions : array-like of shape (n_mics, 2 or 3)
            In meters.
        sample_rate : float
            In Hz.
        **params : dict
            As for `from_predictions`.

        Returns
        -------
        display : DirectivityDisplay
            Plotted.
        """
        demixing = find_step(estimator, "demixing_").demixing_
        return cls.from_predictions(
            demixing, mic_positions, sample_rate=sample_rate, **params
        )

    @classmethod
    def from_predictions(
        cls,
        demixing: ArrayLike,
        mic_positions: ArrayLike,
        *,
        sample_rate: float,
        speed_of_sound: float = 343.0,
        elevation: float = 0.0,
        directions: ArrayLike = (),
        names: list[str] | None = None,
        **params: Any,
    ) -> Self:
        """Show what demixing matrices pick up.

        Parameters
        ----------
        demixing : array-like of shape (n_freqs, n_sources, n_mics)
            Demixing matrices of all bins, from zero to half the sample rate.
        mic_positions : array-like of shape (n_mics, 2 or 3)
            In meters. The origin doesn't matter.
        sample_rate : float
            In Hz.
        speed_of_sound : float, default=343.0
            In m/s: that of air at 20 °C.
        elevation : float, default=0.0
            Of the waves, in degrees above the plane of the first two coordinates.
        directions : array-like of float, default=()
            Azimuths of the sources in degrees, if they are known, to be marked.
        names : list of str, default=None
            Of the outputs. None stands for "source 0" and so on.
        **params : dict
            As for `plot`.

        Returns
        -------
        display : DirectivityDisplay
            Plotted.

        Raises
        ------
        ValueError
            If shapes don't fit together, or a number isn't positive.
        """
        demixing = np.asarray(demixing)
        positions = check_array(mic_positions, input_name="mic_positions")
        if demixing.ndim != 3 or positions.shape not in (
            (demixing.shape[-1], 2),
            (demixing.shape[-1], 3),
        ):
            raise ValueError(
                f"Got demixing of shape {demixing.shape} and mic_positions of shape "
                f"{positions.shape}, expected (n_freqs, n_sources, n_mics) and (n_mics,"
                " 3)."
            )
        for name, value in (("sample_rate", sample_rate), ("speed", speed_of_sound)):
            if not (isinstance(value, Real) and value > 0):
                raise ValueError(f"Got {name}={value!r}, expected a positive number.")
        positions = positions - positions.mean(axis=0)
        positions = np.pad(positions, ((0, 0), (0, 3 - positions.shape[1])))
        frequency = np.linspace(0, sample_rate / 2, len(demixing))
        azimuth = np.linspace(-180.0, 180.0, 181)
        steering = steering_vectors(
            positions, frequency, azimuth, elevation, speed_of_sound
        )
        amplitude = np.abs(demixing @ steering).transpose(1, 0, 2)
        gain = amplitude_level(amplitude, amplitude.max(axis=2, keepdims=True))
        display = cls(
            gain=gain,
            azimuth=azimuth,
            frequency=frequency,
            directions=directions,
            names=names,
        )
        return display.plot(**params)

    def plot(
        self,
        *,
        ax: "Axes | ArrayLike | None" = None,
        dynamic_range: float = 30,
        cmap: "str | Colormap" = "viridis",
    ) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            One for each source, or one to be divided. None stands for a new figure.
        dynamic_range : float, default=30
            Of the colors, in dB.
        cmap : str or Colormap, default="viridis"
            The colors, best such as are perceptually uniform.

        Returns
        -------
        display : DirectivityDisplay
            This one.
        """
        names = check_names(self.names, len(self.gain), "source")
        axes = make_panels(
            ax,
            1,
            len(names),
            f"{type(self).__name__}.plot",
            (4, 3.6),
            sharex=True,
            sharey=True,
        )[0]
        self.ax_, self.figure_ = axes, axes[0].figure
        self.images_ = []
        for name, gain, each in zip(names, self.gain, axes, strict=True):
            image = draw_level(
                each,
                gain.T,
                self.azimuth,
                self.frequency,
                dynamic_range=dynamic_range,
                cmap=cmap,
            )
            self.images_.append(image)
            for direction in self.directions:
                direction = (direction + 180) % 360 - 180
                each.axvline(direction, color="red", ls="--", lw=1)
            each.set(
                title=name,
                xlabel="azimuth (degrees)",
                xlim=(-180, 180),
                xticks=(-90, 0, 90),
            )
        axes[0].set_ylabel("frequency (Hz)")
        self.colorbar_ = add_colorbar(
            self.images_[0], axes, "relative gain (dB)", extend="min"
        )
        return self
