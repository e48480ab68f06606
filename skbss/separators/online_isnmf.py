"""Online Itakura-Saito nonnegative matrix factorization of one channel."""

# License: BSD-3-Clause

from functools import cached_property
from numbers import Integral, Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skbss.base import SpectrogramInputMixin, SpectrogramOutputMixin, check_spectrogram
from skbss.callbacks import CallbackSupportMixin, FitTask
from skbss.frame_by_frame import FrameByFrameMixin
from skbss.sklearn_parts import Interval, StrOptions
from skbss.spectrogram import Spectrogram, separated
from skbss.updates.online_nmf import (
    activate,
    frame_powers,
    normalize_basis,
    refresh_basis,
    start_statistics,
    wiener_masks,
)

# Frames whose work arrays stay in the cache together; results don't depend on it.
BLOCK_FRAMES = 32
# Callbacks are called after so many frames.
TASK_FRAMES = 10 * BLOCK_FRAMES


class OnlineISNMF(
    FrameByFrameMixin,
    SpectrogramInputMixin,
    SpectrogramOutputMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    r"""Separate one channel online by Itakura-Saito NMF and Wiener masks.

    The power spectrogram is modeled as a few spectra (`basis_`), each with a loudness
    that is estimated anew for every frame; the spectra follow the recording with a
    memory that fades [1]_. Every source owns some of the spectra, and takes the share
    of the recording that they have in the model. The outputs sum to the recording.

    A single channel does not tell which spectra belong together. To separate known
    sources, learn the spectra of each from a recording of it alone, join them, and keep
    them with ``update_basis=False``, as in the example below.

    Parameters
    ----------
    n_components : int, default=20
        Number of spectra, of all sources together, as in `sklearn.decomposition.NMF`.
        The `n_basis` of `ILRMA` are those of each source.
    n_sources : int, default=2
        Number of sources.
    component_to_source : array-like of shape (n_components,), default=None
        The source that each spectrum belongs to, 0 to ``n_sources - 1``. By default the
        first spectra belong to source 0, the next to source 1, and so on, in groups as
        equal as can be.
    forget : float, default=0.999
        Weight of the past per frame, 0 to 1. The memory is about ``1 / (1 - forget)``
        frames long: 1000 frames are 32 s at a hop of 32 ms. With 1 nothing is ever
        forgotten, as suits training.
    inner_iter : int, default=10
        Updates of the activations of each frame.
    batch_size : int, default=10
        Frames between renewals of the spectra. Silent frames don't count. The paper
        calls it :math:`\beta`.
    basis_init : array-like of shape (n_freqs, n_components), default=None
        Spectra to start from, nonnegative, on any scale. Random by default.
    update_basis : bool, default=True
        Whether the spectra follow the recording.
    update : {'me', 'mm'}, default='me'
        Multiplicative updates of the activations. 'me' (majorization-equalization)
        takes larger steps, 'mm' (majorization-minimization) never raises the
        divergence, as in `ILRMA`.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial spectra.

    Attributes
    ----------
    basis_ : ndarray of shape (n_freqs, n_components)
        Spectra, in units of power with a mean of one over the bins.
    activations_ : ndarray of shape (n_components,)
        Mean power of each spectrum in the last frame.
    n_features_in_ : int
        Number of channels, 1.

    See Also
    --------
    ILRMA : Separates the sources in a multichannel recording blindly.
    sklearn.decomposition.MiniBatchNMF : The factorization alone, of any data.

    Notes
    -----
    For every frame with powers :math:`v_f` the activations start from equal values and
    are updated `inner_iter` times, with :math:`m_f = \sum_l b_{fl} h_l` and an exponent
    e of 1 (me) or 1/2 (mm):

    .. math:: h_l \leftarrow h_l \Big(\frac{\sum_f b_{fl} v_f / m_f^2}
        {\sum_f b_{fl} / m_f}\Big)^e.

    Every `batch_size` frames the basis is renewed from what the frames left, with
    :math:`\rho = \mathrm{forget}^\beta` and the batch size :math:`\beta`:

    .. math:: P_{fl} \leftarrow \rho P_{fl} + b_{fl}^2 \sum_t \frac{v_{ft}}{m_{ft}^2}
        h_{lt}, \quad Q_{fl} \leftarrow \rho Q_{fl} + \sum_t \frac{h_{lt}}{m_{ft}},
        \quad b_{fl} \leftarrow \sqrt{P_{fl} / Q_{fl}}.

    A frame counts the same whether it is loud or soft, as the Itakura-Saito divergence
    has it, down to noise 100 dB below the frame itself. A frame of digital silence
    says nothing and is passed over. Results don't depend on how the frames are divided
    among calls, to the bit, and memory doesn't grow.

    References
    ----------
    .. [1] A. Lefèvre, F. Bach and C. Févotte, "Online algorithms for nonnegative
       matrix factorization with the Itakura-Saito divergence", WASPAA 2011.
       :doi:`10.1109/ASPAA.2011.6082314`

    Examples
    --------
    >>> import numpy as np
    >>> from skbss import STFT, OnlineISNMF
    >>> from skbss.datasets import load_cocktail_party
    >>> voices = load_cocktail_party().references  # each alone, to learn from
    >>> trained = [
    ...     OnlineISNMF(10, n_sources=1, random_state=0).fit(STFT().fit_transform(v))
    ...     for v in (voices[:, :1], voices[:, 1:])
    ... ]
    >>> basis = np.hstack([model.basis_ for model in trained])
    >>> separator = OnlineISNMF(20, basis_init=basis, update_basis=False)
    >>> mixture = STFT().fit_transform(voices.sum(axis=1, keepdims=True))
    >>> separated = separator.fit_transform(mixture)
    >>> np.allclose(separated.data.sum(axis=2), mixture.data[:, :, 0])
    True
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "n_sources": [Interval(Integral, 1, None, closed="left")],
        "component_to_source": ["array-like", None],
        "forget": [Interval(Real, 0, 1, closed="both")],
        "inner_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "basis_init": ["array-like", None],
        "update_basis": ["boolean"],
        "update": [StrOptions({"me", "mm"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 20,
        *,
        n_sources: int = 2,
        component_to_source: ArrayLike | None = None,
        forget: float = 0.999,
        inner_iter: int = 10,
        batch_size: int = 10,
        basis_init: ArrayLike | None = None,
        update_basis: bool = True,
        update: Literal["me", "mm"] = "me",
        random_state: int | np.random.RandomState | None = None,
    ):
        self.n_components = n_components
        self.n_sources = n_sources
        self.component_to_source = component_to_source
        self.forget = forget
        self.inner_iter = inner_iter
        self.batch_size = batch_size
        self.basis_init = basis_init
        self.update_basis = update_basis
        self.update = update
        self.random_state = random_state

    def transform(self, X: Spectrogram | ArrayLike) -> Spectrogram | np.ndarray:
        """Separate with the spectra as they are, and learn nothing.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, 1)
            Complex spectrogram.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_sources)
            The separated sources, of the type and precision of `X`. They sum to it:
            the mixing matrices of a record are all ones, and `ProjectionBack` leaves
            the sources as they are. After another separator the matrices lead on to
            the microphones.
        """
        check_is_fitted(self)
        return self._run(X, learn=False, separate=True)

    def masks(self, X: Spectrogram | ArrayLike) -> np.ndarray:
        """Return the masks that `transform` multiplies the spectrogram by.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, 1)
            Complex spectrogram.

        Returns
        -------
        masks : ndarray of shape (n_frames, n_freqs, n_sources)
            Real, from 0 to 1. They sum to one over the sources.
        """
        check_is_fitted(self)
        data = self._check_X(X, reset=False)
        masks = np.empty((*data.shape[:2], self.n_sources), data.real.dtype)
        for frames, block in self._masks(data, learn=False):
            masks[frames] = block.transpose(0, 2, 1)
        return masks

    _least = dict.fromkeys(["basis", "numerator", "denominator"], np.finfo(float).tiny)
    _least |= dict.fromkeys(
        ["activations", "pending_activations", "pending_weights"], 0.0
    )

    @property
    def basis_(self) -> np.ndarray:
        """Spectra, each of mean one."""
        return self._state["basis"].copy()

    @property
    def activations_(self) -> np.ndarray:
        """Mean power of each spectrum in the last frame."""
        return self._state["activations"].copy()

    @cached_property
    def n_features_in_(self):
        """Number of channels, 1."""
        if not self.__sklearn_is_fitted__():
            raise AttributeError("OnlineISNMF is not fitted yet.")
        return 1

    @property
    def _n_freqs_in(self):
        return len(self._state["basis"])

    def _to_save(self):
        state = dict(self._state)
        H, weights = join_frames(state.pop("frames"), *state["basis"].shape)
        return state | {"pending_activations": H, "pending_weights": weights}

    def _restored(self, state):
        pending = state.pop("pending_activations"), state.pop("pending_weights")
        return state | {"frames": (pending,)}

    def _state_like(self, state):
        n_freqs, n_components = len(np.atleast_1d(state["basis"])), self.n_components
        if self.__sklearn_is_fitted__():
            n_freqs = self._n_freqs_in
        pending = np.atleast_1d(state["pending_activations"])
        dtype = np.float32 if pending.dtype == np.float32 else np.float64
        return {
            "basis": np.empty((n_freqs, n_components)),
            "numerator": np.empty((n_components, n_freqs)),
            "denominator": np.empty((n_components, n_freqs)),
            "activations": np.empty(n_components),
            "pending_activations": np.empty((len(pending), n_components), dtype),
            "pending_weights": np.empty((2, len(pending), n_freqs), dtype),
        }

    def _check_state(self, state):
        pass

    @property
    def _n_features_out(self):
        return self.n_sources

    def _check_X(self, X, *, reset):
        """Check a spectrogram, also against what was learned from."""
        name = type(self).__name__
        X = check_spectrogram(X, name)
        if X.shape[2] != 1:
            raise ValueError(
                f"X has {X.shape[2]} features, but {name} is expecting 1 features as "
                "input (it separates a single channel)."
            )
        if reset:
            return X
        n_freqs, n_components = self._state["basis"].shape
        if X.shape[1] != n_freqs:
            raise ValueError(
                f"X has {X.shape[1]} frequency bins, but {name} was fitted on "
                f"{n_freqs}."
            )
        if self.n_components != n_components:
            raise ValueError(
                f"Got n_components={self.n_components} after learning with "
                f"n_components={n_components}, which only `fit` and `fit_transform` "
                "can change."
            )
        return X

    def _first_state(self, n_freqs):
        """State from which a recording is begun."""
        shape = n_freqs, self.n_components
        if self.basis_init is None:
            rng = check_random_state(self.random_state)
            basis = rng.uniform(0.1, 1, shape)
        else:
            basis = np.array(self.basis_init, dtype=float)
            if basis.shape != shape:
                raise ValueError(
                    f"Got basis_init of shape {basis.shape}, expected (n_freqs, "
                    f"n_components) = {shape}."
                )
            if not (np.isfinite(basis).all() and (basis >= 0).all()):
                raise ValueError("Got basis_init with negative or non-finite values.")
            if not basis.any(axis=0).all():
                raise ValueError("Got basis_init with components that are all zero.")
        B, _ = normalize_basis(basis.T / basis.max(axis=0)[:, None])
        numerator, denominator = start_statistics(B)
        return {
            "basis": B.T,  # in memory row by row, as it is worked with
            "numerator": numerator,
            "denominator": denominator,
            "activations": np.zeros(self.n_components),
            # Activations and weights of the frames since the basis was renewed.
            "frames": (),
        }

    def _members(self):
        """Ones where a component (column) belongs to a source (row)."""
        L, K = self.n_components, self.n_sources
        if self.component_to_source is None:
            owner = np.arange(L) * K // L
        else:
            owner = np.asarray(self.component_to_source)
        members = np.arange(K)[:, None] == owner
        if self.component_to_source is None and K <= L:
            return members
        if members.shape != (K, L) or not (
            members.any(1).all() and members.any(0).all()
        ):
            raise ValueError(
                f"Got component_to_source={owner.tolist()}, expected a source, 0 to "
                f"{K - 1}, for each of {L} components, and a component for each source."
            )
        return members

    def _run(
        self, X, y=None, *, reset=False, monitored=False, learn=True, separate=False
    ):
        """Learn from the frames of X, and return them separated if asked for."""
        data = self._check_X(X, reset=reset)
        self._members()
        state = self._first_state(data.shape[1]) if reset else self._state

        def process():
            n_tasks = -(-len(data) // TASK_FRAMES)
            task = FitTask(self, X, y, n_tasks) if monitored else None
            shape = *data.shape[:2], self.n_sources
            Y = np.empty(shape, data.dtype) if separate else None
            for frames, masks in self._masks(data, learn, task):
                if separate:
                    np.multiply(data[frames], masks.transpose(0, 2, 1), out=Y[frames])
            return Y

        Y = self._run_from(state, process, whole=monitored)
        if separate:
            # All sources are as they are in the channel.
            ones = np.ones((1, data.shape[1], 1, self.n_sources), data.dtype)
            return separated(X, Y, ones)

    def _masks(self, data, learn, task=None):
        """Yield slices of frames and their masks (n_frames, n_sources, n_freqs)."""
        if task is None:
            yield from self._masks_of(data, 0, len(data), learn)
            return
        starts = range(0, len(data), TASK_FRAMES)
        for start in task.parts(starts, lambda: {"_state": self._state}, "frames"):
            end = min(start + TASK_FRAMES, len(data))
            yield from self._masks_of(data, start, end, learn)
        task.end()

    def _masks_of(self, data, stop, end, learn):
        """Yield slices of frames and masks, of the frames from `stop` to `end`."""
        x, dtype = data[:end, :, 0], data.real.dtype
        members = self._members().astype(dtype)
        exponent = {"mm": 0.5, "me": 1.0}[self.update]
        basis = None
        while stop < end:
            start, stop = stop, min(stop + BLOCK_FRAMES, end)
            if learn and self.update_basis:
                n_pending = count_frames(self._state["frames"])
                stop = min(stop, start + max(self.batch_size - n_pending, 1))
            if basis is not self._state["basis"]:
                basis = self._state["basis"]
                B = np.ascontiguousarray(basis.T, dtype=dtype)
            V, levels = frame_powers(x[start:stop])
            H, weights = activate(V, B, self.inner_iter, exponent)
            yield slice(start, stop), wiener_masks(H, B, members)
            if learn:
                self._state = self._followed(H, levels, weights)

    def _followed(self, H, levels, weights):
        """State after frames: the basis is renewed from them where it is time."""
        state = dict(self._state)
        heard = levels > 0
        if self.update_basis and heard.any():
            state["frames"] += ((H[heard], weights[:, heard]),)
        h = H[-1].astype(float)
        if count_frames(state["frames"]) >= self.batch_size:
            basis = state["basis"]
            B, state["numerator"], state["denominator"], factors = refresh_basis(
                basis.T,
                state["numerator"],
                state["denominator"],
                *join_frames(state["frames"], *basis.shape),
                self.forget**self.batch_size,
            )
            state["basis"], state["frames"] = B.T, ()
            h *= factors
        state["activations"] = h * levels[-1]
        return state


def count_frames(frames):
    """Return the number of frames in pairs of activations and weights."""
    return sum(len(H) for H, _ in frames)


def join_frames(frames, n_freqs, n_components):
    """Join pairs of activations and weights of successive frames."""
    H = np.empty((0, n_components)), *(H for H, _ in frames)
    weights = np.empty((2, 0, n_freqs)), *(weights for _, weights in frames)
    return np.concatenate(H), np.concatenate(weights, axis=1)
