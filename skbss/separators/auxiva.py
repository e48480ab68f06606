"""Auxiliary-function-based independent vector analysis."""

# License: BSD-3-Clause

from functools import partial
from itertools import count
from numbers import Integral, Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skbss.base import BaseSeparator, learned_attributes, resolve, run
from skbss.callbacks import FitTask
from skbss.linalg import log_abs_det, matmul, power_features
from skbss.updates.features import loaded_covariance, whitened_features
from skbss.updates.frames import frame_products
from skbss.updates.products import by_bin, dot_rows, sum_rows
from skbss.updates.sorting import sort_bands
from skbss.updates.source import SOURCE_MODELS, source_variance
from skbss.updates.spatial import SPATIAL_UPDATES, update_demixing

# Frames of a source this far below the mean power weigh like one at this level.
# Without a floor the likelihood is unbounded where a source vanishes from a frame.
FLOOR = 1e-10


def frame_powers(P, W):
    """Power of every output frame, summed over frequency: (n_frames, n_sources)."""
    Q = power_features(W).reshape(len(W), -1)
    return P.reshape(len(P), -1) @ Q.astype(P.dtype).T


def weigh(products, W, floor, source):
    """One pass over the features: output powers, and covariances weighted by them.

    The power of a frame needs all frequencies, the covariance of a frequency all
    frames. Both come from one block of frames while it is in the cache, so that the
    features, by far the largest array, travel from memory once an iteration.

    Parameters
    ----------
    products : object
        From `frame_products`.
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices.
    floor : float
        Least power of a frame.
    source : object
        The source model.

    Returns
    -------
    power : ndarray of shape (n_sources, n_frames)
        Output powers, not floored.
    variance : ndarray of shape (n_sources, n_frames)
        The source model's variances.
    S : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
        Features averaged with weights 1 / variance. Overwritten by the next call.
    """
    K, _, F = W.shape
    T = len(products.rows)
    Q = power_features(W).reshape(K, -1)
    products.start(Q.astype(products.rows.dtype, copy=False))
    power = np.empty((K, T), products.rows.dtype)
    variance = np.empty((K, T))
    for start in range(0, T, products.step):
        block = slice(start, start + products.step)
        power[:, block] = products.powers(block)
        floored = np.maximum(power[:, block], floor, dtype=float)
        variance[:, block] = source_variance(source, floored, F)
        weights = 1 / (T * variance[:, block])
        products.add(block, weights.astype(power.dtype))
    return power, variance, products.total().reshape(K, -1, F)


def objective(power, variance, W, floor, source):
    """Negative log-likelihood of the demixing matrices W."""
    n_frames, n_freqs = power.shape[1], W.shape[-1]
    floored = np.maximum(power, floor, dtype=float)
    # Below the floor the cost goes on along its tangent: r is at its least value.
    cost = source.cost(floored, n_freqs) + (power - floored) / variance
    return cost.sum() - 2 * n_frames * log_abs_det(W).sum()


def auxiva(P, W, source, spatial, sort_iter=0):
    """Iterate AuxIVA for ever with a source model of whole frames.

    Parameters
    ----------
    P : ndarray of shape (n_frames, n_mics ** 2, n_freqs)
        Hermitian features of the recording.
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices to start from.
    source, spatial : object
        The source model and the spatial update.
    sort_iter : int, default=0
        Sort frequency bands after every so many iterations; 0 for never.

    Yields
    ------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices: first those given, then one update further each time.
    objective : float
        Their negative log-likelihood.
    """
    # Powers are sums with cancellation: below rounding they mean nothing.
    floor = max(FLOOR, 10 * np.finfo(P.dtype).eps)
    floor *= float(frame_powers(P, W).mean(dtype=float)) or 1.0
    products = frame_products(P, len(W))
    for iteration in count(1):
        power, variance, S = weigh(products, W, floor, source)
        yield W, objective(power, variance, W, floor, source)
        W = update_demixing(spatial, W, loaded_covariance(S))
        if sort_iter and iteration % sort_iter == 0:
            W = sort_bands(P, W, floor, source)


def weigh_bands(P, n_frames, W, source):
    """Cost, and covariances weighted by a source model that tells bands apart.

    Parameters
    ----------
    P : ndarray of shape (n_freqs, n_mics ** 2, n_columns)
        Hermitian features of the recording, zero beyond the last frame.
    n_frames : int
        Number of frames.
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices.
    source : object
        The source model.

    Returns
    -------
    cost : float
        Negative log-likelihood of the outputs.
    S : ndarray of shape (n_sources, n_mics ** 2, n_freqs)
        Features averaged with weights 1 / variance.
    """
    F, n_features, n_columns = P.shape
    K = len(W)
    size = max(1, F // source.n_bands)
    Q = by_bin(power_features(W), P.dtype)
    # The bins of a band are one matrix of features.
    features = [p.reshape(len(p), -1, n_columns) for p in in_bands(P, size)]
    weights = [q.swapaxes(1, 2).reshape(len(q), K, -1) for q in in_bands(Q, size)]
    parts = [
        sum_rows(p, q, np.empty((K, len(p), n_columns), P.dtype))
        for p, q in zip(features, weights, strict=True)
    ]
    whole = np.concatenate(parts, axis=1)
    del parts  # memory counts where a recording is long
    power = whole[..., :n_frames]  # zeros beyond
    power /= size
    # The features are whitened and rows of W start with unit norm: the level is 1.
    np.maximum(power, max(FLOOR, 10 * np.finfo(P.dtype).eps), out=power)
    cost = size * source.cost(power)
    variance = source_variance(source, power)
    np.divide(1, variance, out=power, casting="same_kind")
    sums = [
        dot_rows(p, np.ascontiguousarray(u), np.empty_like(q))
        for p, q, u in zip(
            features, weights, np.split(whole, [F // size], axis=1), strict=False
        )
    ]
    sums = [s.reshape(len(s), K, -1, n_features).swapaxes(1, 2) for s in sums]
    S = np.concatenate([s.reshape(-1, K, n_features) for s in sums])
    return cost, np.ascontiguousarray(S.transpose(1, 2, 0)) / n_frames


def in_bands(A, size):
    """Yield A by bands: all those of some bins, and that of the bins left over."""
    whole = len(A) // size * size
    for part, n_bins in [(A[:whole], size), (A[whole:], len(A) - whole)]:
        if n_bins:
            yield part.reshape(-1, n_bins, *A.shape[1:])


def auxiva_bands(P, n_frames, W, source, spatial):
    """Iterate AuxIVA for ever with a source model that tells bands apart.

    Parameters and what is yielded are those of `auxiva`, except that the features `P`
    have the shape (n_freqs, n_mics ** 2, n_columns), zero beyond the last frame.
    Outputs should start with the same power in every bin.
    """
    while True:
        cost, S = weigh_bands(P, n_frames, W, source)
        yield W, cost - 2 * n_frames * log_abs_det(W).sum()
        W = update_demixing(spatial, W, loaded_covariance(S))


class AuxIVA(BaseSeparator):
    r"""Separate by auxiliary-function-based independent vector analysis.

    IVA assumes that the loudness of a source goes up and down together at all
    frequencies, which both separates and keeps the outputs' frequencies sorted. It has
    as many sources as microphones. Parameter-free, fast, and a good start for `ILRMA`,
    which models spectra too and usually separates better.

    Parameters
    ----------
    source : {'gauss', 'laplace', 'cliques'} or object, default='gauss'
        The source model. 'gauss' is a Gaussian whose variance changes from frame to
        frame [1]_, 'laplace' a spherical Laplace distribution [2]_. 'cliques' tells
        ranges of frequency apart and refines what another separator has found; see
        `skbss.updates.Cliques`. An object needs the two methods of
        `skbss.updates.Gauss`, and its parameters are then reached as
        ``source__<parameter>``.
    spatial : {'ip1', 'ip2', 'iss1', 'iss2'} or object, default='ip1'
        The update of the demixing matrices: iterative projection by one source [2]_ or
        two at a time, or iterative source steering by one or two. All lower the same
        objective. An object needs the method of `skbss.updates.IP1`.
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
    init : array-like of shape (n_freqs, n_sources, n_mics), default=None
        Demixing matrices to start from. None means the identity.
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
        Their inverses, x = A y, complex128.
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
    The objective is :math:`\sum_{kt} c(y_{kt}) - 2 T \sum_f \log|\det W_f|` with the
    source model's cost c and T frames. It never rises. Frames of a source that are more
    than 100 dB (56 dB in single precision) below the recording's mean power count as if
    they were at that level, since the likelihood of exact silence is unbounded.

    The outputs have no meaningful scale before `ProjectionBack`.

    References
    ----------
    .. [1] N. Ono, "Auxiliary-function-based independent vector analysis with power of
       vector-norm type weighting functions", APSIPA ASC 2012.
    .. [2] N. Ono, "Stable and fast update rules for independent vector analysis based
       on auxiliary function technique", WASPAA 2011.
       :doi:`10.1109/ASPAA.2011.6082320`

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

    _parameter_constraints: dict = {
        "source": [StrOptions(set(SOURCE_MODELS)), HasMethods(["variance", "cost"])],
        "spatial": [StrOptions(set(SPATIAL_UPDATES)), HasMethods("update")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "sort_iter": [Interval(Integral, 0, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "init": ["array-like", None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        source="gauss",
        *,
        spatial="ip1",
        max_iter=50,
        sort_iter=25,
        tol=0.0,
        init=None,
        warm_start=False,
        random_state=None,
    ):
        self.source = source
        self.spatial = spatial
        self.max_iter = max_iter
        self.sort_iter = sort_iter
        self.tol = tol
        self.init = init
        self.warm_start = warm_start
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
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
        task = FitTask(self, X, y, self.max_iter)
        X = self._check_X(X, reset=not self._is_warm())
        W = self._start(*X.shape[1:])
        source = resolve(self.source, SOURCE_MODELS)
        spatial = resolve(self.spatial, SPATIAL_UPDATES)
        tells_bands = hasattr(source, "n_bands")
        P, Z, Z_inv, _ = whitened_features(X, frames_last=tells_bands)
        W = matmul(W, Z_inv)
        if tells_bands:
            if not self._is_warm():
                W = W / np.linalg.norm(W, axis=1, keepdims=True)
            iterations = auxiva_bands(P, len(X), W, source, spatial)
        else:
            iterations = auxiva(P, W, source, spatial, self.sort_iter)
        learned = partial(learned_attributes, Z=Z, Z_inv=Z_inv, n_frames=len(X))
        iterations = task.iterations(iterations, learned)
        vars(self).update(learned(*run(self, iterations, X.size)))
        task.end()
        return self
