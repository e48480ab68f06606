"""Source models: what a source looks like.

They are objects as `skbss.updates.protocols.SourceModel` says.
"""

# License: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import gen_batches

from skbss.parallel import CACHE_BYTES
from skbss.sklearn_parts import Interval

# Powers in so many bytes are looked at at a time, so that memory is bounded.
BLOCK_BYTES = CACHE_BYTES // 2


class Gauss(BaseEstimator):
    r"""Time-varying complex Gaussian with one variance per frame.

    The negative log-likelihood of a frame of mean power p is log p + 1 per frequency
    bin, at the best variance r = p [1]_.

    References
    ----------
    .. [1] N. Ono, "Auxiliary-function-based independent vector analysis with power of
       vector-norm type weighting functions", APSIPA ASC 2012.
    """

    def variance(self, power: np.ndarray) -> np.ndarray:
        """Variance that a frame is weighted by; see `SourceModel.variance`."""
        return power

    def cost(self, power: np.ndarray) -> np.ndarray:
        """Negative log-likelihood per bin; see `SourceModel.cost`."""
        return np.log(power) + 1


class GeneralizedGauss(BaseEstimator):
    r"""Spherical generalized Gaussian distribution.

    The negative log-likelihood per bin is :math:`p^{\beta / 2}` with the mean power p
    and the shape :math:`\beta`. With 2 it is a Gaussian of constant variance, which
    tells no source from another in `AuxIVA`; 1 is `Laplace`; below, tails are heavier.

    In `ILRMA` p is a bin's power relative to the variance of the factorization [1]_.

    Parameters
    ----------
    shape : float, default=1.0
        The shape :math:`\beta`, above 0 and at most 2: there the cost is concave, so
        that the objective never rises.

    References
    ----------
    .. [1] D. Kitamura, S. Mogami, Y. Mitsui, N. Takamune, H. Saruwatari, N. Ono,
       Y. Takahashi and K. Kondo, "Generalized independent low-rank matrix analysis
       using heavy-tailed distributions for blind source separation", EURASIP Journal on
       Advances in Signal Processing 2018:28. :doi:`10.1186/s13634-018-0549-5`
    """

    _parameter_constraints: dict = {"shape": [Interval(Real, 0, 2, closed="right")]}

    def __init__(self, shape: float = 1.0):
        self.shape = shape

    def variance(self, power: np.ndarray) -> np.ndarray:
        """Variance that a frame is weighted by; see `SourceModel.variance`."""
        return 2 / self.shape * power ** (1 - self.shape / 2)

    def cost(self, power: np.ndarray) -> np.ndarray:
        """Negative log-likelihood per bin; see `SourceModel.cost`."""
        return power ** (self.shape / 2)


class Laplace(BaseEstimator):
    """Spherical Laplace distribution of a whole frame.

    The negative log-likelihood per bin is the root of the mean power p, so a frame is
    weighted by r = 2 √p [1]_. Less sensitive to quiet frames than `Gauss`, and usually
    slower to converge on speech.

    References
    ----------
    .. [1] N. Ono, "Stable and fast update rules for independent vector analysis based
       on auxiliary function technique", WASPAA 2011.
       :doi:`10.1109/ASPAA.2011.6082320`
    """

    def variance(self, power: np.ndarray) -> np.ndarray:
        """Variance that a frame is weighted by; see `SourceModel.variance`."""
        return 2 * np.sqrt(power)

    def cost(self, power: np.ndarray) -> np.ndarray:
        """Negative log-likelihood per bin; see `SourceModel.cost`."""
        return np.sqrt(power)


class StudentT(BaseEstimator):
    r"""Spherical Student's t distribution.

    The negative log-likelihood per bin is :math:`(1 + \nu / 2) \log(1 + 2 p / \nu)`
    with the mean power p and :math:`\nu` degrees of freedom per bin: that of a t
    distribution of all F bins of a frame with :math:`F \nu` of them. With few, quiet
    frames weigh much, as in `Gauss`, with many all weigh alike.

    In `ILRMA` p is a bin's power relative to the variance of the factorization [1]_;
    with many degrees of freedom it is the Gaussian model there.

    Parameters
    ----------
    dof : float, default=1.0
        Degrees of freedom per frequency bin, above 0. 1 is the Cauchy distribution.

    References
    ----------
    .. [1] S. Mogami, D. Kitamura, Y. Mitsui, N. Takamune, H. Saruwatari and N. Ono,
       "Independent low-rank matrix analysis based on complex Student's t-distribution
       for blind audio source separation", MLSP 2017. :doi:`10.1109/MLSP.2017.8168129`
    """

    _parameter_constraints: dict = {"dof": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, dof: float = 1.0):
        self.dof = dof

    def variance(self, power: np.ndarray) -> np.ndarray:
        """Variance that a frame is weighted by; see `SourceModel.variance`."""
        return (self.dof + 2 * power) / (self.dof + 2)

    def cost(self, power: np.ndarray) -> np.ndarray:
        """Negative log-likelihood per bin; see `SourceModel.cost`."""
        return (1 + self.dof / 2) * np.log1p(2 / self.dof * power)


def frame_blocks(power):
    """Slices of frames to look at powers (n_sources, n_bands, n_frames) by."""
    step = max(1, BLOCK_BYTES // power[..., :1].nbytes)
    return list(gen_batches(power.shape[-1], step))


def box_sums(p, widths):
    """Sum over bands around each band, zeros beyond the ends.

    Sums of 2, 4, 8, ... bands are made from one another, and all others from these: it
    takes few additions and no differences, so that what is quiet beside what is loud
    is as accurate as everything else.

    Parameters
    ----------
    p : ndarray of shape (n_sources, n_bands, n_frames)
        What to sum.
    widths : list of int
        Odd numbers of bands.

    Returns
    -------
    sums : list of ndarray of shape (n_sources, n_bands, n_frames)
        For each width. As a matrix each is symmetric, which `Cliques` relies on.
    """
    n_bands, margin = p.shape[1], max(widths) // 2
    run = np.zeros((len(p), n_bands + 2 * margin, p.shape[2]), p.dtype)
    run[:, margin : margin + n_bands] = p
    starts = [margin - width // 2 for width in widths]
    sums = [run[:, start : start + n_bands].copy() for start in starts]
    starts = [start + 1 for start in starts]
    size = 1
    while 2 * size <= max(widths):
        run = run[:, :-size] + run[:, size:]
        size *= 2
        for i, width in enumerate(widths):
            if width & size:
                sums[i] += run[:, starts[i] : starts[i] + n_bands]
                starts[i] += size
    return sums


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

    _parameter_constraints: dict = {
        "widths": ["array-like"],
        "n_bands": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        widths: tuple[float, ...] = (1 / 4, 1 / 16, 1 / 64, 1 / 256),
        *,
        n_bands: int = 512,
    ):
        self.widths = widths
        self.n_bands = n_bands

    def variance(self, power: np.ndarray) -> np.ndarray:
        """Variance that each band is weighted by; see `SourceModel.variance`."""
        variance = np.empty_like(power)
        for frames in frame_blocks(power):
            variance[..., frames] = self._variance(*self._cliques(power[..., frames]))
        return variance

    def cost(self, power: np.ndarray) -> np.ndarray:
        """Negative log-likelihood per bin; see `SourceModel.cost`.

        The logarithms of the cliques' variances are averaged over the widths. It stands
        at the clique around each band, and its sum over the bands is what counts.
        """
        cost = np.empty_like(power)
        for frames in frame_blocks(power):
            cost[..., frames] = self._cost(*self._cliques(power[..., frames]))
        return cost

    def _cliques(self, power):
        """Widths in bands, and sums of powers over the cliques around each band."""
        n_bands = power.shape[1]
        widths = [2 * round(width * n_bands / 2) + 1 for width in self.widths]
        return widths, box_sums(power, widths)

    def _variance(self, widths, sums):
        pairs = zip(widths, sums, strict=True)
        precision = sum(box_sums(1 / s, [width])[0] for width, s in pairs)
        return len(widths) / precision

    def _cost(self, widths, sums):
        product = sums[0].astype(float)
        for s in sums[1:]:
            product *= s
        cost = np.log(product, out=product)
        cost -= np.log(widths).sum()
        cost /= len(widths)
        cost += 1
        return cost

    def _variance_and_cost(self, power):
        cliques = self._cliques(power)
        return self._variance(*cliques), self._cost(*cliques)


def bands_of(source):
    """Return the number of bands that a source model tells apart."""
    return getattr(source, "n_bands", 1)


def source_variance(source, power, *, zero_ok=False):
    """Ask a source model for variances, and check what a user's returns.

    Parameters
    ----------
    source : object
        The source model.
    power : ndarray
        What it is asked about.
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
    variance = _checked(source, "variance", power)
    if type(source) in SOURCE_MODELS.values():
        return variance
    if not ((variance >= 0) if zero_ok else (variance > 0)).all():
        wrong = "negative" if zero_ok else "zero, negative"
        raise ValueError(
            f"{source!r}.variance() returned {wrong} or non-finite values."
        )
    return variance


def source_cost(source, power):
    """Ask a source model for costs, and check what a user's returns.

    Parameters
    ----------
    source : object
        The source model.
    power : ndarray
        What it is asked about.

    Returns
    -------
    cost : ndarray of the shape of `power`
        The costs.

    Raises
    ------
    ValueError
        If they have another shape, or aren't finite.
    """
    return _checked(source, "cost", power)


def variance_and_cost(source, power):
    """Ask a source model for both, as `source_variance` and `source_cost` do."""
    if type(source) is Cliques:
        return source._variance_and_cost(power)
    return source_variance(source, power), source_cost(source, power)


def is_framewise(source):
    """Whether a source model is known to look at each frame alone."""
    return type(source) in SOURCE_MODELS.values()


def _checked(source, method, power):
    values = np.asarray(getattr(source, method)(power))
    if type(source) in SOURCE_MODELS.values():
        return values
    if values.shape != power.shape:
        raise ValueError(
            f"{source!r}.{method}() returned an array of shape {values.shape}, "
            f"expected that of the power, {power.shape}."
        )
    if not np.isfinite(values).all():
        wrong = "zero, negative or " if method == "variance" else ""
        raise ValueError(f"{source!r}.{method}() returned {wrong}non-finite values.")
    return values


SOURCE_MODELS = {
    "gauss": Gauss,
    "laplace": Laplace,
    "t": StudentT,
    "ggd": GeneralizedGauss,
    "cliques": Cliques,
}
