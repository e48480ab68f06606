"""The methods that all online separators have: learning, separating, their state."""

# License: BSD-3-Clause

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils.validation import check_is_fitted


class FrameByFrameMixin:
    """Mixin for separators that learn frame by frame.

    They have ``_run``, which takes the next frames, and for the state ``_get_state``,
    ``_set_state`` and ``_state_shapes``, the shapes that a state should have.
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
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
    def fit_transform(self, X, y=None):
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
    def partial_fit(self, X, y=None):
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

    def partial_fit_transform(self, X, y=None):
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

    def get_state(self):
        """Return all that was learned, to go on from there later or elsewhere.

        Returns
        -------
        state : dict of str to ndarray or number
            A copy. ``np.savez(file, **state)`` saves it.
        """
        check_is_fitted(self)
        return {key: np.copy(value)[()] for key, value in self._get_state().items()}

    def set_state(self, state):
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
            If entries are missing or not finite, or an array's shape isn't the one that
            the parameters and the rest of the state ask for.
        """
        name = type(self).__name__
        try:
            shapes = self._state_shapes(state)
        except KeyError as error:
            raise ValueError(
                f"Got a state without {error}: not one of {name}."
            ) from None
        if set(shapes) != set(state):
            raise ValueError(
                f"Got a state with {sorted(state)}, expected {sorted(shapes)}."
            )
        values = {key: np.array(state[key], order="C") for key in shapes}
        for key, shape in shapes.items():
            if values[key].shape != shape:
                raise ValueError(
                    f"Got a state whose {key} has shape {values[key].shape}, but "
                    f"{name} needs {shape}."
                )
            if not np.isfinite(values[key]).all():
                raise ValueError(f"Got a state whose {key} isn't finite.")
        self._set_state(values)
        return self
