"""What the displays share: axes in physical units, levels in dB, panels."""

# License: BSD-3-Clause

import numpy as np
from sklearn.pipeline import Pipeline

from skbss.sklearn_parts import check_matplotlib_support
from skbss.spectrogram import Spectrogram
from skbss.transforms.frames import short_time_fft

# Level of silence, in dB: less than any picture shows.
SILENCE = -300.0


def amplitude_level(amplitude, peak=None):
    """Return amplitudes in dB relative to the largest.

    Parameters
    ----------
    amplitude : ndarray
        Not negative, finite.
    peak : float, default=None
        Relative to this one instead.

    Returns
    -------
    level : ndarray
        At least `SILENCE`, also where all is silent.
    """
    peak = np.max(amplitude) if peak is None else peak
    relative = np.divide(amplitude, peak, out=np.zeros(amplitude.shape), where=peak > 0)
    return 20 * np.log10(np.maximum(relative, 10 ** (SILENCE / 20)))


def loud_amplitude(amplitude):
    """Return the amplitude that one value in a thousand exceeds, for 0 dB.

    A click or a rumble may be far above all that is to be seen.
    """
    loud = np.quantile(amplitude, 0.999)
    return loud if loud > 0 else np.max(amplitude)


def physical_axes(record, sample_rate=None):
    """Return where frames and bins are, in seconds and Hz.

    Parameters
    ----------
    record : Spectrogram
        From `STFT`, or from a step after it.
    sample_rate : float, default=None
        In Hz, if the record has none.

    Returns
    -------
    axes : dict
        "time", of the frames' centers, of which the first and last may lie outside of
        the recording, "frequency", of the bins' centers, and the "duration" of the
        recording.
    """
    rate = record_rate(record, sample_rate)
    params = record.stft_params
    sft = short_time_fft(params["n_fft"], params["hop_length"], params["window"])
    frames = sft.p_min + np.arange(record.shape[0])
    time = frames * params["hop_length"] / rate
    frequency = np.arange(record.shape[1]) * rate / params["n_fft"]
    return {"time": time, "frequency": frequency, "duration": record.n_samples / rate}


def record_rate(record, sample_rate=None):
    """Return the sample rate in Hz, or raise ValueError if nobody knows it."""
    rate = sample_rate or record.stft_params.get("sample_rate")
    if rate is None:
        raise ValueError(
            "Got a spectrogram without a sample rate, which seconds and Hz need. "
            "Expected STFT(sample_rate=...) or sample_rate=... here."
        )
    return float(rate)


def check_record(X, caller):
    """Return X if it is a Spectrogram, else raise TypeError."""
    if not isinstance(X, Spectrogram):
        raise TypeError(
            f"{caller} needs the Spectrogram that STFT and the separators return, "
            f"which knows its times and frequencies. Got {type(X).__name__}. Time "
            "signals go through STFT first."
        )
    return X


def check_names(names, n_names, default):
    """Return one name for each, those of the user or ``default 0``, ..."""
    if names is None:
        return [f"{default} {k}" for k in range(n_names)]
    if len(names) != n_names:
        raise ValueError(f"Got {len(names)} names, expected {n_names}: {names!r}.")
    return [str(name) for name in names]


def find_step(estimator, attribute):
    """Return the last step of a pipeline that has an attribute, or the estimator."""
    if isinstance(estimator, Pipeline):
        for step in reversed([step for _, step in estimator.steps]):
            if hasattr(step, attribute):
                return step
    if not hasattr(estimator, attribute):
        raise ValueError(
            f"Got {estimator!r} without {attribute}. Expected a fitted separator that "
            "has it, or a pipeline with one."
        )
    return estimator


def make_panels(ax, n_rows, n_columns, caller, size, **options):
    """Return axes for a grid of panels: new ones, those given, or parts of a given one.

    Parameters
    ----------
    ax : Axes, array-like of Axes or None
        What the user gave.
    n_rows, n_columns : int
        Of the grid.
    caller : str
        For the message if there is no matplotlib.
    size : tuple of float
        Width and height of a panel in inches, for a new figure.
    **options : dict
        Of `matplotlib.figure.Figure.subplots`.

    Returns
    -------
    axes : ndarray of shape (n_rows, n_columns)
        The panels, all in one figure.
    """
    check_matplotlib_support(caller)
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

    shape = n_rows, n_columns
    if ax is None:
        figsize = size[0] * n_columns, size[1] * n_rows
        figure = plt.figure(figsize=figsize, layout="constrained")
        return figure.subplots(*shape, squeeze=False, **options)
    if not isinstance(ax, Axes):
        axes = np.asarray(ax, dtype=object)
        if axes.size != n_rows * n_columns:
            raise ValueError(
                f"Got {axes.size} axes, expected {n_rows * n_columns}, one for each "
                f"panel, or a single one to be divided into them."
            )
        return axes.reshape(shape)
    if shape == (1, 1):
        return np.array([[ax]], dtype=object)
    ax.set_axis_off()
    grid = ax.get_subplotspec().subgridspec(*shape)
    return grid.subplots(squeeze=False, **options)


def draw_level(
    ax, level, time, frequency, *, dynamic_range, cmap, duration=None, **options
):
    """Draw levels over time and frequency.

    Parameters
    ----------
    ax : Axes
        Where.
    level : ndarray of shape (n_frames, n_freqs)
        In dB.
    time : ndarray of shape (n_frames,)
        In seconds, equally spaced.
    frequency : ndarray of shape (n_freqs,)
        In Hz, equally spaced.
    dynamic_range : float
        Levels so far below 0 are shown as the lowest.
    cmap : str or Colormap
        The colors.
    duration : float, default=None
        Where time ends. None stands for the last cell.
    **options : dict
        Of `matplotlib.axes.Axes.imshow`.

    Returns
    -------
    image : AxesImage
        Its pixels are centered on the times and frequencies.
    """
    image = ax.imshow(
        level.T,
        origin="lower",
        aspect="auto",
        extent=(*edges(time), *edges(frequency)),
        vmin=-dynamic_range,
        vmax=0,
        cmap=cmap,
        **options,
    )
    ax.set_xlim(*(edges(time) if duration is None else (0, duration)))
    ax.set_ylim(max(edges(frequency)[0], 0), frequency[-1] or 1)
    return image


def edges(centers):
    """Outer edges of cells with these equally spaced centers."""
    half = (centers[1] - centers[0]) / 2 if len(centers) > 1 else 0.5
    return float(centers[0] - half), float(centers[-1] + half)


def add_colorbar(image, axes, label="level (dB)", extend="both"):
    """Add a color bar for all of some axes, with arrows where levels are cut off."""
    return image.figure.colorbar(
        image, ax=list(np.ravel(axes)), label=label, extend=extend, pad=0.02, aspect=30
    )
