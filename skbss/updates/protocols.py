"""What an object needs to be a source model or a spatial update of a separator.

Protocols of `typing`: an object with these methods is one, whatever it derives from.
"""

# License: BSD-3-Clause

from typing import Protocol

import numpy as np


class VarianceModel(Protocol):
    """What tells variances of powers: all that some separators ask of a source model.

    `OnlineAuxIVA` asks for variances of whole frames, and ``source`` of `ILRMA` for
    those of all bins.

    See Also
    --------
    SourceModel : With the likelihood that they belong to.
    """

    def variance(self, power: np.ndarray) -> np.ndarray:
        """Return the variance that each power is divided by.

        Of a `SourceModel` it is the inverse of d cost / d power.

        Parameters
        ----------
        power : ndarray of shape (n_sources, n_bands, n_frames)
            Mean power of the outputs over the bins of each band. A model tells by an
            attribute `n_bands` how many bands it wants; without it there is one, the
            whole frame. `AuxIVA` never asks about zero: it floors powers relative to
            that of the recording. In `ILRMA` each bin is a band.

        Returns
        -------
        variance : ndarray of shape (n_sources, n_bands, n_frames)
            Positive variances.
        """


class SourceModel(VarianceModel, Protocol):
    """How likely a spectrogram is for a source, and how much each frame counts.

    `AuxIVA` takes one as ``source``, `ILRMA` as ``likelihood``.

    See Also
    --------
    Gauss : The simplest one.
    SpatialUpdate : The other part of a separator that can be replaced.
    """

    def cost(self, power: np.ndarray) -> np.ndarray:
        """Return the negative log-likelihood per frequency bin, up to a constant.

        Parameters
        ----------
        power : ndarray of shape (n_sources, n_bands, n_frames)
            As in `variance`.

        Returns
        -------
        cost : ndarray of shape (n_sources, n_bands, n_frames)
            Its sum over the bands is a concave function of the powers, else the
            objective may rise.
        """


class SpatialUpdate(Protocol):
    """How demixing matrices move, given weighted covariances.

    All separators with a parameter ``spatial`` take one.

    See Also
    --------
    IP1 : The default.
    SourceModel : The other part of a separator that can be replaced.
    """

    def update(self, W: np.ndarray, V: np.ndarray) -> np.ndarray:
        """Return demixing matrices that lower the majorizing function.

        Parameters
        ----------
        W : ndarray of shape (n_sources, n_mics, n_bins)
            Demixing matrices of the whitened microphones, y = W Z x, in some or all of
            the frequency bins, which come last. Not modified. There are as many rows as
            microphones: if fewer sources are asked for, those of the background follow.
        V : ndarray of shape (n_sources, n_mics, n_mics, n_bins)
            Weighted covariances of each source in the same coordinates, Hermitian and
            positive definite; the identity for the background.

        Returns
        -------
        W : ndarray of shape (n_sources, n_mics, n_bins)
            The new matrices.
        """
