"""Channels of recorders that were started apart, or that run on clocks of their own."""

# License: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from skbss.callbacks import CallbackSupportMixin, FitTask
from skbss.sklearn_parts import Interval, _fit_context

# A delay is found where the correlation is so many times its root mean square.
PROMINENCE = 12.0
# Seconds that are looked at, for delays, and at first for clocks.
LONGEST = 120.0
FIRST = 10.0
# Frames that clocks are compared by, in seconds, and their frequencies in Hz.
FRAME = 0.128
BAND = 300, 4000
N_BINS = 160
N_FRAMES = 160
# Nats per bin by which an offset has to be likelier than none.
LIKELIER = 0.02
# Taps on either side of an interpolation, and its Kaiser window.
HALF = 24
BETA = 10.0
BLOCK = 2**15


def find_delay(x, y, max_lag):
    """Find how many samples a signal is behind another one.

    The cross-correlation of both with all frequencies alike (GCC-PHAT) has a peak
    there, however loud reverberation and other talkers are.

    Parameters
    ----------
    x, y : ndarray of shape (n_samples,)
        The signals.
    max_lag : int
        Longest delay, in samples.

    Returns
    -------
    delay : int
        In samples, positive if `y` is later.
    prominence : float
        The peak over the root mean square of the correlation.
    """
    n_fft = next_fast_len(len(x) + min(max_lag, len(x)), real=True)
    product = rfft(x, n_fft).conj() * rfft(y, n_fft)
    size = abs(product)
    correlation = irfft(product / np.maximum(size, 1e-9 * (size.max() or 1)), n_fft)
    max_lag = min(max_lag, len(x) - 1)
    near = np.concatenate([correlation[-max_lag:], correlation[: max_lag + 1]])
    best = int(near.argmax())
    rms = np.sqrt(np.mean(np.square(near))) or 1.0
    return best - max_lag, float(near[best] / rms)


def clock_spectra(x, sample_rate, n_bins=N_BINS):
    """Short spectra by which clocks are compared.

    Parameters
    ----------
    x : ndarray of shape (n_samples, 2)
        Two channels.
    sample_rate : float
        In Hz.
    n_bins : int, default=160
        Number of frequencies.

    Returns
    -------
    X : ndarray of shape (n_frames, n_bins, 2)
        Spectra of frames all over the recording.
    times : ndarray of shape (n_frames,)
        Of the frames, in seconds.
    frequencies : ndarray of shape (n_bins,)
        In Hz.
    """
    size = round(FRAME * sample_rate)
    n_frames = min(N_FRAMES, max(2, 2 * len(x) // size - 1))
    starts = np.linspace(0, len(x) - size, n_frames).astype(int)
    high = min(BAND[1], 0.45 * sample_rate)
    bins = np.unique(
        np.linspace(BAND[0] * FRAME, high * FRAME, n_bins).astype(int).clip(1)
    )
    window = np.hanning(size + 2)[1:-1, None]
    X = np.stack([rfft(window * x[s : s + size], axis=0)[bins] for s in starts])
    return X, starts / sample_rate, bins * sample_rate / size


def coherence_of(X, times, frequencies, offsets):
    """Log likelihood of clock offsets: how coherent the channels are over time.

    Parameters
    ----------
    X : ndarray of shape (n_frames, n_bins, 2)
        Spectra.
    times, frequencies : ndarray
        From `clock_spectra`.
    offsets : ndarray of shape (n_offsets,)
        Relative differences of the clocks.

    Returns
    -------
    likelihood : ndarray of shape (n_offsets,)
        Per bin, in nats. Of a stationary Gaussian model [1]_.
    """
    # Loud moments count as others do.
    level = np.sqrt((abs(X) ** 2).sum(2, keepdims=True))
    X = X / np.maximum(level, 1e-6 * (level.max() or 1))
    cross = X[..., 0].conj() * X[..., 1]
    power = (abs(X) ** 2).sum(0).prod(1)
    values = []
    for offset in offsets:
        turned = np.exp(-2j * np.pi * offset * times[:, None] * frequencies)
        part = abs((cross * turned).sum(0)) ** 2 / np.maximum(power, 1e-300)
        values.append(-np.log1p(-np.minimum(part, 1 - 1e-9)).mean())
    return np.array(values)


def find_clock_offset(x, sample_rate, max_offset, n_bins=N_BINS):
    """Find how much faster the clock of a channel runs than that of another one.

    Parameters
    ----------
    x : ndarray of shape (n_samples, 2)
        Two channels, aligned to some milliseconds.
    sample_rate : float
        In Hz.
    max_offset : float
        Largest relative difference.
    n_bins : int, default=160
        Number of frequencies that are compared.

    Returns
    -------
    offset : float
        The relative difference: the second channel has so many more samples for each
        of the first.
    gain : float
        How much likelier it is than none, in nats per bin.
    """
    duration = min(len(x) / sample_rate, FIRST)
    low, high, best, gain = -max_offset, max_offset, 0.0, 0.0
    if duration < 4 * FRAME:
        return best, gain
    while True:
        parts = clock_spectra(x[: round(duration * sample_rate)], sample_rate, n_bins)
        step = 1 / (8 * BAND[1] * duration)
        offsets = np.append(np.arange(low, high + step, step), [0.0])
        values = coherence_of(*parts, offsets)
        i = int(values.argmax())
        best, gain = float(offsets[i]), float(values[i] - values[-1])
        fine = best + step * np.linspace(-1, 1, 21)
        best = float(fine[coherence_of(*parts, fine).argmax()])
        if duration >= min(len(x) / sample_rate, LONGEST):
            return -best, gain
        duration = min(4 * duration, len(x) / sample_rate, LONGEST)
        low, high = best - 4 * step, best + 4 * step


def resample(x, offset):
    """Read a signal at the times of a clock that runs slower by an offset.

    Parameters
    ----------
    x : ndarray of shape (n_samples,)
        The signal.
    offset : float
        Relative difference of the clocks.

    Returns
    -------
    y : ndarray of shape (n_samples,)
        ``y[n] = x(n * (1 + offset))``, by band-limited interpolation, zero beyond.
    """
    padded = np.pad(x, HALF)
    y = np.zeros_like(x)
    taps = np.arange(1 - HALF, HALF + 1)
    for start in range(0, len(x), BLOCK):
        position = np.arange(start, min(start + BLOCK, len(x))) * (1.0 + offset)
        position = position[position < len(x)]
        whole = position.astype(int)
        distance = taps - (position - whole)[:, None]
        window = np.i0(BETA * np.sqrt(np.maximum(1 - (distance / HALF) ** 2, 0)))
        weights = np.sinc(distance) * window / np.i0(BETA)
        samples = padded[np.minimum(whole[:, None] + taps + HALF, len(padded) - 1)]
        y[start : start + len(position)] = (weights * samples).sum(1)
    return y


class ChannelTransformer(
    CallbackSupportMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    """Base of what brings channels of signals to the time of a reference."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn what is between the channels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels)
            The recording.
        y : None
            Ignored.

        Returns
        -------
        self : estimator instance
            The fitted transformer.
        """
        task = FitTask(self, X, y)
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        if self.ref_mic >= X.shape[1]:
            raise ValueError(
                f"Got ref_mic={self.ref_mic}, but the recording has {X.shape[1]} "
                "microphones."
            )
        peak = abs(X).max() or 1
        self._learn(X / peak)
        task.end()
        return self

    def transform(self, X):
        """Bring the channels to the time of the reference.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels)
            The recording.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_channels)
            As long as `X`; zero where a channel has no samples.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return self._apply(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class AlignChannels(ChannelTransformer):
    """Take constant delays between channels away, as of recorders started by hand.

    Parameters
    ----------
    ref_mic : int, default=0
        The channel that keeps its time.
    max_delay : float, default=5.0
        Longest delay in seconds.
    sample_rate : float, default=16000
        In Hz.

    Attributes
    ----------
    delays_ : ndarray of shape (n_channels,)
        How many samples the channels were late. 0 where none was found.
    n_features_in_ : int
        Number of channels.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the channels. Defined only if the signal has names, all strings, as a
        data frame has.

    See Also
    --------
    ResampleChannels : For clocks that drift apart.

    Notes
    -----
    Delays are peaks of GCC-PHAT [1]_ over two minutes at most. A channel in which
    nothing of the reference is heard stays as it is.

    References
    ----------
    .. [1] C. Knapp and G. Carter, "The generalized correlation method for estimation of
       time delay", IEEE Trans. Acoust., Speech, Signal Process. 24(4), 1976.
       :doi:`10.1109/TASSP.1976.1162830`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import AlignChannels
    >>> x = np.random.default_rng(0).normal(size=(16_000, 1))
    >>> x = np.hstack([x, np.roll(x, 500, axis=0)])
    >>> AlignChannels().fit(x).delays_
    array([  0, 500])
    """

    _parameter_constraints: dict = {
        "ref_mic": [Interval(Integral, 0, None, closed="left")],
        "max_delay": [Interval(Real, 0, None, closed="left")],
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, ref_mic=0, *, max_delay=5.0, sample_rate=16_000):
        self.ref_mic = ref_mic
        self.max_delay = max_delay
        self.sample_rate = sample_rate

    def _learn(self, X):
        X = X[: round(LONGEST * self.sample_rate)]
        self.delays_ = np.zeros(X.shape[1], int)
        max_lag = round(self.max_delay * self.sample_rate)
        if len(X) < 2:
            return
        for mic in range(X.shape[1]):
            if mic != self.ref_mic:
                delay, prominence = find_delay(X[:, self.ref_mic], X[:, mic], max_lag)
                self.delays_[mic] = delay if prominence > PROMINENCE else 0

    def _apply(self, X):
        Y = np.zeros_like(X)
        for mic, delay in enumerate(self.delays_):
            n = max(len(X) - abs(delay), 0)
            late, early = max(delay, 0), max(-delay, 0)
            Y[early : early + n, mic] = X[late : late + n, mic]
        return Y


class ResampleChannels(ChannelTransformer):
    """Bring channels of several recorders to one clock.

    Parameters
    ----------
    ref_mic : int, default=0
        The channel whose clock counts.
    max_offset : float, default=200e-6
        Largest relative difference of clocks; 200 parts per million.
    sample_rate : float, default=16000
        In Hz.

    Attributes
    ----------
    offsets_ : ndarray of shape (n_channels,)
        Relative differences of the clocks. 0 where none was found.
    n_features_in_ : int
        Number of channels.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the channels. Defined only if the signal has names, all strings, as a
        data frame has.

    See Also
    --------
    AlignChannels : For constant delays, to come before.

    Notes
    -----
    The offset is the one at which channels are most coherent over time, by a
    stationary Gaussian model [1]_. Talkers have to keep their places. Interpolation is
    by 48 samples around.

    References
    ----------
    .. [1] S. Miyabe, N. Ono and S. Makino, "Blind compensation of interchannel sampling
       frequency mismatch for ad hoc microphone array based on maximum likelihood
       estimation", Signal Processing 107, 2015. :doi:`10.1016/j.sigpro.2014.09.015`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import ResampleChannels
    >>> from skbss.datasets import load_cocktail_party
    >>> x = load_cocktail_party().mixture
    >>> ResampleChannels().fit(x).offsets_
    array([0., 0.])
    """

    _parameter_constraints: dict = {
        "ref_mic": [Interval(Integral, 0, None, closed="left")],
        "max_offset": [Interval(Real, 0, None, closed="left")],
        "sample_rate": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, ref_mic=0, *, max_offset=200e-6, sample_rate=16_000):
        self.ref_mic = ref_mic
        self.max_offset = max_offset
        self.sample_rate = sample_rate

    def _learn(self, X):
        self.offsets_ = np.zeros(X.shape[1])
        for mic in range(X.shape[1]):
            if mic != self.ref_mic:
                pair = X[:, [self.ref_mic, mic]]
                found = find_clock_offset(pair, self.sample_rate, self.max_offset)
                self.offsets_[mic] = found[0] if found[1] > LIKELIER else 0

    def _apply(self, X):
        Y = X.copy()
        for mic, offset in enumerate(self.offsets_):
            if offset:
                Y[:, mic] = resample(X[:, mic], offset)
        return Y
