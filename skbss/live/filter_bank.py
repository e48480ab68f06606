"""Filters that are applied to a signal as it comes, block by block, and exchanged."""

# License: BSD-3-Clause

import numpy as np
import scipy.fft

# An output may have so many times the power of the microphone before it is turned down,
# and how much of the running powers is left after a cross-fade.
MOST = 2.0
KEPT = 0.8


class FilterBank:
    """Filters from microphones to sources, by partitioned convolution.

    Each block of input is transformed once; filters are divided into parts of a block,
    and the spectra of parts and of past blocks are multiplied and summed (uniformly
    partitioned overlap-save). New filters are faded in. Outputs that get much louder
    than the microphone, as those of wrong filters may, are turned down to it.

    Parameters
    ----------
    n_mics, n_sources : int
        Numbers of channels.
    n_taps : int
        Length of the filters.
    n_future : int
        How many of them look ahead.
    block : int
        Samples that are worked on at a time, a power of two.
    fade : int
        Samples of the cross-fade from one set of filters to the next.
    delay : int, default=0
        Samples by which the input is delayed before it is filtered, a multiple of the
        block: filters for it may then be learned from what comes after it.
    ref_mic : int, default=0
        The microphone that outputs are compared with, and share at first.
    lowpass : ndarray of shape (n_around,), default=(1,)
        What filters know nothing of is what this filter, symmetric, leaves out of the
        microphone. Outputs share it by how loud they are at high frequencies.
    """

    def __init__(
        self,
        n_mics,
        n_sources,
        *,
        n_taps,
        n_future,
        block,
        fade,
        delay=0,
        ref_mic=0,
        lowpass=(1.0,),
    ):
        self.n_taps, self.n_future, self.block = n_taps, n_future, block
        self.delay, self.ref_mic = delay, ref_mic
        self.n_parts = -(-n_taps // block)
        self.n_fade = max(1, fade // block)
        through = np.zeros((n_sources, n_mics, n_taps), np.float32)
        reach = len(lowpass) // 2
        through[:, ref_mic, n_future - reach : n_future + reach + 1] = lowpass
        # Before anything is known of sources, the best that outputs can be is an equal
        # share of the microphone, to which they sum then as later.
        self.through = through / np.float32(n_sources)
        self.highs = None
        if reach:
            highs = -through[:1]
            highs[:, ref_mic, n_future] += 1
            self.highs = self._transform(highs)
        self.filters = self.through[None]
        self.starts = np.zeros(1, int)
        self.restart()

    def restart(self):
        """Begin another signal with the newest filters."""
        n_sources, n_mics, _ = self.through.shape
        self.position = -self.n_future - self.delay  # of the output of the next block
        shape = n_mics, self.delay + self.n_future + 2 * self.block
        self.past = np.zeros(shape, np.float32)
        shape = self.block + 1, 2 * self.n_parts, n_mics
        self.spectra = np.zeros(shape, np.complex64)
        self.filters, self.starts = self.filters[-1:], np.zeros(1, int)
        self.faded = 0  # blocks of the fade to the next filters so far
        self.powers = np.zeros(1 + n_sources)
        self.high_powers = np.zeros(n_sources)
        self.shares = np.full(n_sources, 1 / n_sources, np.float32)
        self.gain = np.ones(n_sources, np.float32)
        self._prepare()

    def _prepare(self):
        """Transform the filters in use and those that are faded in."""
        self.first = self._transform(self.filters[0])
        has_next = len(self.filters) > 1 and self.faded
        self.second = self._transform(self.filters[1]) if has_next else None

    def _transform(self, g):
        """Spectra (n_freqs, n_sources, n_parts * n_mics) of the parts of filters."""
        K, M, n_taps = g.shape
        padded = np.zeros((K, M, self.n_parts * self.block), np.float32)
        padded[..., :n_taps] = g
        parts = padded.reshape(K, M, self.n_parts, self.block)
        H = scipy.fft.rfft(parts, 2 * self.block, axis=3)
        H = np.ascontiguousarray(H.transpose(3, 0, 2, 1))
        return H.reshape(self.block + 1, K, -1)

    @property
    def newest(self):
        """The newest filters, in use or to come."""
        return self.filters[-1]

    def exchange(self, g, start):
        """Use other filters from a sample of the output on, or as soon as possible.

        Parameters
        ----------
        g : ndarray of shape (n_sources, n_mics, n_taps), or None
            The filters; None for an equal share of the microphone.
        start : int
            The sample. Filters that were to come after it are dropped.
        """
        g = self.through if g is None else g
        keep = np.append(True, self.starts[1:] < start)
        keep[1 : 1 + bool(self.faded)] = True
        g = np.asarray(g, np.float32)[None]
        self.filters = np.concatenate([self.filters[keep], g])
        self.starts = np.append(self.starts[keep], start)

    def _choose(self):
        """Begin to fade to the newest filters that are due, or end it."""
        if self.faded == self.n_fade:
            self.filters, self.starts = self.filters[1:], self.starts[1:]
            self.first, self.second, self.faded = self.second, None, 0
        if self.faded == 0:
            due = np.flatnonzero(self.starts[1:] <= self.position)
            if len(due):
                keep = np.append(0, np.arange(1 + due[-1], len(self.starts)))
                self.filters, self.starts = self.filters[keep], self.starts[keep]
                self.second = self._transform(self.filters[1])

    def process(self, x):
        """Filter the next block.

        Parameters
        ----------
        x : ndarray of shape (block, n_mics)
            Samples, float32.

        Returns
        -------
        y : ndarray of shape (block, n_sources)
            Outputs for the samples from ``position - block`` on.
        """
        B, past = self.block, self.past
        past[:, :-B] = past[:, B:]
        past[:, -B:] = x.T
        self._choose()
        slot = self.position // B % self.n_parts
        end = past.shape[1] - self.delay
        X = scipy.fft.rfft(past[:, end - 2 * B : end]).T
        # Written twice, blocks from the newest to the oldest always lie in one piece.
        n = self.n_parts
        slot = n - 1 - slot
        self.spectra[:, slot] = self.spectra[:, slot + n] = X
        spectra = self.spectra.reshape(B + 1, -1, 1)
        spectra = spectra[:, slot * X.shape[1] : (slot + n) * X.shape[1]]
        y = self._filter(self.first, spectra)
        if self.second is not None:
            self.faded += 1
            fade = np.arange(1, B + 1, dtype=np.float32) / np.float32(B * self.n_fade)
            fade += np.float32((self.faded - 1) / self.n_fade)
            y += fade * (self._filter(self.second, spectra) - y)
        if self.highs is not None:
            y += self._shared_highs(y, spectra)
        self.position += B
        return self._turned_down(y, past[self.ref_mic, : 2 * B]).T

    def _filter(self, H, spectra):
        y = scipy.fft.irfft((H @ spectra)[..., 0].T, 2 * self.block)
        return y[:, self.block :]

    def _shared_highs(self, y, spectra):
        """Return each output's share of what filters leave out of the microphone."""
        kept = KEPT ** (1 / self.n_fade)
        now = _power(np.diff(y, 2))
        self.high_powers = kept * self.high_powers + (1 - kept) * now
        total = self.high_powers.sum()
        before, ramp = self.shares, self._ramp()
        if total > 0:
            self.shares = (self.high_powers / total).astype(np.float32)
        shares = before[:, None] + (self.shares - before)[:, None] * ramp
        return shares * self._filter(self.highs, spectra)

    def _ramp(self):
        return np.arange(1, self.block + 1, dtype=np.float32) / self.block

    def _turned_down(self, y, mic):
        """Turn outputs down that are much louder than the microphone."""
        mic = mic[-self.block :]
        now = _power(np.vstack([mic, y]))
        kept = KEPT ** (1 / self.n_fade)
        self.powers = kept * self.powers + (1 - kept) * now
        limit = MOST * self.powers[0]
        gain = np.ones(len(y))
        loud = self.powers[1:] > limit
        gain[loud] = np.sqrt(limit / self.powers[1:][loud])
        gain = gain.astype(np.float32)
        if loud.any() or (self.gain < 1).any():
            y *= self.gain[:, None] + (gain - self.gain)[:, None] * self._ramp()
        self.gain = gain
        return y

    def get_state(self):
        """Return all that the coming output depends on, as a dict of arrays."""
        names = "position", "past", "spectra", "filters", "starts", "faded"
        names += "powers", "high_powers", "shares", "gain"
        return {name: getattr(self, name) for name in names}

    def set_state(self, state):
        """Go on from what `get_state` returned."""
        vars(self).update({name: np.copy(state[name])[()] for name in self.get_state()})
        self._prepare()


def _power(a):
    return np.square(a, dtype=float).mean(-1)
