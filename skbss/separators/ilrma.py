"""Independent low-rank matrix analysis."""

# License: BSD-3-Clause

from numbers import Integral
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skbss.base import resolve
from skbss.callbacks import FitTask
from skbss.parallel import block_map
from skbss.separators._batch import BatchSeparator, by_auxiva, output_power, run
from skbss.sklearn_parts import HasMethods, Interval, StrOptions, _fit_context
from skbss.spectrogram import Spectrogram
from skbss.updates.iteration import BinVariances, iterate
from skbss.updates.nmf import LowRankVariances
from skbss.updates.protocols import SourceModel, SpatialUpdate, VarianceModel
from skbss.updates.source import GeneralizedGauss, StudentT, bands_of
from skbss.updates.spatial import SPATIAL_UPDATES

EXPONENTS = {"mm": 0.5, "me": 1.0}
LIKELIHOODS = {"t": StudentT, "ggd": GeneralizedGauss}


class ILRMA(BatchSeparator):
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
    n_sources : int, default=None
        Number of outputs, at most that of microphones. None means as many as there are
        microphones. What fewer sources leave, noise and reverberation, is taken for a
        background of ``n_mics - n_sources`` stationary components, as in `AuxIVA`.
    noise : float, default=1e-5
        Power of white noise to expect at each microphone, relative to its power, where
        there are fewer sources than microphones, as in `AuxIVA`.
    source : {'nmf'} or VarianceModel, default='nmf'
        The variance model. A `skbss.updates.VarianceModel` replaces the factorization:
        its method ``variance`` gets the powers of the outputs, an ndarray of shape
        (n_sources, n_freqs, n_frames) whose mean is 1 for each source, and returns
        their variances, positive and of the same shape. A trained network fits in.
    likelihood : {'gauss', 't', 'ggd'} or SourceModel, default='gauss'
        The distribution of a bin, given its variance. 'gauss' is the complex Gaussian
        of [1]_, `skbss.updates.StudentT` [2]_ and `skbss.updates.GeneralizedGauss` [3]_
        have heavier tails, which holds back what fits neither source. A
        `skbss.updates.SourceModel` is asked about the power of single bins relative to
        their variances. Only with ``source='nmf'``.
    update : {'mm', 'me'}, default='mm'
        Multiplicative updates of basis and activations. 'mm' (majorization-
        minimization) never raises the objective, 'me' (majorization-equalization, no
        square root) takes larger steps and needs fewer iterations.
    spatial : {'ip1', 'ip2', 'iss1', 'iss2'} or SpatialUpdate, default='ip1'
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
        source: worth several dB on speech. Where there are fewer sources than
        microphones, half of them look for what is loud; see `AuxIVA`. 'identity' takes
        the first microphones for the sources.
    init_iter : int, default=50
        Iterations of AuxIVA for ``init='auxiva'``.
    target : array-like, default=None
        What is known of the source that is to be the first: a time ``(start, end)`` in
        seconds, steering vectors or covariances, as in `AuxIVA`.
    target_weight : float, default=None
        How much a `target` counts, as a fraction of the frames. None means 0.3, and 1
        for a single source, which at 0.3 was another one in some rooms.
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
        Mixing matrices, complex128, as in `AuxIVA`: the inverses, where there are as
        many sources as microphones.
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
        - 2 T \sum_f \log|\det W_f|

    and for fewer sources than microphones has the last term of `AuxIVA`. Another
    likelihood with the cost c has :math:`c(|y|^2 / r)` for :math:`|y|^2 / r`. An
    iteration updates the demixing matrices, the basis and the activations; the
    objective is that after all of them.

    References
    ----------
    .. [1] D. Kitamura, N. Ono, H. Sawada, H. Kameoka and H. Saruwatari, "Determined
       blind source separation unifying independent vector analysis and nonnegative
       matrix factorization", IEEE/ACM Trans. Audio, Speech, Lang. Process. 24(9), 2016.
       :doi:`10.1109/TASLP.2016.2577880`
    .. [2] S. Mogami, D. Kitamura, Y. Mitsui, N. Takamune, H. Saruwatari and N. Ono,
       "Independent low-rank matrix analysis based on complex Student's t-distribution
       for blind audio source separation", MLSP 2017. :doi:`10.1109/MLSP.2017.8168129`
    .. [3] D. Kitamura, S. Mogami, Y. Mitsui, N. Takamune, H. Saruwatari, N. Ono,
       Y. Takahashi and K. Kondo, "Generalized independent low-rank matrix analysis
       using heavy-tailed distributions for blind source separation", EURASIP Journal on
       Advances in Signal Processing 2018:28. :doi:`10.1186/s13634-018-0549-5`

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

    _parameter_constraints: dict = BatchSeparator._parameter_constraints | {
        "n_basis": [Interval(Integral, 1, None, closed="left")],
        "source": [StrOptions({"nmf"}), HasMethods("variance")],
        "likelihood": [
            StrOptions({"gauss", *LIKELIHOODS}),
            HasMethods(["variance", "cost"]),
        ],
        "update": [StrOptions(set(EXPONENTS))],
        "init": [StrOptions({"auxiva", "identity"}), "array-like"],
        "init_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_basis: int = 2,
        *,
        n_sources: int | None = None,
        noise: float = 1e-5,
        source: str | VarianceModel = "nmf",
        likelihood: str | SourceModel = "gauss",
        update: Literal["mm", "me"] = "mm",
        spatial: str | SpatialUpdate = "ip1",
        max_iter: int = 50,
        tol: float = 0.0,
        init: str | ArrayLike = "auxiva",
        init_iter: int = 50,
        target: ArrayLike | None = None,
        target_weight: float | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.n_basis = n_basis
        self.n_sources = n_sources
        self.noise = noise
        self.source = source
        self.likelihood = likelihood
        self.update = update
        self.spatial = spatial
        self.max_iter = max_iter
        self.tol = tol
        self.init = init
        self.init_iter = init_iter
        self.target = target
        self.target_weight = target_weight
        self.warm_start = warm_start
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Spectrogram | ArrayLike, y: object = None) -> Self:
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
        record, X = X, self._check_X(X, reset=not self._is_warm())
        covariances = self._covariances(record, X)
        spatial = resolve(self.spatial, SPATIAL_UPDATES)
        likelihood = self._likelihood()
        with block_map() as map_blocks:
            search_iter = init_iter // 2 if self._searches(X.shape[2]) else 0
            recording, W, target = self._begin(
                X, covariances, spatial, search_iter, task, map_blocks
            )
            if init_iter:
                n_iter, name = init_iter - search_iter, "auxiva-iteration"
                W = by_auxiva(recording, W, spatial, n_iter, task, name, target)
                if len(W) == X.shape[2]:
                    target = None  # it is where it belongs
            model = self._model(recording, output_power(W), likelihood)
            W /= np.sqrt(output_power(W))[:, None, None]

            def learned(W, objectives):
                W = W[: self.n_sources]
                power = output_power(W)[:, None, None]
                attributes = recording.learned(W / np.sqrt(power), objectives)
                if isinstance(model, LowRankVariances):
                    scale = np.float64(recording.scale)
                    attributes["basis_"] = model.basis[: len(W)] * (scale**2 / power)
                    attributes["activations_"] = model.activations[: len(W)].copy()
                return attributes

            iterations = iterate(recording, W, model, spatial, target=target)
            iterations = task.iterations(iterations, learned)
            found = run(self, iterations, X.size)
            recording.forget()
            attributes = learned(*found)
        # What another source model has left would be out of date.
        self.__dict__.pop("basis_", None)
        self.__dict__.pop("activations_", None)
        self.__dict__.update(attributes)
        task.end()
        return self

    def _likelihood(self):
        """Return the model of bins relative to their variances, None for Gaussian."""
        if self.likelihood == "gauss":
            return None
        likelihood = resolve(self.likelihood, LIKELIHOODS)
        if bands_of(likelihood) != 1:
            raise ValueError(
                f"Got likelihood={likelihood!r}, which tells {bands_of(likelihood)} "
                "bands apart, expected a source model without bands: it is asked about "
                "single bins."
            )
        return likelihood

    def _model(self, recording, power, likelihood):
        """Return the variances to start from, of outputs brought to unit power."""
        n_sources, F, T = len(power), recording.n_freqs, recording.n_frames
        if self.source != "nmf":
            return BinVariances(self.source)
        rng = check_random_state(self.random_state)
        basis = rng.uniform(0.1, 1, (n_sources, F, self.n_basis))
        activations = rng.uniform(0.1, 1, (n_sources, self.n_basis, T))
        n_kept = 0
        if self._is_warm():
            if np.shape(getattr(self, "basis_", None)) == basis.shape:
                basis = self.basis_ / np.float64(recording.scale) ** 2
                n_kept += 1
            if np.shape(getattr(self, "activations_", None)) == activations.shape:
                activations = self.activations_
                n_kept += 1
        exponent, dtype = EXPONENTS[self.update], recording.features.dtype
        basis = basis / power[:, None, None]
        return LowRankVariances(
            basis, activations, exponent, dtype, likelihood, is_adapted=n_kept == 2
        )
