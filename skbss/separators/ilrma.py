"""Independent low-rank matrix analysis."""

# License: BSD-3-Clause

from functools import partial
from itertools import islice
from numbers import Integral, Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skbss.base import BaseSeparator, learned_attributes, resolve, run
from skbss.callbacks import FitTask
from skbss.linalg import log_abs_det, matmul, power_features
from skbss.parallel import block_map
from skbss.separators.auxiva import auxiva
from skbss.updates.features import loaded_covariance, whitened_features
from skbss.updates.nmf import (
    FLOOR,
    GivenVariances,
    LowRankVariances,
    low_rank_variances,
)
from skbss.updates.source import Gauss
from skbss.updates.spatial import SPATIAL_UPDATES, update_demixing


def ilrma(P, W, model, spatial, map_blocks=map):
    """Iterate ILRMA for ever, from given demixing matrices and variances.

    Parameters
    ----------
    P : ndarray of shape (n_freqs, n_mics ** 2, n_columns)
        Hermitian features of the recording, zero beyond the last frame.
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices to start from.
    model : LowRankVariances or GivenVariances
        The variances, updated in place.
    spatial : object
        The spatial update.
    map_blocks : callable, default=map
        From `block_map`.

    Yields
    ------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices: first those given, then one update further each time.
    objective : float
        Negative log-likelihood of them and of the model, after an update.
    """
    n_frames = model.n_frames
    mean = np.ascontiguousarray(P.sum(-1, dtype=float).T) / n_frames
    W, Q = normalize(W, power_features(W), mean, model)
    yield W, np.inf
    while True:
        model.update(P, Q, map_blocks)
        S, log_precision = model.weigh(P, map_blocks)
        W = update_demixing(spatial, W, loaded_covariance(S))
        Q = power_features(W)
        # sum_t |y|² / r is a quadratic form of the covariance at hand.
        data = n_frames * np.vdot(Q, S)
        objective = data - log_precision - 2 * n_frames * log_abs_det(W).sum()
        W, Q = normalize(W, Q, mean, model)
        yield W, objective


def normalize(W, Q, mean, model):
    """Give every output unit mean power, which leaves the likelihood as it is.

    Q are the power features of W, `mean` those of the recording. Returns W and Q.
    """
    K, M, F = W.shape
    power = Q.reshape(K, -1) @ mean.ravel()
    # An output in which nothing is heard (a dead microphone) must not be blown up.
    power = np.maximum(power, FLOOR * Q[:, :M].sum((1, 2))) / F
    model.scale(1 / power)
    gain = 1 / power[:, None, None]
    return W * np.sqrt(gain), Q * gain


def start_by_auxiva(X, W, spatial, n_iter, task):
    """Return the demixing matrices of X after some iterations of AuxIVA."""
    P, Z, Z_inv, _ = whitened_features(X, frames_last=False)
    learned = partial(learned_attributes, Z=Z, Z_inv=Z_inv, n_frames=len(X))
    iterations = auxiva(P, matmul(W, Z_inv), Gauss(), spatial, sort_iter=25)
    iterations = task.iterations(iterations, learned, "auxiva-iteration")
    for W, _ in islice(iterations, n_iter + 1):  # noqa: B007
        pass
    return matmul(W, Z)


class ILRMA(BaseSeparator):
    r"""Separate by independent low-rank matrix analysis.

    ILRMA [1]_ models the power spectrogram of each source by nonnegative matrix
    factorization: a few spectra (`basis_`), each with a loudness over time
    (`activations_`). It learns them together with the demixing matrices. With one
    spectrum it is close to `AuxIVA`; with a few it resolves voices and instruments
    that are loud at the same time.

    Parameters
    ----------
    n_basis : int, default=2
        Number of spectra per source. 1 or 2 for speech; music, whose notes return,
        takes 5 to 20 [1]_.
    source : {'nmf'} or object, default='nmf'
        The variance model. An object with a method ``variance(power)`` replaces the
        factorization: it gets the powers of the outputs, an ndarray of shape
        (n_sources, n_freqs, n_frames) whose mean is 1 for each source, and returns
        their variances, positive and of the same shape. A trained network fits in.
    update : {'mm', 'me'}, default='mm'
        Multiplicative updates of basis and activations. 'mm' (majorization-
        minimization) never raises the objective, 'me' (majorization-equalization, no
        square root) takes larger steps and needs fewer iterations.
    spatial : {'ip1', 'ip2', 'iss1', 'iss2'} or object, default='ip1'
        The update of the demixing matrices, as in `AuxIVA`.
    max_iter : int, default=50
        Most iterations.
    tol : float, default=0.0
        Stop when an iteration lowers the objective by less than this, in nats per
        source, frame and frequency bin, with a ConvergenceWarning if that does
        not happen within `max_iter` iterations. With 0 all iterations are run.
    init : {'auxiva', 'identity'} or array-like, default='auxiva'
        Demixing matrices to start from, of shape (n_freqs, n_sources, n_mics). 'auxiva'
        runs `init_iter` iterations of `AuxIVA` first, which sorts the frequencies by
        source: worth several dB on speech.
    init_iter : int, default=50
        Iterations of AuxIVA for ``init='auxiva'``.
    warm_start : bool, default=False
        Start from the demixing matrices, and where their shapes still fit the basis
        and the activations, of the last call to `fit`. Then `init` is ignored.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial basis and activations.

    Attributes
    ----------
    demixing_ : ndarray of shape (n_freqs, n_sources, n_mics)
        Demixing matrices W, y = W x, complex128. Each output has the mean power of
        the recording.
    mixing_ : ndarray of shape (n_freqs, n_mics, n_sources)
        Their inverses, x = A y, complex128.
    basis_ : ndarray of shape (n_sources, n_freqs, n_basis)
        Spectra of the outputs, in units of their power. Only with ``source='nmf'``.
    activations_ : ndarray of shape (n_sources, n_basis, n_frames)
        Activations of the spectra. Only with ``source='nmf'``.
    objective_ : ndarray of shape (`n_iter_`,)
        Negative log-likelihood after every iteration, in nats and up to a constant, of
        the recording scaled to unit root mean square.
    n_iter_ : int
        Number of iterations run, without those of AuxIVA.
    n_features_in_ : int
        Number of microphones.

    See Also
    --------
    AuxIVA : Models the loudness of the sources only; several times faster.
    ProjectionBack : Gives the outputs the scale they have at a microphone.

    Notes
    -----
    With variances :math:`r_{kft} = \sum_l b_{kfl} c_{klt}` the objective is

    .. math:: \sum_{kft} \Big(\frac{|y_{kft}|^2}{r_{kft}} + \log r_{kft}\Big)
        - 2 T \sum_f \log|\det W_f|.

    An iteration updates the basis, the activations, the demixing matrices, and scales
    every output to unit power, which leaves the objective as it is.

    References
    ----------
    .. [1] D. Kitamura, N. Ono, H. Sawada, H. Kameoka and H. Saruwatari, "Determined
       blind source separation unifying independent vector analysis and nonnegative
       matrix factorization", IEEE/ACM Trans. Audio, Speech, Lang. Process. 24(9), 2016.
       :doi:`10.1109/TASLP.2016.2577880`

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss import ILRMA, ISTFT, STFT, ProjectionBack
    >>> from skbss.datasets import load_cocktail_party
    >>> recording = load_cocktail_party()
    >>> separator = ILRMA(n_basis=2, random_state=0)
    >>> pipe = make_pipeline(STFT(), separator, ProjectionBack(), ISTFT())
    >>> voices = pipe.fit_transform(recording.mixture)
    >>> voices.shape == recording.mixture.shape
    True
    """

    _parameter_constraints: dict = {
        "n_basis": [Interval(Integral, 1, None, closed="left")],
        "source": [StrOptions({"nmf"}), HasMethods("variance")],
        "update": [StrOptions({"mm", "me"})],
        "spatial": [StrOptions(set(SPATIAL_UPDATES)), HasMethods("update")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "init": [StrOptions({"auxiva", "identity"}), "array-like"],
        "init_iter": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_basis=2,
        *,
        source="nmf",
        update="mm",
        spatial="ip1",
        max_iter=50,
        tol=0.0,
        init="auxiva",
        init_iter=50,
        warm_start=False,
        random_state=None,
    ):
        self.n_basis = n_basis
        self.source = source
        self.update = update
        self.spatial = spatial
        self.max_iter = max_iter
        self.tol = tol
        self.init = init
        self.init_iter = init_iter
        self.warm_start = warm_start
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the demixing matrices and the spectra of a recording.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_mics)
            Complex spectrogram of the recording.
        y : None
            Ignored.

        Returns
        -------
        self : ILRMA
            The fitted separator.

        Raises
        ------
        ValueError
            If `X` is no complex, finite, three-dimensional array, or a parameter is out
            of its range.
        """
        starts_cold = not self._is_warm() and isinstance(self.init, str)
        init_iter = self.init_iter if starts_cold and self.init == "auxiva" else 0
        task = FitTask(self, X, y, init_iter + self.max_iter)
        X = self._check_X(X, reset=not self._is_warm())
        W = self._start(*X.shape[1:])
        spatial = resolve(self.spatial, SPATIAL_UPDATES)
        if init_iter:
            W = start_by_auxiva(X, W, spatial, init_iter, task)
        P, Z, Z_inv, scale = whitened_features(X, frames_last=True)
        model = self._model(X, scale)
        # What another source model has left would be out of date.
        vars(self).pop("basis_", None)
        vars(self).pop("activations_", None)

        def learned(W, objectives):
            attributes = learned_attributes(
                W, objectives, Z=Z, Z_inv=Z_inv, n_frames=len(X)
            )
            if isinstance(model, LowRankVariances):
                attributes["basis_"] = model.basis * np.float64(scale) ** 2
                attributes["activations_"] = model.activations.copy()
            return attributes

        with block_map() as map_blocks:
            iterations = ilrma(P, matmul(W, Z_inv), model, spatial, map_blocks)
            iterations = task.iterations(iterations, learned)
            vars(self).update(learned(*run(self, iterations, X.size)))
        task.end()
        return self

    def _model(self, X, scale):
        n_frames, n_freqs, n_sources = X.shape
        if self.source != "nmf":
            return GivenVariances(self.source, n_sources, n_frames)
        rng = check_random_state(self.random_state)
        basis = rng.uniform(0.1, 1, (n_sources, n_freqs, self.n_basis))
        activations = rng.uniform(0.1, 1, (n_sources, self.n_basis, n_frames))
        if self._is_warm():
            if np.shape(getattr(self, "basis_", None)) == basis.shape:
                basis = self.basis_ / scale**2
            if np.shape(getattr(self, "activations_", None)) == activations.shape:
                activations = self.activations_
        return low_rank_variances(
            basis, activations, {"mm": 0.5, "me": 1.0}[self.update], X.real.dtype
        )
