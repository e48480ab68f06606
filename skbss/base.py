"""What all separators share: parameter and input checks, the record, tags."""

# License: BSD-3-Clause

from os import PathLike
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skbss.callbacks import CallbackSupportMixin, FitTask
from skbss.parallel import CACHE_BYTES, bin_blocks, map_some
from skbss.sklearn_parts import _fit_context
from skbss.spectrogram import Spectrogram, separated


def all_finite(X):
    """Whether an array has no NaN or infinity.

    For the small arrays of a stream scikit-learn's check takes as long as to work on
    them.
    """
    if X.size < 10_000:
        return np.isfinite(X).all()
    # The sum is finite unless an entry isn't, or entries are huge.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.isfinite(X.sum()) or np.isfinite(X).all()


def to_floats(X):
    """Bring integer samples to the range from -1 to 1, as audio files mean them.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_channels)
        Samples. Those of signed integers have their full scale at the largest number,
        those of uint8 are silent at 128, as in WAV files.

    Returns
    -------
    X : array-like of shape (n_samples, n_channels)
        float64 if `X` is an array of integers, else `X` itself.

    Raises
    ------
    TypeError
        If `X` is the name of a file.
    ValueError
        If `X` is several recordings, a recording with its sample rate, or a
        spectrogram.
    """
    expected = "expected one recording of shape (n_samples, n_mics)"
    if isinstance(X, str | PathLike):
        raise TypeError(
            f"Got {X!r}, {expected}. Read the file first, with soundfile.read or "
            "skbss.io.read_audio."
        )
    if isinstance(X, list | tuple) and X and np.ndim(X[0]) > 1:
        if len(X) == 2 and np.ndim(X[1]) == 0:
            raise ValueError(
                f"Got a {type(X).__name__} of an array and {X[1]!r}, {expected}. What "
                "reads files returns the samples first: x, sample_rate = ..."
            )
        raise ValueError(
            f"Got a list of {len(X)} arrays, {expected}. EachRecording(pipeline) "
            "separates each recording of a list."
        )
    if len(getattr(X, "shape", ())) == 3:
        if np.iscomplexobj(X):
            remedy = "A spectrogram goes to a separator such as AuxIVA as it is."
        else:
            remedy = "EachRecording(pipeline) separates each recording of list(X)."
        raise ValueError(f"Got an array of shape {X.shape}, {expected}. {remedy}")
    if not isinstance(X, np.ndarray) or X.dtype.kind not in "iu":
        return X
    middle = 128 if X.dtype == np.uint8 else 0
    return (X - float(middle)) / 2.0 ** (8 * X.dtype.itemsize - 1)


def is_float_matrix(X):
    """Whether `check_array`, slow on short signals, would change nothing if finite."""
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.dtype in (np.float64, np.float32)
        and X.size > 0
    )


def is_finite_matrix(X):
    """Whether `check_array` would change nothing."""
    return is_float_matrix(X) and all_finite(X)


def check_spectrogram(X, name):
    """Return the complex array (n_frames, n_freqs, n_channels) of a spectrogram.

    Parameters
    ----------
    X : Spectrogram or array-like
        The input of an estimator.
    name : str
        The estimator's name, for the messages.

    Returns
    -------
    X : ndarray of shape (n_frames, n_freqs, n_channels)
        C-contiguous, complex64 or complex128, finite.

    Raises
    ------
    ValueError
        For any other number of dimensions, real or non-numeric data, an empty axis,
        NaN or infinity.
    """
    X = np.asarray(X)
    if X.ndim != 3:
        raise ValueError(
            f"{name} needs a spectrogram of shape (n_frames, n_freqs, n_mics). Got "
            f"an array of {X.ndim} dimension(s) and shape {X.shape}: time signals go "
            "through STFT first. Reshape your data if it is a single channel."
        )
    if not np.iscomplexobj(X):
        raise ValueError(
            f"{name} needs a complex spectrogram. Got {X.dtype} data: magnitudes "
            "lack the phase differences between microphones."
        )
    if 0 in X.shape:
        raise ValueError(
            f"Found an empty axis: got shape {X.shape}, while at least 1 frame, "
            f"1 frequency and 1 microphone are required by {name}."
        )
    single = X.dtype == np.complex64
    X = np.ascontiguousarray(X, dtype=np.complex64 if single else np.complex128)
    if not all_finite(X):
        frame, freq, mic = np.argwhere(~np.isfinite(X))[0]
        raise ValueError(
            f"Input X of {name} contains NaN or infinity, first at frame {frame}, "
            f"frequency bin {freq}, microphone {mic}."
        )
    return X


def check_as_fitted(estimator, X, channels):
    """Raise ValueError unless X has the sizes that an estimator was fitted on.

    Parameters
    ----------
    estimator : estimator instance
        Has `n_features_in_` and `_n_freqs_in`.
    X : ndarray of shape (n_frames, n_freqs, n_channels)
        A spectrogram.
    channels : str
        What its channels are, for the message.
    """
    name, (_, n_freqs, n_channels) = type(estimator).__name__, X.shape
    if n_channels != estimator.n_features_in_:
        raise ValueError(
            f"X has {n_channels} features, but {name} is expecting "
            f"{estimator.n_features_in_} features as input (the {channels})."
        )
    if n_freqs != estimator._n_freqs_in:
        raise ValueError(
            f"X has {n_freqs} frequency bins, but {name} was fitted on "
            f"{estimator._n_freqs_in}."
        )


def check_ref_mic(ref_mic, n_mics):
    """Raise ValueError if there is no microphone of that number."""
    if not 0 <= ref_mic < n_mics:
        raise ValueError(
            f"Got ref_mic={ref_mic}, but the recording has {n_mics} microphones."
        )


class SpectrogramOutputMixin(  # type: ignore[call-arg]
    TransformerMixin, auto_wrap_output_keys=None
):
    """Mixin for transformers that return a spectrogram, which is no table.

    ``set_output`` is accepted, so that it reaches the steps of a pipeline that can
    follow it, and both it and ``sklearn.set_config(transform_output=...)`` leave
    spectrograms as they are.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    def set_output(
        self, *, transform: Literal["default", "pandas", "polars"] | None = None
    ) -> Self:
        """Do nothing, as a spectrogram is no table.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            Ignored. `ISTFT` returns tables.

        Returns
        -------
        self : estimator instance
            The estimator.
        """
        return self


class SpectrogramInputMixin:
    """Mixin for transformers of spectrograms, whose output channels are sources."""

    @property
    def _n_features_out(self):
        return self.n_features_in_

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Return the names of the output channels.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        names : ndarray of shape (n_channels,)
            ``source0``, ``source1``, ...
        """
        check_is_fitted(self, "n_features_in_")
        names = [f"source{k}" for k in range(self._n_features_out)]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["complex64", "complex128"]
        return tags


class RecordInputMixin(SpectrogramInputMixin, CallbackSupportMixin):
    """Mixin for stateless transformers that need the record of the steps before."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Spectrogram, y: object = None) -> Self:
        """Check the parameters and the record; nothing else is learned.

        Parameters
        ----------
        X : Spectrogram
            As for `transform`.
        y : None
            Ignored.

        Returns
        -------
        self : estimator instance
            The estimator.

        Raises
        ------
        TypeError
            If `X` isn't a Spectrogram.
        """
        task = FitTask(self, X, y)
        self._check_record(X, reset=True)
        task.end()
        return self

    def _check_record(self, X, *, reset):
        """Return the data of a record, checked, also against what was fitted."""
        name = type(self).__name__
        if not isinstance(X, Spectrogram):
            shape = f" of shape {X.shape}" if hasattr(X, "shape") else ""
            raise TypeError(
                f"{name} needs the Spectrogram that STFT and the separators return, "
                "with the transform's parameters and the mixing matrices. Got "
                f"{type(X).__name__}{shape}: np.asarray, indexing, arithmetic or a "
                "step like FunctionTransformer drop them. Work on spectrogram.data and "
                "return dataclasses.replace(spectrogram, data=...)."
            )
        data = check_spectrogram(X, name)
        if reset:
            self.n_features_in_ = X.shape[2]
        n_features = getattr(self, "n_features_in_", X.shape[2])
        if X.shape[2] != n_features:
            raise ValueError(
                f"X has {X.shape[2]} features, but {name} is expecting {n_features} "
                "features as input (the channels)."
            )
        return data

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


class BaseSeparator(
    SpectrogramInputMixin, SpectrogramOutputMixin, CallbackSupportMixin, BaseEstimator
):
    """Base of what takes a spectrogram of microphones, and gives one of sources."""

    def _check_X(self, X, *, reset):
        """Check a spectrogram against what the separator needs or was fitted on."""
        X = check_spectrogram(X, type(self).__name__)
        if not reset:
            check_as_fitted(self, X, "microphones")
        return X


class LinearSeparator(BaseSeparator):
    """Base of the separators that demix with one matrix per frequency bin.

    They have the fitted attributes `demixing_` and `mixing_`.
    """

    @property
    def _n_features_out(self):
        return self.demixing_.shape[1]

    def transform(self, X: Spectrogram | ArrayLike) -> Spectrogram | np.ndarray:
        """Demix a spectrogram with the fitted demixing matrices.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_mics)
            The recording, or later audio of the same room.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_sources)
            The separated sources, of the type and precision of `X`. A record carries
            the mixing matrices that `ProjectionBack` needs.
        """
        check_is_fitted(self)
        data = self._check_X(X, reset=False)
        W = self.demixing_.astype(data.dtype)
        Y = np.empty((*data.shape[:2], W.shape[1]), data.dtype)

        def work(bins):  # copied to where matmul is fast
            x = np.ascontiguousarray(data[:, bins].transpose(1, 2, 0))
            Y[:, bins] = (W[bins] @ x).transpose(2, 0, 1)

        map_some(work, bin_blocks(len(W), 2 * data[:, 0].nbytes, CACHE_BYTES))
        return separated(X, Y, self.mixing_[None])


def resolve(value, registry):
    """Return an instance of the class that a name stands for, or the user's object."""
    if isinstance(value, str):
        return registry[value]()
    if type(value) in registry.values() and hasattr(value, "_parameter_constraints"):
        value._validate_params()
    return value
