"""Dereverberation by weighted prediction error."""

# License: BSD-3-Clause

from dataclasses import replace
from numbers import Integral, Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skbss.callbacks import FitTask
from skbss.sklearn_parts import Interval, _fit_context
from skbss.spectrogram import Spectrogram
from skbss.transforms._outputs import OutputsTransformer
from skbss.updates.dereverberation import learn_filters, subtract_prediction

# Frames that there are for each coefficient of a filter, at least. With fewer, filters
# predict speech by chance.
FRAMES_PER_TAP = 8


def without_mixing(X, Y):
    """Return a result of the shape of X, in a record if that is one.

    Outputs of a separator are no longer one matrix away from the microphones.
    """
    if not isinstance(X, Spectrogram):
        return Y.reshape(np.shape(X))
    return replace(X, data=Y.reshape(X.shape), mixing=None, mixing_index=None)


class WPE(OutputsTransformer):
    r"""Take off reverberation, by weighted prediction error.

    Reverberation is a weighted sum of what microphones recorded a while ago, speech
    isn't. This step learns filters that predict each frame from frames at least `delay`
    before, and takes off what they predict. What is left is the direct sound with the
    reflections of the first 50 milliseconds or so, which speech is understood by.

    There are as many channels after it as before, also a single one: all that can be
    done with microphones can be done with them after it, such as separation. It works
    best before a separator, and once more, with ``joint=False``, on what that gives.

    Parameters
    ----------
    taps : int, default=16
        Length of the filters in frames. With hops of 16 ms they cover a quarter of a
        second. Recordings of fewer than 8 frames for each tap and microphone get
        shorter filters.
    delay : int, default=4
        How many frames before the present one the filters begin. They leave what comes
        earlier as it is: windows should no longer overlap by much, and early
        reflections are no harm. 4 hops of a quarter of a window of 64 ms are 64 ms.
    max_iter : int, default=3
        Number of iterations; more change little.
    floor : float, default=1e-4
        Least power of a frame in its weight, relative to the loudest frame of the
        frequency bin.
    joint : bool, default=True
        Whether to predict each channel from all of them, as is right for microphones.
        Each channel is by itself otherwise, as is right for the outputs of a separator.

    Attributes
    ----------
    filters_ : ndarray of shape (n_freqs, n_channels, n_channels, n_taps)
        ``filters_[f, m, k, i]`` is the factor by which channel k, ``delay + i`` frames
        before, is in the reverberation of channel m, complex128.
    n_iter_ : int
        `max_iter`.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    OnlineWPE : Learns while the recording is being made.
    make_separator : Does it before and after it separates, with `dereverberate`.

    Notes
    -----
    For the frames :math:`x_t` of the microphones in a frequency bin, and those of the
    past, :math:`\bar x_t = (x_{t-D}, \dots, x_{t-D-L+1})`, it alternates [1]_ [2]_

    .. math:: G = \Big(\sum_t \frac{\bar x_t \bar x_t^H}{\lambda_t}\Big)^{-1}
        \sum_t \frac{\bar x_t x_t^H}{\lambda_t}, \quad
        y_t = x_t - G^H \bar x_t, \quad
        \lambda_t = \max\Big(\frac{1}{M} \|y_t\|^2,\ \varepsilon \max_\tau
        \frac{1}{M} \|y_\tau\|^2\Big),

    beginning with :math:`y = x`. Hops of a quarter of a window, of 64 ms, were best of
    those tried.

    Outputs are images of the same microphones, of another room, so to speak: scores
    against sources *with* their reverberation must fall by what was taken off. Take
    the early parts for references, which `skbss.datasets.make_room_mixture` returns.

    Later audio of the same room is filtered by what was learned, as if silence had been
    before it.

    References
    ----------
    .. [1] T. Nakatani, T. Yoshioka, K. Kinoshita, M. Miyoshi and B.-H. Juang, "Speech
       dereverberation based on variance-normalized delayed linear prediction", IEEE
       Transactions on Audio, Speech, and Language Processing 18(7), 2010.
       :doi:`10.1109/TASL.2010.2052251`
    .. [2] T. Yoshioka and T. Nakatani, "Generalization of multi-channel linear
       prediction methods for blind MIMO impulse response shortening", IEEE Transactions
       on Audio, Speech, and Language Processing 20(10), 2012.
       :doi:`10.1109/TASL.2012.2210879`

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.signal import fftconvolve
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss import ISTFT, STFT, WPE
    >>> rng = np.random.default_rng(0)
    >>> loud = rng.random((80, 1)).repeat(400, axis=0) ** 4
    >>> speech = loud * rng.normal(size=loud.shape)
    >>> late = 0.03 * rng.normal(size=(4000, 2)) * 0.999 ** np.arange(4000)[:, None]
    >>> late[:800] = 0  # the reflections of the first 50 ms
    >>> x = speech + fftconvolve(speech, late, axes=0)[: len(speech)]
    >>> pipeline = make_pipeline(STFT(512, sample_rate=16_000), WPE(), ISTFT())
    >>> z = pipeline.fit_transform(x)
    >>> for signals in (x, z):
    ...     print((np.square(signals - speech).mean() / np.square(x).mean()).round(3))
    0.074
    0.003
    """

    _parameter_constraints: dict = {
        "taps": [Interval(Integral, 1, None, closed="left")],
        "delay": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "floor": [Interval(Real, 0, 1, closed="both")],
        "joint": ["boolean"],
    }

    def __init__(
        self,
        taps: int = 16,
        *,
        delay: int = 4,
        max_iter: int = 3,
        floor: float = 1e-4,
        joint: bool = True,
    ):
        self.taps = taps
        self.delay = delay
        self.max_iter = max_iter
        self.floor = floor
        self.joint = joint

    def fit(self, X: Spectrogram | ArrayLike, y: object = None) -> Self:
        """Learn the filters.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_channels)
            Complex spectrogram of the recording.
        y : None
            Ignored.

        Returns
        -------
        self : WPE
            The fitted transformer.

        Raises
        ------
        ValueError
            If `X` isn't a complex, finite spectrogram.
        """
        self.fit_transform(X)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(
        self, X: Spectrogram | ArrayLike, y: object = None
    ) -> Spectrogram | np.ndarray:
        """Learn the filters, and take off the reverberation.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_channels)
            Complex spectrogram of the recording.
        y : None
            Ignored.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_channels)
            As from `transform`.
        """
        task = FitTask(self, X, y)
        data = self._check_X(X, reset=True)
        apart = self._apart(data)
        n_frames, _, n_channels = apart.shape
        taps = min(self.taps, max(1, n_frames // (FRAMES_PER_TAP * n_channels)))
        Y = np.empty_like(apart)
        filters = learn_filters(apart, self.delay, taps, self.max_iter, self.floor, Y)
        self.filters_, self.n_iter_ = self._together(filters), self.max_iter
        task.end()
        return without_mixing(X, Y)

    def transform(self, X: Spectrogram | ArrayLike) -> Spectrogram | np.ndarray:
        """Take off the reverberation.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_channels)
            What was fitted to, or later audio of the same room.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_channels)
            The same channels with less reverberation, of the type and precision of `X`.
            A record of separated outputs has no mixing matrices anymore.
        """
        check_is_fitted(self)
        apart = self._apart(self._check_X(X, reset=False))
        filters = self.filters_.swapaxes(2, 3)
        if not self.joint:
            each = np.einsum("fkik->fki", filters)
            filters = each.reshape(-1, 1, filters.shape[2], 1)
        return without_mixing(X, subtract_prediction(apart, filters, self.delay))

    def _apart(self, data):
        """Channels that don't know of each other, as if they were other bins."""
        return data if self.joint else data.reshape(len(data), -1, 1)

    def _together(self, filters):
        """Put filters of channels that don't know of each other among all."""
        filters = filters.swapaxes(2, 3)
        if self.joint:
            return np.ascontiguousarray(filters)
        K = self.n_features_in_
        together = np.zeros((len(filters) // K, K, K, filters.shape[3]), complex)
        np.einsum("fkki->fki", together)[:] = filters.reshape(-1, K, filters.shape[3])
        return together
