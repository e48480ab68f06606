"""Give separated sources the scale that they have at a microphone."""

# License: BSD-3-Clause

from dataclasses import replace
from numbers import Integral
from typing import Literal

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite

from skbss.base import (
    RecordInputMixin,
    SpectrogramOutputMixin,
    all_finite,
    check_ref_mic,
)
from skbss.parallel import map_some
from skbss.sklearn_parts import Interval, StrOptions
from skbss.spectrogram import Spectrogram, of_frames
from skbss.transforms.frames import blocks
from skbss.transforms.scaling import lstsq_gains, rescale_mixing, scale


def reference_of(Y, gains, index):
    """Return a function of a slice of frames: the sum of Y, scaled by gains."""

    def reference(block):
        return (of_frames(gains, index, block) * Y[block]).sum(axis=2)

    return reference


def check_index(index, n_frames, n_matrices):
    """Raise ValueError unless there is one of the mixing matrices for each frame."""
    index = np.asarray(index)
    if (
        index.shape != (n_frames,)
        or index.dtype.kind not in "iu"
        or not (index.min() >= 0 and index.max() < n_matrices)
    ):
        raise ValueError(
            f"Got mixing_index of shape {index.shape} and type {index.dtype}, expected "
            f"a number from 0 to {n_matrices - 1} for each of {n_frames} frames."
        )


class ProjectionBack(RecordInputMixin, SpectrogramOutputMixin, BaseEstimator):
    """Give separated sources the scale that they have at a microphone.

    Blind separation leaves the scale of every source and frequency bin open. This step
    sets it to that of the source as one microphone picks it up, which also takes out
    the coloring. It stands between a separator and `ISTFT`.

    Parameters
    ----------
    ref_mic : int or "sum", default=0
        The reference microphone. "sum" takes the sum of all for one, which suits the
        second of two separations: the sources that `ISTFT` gave in the first sum to the
        microphone that they were projected back to.
    method : {'inverse', 'least_squares'}, default='inverse'
        'inverse' scales with the mixing matrix, the inverse of the demixing matrix
        [1]_: the outputs sum to the signal of the reference microphone. 'least_squares'
        brings every output as near to that signal as a factor can [2]_: no output can
        be louder than the microphone, even where the matrices are ill-conditioned.

    Attributes
    ----------
    n_features_in_ : int
        Number of sources.

    See Also
    --------
    projection_back, projection_back_lstsq : The same for arrays.
    normalized_mixing : Mixing matrices relative to a microphone.

    Notes
    -----
    It works with mixing matrices that are the same for all frames and with those of
    some or all of the frames, which online separators give. The output has them too,
    scaled so that they still take the sources back to the microphones. A source that
    doesn't reach the reference microphone is silent in the output, and so is its column
    of the matrices. A record that has the scale of the microphone is returned as it is.

    The factors come from each spectrogram itself, and nothing is learned: `transform`
    also works without `fit`.

    References
    ----------
    .. [1] N. Murata, S. Ikeda and A. Ziehe, "An approach to blind source separation
       based on temporal structure of speech signals", Neurocomputing 41 (2001).
       :doi:`10.1016/S0925-2312(00)00345-3`
    .. [2] K. Matsuoka, "Minimal distortion principle for blind source separation", SICE
       Annual Conference 2002. :doi:`10.1109/SICE.2002.1195729`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss.separators import AuxIVA
    >>> from skbss.transforms import ISTFT, STFT, ProjectionBack
    >>> x = np.random.default_rng(0).laplace(size=(16000, 2))
    >>> steps = STFT(n_fft=512), AuxIVA(max_iter=5), ProjectionBack(ref_mic=1), ISTFT()
    >>> y = make_pipeline(*steps).fit_transform(x)
    >>> np.allclose(y.sum(axis=1), x[:, 1])
    True
    """

    _parameter_constraints: dict = {
        "ref_mic": [Interval(Integral, 0, None, closed="left"), StrOptions({"sum"})],
        "method": [StrOptions({"inverse", "least_squares"})],
    }

    def __init__(
        self,
        ref_mic: int | Literal["sum"] = 0,
        *,
        method: Literal["inverse", "least_squares"] = "inverse",
    ):
        self.ref_mic = ref_mic
        self.method = method

    def transform(self, X: Spectrogram) -> Spectrogram:
        """Scale the sources.

        Parameters
        ----------
        X : Spectrogram of shape (n_frames, n_freqs, n_sources)
            From a separator.

        Returns
        -------
        Y : Spectrogram of shape (n_frames, n_freqs, n_sources)
            The scaled sources, of the precision of `X`, with the mixing matrices scaled
            inversely.

        Raises
        ------
        TypeError
            If `X` isn't a Spectrogram.
        ValueError
            If its data or mixing matrices are missing or not finite, or it has no such
            microphone.
        """
        Y = self._check_record(X, reset=False)
        if self.ref_mic == "sum":
            gains = X.mixing.sum(2)
        else:
            gains = X.mixing[:, :, self.ref_mic]
        index = X.mixing_index
        if self.method == "least_squares":
            reference = reference_of(Y, gains, index)
            gains, index = lstsq_gains(Y, reference)[None], None
        if (gains == 1).all():
            return X
        scaled = np.empty_like(Y)

        def work(block):
            scale(Y[block], of_frames(gains, index, block), out=scaled[block])

        map_some(work, blocks(len(Y), Y[0].nbytes))
        mixing = rescale_mixing(X.mixing, gains)
        if self.method == "inverse" and self.ref_mic != "sum":
            # A quotient of equal numbers isn't always one.
            np.copyto(mixing[:, :, self.ref_mic], 1, where=mixing.any(axis=2))
        return replace(X, data=scaled, mixing=mixing)

    def _check_record(self, X, *, reset):
        data = super()._check_record(X, reset=reset)
        if X.mixing is None:
            raise ValueError(
                "ProjectionBack needs the mixing matrices of a separator. Got a "
                "Spectrogram without: put ProjectionBack after the separator."
            )
        shape = X.mixing.shape
        n_frames, n_freqs, n_sources = X.shape
        numbers = 1, n_frames
        if X.mixing_index is not None:
            numbers = range(1, n_frames + 1)
            check_index(X.mixing_index, n_frames, shape[0])
        if (
            len(shape) != 4
            or shape[0] not in numbers
            or shape[1::2] != (n_freqs, n_sources)
        ):
            raise ValueError(
                f"Got mixing matrices of shape {shape} with sources of shape "
                f"{X.shape}, expected (1 or n_frames, n_freqs, n_mics, n_sources)."
            )
        if self.ref_mic != "sum":
            check_ref_mic(self.ref_mic, shape[2])
        if not all_finite(X.mixing):
            assert_all_finite(X.mixing, input_name="mixing")  # says what and where
        return data
