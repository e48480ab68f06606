"""What is below speech in a recording: offsets, infrasound, rumble and hum."""

# License: BSD-3-Clause

from functools import partial

import numpy as np
from scipy.fft import next_fast_len, rfft
from scipy.ndimage import correlate1d
from scipy.signal import butter, sosfiltfilt

# Bands in Hz, up to where they reach, and what they may have of the power above all of
# them in a microphone. Speech in 17 scenes had less than -20 dB in either.
BANDS = (25, 0.02), (75, 0.03)
# Nor is that more per Hz than so many times what is between 75 and 300 Hz: what has all
# frequencies has low ones, too.
ABOVE = 300
DENSER = 1.5
# Seconds of windows to measure bands by, and most of them. What is above 300 Hz is only
# summed, for which means of half a millisecond do.
SECONDS = 1.0
BANDS_RATE = 2000
N_WINDOWS = 60
# A constant of so much power, relative to the rest of a microphone (-25 dB), is taken
# away.
OFFSET = 0.003
# Mains in Hz, how far they may be off, and how many harmonics are looked at.
MAINS = 50.0, 60.0
MAINS_OFF = 0.4
HARMONICS = 8
# A hum has so much of the power of a microphone (-30 dB), and keeps so much of its own
# mean power (-6 dB) for nine tenths of the time: voices and instruments pause.
HUM = 0.001
STEADY = 0.25
# Least and most seconds over which a hum changes evenly, at most half of a recording.
# The longer, the less of voices is taken away with it; mains drift by some hundredths
# of a Hz.
HUM_SECONDS = 1.0, 3.0
# Seconds of a moment, in which whole periods of mains fit; the share of moments, the
# quietest ones, that tell a hum; and how often both are estimated from each other.
MOMENT = 0.1
HUM_QUIET = 0.2
HUM_ROUNDS = 6
# Seconds in which mains are looked for, and the resolution in Hz.
MAINS_SECONDS = 30.0
RESOLUTION = 0.02
TINY = np.finfo(float).tiny
# Order of the Butterworth filter, which runs forward and backward.
ORDER = 8
# Periods of the cutoff that signals are extended by for the filter.
EXTENSION = 10


def means_of(x, step):
    """Means of so many samples each, of which many make a matrix product.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        A recording. What is left over at its end doesn't count.
    step : int
        Samples in a mean.

    Returns
    -------
    means : ndarray of shape (n_samples // step, n_mics)
        In the precision of `x`.
    """
    n_mics = x.shape[1]
    rows = x[: len(x) // step * step].reshape(-1, step * n_mics)
    return rows @ np.tile(np.eye(n_mics, dtype=x.dtype) / x.dtype.type(step), (step, 1))


def mean_squares(x):
    """Mean powers of the microphones, one by one: it is faster than all together."""
    return np.array([np.mean(np.square(channel, dtype=float)) for channel in x.T])


def band_powers(x, sample_rate):
    """Mean powers of the microphones in the bands, and from there to 300 Hz.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        A recording of at least one sample.
    sample_rate : float
        In Hz.

    Returns
    -------
    power : ndarray of shape (n_bands + 1, n_mics)
        From windows of a second, all over the recording.
    width : ndarray of shape (n_bands + 1, 1)
        Numbers of bins that these sum over.
    """
    step = max(1, int(sample_rate / BANDS_RATE))
    x, sample_rate = means_of(x, step), sample_rate / step
    size = min(len(x), round(SECONDS * sample_rate))
    n_windows = min(N_WINDOWS, -(-2 * len(x) // size))
    starts = np.linspace(0, len(x) - size, n_windows).astype(int)
    window = np.hanning(size + 2)[1:-1, None]
    window /= np.sqrt(size / 2 * n_windows) * np.linalg.norm(window)
    spectrum = sum(
        np.square(abs(rfft(window * x[start : start + size], axis=0)))
        for start in starts
    )
    edges = [round(f * size / sample_rate) + 1 for f in (*dict(BANDS), ABOVE)]
    parts = np.split(spectrum, np.minimum(edges, len(spectrum)))[:-1]
    width = np.array([[max(len(part), 1)] for part in parts])
    return np.stack([part.sum(axis=0) for part in parts]), width


def choose_highpass(x, sample_rate):
    """Choose the frequency below which a recording should be left out.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        A recording.
    sample_rate : float
        In Hz.

    Returns
    -------
    highpass : float
        25 Hz if what is below is louder than -17 dB relative to speech in some
        microphone, 75 Hz if what is between is louder than -15 dB, else 0. Noise of all
        frequencies isn't what is meant.
    """
    # Less tells nothing of low frequencies.
    if len(x) < sample_rate / 4 or sample_rate < 2 * ABOVE:
        return 0.0
    power, width = band_powers(x, sample_rate)
    above = np.maximum(mean_squares(x) - power[:-1].sum(axis=0), power[-1])
    limit = DENSER * power[-1] / width[-1]
    chosen = 0.0
    for i, (frequency, most) in enumerate(BANDS):
        loud = (power[i] > most * above) & (power[i] / width[i] > limit)
        chosen = float(frequency) if loud.any() else chosen
    return chosen


def high_pass(x, frequency, sample_rate):
    """Leave out what is below a frequency, without delay.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_channels)
        Signals.
    frequency : float
        In Hz, where the level is 6 dB lower; 0 leaves all as it is.
    sample_rate : float
        In Hz.

    Returns
    -------
    y : ndarray of shape (n_samples, n_channels)
        All channels filtered alike, forward and backward, in their precision.
    """
    if frequency == 0:
        return x
    sos = butter(ORDER, frequency, "highpass", fs=sample_rate, output="sos")
    n_more = min(len(x) - 1, round(EXTENSION / frequency * sample_rate))
    y = np.empty_like(x)
    for channel in range(x.shape[1]):
        y[:, channel] = sosfiltfilt(sos, x[:, channel].astype(float), padlen=n_more)
    return y


def without_offset(x, sample_rate, weights=None):
    """Take constants away that are loud in comparison.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        A recording.
    sample_rate : float
        In Hz. In less than a second low tones have means, too.
    weights : ndarray of shape (n_samples, 1), default=None
        How much samples count.

    Returns
    -------
    y : ndarray of shape (n_samples, n_mics)
        `x` itself if there is nothing to take away.
    """
    if len(x) < sample_rate:
        return x
    weights = None if weights is None else weights[:, 0]
    mean = np.array([np.average(c.astype(float), weights=weights) for c in x.T])
    rest = np.maximum(mean_squares(x) - np.square(mean), 0)
    if not (np.square(mean) > OFFSET * rest).any():
        return x
    return x - mean.astype(x.dtype)


def without_hum(x, sample_rate):
    """Take the steady tones away that mains leave.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        A recording.
    sample_rate : float
        In Hz.

    Returns
    -------
    y : ndarray of shape (n_samples, n_mics)
        `x` itself if it doesn't hum.
    """
    seconds = min(HUM_SECONDS[1], len(x) / (2 * sample_rate))
    if seconds < HUM_SECONDS[0]:  # tones cannot be told from voices
        return x
    # Means of milliseconds have all that is needed to find hums.
    step = max(1, round(sample_rate / 1000))
    means, rate = means_of(x, step), sample_rate / step
    power, y = mean_squares(x), x
    for frequency in _mains_tones(means, rate):
        size = round(MOMENT * rate)
        hum = _hum(means, frequency / rate, size, seconds / MOMENT)
        angle = np.pi * frequency / sample_rate
        hum *= step * np.sin(angle) / np.sin(step * angle)  # means have less of it
        square = abs(hum) ** 2
        mean = square.mean(axis=0)
        steady = np.quantile(square, 0.1, axis=0) > STEADY * mean
        if not (steady & (2 * mean > HUM * power)).any():
            continue
        times = np.arange(len(x)) - (step - 1) / 2
        tone = 2 * np.exp(2j * angle * times)
        # Moments and means are at the middle of their samples.
        middle = (np.arange(len(hum)) * size + (size - 1) / 2) * step
        y = x.copy() if y is x else y
        # In all microphones: what voices lose by it, they lose in all of them alike.
        for mic in range(x.shape[1]):
            y[:, mic] -= (np.interp(times, middle, hum[:, mic]) * tone).real
    return y


def _hum(means, frequency, size, width):
    """Amplitudes of a tone in moments of each microphone, along lines through many.

    Parameters
    ----------
    means : ndarray of shape (n_means, n_mics)
        A recording.
    frequency : float
        Turns in a mean.
    size : int
        Means in a moment.
    width : float
        Over how many moments they change evenly, as those of mains do that drift.

    Returns
    -------
    hum : ndarray of shape (n_moments, n_mics)
        Complex. Moments count the less, in all microphones alike, the farther they are
        from what there is at other times: most is told while voices pause.
    """
    turn = np.exp(-2j * np.pi * frequency * np.arange(len(means)))[:, None]
    moments = means_of(means * turn, size)
    reach = round(width) // 2
    window = np.hanning(2 * reach + 3)[1:-1]
    later = np.arange(-reach, reach + 1) / reach
    sums = [
        partial(correlate1d, weights=window * later**n, axis=0, mode="constant")
        for n in range(3)
    ]
    level = np.mean(np.square(abs(moments)))
    weights = np.ones((len(moments), 1))
    for _ in range(HUM_ROUNDS):
        a, b, c = (total(weights) for total in sums)
        p, q = (total(weights * moments) for total in sums[:2])
        hum = (c * p - b * q) / (a * c - b * b + 1e-6 * a * c)
        rest = np.sum(np.square(abs(moments - hum)), axis=1, keepdims=True)
        weights = level / (rest + np.quantile(rest, HUM_QUIET) + 1e-6 * level)
    return hum


def _mains_tones(means, rate):
    """Frequencies of the harmonics of mains that may be heard, most often none.

    A tone stands out by 20 dB from what is a few Hz beside it.
    """
    means = means[: round(MAINS_SECONDS * rate)]
    window = np.hanning(len(means) + 2)[1:-1, None]
    n_fft = next_fast_len(max(round(rate / RESOLUTION), len(means)), real=True)
    spectrum = 2 * abs(rfft(window * means, n_fft, axis=0)) / window.sum()
    power = np.square(spectrum) / 2
    total = np.mean(np.square(means, dtype=float), axis=0)

    def bins(*frequencies):
        return [round(f * n_fft / rate) for f in frequencies]

    found = {}
    for mains in MAINS:
        low, high = bins(mains - MAINS_OFF, mains + MAINS_OFF)
        around = power[bins(*(mains + d for d in (-5, -4, -3, 3, 4, 5)))].mean(axis=0)
        peak = power[low : high + 1].max(axis=0)
        mic = int((peak / np.maximum(around, TINY)).argmax())
        if peak[mic] > max(100 * around[mic], HUM / 4 * total[mic]):
            top = low + int(power[low : high + 1, mic].argmax())
            # Of a parabola: half a bin off, 3 % of a hum were left in four seconds.
            a, b, c = power[top - 1 : top + 2, mic]
            place = top + 0.5 * (a - c) / min(a - 2 * b + c, -TINY)
            found[peak[mic]] = place * rate / n_fft
    if not found:
        return []
    base = found[max(found)]
    tones = [k * base for k in range(1, HARMONICS + 1) if 2 * k * base < rate]
    heard = power[bins(*tones)] > HUM / 4 * total
    return [
        tone
        for tone, is_heard in zip(tones, heard.any(axis=1), strict=True)
        if is_heard
    ]
