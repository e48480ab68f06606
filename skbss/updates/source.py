"""Source models of independent vector analysis: what a source looks like."""

# License: BSD-3-Clause

import numpy as np
from sklearn.base import BaseEstimator


class Gauss(BaseEstimator):
    """Time-varying complex Gaussian with one variance per frame [1]_.

    The negative log-likelihood of a frame of F bins with power p = Σ_f |y_f|² is
    F log(p / F) + F at the best variance r = p / F.

    References
    ----------
    .. [1] N. Ono, "Auxiliary-function-based independent vector analysis with power of
       vector-norm type weighting functions", APSIPA ASC 2012.
    """

    def variance(self, power, n_freqs):
        """Variance that the frame is weighted by, the inverse of d cost / d power.

        Parameters
        ----------
        power : ndarray of shape (n_sources, n_frames)
            Power of each source's frames, summed over frequency. Never zero: the
            separator floors it relative to the power of the recording.
        n_freqs : int
            Number of frequency bins that were summed.

        Returns
        -------
        variance : ndarray of shape (n_sources, n_frames)
            Positive variances.
        """
        return power / n_freqs

    def cost(self, power, n_freqs):
        """Negative log-likelihood of each frame, up to a constant.

        Parameters
        ----------
        power : ndarray of shape (n_sources, n_frames)
            As in `variance`.
        n_freqs : int
            As in `variance`.

        Returns
        -------
        cost : ndarray of shape (n_sources, n_frames)
            A concave function of the power, else the objective may rise.
        """
        return n_freqs * np.log(power / n_freqs) + n_freqs


class Laplace(BaseEstimator):
    """Spherical Laplace distribution of a whole frame [1]_.

    The negative log-likelihood of a frame is its norm √p, so a frame is weighted by
    r = 2 √p. Less sensitive to quiet frames than `Gauss`, and usually slower to
    converge on speech.

    References
    ----------
    .. [1] N. Ono, "Stable and fast update rules for independent vector analysis based
       on auxiliary function technique", WASPAA 2011.
       :doi:`10.1109/ASPAA.2011.6082320`
    """

    def variance(self, power, n_freqs):
        """Variance that the frame is weighted by; see `Gauss.variance`."""
        return 2 * np.sqrt(power)

    def cost(self, power, n_freqs):
        """Negative log-likelihood of each frame; see `Gauss.cost`."""
        return np.sqrt(power)


SOURCE_MODELS = {"gauss": Gauss, "laplace": Laplace}
