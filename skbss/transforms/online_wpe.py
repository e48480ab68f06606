"""Dereverberation while the recording is being made."""

# License: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skbss.base import check_as_fitted, check_spectrogram
from skbss.callbacks import FitTask
from skbss.frame_by_frame import FrameByFrameMixin
from skbss.sklearn_parts import Interval
from skbss.spectrogram import Spectrogram
from skbss.transforms._outputs import OutputsTransformer
from skbss.transforms.wpe import without_mixing
from skbss.updates.dereverberation import prediction_filters, subtract_prediction

# Bins take turns: each learns from so many frames at once, after as many frames.
TURNS = 8

# White noise that is expected beside past frames, as so many frames of the running
# power. It holds filters back while few frames are known, and where they were quiet:
# with 3 frames the first seconds were up to 1 dB worse, with 40 those after.
LOADING = 10.0

# Powers below are silence, of which nothing is learned; rounding errors of sums.
LEAST = 1e-300
EPS = 1e-12


class OnlineWPE(FrameByFrameMixin, OutputsTransformer):
    r"""Take off reverberation while the recording is being made.

    The online form of `WPE`: correlations of frames with past ones are running sums
    that fade exponentially, from which each frequency bin learns its filters anew after
    every eighth frame. The first seconds keep most of their reverberation.

    It stands in the pipeline of a `Stream`, before an online separator, and adds no
    delay.

    Parameters
    ----------
    taps : int, default=10
        Length of the filters in frames, as of `WPE`. Time and memory grow with the
        square of taps times channels.
    delay : int, default=3
        How many frames before the present one the filters begin.
    forget : float, default=0.999
        Weight of the past, per frame. Frames are forgotten with a time constant of
        ``hop_length / (sample_rate * (1 - forget))`` seconds: 16 s by default with a
        hop of 256 samples at 16 kHz. It should be many times as long as there are
        coefficients of a filter, taps times channels.
    floor : float, default=1e-3
        Least power of a frame in its weight, relative to the running power of the
        frequency bin.

    Attributes
    ----------
    filters_ : ndarray of shape (n_freqs, n_channels, n_channels, taps)
        As of `WPE`, after the last frame.
    n_frames_seen_ : int
        Number of frames so far.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    WPE : With all of the recording at hand.
    Stream : Runs it block by block.

    Notes
    -----
    With the filters G of the moment, it is the recursion [1]_

    .. math:: y_t = x_t - G^H \bar x_t, \quad
        R \leftarrow \alpha R + \frac{\bar x_t \bar x_t^H}{\lambda_t}, \quad
        P \leftarrow \alpha P + \frac{\bar x_t x_t^H}{\lambda_t}, \quad
        G = (R + \epsilon I)^{-1} P

    with the powers :math:`\lambda` of y, relative to the running power: what was very
    quiet, as before a recording begins, counts little once it is loud. R is kept,
    instead of its inverse, which would drift away, and solved for an eighth of the bins
    in each frame, so that all frames take the same time. The loading :math:`\epsilon`
    is that of ten frames of the running power.

    How many frames come at a time doesn't change the result.

    References
    ----------
    .. [1] T. Yoshioka, H. Tachibana, T. Nakatani and M. Miyoshi, "Adaptive
       dereverberation of speech signals with speaker-position change detection", ICASSP
       2009. :doi:`10.1109/ICASSP.2009.4960437`

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss import ISTFT, STFT, OnlineWPE, Stream
    >>> from skbss.datasets import load_cocktail_party
    >>> x = load_cocktail_party().mixture[:16_000]
    >>> stream = Stream(make_pipeline(STFT(1024), OnlineWPE(), ISTFT()))
    >>> y = [stream.process(block) for block in (x[:5000], x[5000:])]
    >>> sum(map(len, y)) >= len(x) - stream.latency
    True
    """

    _parameter_constraints: dict = {
        "taps": [Interval(Integral, 1, None, closed="left")],
        "delay": [Interval(Integral, 1, None, closed="left")],
        "forget": [Interval(Real, 0, 1, closed="right")],
        "floor": [Interval(Real, 0, 1, closed="right")],
    }

    # Lowest values of entries of the state.
    _least = dict.fromkeys(["n_frames", "power", "weights"], 0)

    def __init__(
        self,
        taps: int = 10,
        *,
        delay: int = 3,
        forget: float = 0.999,
        floor: float = 1e-3,
    ):
        self.taps = taps
        self.delay = delay
        self.forget = forget
        self.floor = floor

    @property
    def filters_(self) -> np.ndarray:
        """Filters after the last frame."""
        return self._state["filters"].swapaxes(2, 3).copy()

    @property
    def n_frames_seen_(self) -> int:
        """Number of frames so far."""
        return self._state["n_frames"]

    @property
    def n_features_in_(self) -> int:
        """Number of channels."""
        return self._state["frames"].shape[2]

    @property
    def _n_freqs_in(self):
        return self._state["frames"].shape[1]

    def transform(self, X: Spectrogram | ArrayLike) -> Spectrogram | np.ndarray:
        """Take off reverberation by the filters of now, without learning.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_channels)
            Complex spectrogram, before which there was silence.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_channels)
            The same channels with less reverberation, of the type and precision of `X`.
        """
        check_is_fitted(self)
        data = self._check_X(X, reset=False)
        filters = self._state["filters"]
        return without_mixing(X, subtract_prediction(data, filters, self.delay))

    def _check_X(self, X, *, reset):
        data = check_spectrogram(X, type(self).__name__)
        if not reset:
            check_as_fitted(self, data, "channels")
        return data

    def _first_state(self, n_freqs, n_channels):
        """State before the first frame."""
        n = self.taps * n_channels
        n_kept = TURNS + self.delay + self.taps
        return {
            # The newest first.
            "frames": np.zeros((n_kept, n_freqs, n_channels), complex),
            "weights": np.zeros((TURNS, n_freqs)),
            "power": np.zeros(n_freqs),
            "past": np.zeros((n_freqs, n, n), complex),
            "present": np.zeros((n_freqs, n, n_channels), complex),
            "filters": np.zeros((n_freqs, n_channels, self.taps, n_channels), complex),
            "n_frames": 0,
        }

    def _state_like(self, state):
        return self._first_state(*np.shape(state["frames"])[1:])

    def _check_state(self, state):
        pass

    def _run(self, X, y=None, *, reset=False, monitored=False, separate=False):
        """Learn from the frames of X, and return them dereverberated if asked for."""
        data = self._check_X(X, reset=reset)
        state = self._first_state(*data.shape[1:]) if reset else self._state
        Y = np.empty_like(data) if separate else None

        def process():
            task = FitTask(self, X, y) if monitored else None
            for t, x in enumerate(data):
                self._state, result = self._advanced(self._state, x)
                if separate:
                    Y[t] = result
            if task:
                task.end()

        self._run_from(state, process, whole=monitored)
        return without_mixing(X, Y) if separate else None

    def _advanced(self, state, x):
        """Return the state after a frame (n_freqs, n_channels), and its result."""
        frames = np.concatenate([x[None], state["frames"][:-1]])
        L, D = self.taps, self.delay
        # A filter is about what came before the newest frame, at 0.
        y = x - np.einsum("fmlk,lfk->fm", state["filters"], frames[D : D + L])
        p = (y.real**2 + y.imag**2).mean(1)
        n_frames = state["n_frames"] + 1
        fresh = max(1 - self.forget, 1 / n_frames)
        power = state["power"] + fresh * (p - state["power"])
        least = np.maximum(self.floor * power, LEAST)
        weight = power / np.maximum(p, least)
        weights = np.concatenate([weight[None], state["weights"][:-1]])
        new = state | {
            "frames": frames,
            "weights": weights,
            "power": power,
            "n_frames": n_frames,
        }
        self._learn(new, slice(n_frames % TURNS, None, TURNS))
        return new, y

    def _learn(self, state, bins):
        """Let sums and filters of some bins follow the last frames, in place."""
        if bins.start >= len(state["filters"]):
            return
        L, D = self.taps, self.delay
        n_new = min(TURNS, state["n_frames"])
        frames = state["frames"][:, bins]
        past = np.stack([frames[D + i : D + i + L] for i in range(n_new)])
        # (n_bins, taps * n_channels, n_new)
        past = past.transpose(2, 1, 3, 0).reshape(frames.shape[1], -1, n_new)
        now = frames[:n_new].transpose(1, 0, 2).conj()
        fade = self.forget ** np.arange(n_new)
        weighted = past * (state["weights"][:n_new, bins].T * fade)[:, None]
        fade = self.forget**n_new
        R = fade * state["past"][bins] + weighted @ past.conj().swapaxes(1, 2)
        P = fade * state["present"][bins] + weighted @ now
        loaded = R.copy()
        noise = LOADING * state["power"][bins]
        np.einsum("fii->fi", loaded)[:] += noise[:, None]
        G = prediction_filters(loaded, P, EPS)
        # Copying what doesn't change would take longer than all else.
        state["past"][bins], state["present"][bins] = R, P
        state["filters"][bins] = G
