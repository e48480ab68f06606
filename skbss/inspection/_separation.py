"""Mixture, outputs and references side by side."""

# License: BSD-3-Clause

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skbss.compose import window_length
from skbss.inspection._panels import (
    add_colorbar,
    amplitude_level,
    check_names,
    draw_level,
    loud_amplitude,
    make_panels,
    physical_axes,
)
from skbss.metrics import si_bss_eval
from skbss.transforms import STFT

if TYPE_CHECKING:  # matplotlib is imported to draw only
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


class SeparationDisplay:
    """Spectrograms of mixture, outputs and references side by side.

    Outputs are in the order of the references, whose SI-SDR they have in their titles.
    All have the same colors for the same level. Use `from_estimator` or
    `from_predictions` to make one.

    Parameters
    ----------
    levels : dict of str to ndarray of shape (n_frames, n_freqs, n_signals)
        Levels in dB of "mixture", "outputs" and, if there are any, "references". 0 dB
        is what one value in a thousand of the mixture exceeds.
    time : ndarray of shape (n_frames,)
        Centers of the frames in seconds.
    frequency : ndarray of shape (n_freqs,)
        Frequencies in Hz.
    duration : float
        Of the recording in seconds.
    mics : list of int
        Microphones of the mixture.
    scores : Bunch, default=None
        What `skbss.metrics.si_bss_eval` returned.
    names : list of str, default=None
        Of the outputs. None stands for "source 0" and so on.

    Attributes
    ----------
    ax_ : ndarray of shape (n_outputs, 2 or 3) of Axes
        The panels: a column for the mixture, one for the outputs, and one for the
        references. Those that are not needed are invisible.
    figure_ : Figure
        What they are in.
    images_ : dict of str to list of AxesImage
        What is drawn, by the keys of `levels`.
    colorbar_ : Colorbar
        In dB, for all panels.

    See Also
    --------
    SpectrogramDisplay : All channels of a spectrogram.
    FramewiseDisplay : The score over time.

    Examples
    --------
    >>> from skbss import make_separator
    >>> from skbss.datasets import load_cocktail_party
    >>> from skbss.inspection import SeparationDisplay
    >>> recording = load_cocktail_party()
    >>> rate = recording.sample_rate
    >>> pipeline = make_separator("auxiva", sample_rate=rate).fit(recording.mixture)
    >>> display = SeparationDisplay.from_estimator(
    ...     pipeline, recording.mixture, recording.references, sample_rate=rate
    ... )
    >>> display.ax_.shape
    (2, 3)
    """

    def __init__(
        self,
        *,
        levels: dict[str, np.ndarray],
        time: np.ndarray,
        frequency: np.ndarray,
        duration: float,
        mics: list[int],
        scores: dict | None = None,
        names: list[str] | None = None,
    ):
        self.levels = levels
        self.time = time
        self.frequency = frequency
        self.duration = duration
        self.mics = mics
        self.scores = scores
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: np.ndarray,
        y: np.ndarray | None = None,
        *,
        sample_rate: float,
        **params: Any,
    ) -> Self:
        """Show what an estimator separates.

        Parameters
        ----------
        estimator : estimator with `transform`
            Fitted, from signals to signals, such as a pipeline of `make_separator`.
        X : ndarray of shape (n_samples, n_mics)
            The mixture.
        y : ndarray of shape (n_samples, n_sources), default=None
            The references, if they are known.
        sample_rate : float
            In Hz.
        **params : dict
            As for `from_predictions`.

        Returns
        -------
        display : SeparationDisplay
            Plotted.
        """
        Y = estimator.transform(X)
        return cls.from_predictions(X, Y, y, sample_rate=sample_rate, **params)

    @classmethod
    def from_predictions(
        cls,
        mixture: ArrayLike,
        estimate: ArrayLike,
        reference: ArrayLike | None = None,
        *,
        sample_rate: float,
        ref_mic: int = 0,
        n_fft: int | None = None,
        names: list[str] | None = None,
        **params: Any,
    ) -> Self:
        """Show what was separated.

        Parameters
        ----------
        mixture : array-like of shape (n_samples, n_mics)
            The recording.
        estimate : array-like of shape (n_samples, n_outputs)
            What was separated.
        reference : array-like of shape (n_samples, n_sources), default=None
            The true sources, if they are known.
        sample_rate : float
            In Hz.
        ref_mic : int, default=0
            The microphone that outputs are compared with. It is shown first, below it
            as many others as there are outputs.
        n_fft : int, default=None
            Window of the spectrograms, in samples. None stands for a power of two near
            to 64 ms, which shows the harmonics of voices.
        names : list of str, default=None
            Of the outputs, in the order in which they are shown. None stands for
            "source 0" and so on.
        **params : dict
            As for `plot`.

        Returns
        -------
        display : SeparationDisplay
            Plotted.
        """
        mixture, estimate = np.asarray(mixture), np.asarray(estimate)
        mics = sorted(range(mixture.shape[1]), key=lambda mic: mic != ref_mic)
        mics = mics[: estimate.shape[1]]
        signals = {"mixture": mixture[:, mics], "outputs": estimate}
        scores = None
        if reference is not None:
            scores = si_bss_eval(reference, estimate, mixture=mixture, ref_mic=ref_mic)
            order = list(scores.permutation)
            order += sorted(set(range(estimate.shape[1])) - set(order))
            signals["outputs"] = estimate[:, order]
            signals["references"] = np.asarray(reference)
        stft = STFT(n_fft or window_length(sample_rate, 0.064), sample_rate=sample_rate)
        records = {name: stft.fit_transform(x) for name, x in signals.items()}
        amplitudes = {name: np.abs(record.data) for name, record in records.items()}
        loud = loud_amplitude(amplitudes["mixture"])
        levels = {name: amplitude_level(a, loud) for name, a in amplitudes.items()}
        axes = physical_axes(records["mixture"])
        display = cls(levels=levels, mics=mics, scores=scores, names=names, **axes)
        return display.plot(**params)

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
            One for each panel, or one to be divided. None stands for a new figure.
        dynamic_range : float, default=80
            Of the colors, in dB below 0.
        cmap : str or Colormap, default="magma"
            The colors, best such as are perceptually uniform.

        Returns
        -------
        display : SeparationDisplay
            This one.
        """
        n_rows = self.levels["outputs"].shape[2]
        self.ax_ = make_panels(
            ax,
            n_rows,
            len(self.levels),
            f"{type(self).__name__}.plot",
            (3.6, 2.3),
            sharex=True,
            sharey=True,
        )
        self.figure_ = self.ax_[0, 0].figure
        titles = self._titles()
        self.images_ = {}
        for (kind, level), column in zip(self.levels.items(), self.ax_.T, strict=True):
            self.images_[kind] = [
                draw_level(
                    each,
                    level[:, :, k],
                    self.time,
                    self.frequency,
                    duration=self.duration,
                    dynamic_range=dynamic_range,
                    cmap=cmap,
                )
                for k, each in enumerate(column[: level.shape[2]])
            ]
            for each, title in zip(column, titles[kind], strict=False):
                each.set_title(title)
            for each in column[level.shape[2] :]:
                each.set_visible(False)
            column[level.shape[2] - 1].set_xlabel("time (s)")
            column[level.shape[2] - 1].tick_params(labelbottom=True)
        for row in self.ax_:
            left = next(each for each in row if each.get_visible())
            left.set_ylabel("frequency (Hz)")
            left.tick_params(labelleft=True)
        self.colorbar_ = add_colorbar(self.images_["mixture"][0], self.ax_)
        return self

    def _titles(self):
        names = check_names(self.names, self.levels["outputs"].shape[2], "source")
        titles = {"mixture": [f"mixture, microphone {mic}" for mic in self.mics]}
        titles["references"] = [f"{name}, true" for name in names]
        titles["outputs"] = [f"{name}, separated" for name in names]
        if self.scores is not None:
            for k, score in enumerate(self.scores.si_sdr):
                titles["outputs"][k] = f"{names[k]}, SI-SDR {score:.1f} dB"
        return titles
