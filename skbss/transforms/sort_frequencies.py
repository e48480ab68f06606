"""Give ranges of frequency back to the outputs that they belong to."""

# License: BSD-3-Clause

from dataclasses import replace
from numbers import Integral, Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skbss.callbacks import FitTask
from skbss.sklearn_parts import Interval, _fit_context
from skbss.spectrogram import Spectrogram
from skbss.transforms._outputs import OutputsTransformer, sample_rate_of
from skbss.updates.ranges import (
    block_weights,
    keep_places,
    refine_edges,
    sort_blocks,
    warped_edges,
)


class SortFrequencies(OutputsTransformer):
    r"""Give ranges of frequency back to the outputs that they belong to.

    Separators that work on every frequency bin must find out which output of a bin goes
    with which output of another. Where they err, they mostly err for a whole range:
    below 200 Hz, or between two frequencies that no voice bridges, the outputs are
    well separated and in the wrong places. This step finds such ranges and swaps them.
    It stands after `ProjectionBack`, behind any separator.

    Parameters
    ----------
    min_gain : float, default=0.3
        Least gain for which a range is swapped, as the correlation that a single block
        of bins would have to gain; see Notes. Smaller ones trust small differences.
    n_blocks : int, default=256
        Number of blocks that bins are put together to. Their width is 10 Hz at 0 Hz and
        grows with frequency, to 270 Hz at 8 kHz, if the sample rate is 16 kHz.
    reach : float, default=4.0
        How many blocks away neighbors still count more than others do.

    Attributes
    ----------
    order_ : ndarray of shape (n_freqs, n_sources)
        Which output goes to each place, bin by bin: ``Y[:, f] = X[:, f, order_[f]]``.
    swaps_ : list of tuple
        What was swapped, in this order: the first bin, the bin after the last, and the
        outputs as a tuple, of which each got what the next had, the last what the first
        had.
    edges_ : ndarray of shape (n_blocks + 1,)
        First bins of the blocks, and the number of bins.
    frequency_ : ndarray of shape (n_freqs,)
        Frequencies of the bins in Hz.
    agreement_ : ndarray of shape (2, n_blocks)
        Mean correlation of the outputs of each block with those of the others, before
        and after: 0 is what chance does, and 1 the most there can be.
    n_features_in_ : int
        Number of outputs.

    See Also
    --------
    skbss.inspection.SortingDisplay : A picture of what was swapped.
    AuxIVA : Its `sort_iter` swaps bands too, by its own objective.

    Notes
    -----
    Blocks of bins have equal steps in :math:`\log(1 + f / 300\,\mathrm{Hz})`, as voices
    fill frequencies. In each, all bins at the same level, the share of output k in the
    power is

    .. math:: v_{kbt} = p_{kbt} \Big/ \sum_j p_{jbt}, \quad
        p_{kbt} = \sum_{f \in b} |y_{kft}|^2 \Big/ \sum_{jt} |y_{jft}|^2

    which tells who speaks, as in [1]_. With :math:`\rho` the correlation of shares over
    time, an arrangement of the outputs has the value

    .. math:: \sum_{b < c} \Big(\frac{1}{B} + \frac{e^{-|b - c| / 4}}{8}\Big)
        \sum_k \rho(v_{kb}, v_{kc})

    of which a swap of a range changes only pairs of blocks inside and outside, so
    that all ranges are valued by cumulative sums. Again and again, the best swap of two
    outputs in a range is done. Where none gains `min_gain`, swaps of three in a circle
    are tried. Where the sorted ranges agree little, with a mean correlation below 0.35,
    as noise makes them, only such swaps are done as bring `min_gain` even two standard
    errors below their mean over the quarters of the recording. The outputs' names are
    such that most bins stay where they are.

    A single output, silence, equal outputs and a single frame are left as they are.
    Outputs need the scale that `ProjectionBack` gives: shares of bins that are louder
    in one output than in the other for no reason tell less.

    Blocks depend on the sample rate. For a spectrogram without one they are those of
    16 kHz.

    The mixing matrices of a record are sorted with the outputs.

    References
    ----------
    .. [1] H. Sawada, S. Araki and S. Makino, "Measuring dependence of bin-wise
       separated signals for permutation alignment in frequency-domain BSS", ISCAS 2007.
       :doi:`10.1109/ISCAS.2007.378164`

    Examples
    --------
    >>> from dataclasses import replace
    >>> from skbss import STFT, SortFrequencies
    >>> from skbss.datasets import load_cocktail_party
    >>> recording = load_cocktail_party()
    >>> stft = STFT(2048, sample_rate=recording.sample_rate)
    >>> record = stft.fit_transform(recording.references)
    >>> swapped = record.data.copy()
    >>> swapped[:, 300:] = swapped[:, 300:, ::-1]
    >>> sort = SortFrequencies().fit(replace(record, data=swapped))
    >>> [(start, stop, outputs)] = sort.swaps_
    >>> 300 in (start, stop)  # all below it or all above, which is the same
    True
    """

    _parameter_constraints: dict = {
        "min_gain": [Interval(Real, 0, None, closed="left")],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "reach": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self, min_gain: float = 0.3, *, n_blocks: int = 256, reach: float = 4.0
    ):
        self.min_gain = min_gain
        self.n_blocks = n_blocks
        self.reach = reach

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Spectrogram | ArrayLike, y: object = None) -> Self:
        """Learn which ranges are to be swapped.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_sources)
            Separated outputs, scaled by `ProjectionBack`.
        y : None
            Ignored.

        Returns
        -------
        self : SortFrequencies
            The fitted transformer.

        Raises
        ------
        ValueError
            If `X` isn't a complex, finite spectrogram.
        """
        task = FitTask(self, X, y)
        data = self._check_X(X, reset=True)
        rate = sample_rate_of(X)
        edges = warped_edges(data.shape[1], rate, self.n_blocks)
        weights = block_weights(len(edges) - 1, self.reach)
        order, swaps, norm, *agreement = sort_blocks(
            data, edges, weights, self.min_gain
        )
        edges = refine_edges(data, edges, order, weights, norm)
        sizes = np.diff(edges)
        places = keep_places(order, sizes)
        self.order_ = np.repeat(order[:, places], sizes, axis=0)
        self.swaps_ = [
            (int(edges[start]), int(edges[stop]), cycle) for start, stop, cycle in swaps
        ]
        self.edges_ = edges
        self.frequency_ = np.linspace(0, rate / 2, data.shape[1])
        self.agreement_ = np.array(agreement)
        task.end()
        return self

    def transform(self, X: Spectrogram | ArrayLike) -> Spectrogram | np.ndarray:
        """Swap the ranges.

        Parameters
        ----------
        X : Spectrogram or array-like of shape (n_frames, n_freqs, n_sources)
            What was fitted to, or later outputs of the same separator.

        Returns
        -------
        Y : Spectrogram or ndarray of shape (n_frames, n_freqs, n_sources)
            The outputs, sorted, of the type and precision of `X`.
        """
        check_is_fitted(self)
        data = self._check_X(X, reset=False)
        Y = np.take_along_axis(data, self.order_[None], axis=2)
        if not isinstance(X, Spectrogram):
            return Y
        mixing = X.mixing
        if mixing is not None:
            mixing = np.take_along_axis(mixing, self.order_[None, :, None], axis=3)
        return replace(X, data=Y, mixing=mixing)
