"""The methods of all estimators that learn frame by frame, and what their state is."""

# License: BSD-3-Clause

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skbss.sklearn_parts import _fit_context
from skbss.spectrogram import Spectrogram


class FrameByFrameMixin:
    """Mixin for separators, and others, that learn frame by frame.

    They have ``_run``, which takes the next frames, and their state in ``_state``, a
    dict of arrays and numbers. For one that is handed over they have ``_state_like``,
    which returns one of the same sizes, ``_least``, the lowest values of its entries,
    and ``_check_state``, which looks for what else may be wrong.

    Attributes that scikit-learn asks for are properties of the state: so all changes at
    once, or nothing.
    """

    _run: Callable
    _state_like: Callable
    _check_state: Callable
    _validate_params: Callable
    _least: Any

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Spectrogram | ArrayLike, y: object = None) -> Self:
        """Forget everything, then learn from a recording frame by frame.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_mics)
            Complex spectrogram of the recording.
        y : None
            Ignored.

        Returns
        -------
        self : estimator instance
            The fitted separator.

        Raises
        ------
        ValueError
            If `X` is no complex, finite, three-dimensional array, or a parameter is out
            of its range.
        """
        self._run(X, y, reset=True, monitored=True)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(
        self, X: Spectrogram | ArrayLike, y: object = None
    ) -> Spectrogram | np.ndarray:
        """Forget everything, then separate a recording as it comes in.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_mics)
            Complex spectrogram of the recording.
        y : None
            Ignored.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_sources)
            As from `partial_fit_transform`.
        """
        return self._run(X, y, reset=True, monitored=True, separate=True)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Spectrogram | ArrayLike, y: object = None) -> Self:
        """Go on learning from the next frames.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_mics)
            The next frames, one or more. How many at a time doesn't change the result.
        y : None
            Ignored.

        Returns
        -------
        self : estimator instance
            The separator.
        """
        self._run(X, reset=not self.__sklearn_is_fitted__())
        return self

    def partial_fit_transform(
        self, X: Spectrogram | ArrayLike, y: object = None
    ) -> Spectrogram | np.ndarray:
        """Go on learning from the next frames, and separate each as it arrives.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_mics)
            The next frames, one or more. How many at a time doesn't change the result.
        y : None
            Ignored.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_sources)
            Each frame by what was learned until then, of the type and precision of
            `X`. A record carries mixing matrices for `ProjectionBack`.
        """
        reset = not self.__sklearn_is_fitted__()
        if reset:  # once, as for partial_fit, and not with every frame
            self._validate_params()
        return self._run(X, reset=reset, separate=True)

    def get_state(self) -> dict[str, Any]:
        """Return all that was learned, to go on from there later or elsewhere.

        Returns
        -------
        state : dict of str to ndarray or number
            A copy. ``np.savez(file, **state)`` saves it.
        """
        check_is_fitted(self)
        return {key: np.copy(value)[()] for key, value in self._to_save().items()}

    def set_state(self, state: Mapping[str, Any]) -> Self:
        """Go on from a state that `get_state` returned.

        Parameters
        ----------
        state : mapping of str to ndarray or number
            Copied. What ``np.load`` returns for a saved state will do.

        Returns
        -------
        self : estimator instance
            The separator. It continues bit by bit like the one that the state is from,
            if their parameters are the same.

        Raises
        ------
        ValueError
            If entries are missing, not finite, out of their range, or of another shape
            or type than the parameters and the rest of the state ask for. Nothing is
            changed then.
        """
        name = type(self).__name__
        try:
            expected = self._state_like(state)
        except KeyError as error:
            raise ValueError(
                f"Got a state without {error}: not one of {name}."
            ) from None
        if set(expected) != set(state):
            raise ValueError(
                f"Got a state with {sorted(state)}, expected {sorted(expected)}."
            )
        values = {
            key: checked_entry(key, state[key], example, name)
            for key, example in expected.items()
        }
        for key, least in self._least.items():
            low = np.min(values[key]) if np.size(values[key]) else least
            if low < least:
                raise ValueError(
                    f"Got a state whose {key} is as low as {low}, expected at least "
                    f"{least}."
                )
        self._check_state(values)
        self._state = self._restored(values)
        return self

    def _to_save(self):
        """Return the state as a dict of arrays and numbers."""
        return self._state

    def _restored(self, state):
        """Return the state from such a dict."""
        return state

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_state")

    def _run_from(self, state, process, *, whole):
        """Set a state and go on from there, or leave the separator as it was.

        Parameters
        ----------
        state : dict
            To start from: the present one, or a new one.
        process : callable
            Learns from frames.
        whole : bool
            Whether to go back to the state before if not all frames were learned from.
            Else what was learned from some is kept.

        Returns
        -------
        result : object
            What `process` returned.
        """
        before = vars(self).get("_state")
        self._state = state
        try:
            return process()
        except BaseException:  # also where somebody has interrupted it
            if before is None and (whole or self._state is state):
                del self._state
            elif whole:
                self._state = before
            raise


def part_of(state, name):
    """Return the entries of a part of a state, whose names have its name in front."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def checked_entry(key, value, example, name):
    """Return an entry of a state, copied, if it is like one that fits."""
    value, example = np.array(value, order="C"), np.asarray(example)
    if value.shape != example.shape:
        raise ValueError(
            f"Got a state whose {key} has shape {value.shape}, but {name} needs "
            f"{example.shape}."
        )
    # Numbers may be those of any library.
    casting = "equiv" if example.ndim else "safe"
    if not np.can_cast(value.dtype, example.dtype, casting):
        raise ValueError(
            f"Got a state whose {key} is of type {value.dtype}, but {name} needs "
            f"{example.dtype}."
        )
    if not np.isfinite(value).all():
        raise ValueError(f"Got a state whose {key} isn't finite.")
    value = value.astype(example.dtype, copy=False)
    return value if value.ndim else value.item()
