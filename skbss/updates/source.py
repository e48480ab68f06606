"""Source models of independent vector analysis: what a source looks like."""

# License: BSD-3-Clause

import numpy as np
from scipy.ndimage import uniform_filter1d
from sklearn.base import BaseEstimator
from sklearn.utils import gen_batches

from skbss.compiled import kernels
from skbss.linalg import sum_log

# `Cliques` works on so many frames at a time, which bounds its memory. No power of two:
# values of neighboring bands would share few lines of the cache.
N_FRAMES = 200


class Gauss(BaseEstimator):
    r"""Time-varying complex Gaussian with one variance per frame.

    The negative log-likelihood of a frame of F bins with power :math:`p = \sum_f
    |y_f|^2` is F log(p / F) + F at the best variance r = p / F [1]_.

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
    """Spherical Laplace distribution of a whole frame.

    The negative log-likelihood of a frame is its norm √p, so a frame is weighted by
    r = 2 √p [1]_. Less sensitive to quiet frames than `Gauss`, and usually slower to
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


def box_mean(p, width):
    """Mean over an odd number of bands around each band, zeros beyond the ends.

    As a matrix this is symmetric, which `Cliques` relies on. `p` is C-contiguous.
    """
    mean = np.empty_like(p)
    # The filter adds and subtracts: where all is quiet, rounding may go below zero.
    least = p.min() / 2
    if fast := kernels("batch"):
        fast.box_mean(p, width, least, mean)
        return mean
    uniform_filter1d(p, width, axis=1, output=mean, mode="constant")
    return np.maximum(mean, least, out=mean)


class Cliques(BaseEstimator):
    """Gaussians of many overlapping cliques, ranges of frequency of all widths.

    Where `Gauss` has one variance for all bins of a frame, this model has one for each
    clique, and a bin belongs to all cliques that reach it [1]_. Voices that are loud at
    the same time but not at the same pitch are told apart better, while cliques overlap
    enough to keep the frequencies sorted. Like most rich models it needs a good start:
    let it come after `AuxIVA` or `ILRMA` in a pipeline, where it brings several dB.

    Parameters
    ----------
    widths : tuple of float, default=(1/4, 1/16, 1/64, 1/256)
        Widths of the cliques, as fractions of all frequencies. At 16 kHz: 2 kHz, which
        sorts the frequencies, down to 31 Hz, which follows single harmonics. The cost
        is averaged over them.
    n_bands : int, default=512
        Number of bands that the frequencies are first divided into, by which cliques
        slide. It bounds the cost of an iteration; 512 bands are as good as single bins.

    References
    ----------
    .. [1] I. Lee, G.-J. Jang and T.-W. Lee, "Independent vector analysis using
       densities represented by chain-like overlapped cliques in graphical models for
       separation of convolutedly mixed signals", Electronics Letters 45(13), 2009.
    """

    def __init__(self, widths=(1 / 4, 1 / 16, 1 / 64, 1 / 256), *, n_bands=512):
        self.widths = widths
        self.n_bands = n_bands

    def _means(self, power):
        """Yield the widths of cliques in bands, and the mean powers of the cliques."""
        power = np.ascontiguousarray(power)
        for width in self.widths:
            width = 2 * round(width * power.shape[1] / 2) + 1
            yield width, box_mean(power, width)

    def variance(self, power):
        """Variance that each band is weighted by, the inverse of d cost / d power.

        Parameters
        ----------
        power : ndarray of shape (n_sources, n_bands, n_frames)
            Mean power of the outputs in each band, never zero.

        Returns
        -------
        variance : ndarray of shape (n_sources, n_bands, n_frames)
            Positive variances.
        """
        variance = np.empty_like(power)
        for frames in gen_batches(power.shape[-1], N_FRAMES):
            precision = 0
            for width, mean in self._means(power[..., frames]):
                precision += box_mean(np.divide(1, mean, out=mean), width)
            np.divide(len(self.widths), precision, out=variance[..., frames])
        return variance

    def cost(self, power):
        """Negative log-likelihood, up to a constant.

        Parameters
        ----------
        power : ndarray of shape (n_sources, n_bands, n_frames)
            As in `variance`.

        Returns
        -------
        cost : float
            The logarithms of the cliques' variances, summed over bands and frames and
            averaged over the widths.
        """
        blocks = gen_batches(power.shape[-1], N_FRAMES)
        means = (mean for b in blocks for _, mean in self._means(power[..., b]))
        logs = sum(sum_log(mean) for mean in means)
        return logs / len(self.widths) + power.size


def source_variance(source, power, *args, zero_ok=False):
    """Ask a source model for variances, and check what a user's returns.

    Parameters
    ----------
    source : object
        The source model.
    power : ndarray
        What it is asked about.
    *args
        What else it takes.
    zero_ok : bool, default=False
        Whether variances may be zero.

    Returns
    -------
    variance : ndarray of the shape of `power`
        The variances.

    Raises
    ------
    ValueError
        If they have another shape, or aren't finite and positive.
    """
    variance = np.asarray(source.variance(power, *args))
    if type(source) in SOURCE_MODELS.values():
        return variance
    if variance.shape != power.shape:
        raise ValueError(
            f"{source!r}.variance() returned an array of shape {variance.shape}, "
            f"expected that of the power, {power.shape}."
        )
    in_range = variance >= 0 if zero_ok else variance > 0
    if not (np.isfinite(variance).all() and in_range.all()):
        wrong = "negative" if zero_ok else "zero, negative"
        raise ValueError(
            f"{source!r}.variance() returned {wrong} or non-finite values."
        )
    return variance


SOURCE_MODELS = {"gauss": Gauss, "laplace": Laplace, "cliques": Cliques}
