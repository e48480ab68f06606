"""Auxiliary-function-based independent vector analysis."""

# License: BSD-3-Clause

from itertools import islice
from numbers import Integral, Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from skbss.base import resolve
from skbss.callbacks import FitTask
from skbss.parallel import block_map
from skbss.separators._batch import BatchSeparator, output_power, run
from skbss.sklearn_parts import HasMethods, Interval, StrOptions, _fit_context
from skbss.spectrogram import Spectrogram
from skbss.updates.iteration import SourceVariances, iterate
from skbss.updates.noise import liveliness, signal_shares, whitened_noise
from skbss.updates.protocols import SourceModel, SpatialUpdate
from skbss.updates.source import SOURCE_MODELS, bands_of
from skbss.updates.spatial import SPATIAL_UPDATES

# Iterations that look for what is loud, where there are fewer sources than microphones.
SEARCH_ITER = 25

# Iterations that look at voices without their noise.
VOICE_ITER = 15


class AuxIVA(BatchSeparator):
    r"""Separate by auxiliary-function-based independent vector analysis.

    IVA assumes that the loudness of a source goes up and down together at all
    frequencies, which both separates and keeps the outputs' frequencies sorted.
    Parameter-free, fast, and a good start for `ILRMA`, which models spectra too and
    usually separates better.

    Parameters
    ----------
    source : {'gauss', 'laplace', 't', 'ggd', 'cliques'} or SourceModel, default='gauss'
        The source model. 'gauss' is a Gaussian whose variance changes from frame to
        frame [1]_, 'laplace' a spherical Laplace distribution [2]_; 't' and 'ggd' are
        `skbss.updates.StudentT` and `skbss.updates.GeneralizedGauss`. 'cliques' tells
        ranges of frequency apart and refines what another separator has found; see
        `skbss.updates.Cliques`. The parameters of an object, a
        `skbss.updates.SourceModel`, are reached as ``source__<parameter>``.
    n_sources : int, default=None
        Number of outputs, at most that of microphones. None means as many as there are
        microphones. What fewer sources leave, noise and reverberation, is taken for a
        background of ``n_mics - n_sources`` stationary components [3]_, [4]_. Give the
        number of talkers where it is known: then every microphone helps to separate
        them.
    noise : float, default=1e-5
        Power of white noise to expect at each microphone, relative to its power, where
        there are fewer sources than microphones. With less, weak and lively remainders
        of reverberation count as sources: 30 dB were lost in one scene. With more than
        0.01, weak talkers are taken for background.
    quiet : float, default=0.0
        Fraction of the frames of each bin, the quietest ones, in which there is only
        noise, as in `NoiseReducer`. Where that finds noise, bins count as far as they
        tell sources apart in spite of it, or all alike if that makes livelier outputs,
        for which all iterations are run twice, and 15 more follow in which the noise is
        taken off loudness; see Notes. 0 counts all bins alike.
    spatial : {'ip1', 'ip2', 'iss1', 'iss2'} or SpatialUpdate, default='ip1'
        The update of the demixing matrices: iterative projection by one source [2]_ or
        two at a time, or iterative source steering by one or two. All lower the same
        objective. An object is a `skbss.updates.SpatialUpdate`.
    max_iter : int, default=50
        Most iterations.
    sort_iter : int, default=25
        After every so many iterations, look for bands of frequencies in which two
        outputs should be swapped, and swap them. The objective falls by it. With 0, or
        more than `max_iter`, bands are never sorted, as in the papers.
    tol : float, default=0.0
        Stop when an iteration lowers the objective by less than this, in nats per
        source, frame and frequency bin, with a ConvergenceWarning if that does
        not happen within `max_iter` iterations. With 0 all iterations are run, as is
        customary in audio: separation may improve long after the objective is flat.
    init : 'identity' or array-like, default=None
        Demixing matrices to start from, of shape (n_freqs, n_sources, n_mics).
        'identity' takes the first microphones for the sources, and so does None where
        there are as many sources as microphones. Where there are fewer, None begins
        with 25 more iterations from the principal components, in which 20 dB of noise
        are expected: so what is loud is found first. One scene gained 14 dB by it,
        others lost at most 1.
    target : array-like, default=None
        What is known of the source that is to be the first: a time in which it is heard
        alone, ``(start, end)`` in seconds, for which `X` must be a record with a sample
        rate; or its steering vectors of shape (n_freqs, n_mics), up to a factor in each
        bin, such as `skbss.steering_vectors` gives for a direction; or its covariances
        at the microphones, of shape (n_freqs, n_mics, n_mics). Frequencies go from 0 to
        half the sample rate; if there are more or fewer than in `X`, those between are
        interpolated. All other sources, and the background, are kept from hearing it.
        With ``n_sources=1`` a second source is separated for that, and left out.
    target_weight : float, default=None
        How much a `target` counts, as a fraction of the frames. None means 0.3, and 1
        for a single source, which at 0.3 was another one in some rooms.
    warm_start : bool, default=False
        Start from the demixing matrices of the last call to `fit` instead.
    random_state : int, RandomState instance or None, default=None
        Not used, as nothing is random here. Present so that one setting reaches all
        separators.

    Attributes
    ----------
    demixing_ : ndarray of shape (n_freqs, n_sources, n_mics)
        Demixing matrices W, y = W x, complex128.
    mixing_ : ndarray of shape (n_freqs, n_mics, n_sources)
        Mixing matrices, complex128: A y is what the outputs explain of x. Where there
        are as many sources as microphones they are the inverses, and x = A y.
    objective_ : ndarray of shape (`n_iter_`,)
        Negative log-likelihood after every iteration, in nats and up to a constant, of
        the recording scaled to unit root mean square.
    n_iter_ : int
        Number of iterations run.
    n_features_in_ : int
        Number of microphones.

    See Also
    --------
    ILRMA : Models the spectra of the sources as well.
    ProjectionBack : Gives the outputs the scale they have at a microphone.

    Notes
    -----
    The objective is :math:`\sum_{kft} c(y_{kft}) - T \sum_f \log\det(W_f W_f^H)` with
    the source model's cost c per bin and T frames, on whitened microphones: the
    background, which is what is orthogonal to the rows of W there, is at its best. For
    as many sources as microphones the last term is :math:`-2 T \sum_f \log|\det W_f|`.
    It never rises, except by rounding. Frames of a source that are more
    than 60 dB below the recording's mean power count as if
    they were at that level, since the likelihood of exact silence is unbounded.

    With `quiet` the covariance N of the noise is that of the quietest frames of each
    bin, and C that of all. The largest generalized eigenvalue of N and C is the share
    of noise in the weakest direction of the microphones, without which sources can't be
    told apart. Where it is above 0.1 in half of the bins, with s one less this share,
    bins count by :math:`s^3` in the power of a frame, and weights of cliques are
    :math:`\sqrt{s} / r_{kbt} + (1 - \sqrt{s}) / r_{kt}`: what noise makes ambiguous
    follows those bins that are clear. The objective of cliques leaves that out, and may
    rise. After another separator, quiet frames are those of the microphones.

    A start in noise may end with noise in one output and two talkers in another, with
    bins counted or without. Source models of whole frames separate in both ways, and
    the result stays whose outputs are livelier. With rows of W of unit norm, and the
    mean power :math:`p_{kt}` of a frame less that of the noise, at least 0, in units of
    its mean, that is the lower mean of :math:`\log(p_{kt} + 0.1)`: a voice pauses, two
    of them pause less, and noise never does.

    Frames in which a voice pauses say most about its row of W, and with noise they are
    hardly quieter than others. So 15 iterations follow that weight frames by their
    power less that of the noise, at least a twentieth of its mean, which is also the
    :math:`r_{kt}` of cliques. `objective_` and `n_iter_` are those of the start.

    With a `target`, of whitened covariance Q with a mean diagonal of the
    `target_weight` in every bin, the weighted covariances of all sources but the first
    become

    .. math:: V_k + \bar v_k Q,

    with the mean :math:`\bar v_k` of the diagonal of :math:`V_k`, whatever the spatial
    update. Q falls by a tenth in each iteration, so that the target decides which
    output it becomes and not how that is separated. Where there is a background, whose
    covariance becomes I + Q, it stays. The first output is the one whose mixing vectors
    are most like the target; the objective, which leaves the target out, may rise.

    The outputs have no meaningful scale before `ProjectionBack`.

    References
    ----------
    .. [1] N. Ono, "Auxiliary-function-based independent vector analysis with power of
       vector-norm type weighting functions", APSIPA ASC 2012.
    .. [2] N. Ono, "Stable and fast update rules for independent vector analysis based
       on auxiliary function technique", WASPAA 2011.
       :doi:`10.1109/ASPAA.2011.6082320`
    .. [3] R. Scheibler and N. Ono, "Independent vector analysis with more microphones
       than sources", WASPAA 2019. :doi:`10.1109/WASPAA.2019.8937170`
    .. [4] R. Ikeshita, T. Nakatani and S. Araki, "Block coordinate descent algorithms
       for auxiliary-function-based independent vector extraction", IEEE Trans. Signal
       Process. 69, 2021. :doi:`10.1109/TSP.2021.3076884`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss.separators import AuxIVA
    >>> rng = np.random.default_rng(0)
    >>> loudness = rng.gamma(0.2, size=(2, 200, 1))  # two sources, 200 frames
    >>> sources = loudness * (rng.normal(size=(2, 200, 9)) + 1j)  # 9 frequencies
    >>> mixing = rng.normal(size=(9, 2, 2)) + 1j * rng.normal(size=(9, 2, 2))
    >>> X = np.einsum("fmk,ktf->tfm", mixing, sources)
    >>> separator = AuxIVA(max_iter=20).fit(X)
    >>> gains = abs(separator.demixing_ @ mixing)  # a scaled permutation in every bin
    >>> bool((gains.min(2) < 0.1 * gains.max(2)).all())
    True
    """

    _parameter_constraints: dict = BatchSeparator._parameter_constraints | {
        "source": [StrOptions(set(SOURCE_MODELS)), HasMethods(["variance", "cost"])],
        "sort_iter": [Interval(Integral, 0, None, closed="left")],
        "quiet": [Interval(Real, 0, 1, closed="left")],
        "init": [StrOptions({"identity"}), "array-like", None],
    }

    def __init__(
        self,
        source: str | SourceModel = "gauss",
        *,
        n_sources: int | None = None,
        noise: float = 1e-5,
        quiet: float = 0.0,
        spatial: str | SpatialUpdate = "ip1",
        max_iter: int = 50,
        sort_iter: int = 25,
        tol: float = 0.0,
        init: str | ArrayLike | None = None,
        target: ArrayLike | None = None,
        target_weight: float | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.source = source
        self.n_sources = n_sources
        self.noise = noise
        self.quiet = quiet
        self.spatial = spatial
        self.max_iter = max_iter
        self.sort_iter = sort_iter
        self.tol = tol
        self.init = init
        self.target = target
        self.target_weight = target_weight
        self.warm_start = warm_start
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Spectrogram | ArrayLike, y: object = None) -> Self:
        """Learn the demixing matrices of a recording.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_mics)
            Complex spectrogram of the recording.
        y : None
            Ignored.

        Returns
        -------
        self : AuxIVA
            The fitted separator.

        Raises
        ------
        ValueError
            If `X` is no complex, finite, three-dimensional array, or a parameter is out
            of its range.
        """
        source = resolve(self.source, SOURCE_MODELS)
        spatial = resolve(self.spatial, SPATIAL_UPDATES)
        is_refined = bands_of(source) > 1
        n_iter = self._may_search() * SEARCH_ITER + self.max_iter
        if self.quiet and not is_refined:
            n_iter += self.max_iter + VOICE_ITER
        task = FitTask(self, X, y, n_iter)
        record, X = X, self._check_X(X, reset=not self._is_warm())
        covariances = self._covariances(record, X)
        with block_map() as map_blocks:
            recording, W, target = self._begin(
                X, covariances, spatial, SEARCH_ITER, task, map_blocks
            )
            level, sort_iter = output_power(W).mean(), self.sort_iter
            if is_refined:
                level, sort_iter = 1.0, 0
                if not self._is_warm():  # all bins alike, whatever their power
                    W /= np.linalg.norm(W, axis=1, keepdims=True)
            noise, shares = self._noise(record, X, recording)

            def separate(W, shares, noise=None, name="iteration"):
                model = SourceVariances(source, X.real.dtype, level, shares, noise)
                iterations = iterate(recording, W, model, spatial, sort_iter, target)
                return task.iterations(iterations, recording.learned, name)

            if shares is None or is_refined:
                W, objectives = run(self, separate(W, shares, noise), X.size)
            else:
                ways = separate(W, shares), separate(W, None, name="plain-iteration")
                W, objectives = max(
                    [run(self, one, X.size) for one in ways],
                    key=lambda one: liveliness(recording, one[0], noise),
                )
                voices = separate(W, shares, noise, "voice-iteration")
                for W, _ in islice(voices, VOICE_ITER + 1):  # noqa: B007
                    pass
            recording.forget()
            if target is not None:
                W = target.first(W)[: self.n_sources]
            self.__dict__.update(recording.learned(W, objectives))
        task.end()
        return self

    def _noise(self, record, X, recording):
        """Covariances of noise, and shares of signal in the bins.

        None for both if none is looked for, or there is little.
        """
        if not self.quiet:
            return None, None
        mixing = getattr(record, "mixing", None)
        if mixing is not None:
            mixing = mixing[0] if len(mixing) == 1 else None
        noise = whitened_noise(X, mixing, recording, self.quiet)
        shares = signal_shares(noise, self.n_sources or recording.n_mics)
        return None if shares is None else noise, shares
