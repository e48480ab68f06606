"""What the separators of whole recordings share."""

# License: BSD-3-Clause

import warnings
from itertools import islice
from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skbss.base import LinearSeparator
from skbss.sklearn_parts import HasMethods, Interval, StrOptions
from skbss.updates.iteration import SourceVariances, iterate
from skbss.updates.recording import Recording
from skbss.updates.source import Gauss
from skbss.updates.spatial import SPATIAL_UPDATES
from skbss.updates.target import Target, target_covariances

# Power of white noise that is expected at each microphone, relative to its power, while
# fewer sources than microphones look for the talkers: only what is loud is a source.
LOUD = 1e-2


class BatchSeparator(LinearSeparator):
    """Base of the separators that learn from a whole recording, again and again."""

    _parameter_constraints: dict = {
        "n_sources": [Interval(Integral, 1, None, closed="left"), None],
        "noise": [Interval(Real, 0, 1, closed="left")],
        "spatial": [StrOptions(set(SPATIAL_UPDATES)), HasMethods("update")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "target": ["array-like", None],
        "target_weight": [Interval(Real, 0, None, closed="left"), None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
    }

    def _check_X(self, X, *, reset):
        X = super()._check_X(X, reset=reset)
        n_mics = X.shape[2]
        if reset and self.n_sources is not None and self.n_sources > n_mics:
            raise ValueError(
                f"Got n_sources={self.n_sources}, but the recording has {n_mics} "
                f"microphones: {type(self).__name__} finds at most as many sources, "
                "MaskSeparator more."
            )
        return X

    def _recording(self, X, map_blocks):
        """Whiten a recording; noise is expected where there is a background."""
        n_mics = X.shape[2]
        noise = self.noise if (self.n_sources or n_mics) < n_mics else 0.0
        return Recording(X, map_blocks, noise=noise)

    def _covariances(self, record, X):
        """Covariances of the target at the microphones, None if there is none."""
        if self.target is None:
            return None
        return target_covariances(self.target, record, X)

    def _target(self, C, recording):
        """Return what covariances say in a whitened recording."""
        if C is None:
            return None
        usual = 1.0 if self.n_sources == 1 else 0.3
        weight = usual if self.target_weight is None else self.target_weight
        return Target(C, recording, weight)

    def _is_warm(self):
        return self.warm_start and hasattr(self, "demixing_")

    def _begin(self, X, C, spatial, n_iter, task, map_blocks):
        """Whiten a recording, and choose what to start from.

        Parameters
        ----------
        X : ndarray of shape (n_frames, n_freqs, n_mics)
            The recording.
        C : ndarray of shape (n_freqs, n_mics, n_mics) or None
            Covariances of the target.
        spatial : object
            The spatial update.
        n_iter : int
            Iterations that look for the sources.
        task : FitTask
            Callbacks are told of them.
        map_blocks : callable
            As of a `Recording`.

        Returns
        -------
        recording : Recording
            Whitened.
        W : ndarray of shape (n_sources, n_mics, n_freqs)
            Demixing matrices of its microphones.
        target : Target or None
            What is known of it.
        """
        W = self._start(X, C, spatial, n_iter, task, map_blocks)
        recording = self._recording(X, map_blocks)
        W, target = recording.from_microphones(W), self._target(C, recording)
        return recording, W if target is None else target.first(W), target

    def _start(self, X, C, spatial, n_iter, task, map_blocks):
        """Demixing matrices (n_freqs, n_sources, n_mics) to start from.

        Where there are fewer sources than microphones and nothing is given, the sources
        are looked for among what is loud: the likelihood alone may rather have a weak,
        lively remainder of reverberation for a source than a talker.
        """
        _, F, M = X.shape
        K = self.n_sources or M
        if self._is_warm():
            return self.demixing_
        if self._searches(M):
            recording = Recording(X, map_blocks, noise=LOUD)
            target, name = self._target(C, recording), "search-iteration"
            # With a single output, nothing but the background would hear the others.
            W = principal(recording, K if target is None else max(K, 2))
            W = by_auxiva(recording, W, spatial, n_iter, task, name, target)
            recording.forget()
            return recording.learned(W, [])["demixing_"]
        if self.init is None or isinstance(self.init, str):
            return np.tile(np.eye(K, M, dtype=complex), (F, 1, 1))
        W = np.array(self.init, dtype=complex)
        if W.shape != (F, K, M):
            raise ValueError(
                f"Got init of shape {W.shape}, expected (n_freqs, n_sources, n_mics) = "
                f"{(F, K, M)}."
            )
        if not np.isfinite(W).all() or (np.linalg.matrix_rank(W) < K).any():
            raise ValueError("Got init with singular or non-finite demixing matrices.")
        return W

    def _may_search(self):
        """Whether nothing is given to start from that hears fewer sources."""
        is_open = self.init is None or (
            isinstance(self.init, str) and self.init != "identity"
        )
        return is_open and not self._is_warm() and self.n_sources is not None

    def _searches(self, n_mics):
        """Whether to look for the sources among what is loud first."""
        return self._may_search() and self.n_sources < n_mics


def principal(recording, n_sources):
    """Demixing matrices that give the loudest components of the microphones.

    Rows have unit norm in the coordinates of whitened microphones.
    """
    Z_inv = recording.Z_inv.transpose(2, 0, 1)
    # In ascending order of power.
    E = np.linalg.eigh(Z_inv @ Z_inv.conj().swapaxes(1, 2)).eigenvectors
    rows = E[:, :, : -n_sources - 1 : -1].conj().swapaxes(1, 2) @ Z_inv
    W = np.ascontiguousarray(rows.transpose(1, 2, 0))
    return W / np.linalg.norm(W, axis=1, keepdims=True)


def output_power(W):
    """Mean powers of the outputs, (n_sources,), of whitened microphones."""
    return (W.real**2 + W.imag**2).sum(1).mean(1)


def by_auxiva(recording, W, spatial, n_iter, task, name, target=None):
    """Return demixing matrices after some iterations of AuxIVA.

    Parameters
    ----------
    recording : Recording
        The recording.
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        Demixing matrices of its whitened microphones.
    spatial : object
        The spatial update.
    n_iter : int
        Number of iterations.
    task : FitTask
        Callbacks are told of the iterations,
    name : str
        by this name.
    target : Target, default=None
        The source that is to be the first.

    Returns
    -------
    W : ndarray of shape (n_sources, n_mics, n_freqs)
        The new matrices.
    """
    model = SourceVariances(Gauss(), recording.features.dtype, output_power(W).mean())
    iterations = iterate(recording, W, model, spatial, sort_iter=25, target=target)
    iterations = task.iterations(iterations, recording.learned, name)
    for W, _ in islice(iterations, n_iter + 1):  # noqa: B007
        pass
    return W


def run(estimator, iterations, size):
    """Draw from a generator of (state, objective) until the estimator is satisfied.

    Parameters
    ----------
    estimator : estimator instance
        Has `max_iter` and `tol`, the least fall of the objective per value.
    iterations : iterator
        Yields the initial state with its objective, then one iteration at a time. It
        may end early.
    size : int
        Number of values that the objective sums over.

    Returns
    -------
    state : object
        The last state.
    objectives : list of float
        The objective after each iteration.
    """
    tol = estimator.tol * size
    state, last = next(iterations)
    objectives = []
    for state, value in islice(iterations, estimator.max_iter):  # noqa: B007
        objectives.append(value)
        if tol > 0 and last - value < tol:
            break
        last = value
    else:
        if tol > 0 and len(objectives) == estimator.max_iter:
            warnings.warn(
                f"{type(estimator).__name__} did not converge to "
                f"tol={estimator.tol} in max_iter={estimator.max_iter} iterations. "
                "Raise one of them, or set tol=0 to run a fixed number of iterations.",
                ConvergenceWarning,
            )
    return state, objectives
