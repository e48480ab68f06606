"""Online auxiliary-function-based independent vector analysis."""

# License: BSD-3-Clause

import numpy as np

from skbss.base import resolve
from skbss.separators._online import FLOOR, RecursiveSeparator
from skbss.sklearn_parts import HasMethods, StrOptions
from skbss.updates.protocols import SpatialUpdate, VarianceModel
from skbss.updates.source import SOURCE_MODELS, bands_of, source_variance

# Models of whole frames: what one frame says of many bands is too little.
SOURCES = set(SOURCE_MODELS) - {"cliques"}


class OnlineAuxIVA(RecursiveSeparator):
    r"""Separate by AuxIVA while the recording is being made.

    The online form [1]_ of `AuxIVA`: after every frame the demixing matrices are
    updated, with weights of past frames that fade exponentially. The first seconds are
    hardly separated; after that it follows moving sources and does nearly as well as
    `AuxIVA` with all of the recording at hand. Time and memory per frame stay the same
    for ever.

    Parameters
    ----------
    forget : float, default=0.994
        Weight of the past, per frame. Frames are forgotten with a time constant of
        ``hop_length / (sample_rate * (1 - forget))`` seconds: 5.3 s by default with a
        hop of 512 samples at 16 kHz. For a time constant tau at another hop take
        ``1 - hop_length / (sample_rate * tau)``. Less than 3 s separates worse, more
        than 8 s follows moving sources slowly.
    inner_iter : int, default=1
        Updates per frame. More than one did not separate better in rooms: they fit the
        newest frame more closely.
    source : {'gauss', 'laplace', 't', 'ggd'} or VarianceModel, default='gauss'
        The source model, as in `AuxIVA`, but of whole frames: ``variance`` is asked
        about mean powers of shape (n_sources, 1, n_frames), and nothing else is needed
        of an object, a `skbss.updates.VarianceModel`. Outputs have a running mean power
        of one.
    spatial : {'ip1', 'iss1'} or SpatialUpdate, default='ip1'
        The update of the demixing matrices, as in `AuxIVA`. 'ip1' is the fastest here,
        'iss1' does without matrix inverses [2]_. An object is a
        `skbss.updates.SpatialUpdate`.
    lookback : int, default=64
        The weights of so many past frames, 2 s by default, are computed anew for every
        fourth frame, with the demixing matrices of then (for every frame at the start).
        Weights that early, bad matrices give would stay as long as the frames and hold
        back what is learned: with 64 frames separation was 2.5 dB better than with
        none. They are kept in memory. With 1 it is the algorithm of [1]_.
    ref_mic : int, default=0
        The microphone that outputs of a record are images at. Take that of
        `ProjectionBack`: at others the outputs are scaled by relative mixing matrices
        of up to 32 frames before, which was 0.4 dB worse.

    Attributes
    ----------
    demixing_ : ndarray of shape (n_freqs, n_sources, n_mics)
        Demixing matrices W after the last frame, y = W x.
    mixing_ : ndarray of shape (n_freqs, n_mics, n_sources)
        Mixing matrices A after the last frame, by least squares: see the notes.
    n_frames_seen_ : int
        Number of frames learned from.
    n_features_in_ : int
        Number of microphones.

    See Also
    --------
    AuxIVA : With all of the recording at hand.
    OnlineILRMA : Models the spectra of the sources as well.
    ProjectionBack : Gives the outputs the scale they have at a microphone.

    Notes
    -----
    With weights :math:`\varphi = 1 / r` from the source model and the forgetting
    factor :math:`\alpha` one update of the demixing matrices takes the covariances

    .. math:: V_{kf} = \frac{1}{Z + 1} \Big(\sum_{n \le t} \alpha^{t - n}
        \varphi_{kn} x_{nf} x_{nf}^H + \sigma_f I\Big), \quad
        Z = \sum_{n \le t} \alpha^{t - n}.

    So the memory grows from short to long, and each frame counts once.
    :math:`\sigma_f`, the running power of the bin, stands for one frame of white noise.

    The mixing matrices bring each output nearest to the microphones, :math:`A_f = R_f
    W_f^H D_f` with the running covariance :math:`R_f` of the microphones and the
    diagonal :math:`D_f` of one over the outputs' powers. Where the outputs are
    uncorrelated this is the inverse of :math:`W_f`. At the start it isn't: the inverse
    of :math:`W_f = I` projects the first output to the whole mixture, and all others
    to nothing. So ``x = A y`` holds in the sense of least squares only.

    Outputs of an array are ``W x``. Those of a record are images at microphone
    `ref_mic`, ``A[ref_mic] * W x``, and its mixing matrices are relative to it: they
    change slowly, and one is kept for many frames: for one of 16 at the start, for 32
    at most. In between, factors that follow every frame bring them nearest to A.

    Frames more than 50 dB below the running power are silence: they are separated, and
    nothing is learned from them, nor while a microphone is dead. When no frame has come
    within 30 dB of the running power for half a time constant, though they vary, the
    signal has become quieter, and the past is scaled down to its level. When the
    outputs of the newest second are coherent, above 0.3 in the mean over frequency, the
    sources have jumped to other places: all but the newest half second is forgotten.
    That needs a `lookback` of 64 frames or more.

    References
    ----------
    .. [1] T. Taniguchi, N. Ono, A. Kawamura and S. Sagayama, "An auxiliary-function
       approach to online independent vector analysis for real-time blind source
       separation", HSCMA 2014. :doi:`10.1109/HSCMA.2014.6843261`
    .. [2] T. Nakashima and N. Ono, "Inverse-free online independent vector analysis
       with flexible iterative source steering", APSIPA ASC 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import STFT, OnlineAuxIVA
    >>> from skbss.datasets import make_convolutive_mixture
    >>> x, _ = make_convolutive_mixture(32000, random_state=0)
    >>> X = STFT(n_fft=1024).fit_transform(x)
    >>> separator = OnlineAuxIVA()
    >>> frames = np.asarray(X)
    >>> blocks = np.array_split(frames, 10)
    >>> Y = np.concatenate([separator.partial_fit_transform(b) for b in blocks])
    >>> bool((Y == separator.fit_transform(frames)).all())
    True
    """

    _parameter_constraints: dict = {
        **RecursiveSeparator._parameter_constraints,
        "source": [StrOptions(SOURCES), HasMethods("variance")],
    }

    def __init__(
        self,
        forget: float = 0.994,
        *,
        inner_iter: int = 1,
        source: str | VarianceModel = "gauss",
        spatial: str | SpatialUpdate = "ip1",
        lookback: int = 64,
        ref_mic: int = 0,
    ):
        self.forget = forget
        self.inner_iter = inner_iter
        self.source = source
        self.spatial = spatial
        self.lookback = lookback
        self.ref_mic = ref_mic

    def _prepare(self):
        super()._prepare()
        self._source = resolve(self.source, SOURCE_MODELS)
        n_bands = bands_of(self._source)
        if n_bands != 1:
            raise ValueError(
                f"Got source={self.source!r}, a model of {n_bands} bands, but "
                "OnlineAuxIVA needs one of whole frames, of 1 band."
            )

    def _variance(self, power):
        variance = source_variance(self._source, power[:, None])[:, 0]
        # Of other precision it might leave the range of this one.
        numbers = np.finfo(power.dtype)
        return np.clip(variance, numbers.tiny, numbers.max, dtype=power.dtype)

    def _weigh(self, power):
        """Weights (n_sources, 1) of a frame of powers (n_sources, n_freqs)."""
        mean = power.mean(axis=1, keepdims=True)
        return 1 / self._variance(np.maximum(mean, FLOOR))

    def _past_weights(self, power, decay):
        return decay / self._variance(np.maximum(power, FLOOR))

    def _commit(self, power, slot):
        return self._weigh(power)
