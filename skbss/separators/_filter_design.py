"""From demixing matrices to the filters that run live, step by step."""

# License: BSD-3-Clause

import numpy as np

from skbss.separators import _window as windows
from skbss.spectrogram import window_length
from skbss.updates.filters import (
    at_unit_peak,
    filtered,
    impulse_responses,
    short_filters,
    with_future,
)
from skbss.updates.leaks import canceller, convolved, learn_leaks
from skbss.updates.source import Cliques

# Cancellers, one after the other, as in `skbss.CrosstalkCanceller`: seconds of their
# windows, of which hops are a half, and delays in hops.
STAGES = (0.256, np.arange(-1, 4)), (0.128, np.arange(-1, 5))
# How fast leaks are expected to decay, and how strong to be.
DECAY, PRIOR = 0.5, 0.3
# Seconds of all cancelling together that look ahead, and back; and of filters, back.
AHEAD, BACK, PAST = 0.256, 0.512, 0.768
# Look-ahead in seconds below which filters are fitted, over so many seconds, not cut.
CUT, FITTED = 0.5, 12.0
# Seconds that are filtered in a step.
STEP = 0.5


class FilterDesign:
    """Make filters of matrices of frequency bins, with less or more look-ahead.

    Its methods are generators, see `skbss.separators._window`.

    Parameters
    ----------
    history : History
        The newest sound.
    rate : float
        Its sample rate in Hz.
    n_sources, n_future : int
        Number of outputs, and of taps that may look ahead.
    """

    def __init__(self, history, rate, n_sources, n_future):
        self.history, self.rate, self.n_sources = history, rate, n_sources
        self.n_future = n_future
        self.is_short = n_future < CUT * rate
        self.n_taps = n_future + self._samples(PAST)
        if self.is_short:  # transforms are of twice that, a power of two
            self.n_taps = window_length(rate, CUT)
        self.ahead = self._samples(AHEAD)
        self.n_cancel = self.ahead + self._samples(BACK)

    def _samples(self, seconds):
        return round(seconds * self.rate)

    def cancel(self, W, begin, end):
        """Learn filters that take out of each output what leaks into it.

        Parameters
        ----------
        W : ndarray of shape (n_sources, n_mics, n_freqs)
            Demixing matrices whose outputs are images.
        begin, end : int
            Times of what is learned from.

        Returns
        -------
        h : ndarray of shape (n_sources, n_sources, n_cancel)
            Filters of the outputs, float32.
        """
        g, total = impulse_responses(W), None
        for seconds, lags in STAGES:
            n_fft = window_length(self.rate, seconds)
            y = yield from self._filter(g, begin, end)
            hop = n_fft // 2
            Y = yield from windows.transform(
                lambda start, stop, y=y: y[:, start:stop],
                range(0, y.shape[1] - n_fft + 1, hop),
                n_fft,
                keep_silence=True,
            )
            ridge = 1 / (PRIOR * max(len(Y), 1) * DECAY ** abs(lags))
            leaks = yield from learn_leaks(Y, Cliques(), lags, ridge)
            h = canceller(leaks, lags, hop, self.ahead, self.n_cancel)
            yield 100 * h.size
            if total is None:
                total, g = h, convolved(h, g)
            else:
                total = with_future(convolved(h, total), 2 * self.ahead, self.ahead)
            yield 4 * g.size
        return total[..., : self.n_cancel].astype(np.float32)

    def _filter(self, g, begin, end):
        """Filter from one time to another, where all of the filter meets the sound."""
        n, step, parts = g.shape[2], self._samples(STEP), []
        for start in range(begin, end - n + 1, step):
            x = self.history.read(start, min(start + step + n - 1, end))
            parts.append(filtered(x, g))
            yield 10 * x.size * self.n_sources
        return np.concatenate(parts, axis=1)

    def filters(self, W, cancel, begin, end, start, n_iter):
        """Make filters that look ahead as far as they may.

        Parameters
        ----------
        W : ndarray of shape (n_sources, n_mics, n_freqs)
            Demixing matrices whose outputs are images.
        cancel : ndarray of shape (n_sources, n_sources, n_cancel), or None
            What outputs are filtered by.
        begin, end : int
            Times of what filters are fitted to.
        start : ndarray of shape (n_sources, n_mics, n_taps), or None
            Filters to go on from.
        n_iter : int
            Iterations of a fit.

        Returns
        -------
        g : ndarray of shape (n_sources, n_mics, n_taps)
            The filters.
        """
        g = impulse_responses(W)
        ahead = g.shape[2] // 2
        if cancel is not None:
            g, ahead = convolved(cancel, g), ahead + self.ahead
        yield 4 * g.size
        if not self.is_short:
            g = with_future(g, ahead, self.n_future)[..., : self.n_taps]
            n_after = self.n_taps - g.shape[2]
            return np.pad(g, ((0, 0), (0, 0), (0, n_after)))
        longest = self._samples(CUT)
        size = 1 << (2 * self.n_taps - 1).bit_length()
        g = with_future(g, ahead, longest)[..., :size]
        begin = max(begin, end - self._samples(FITTED))
        x, _ = at_unit_peak(self.history.read(begin, end))
        return (
            yield from short_filters(
                x, g, longest, self.n_future, self.n_taps, start, n_iter
            )
        )
