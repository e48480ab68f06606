"""Learning at a lower sample rate than that of the signal."""

# License: BSD-3-Clause

import numpy as np
from scipy.signal import firwin, oaconvolve

# What is learned from has at least this sample rate, if the signal has.
LEAST_RATE = 16_000
# The low-pass filter: coefficients to either side for each sample that is left out, its
# cutoff relative to half the lower rate, and the shape of its window (60 dB).
REACH, CUTOFF, BETA = 24, 0.93, 5.65


class Decimator:
    """Leave out samples as a signal comes, and make filters for all of them.

    Parameters
    ----------
    n_mics : int
        Number of channels.
    sample_rate : float
        In Hz.

    Attributes
    ----------
    factor : int
        One in so many samples is left. With 1 signals and filters are left alone.
    delay : int
        Samples by which the sound is late in the signal of lower rate.
    lowpass : ndarray of shape (2 * delay + 1,)
        The filter by which samples are left out, and found.
    """

    def __init__(self, n_mics, sample_rate):
        self.factor = max(1, int(sample_rate // LEAST_RATE))
        self.delay = REACH * self.factor if self.factor > 1 else 0
        self.lowpass = np.ones(1, np.float32)
        if self.factor > 1:
            size, cutoff = 2 * self.delay + 1, CUTOFF / self.factor
            self.lowpass = firwin(size, cutoff, window=("kaiser", BETA))
            self.lowpass = self.lowpass.astype(np.float32)
        self.past = np.zeros((2 * self.delay, n_mics), np.float32)

    def process(self, x):
        """Take a block (n_samples, n_mics), and return what is left of it."""
        if self.factor == 1:
            return x
        x = np.concatenate([self.past, x])
        self.past = x[len(x) - len(self.past) :].copy()
        # Each sample that is left is that of the filter's middle.
        taps = self.lowpass[:, None]
        return oaconvolve(x, taps, "valid", axes=0)[:: self.factor].astype(np.float32)

    def filters(self, g, n_future, n_taps):
        """Return filters for all samples.

        Parameters
        ----------
        g : ndarray of shape (n_sources, n_mics, n_low_taps)
            Filters for the samples that are left.
        n_future, n_taps : int
            How many taps look ahead, of the result, and how many there are.

        Returns
        -------
        filters : ndarray of shape (n_sources, n_mics, n_taps)
            The filters. They leave out what the samples that are left don't tell.
        """
        if self.factor == 1:
            return g
        wide = np.zeros((*g.shape[:2], g.shape[2] * self.factor), np.float32)
        wide[..., :: self.factor] = g
        wide = oaconvolve(wide, self.lowpass[None, None], axes=2)
        before = n_future - self.n_future(n_future) * self.factor - self.delay
        after = n_taps - before - wide.shape[2]
        return np.pad(wide, ((0, 0), (0, 0), (before, after))).astype(np.float32)

    def n_future(self, n_future):
        """Return how many samples left may look ahead where so many of all may."""
        return max(0, n_future - self.delay) // self.factor

    def n_taps(self, n_low_taps, n_future):
        """Return the taps of filters made of so many; `n_future` look ahead."""
        if self.factor == 1:
            return n_low_taps
        before = n_future - self.n_future(n_future) * self.factor - self.delay
        return before + n_low_taps * self.factor + 2 * self.delay
