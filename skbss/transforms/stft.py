"""Short-time Fourier transform and its inverse, with perfect reconstruction."""

# License: BSD-3-Clause

import warnings
from numbers import Integral, Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import validate_data

from skbss.base import (
    RecordInputMixin,
    SpectrogramOutputMixin,
    all_finite,
    is_float_matrix,
    to_floats,
)
from skbss.callbacks import CallbackSupportMixin, FitTask
from skbss.sklearn_parts import Interval, _fit_context
from skbss.spectrogram import Spectrogram
from skbss.transforms.frames import analyze, n_frames_of, short_time_fft, synthesize

# With so many channels, and fewer samples, an array is taken to be transposed.
MOST_CHANNELS = 128


def check_orientation(shape):
    """Raise ValueError if an array is one of (n_channels, n_samples), most likely."""
    if shape[0] < shape[1] and shape[1] > MOST_CHANNELS:
        raise ValueError(
            f"Got a signal of shape {shape}, which means {shape[1]} channels, expected "
            "(n_samples, n_channels). Transpose it: x.T. If there are so many channels "
            "indeed, append zeros until there are as many samples."
        )


class STFT(
    OneToOneFeatureMixin, SpectrogramOutputMixin, CallbackSupportMixin, BaseEstimator
):
    r"""Short-time Fourier transform of multichannel audio.

    Frames reach beyond both ends of the signal, so that every sample, first and last
    included, has the full weight of all frames around it and `ISTFT` reconstructs it
    exactly, for any length of the signal.

    Parameters
    ----------
    n_fft : int, default=8192
        Length of window and transform in samples: 8192 is 512 ms at 16 kHz. Separation
        of a whole recording needs windows that are long against the reverberation, and
        some tens of frames; shorter ones, 2048 say, suit online separation and very
        short recordings. Powers of two are fastest.
    hop_length : int, default=None
        Samples from one frame to the next. None means ``n_fft // 4``.
    window : str, tuple or array-like of shape (n_fft,), default='hann'
        Name, or name and parameters, as :func:`scipy.signal.get_window` takes them, or
        the window itself. `ISTFT` uses its canonical dual window.
    sample_rate : float, default=None
        In Hz. Only handed on with the spectrogram: nothing here depends on it.
    min_frames : int, default=None
        Least number of frames. Window and hop are halved until the signal that is
        fitted has so many: too few frames say nothing about the sources. None leaves
        them as they are.

    Attributes
    ----------
    n_fft_ : int
        Length of window and transform that fits the signal.
    hop_length_ : int
        Hop that fits the signal.
    n_features_in_ : int
        Number of channels.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the channels. Defined only if the signal has names, all strings, as a
        data frame has.

    See Also
    --------
    ISTFT : The inverse.
    scipy.signal.ShortTimeFFT : Has the same values, frames and dual window.

    Notes
    -----
    With frame length N, hop H, window w and the signal x zero beyond its ends,

    .. math:: X_{tf} = \sum_{n=0}^{N-1} w_n x_{n + tH - b} e^{-2\pi i f n / N},

    without scaling, phases counted from the start of each frame. The first frame, b
    samples before the signal, is the earliest that reaches into it with frame centers
    at multiples of H. These are the values of ``ShortTimeFFT(window, hop_length,
    fs, scale_to=None, phase_shift=None)``. A signal shorter than half a window is
    filled up with zeros to that length.

    Frames are transformed in small blocks, so that little more memory than for the
    spectrogram is needed, several blocks at a time where BLAS may use several threads.

    Nothing but the lengths is learned from the signal: `transform` also works without
    `fit`, with those that fit the signal at hand.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.transforms import ISTFT, STFT
    >>> x = np.random.default_rng(0).normal(size=(16000, 2))  # 1 s, 2 microphones
    >>> X = STFT(n_fft=1024, sample_rate=16000).fit_transform(x)
    >>> X.shape
    (66, 513, 2)
    >>> y = ISTFT().fit_transform(X)
    >>> y.shape, np.allclose(x, y)
    ((16000, 2), True)
    """

    _parameter_constraints: dict = {
        "n_fft": [Interval(Integral, 1, None, closed="left")],
        "hop_length": [Interval(Integral, 1, None, closed="left"), None],
        "window": [str, tuple, "array-like"],
        "sample_rate": [Interval(Real, 0, None, closed="neither"), None],
        "min_frames": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        n_fft: int = 8192,
        *,
        hop_length: int | None = None,
        window: str | tuple | ArrayLike = "hann",
        sample_rate: float | None = None,
        min_frames: int | None = None,
    ):
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.window = window
        self.sample_rate = sample_rate
        self.min_frames = min_frames

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Check the parameters and the signal, and choose the lengths.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels)
            As for `transform`.
        y : None
            Ignored.

        Returns
        -------
        self : STFT
            The transformer.

        Raises
        ------
        ValueError
            As for `transform`.
        """
        task = FitTask(self, X, y)
        X = self._check_signal(X, reset=True)
        n_fft, hop_length, window = self._window_params(len(X))
        short_time_fft(n_fft, hop_length, window, dtype=X.dtype)
        self.n_fft_, self.hop_length_ = n_fft, hop_length
        task.end()
        return self

    def transform(self, X: ArrayLike) -> Spectrogram:
        """Transform a signal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels)
            Real signal. float32 is transformed in single precision, all else in double.
            Integer samples are brought to the range from -1 to 1, as audio files mean
            them.

        Returns
        -------
        S : Spectrogram of shape (n_frames, n_fft // 2 + 1, n_channels)
            The spectrogram, complex64 or complex128.

        Raises
        ------
        ValueError
            If `X` isn't two-dimensional, real and finite, or if window, hop_length and
            n_fft are not invertible together.
        """
        X = self._check_signal(X, reset=False)
        n_fft, hop_length, window = self._window_params(len(X))
        if self.min_frames is not None and hasattr(self, "n_fft_"):
            n_fft, hop_length = self.n_fft_, self.hop_length_
        sft = short_time_fft(n_fft, hop_length, window, dtype=X.dtype)
        return Spectrogram(
            data=analyze(X, sft),
            stft_params={
                "n_fft": n_fft,
                "hop_length": hop_length,
                "window": window,
                "sample_rate": self.sample_rate,
            },
            n_samples=len(X),
        )

    def _window_params(self, n_samples=None):
        """Values of n_fft, hop_length and window that fit a signal."""
        n_fft = int(self.n_fft)
        hop_length = max(1, n_fft // 4) if self.hop_length is None else self.hop_length
        window = self.window
        if not isinstance(window, str | tuple):
            window = np.array(window)
            if self.min_frames is not None:
                raise ValueError(
                    f"Got min_frames={self.min_frames} and a window of {window.size} "
                    "samples, expected the window's name: it may have to be halved."
                )
        if self.min_frames is not None and n_samples is not None:
            # Frames reach beyond both ends. A sample more or less doesn't matter.
            while n_fft > 2 and n_samples / hop_length < self.min_frames:
                n_fft, hop_length = n_fft // 2, max(1, hop_length // 2)
        return n_fft, int(hop_length), window

    def _check_signal(self, X, *, reset):
        X = to_floats(X)
        if np.asarray(X).ndim == 1:
            raise ValueError(
                f"Got a 1-D signal of {len(X)} samples, expected (n_samples, "
                "n_channels). Reshape your data to (n_samples, 1) if it is mono: "
                "x.reshape(-1, 1)."
            )
        if is_float_matrix(X) and not all_finite(X):  # scikit-learn would advise models
            sample, channel = np.argwhere(~np.isfinite(X))[0]
            kind = "NaN" if np.isnan(X).any() else "infinity"
            raise ValueError(
                f"Input X contains {kind}; the first sample that isn't finite is "
                f"{sample} of channel {channel}."
            )
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=reset)
        check_orientation(X.shape)
        if X.shape[0] < X.shape[1]:
            warnings.warn(
                f"Got a signal of shape {X.shape}, which means {X.shape[1]} channels. "
                "If it is (n_channels, n_samples), transpose it."
            )
        return X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []  # real to complex
        return tags


class ISTFT(RecordInputMixin, TransformerMixin, BaseEstimator):
    """Inverse short-time Fourier transform.

    It has no parameters: the window, the hop and the length of the signal come with
    the spectrogram. A spectrogram that was changed since `STFT` gives the signal whose
    own spectrogram is nearest to it in the least-squares sense [1]_.

    Attributes
    ----------
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    STFT : The transform. Its notes have the conventions.

    Notes
    -----
    Imaginary parts at zero frequency and at half the sample rate belong to no real
    signal and are ignored.

    References
    ----------
    .. [1] D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier
       transform", IEEE Transactions on Acoustics, Speech, and Signal Processing 32
       (1984). :doi:`10.1109/TASSP.1984.1164317`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss.transforms import ISTFT, STFT
    >>> x = np.random.default_rng(0).normal(size=(16001, 3)).astype(np.float32)
    >>> pipeline = make_pipeline(STFT(n_fft=512), ISTFT())
    >>> y = pipeline.fit_transform(x)
    >>> y.shape, y.dtype, np.allclose(x, y, atol=1e-5)
    ((16001, 3), dtype('float32'), True)
    >>> pipeline.get_feature_names_out()
    array(['source0', 'source1', 'source2'], dtype=object)
    """

    _parameter_constraints: dict = {}

    def transform(self, X: Spectrogram) -> np.ndarray:
        """Return the signal of a spectrogram.

        Parameters
        ----------
        X : Spectrogram of shape (n_frames, n_freqs, n_channels)
            From `STFT`, as it was or changed by steps that keep the record.

        Returns
        -------
        x : ndarray of shape (n_samples, n_channels)
            As long as the signal that `STFT` was given; float32 for complex64,
            float64 for complex128.

        Raises
        ------
        TypeError
            If `X` isn't a Spectrogram.
        ValueError
            If its data are not finite, or frames or frequencies are missing.
        """
        data = self._check_record(X, reset=False)
        n_fft, hop_length = X.stft_params["n_fft"], X.stft_params["hop_length"]
        window = X.stft_params["window"]
        sft = short_time_fft(n_fft, hop_length, window, dtype=data.real.dtype)
        expected = (n_frames_of(sft, X.n_samples), sft.f_pts)
        if X.shape[:2] != expected:
            raise ValueError(
                f"Got a spectrogram of {X.shape[0]} frames and {X.shape[1]} "
                f"frequencies, but {X.n_samples} samples with n_fft={n_fft} and "
                f"hop_length={hop_length} have {expected[0]} and {expected[1]}."
            )
        return synthesize(data, sft, X.n_samples)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # complex to real
        return tags
