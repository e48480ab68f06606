"""A recording whose microphones are brought to one time and one clock, when read."""

# License: BSD-3-Clause

from skbss.transforms import AlignChannels, ResampleChannels
from skbss.transforms.alignment import LONGEST_CLOCKS
from skbss.updates.delays import at_reference


class AlignedReader:
    """Channels of a recording at the times of a reference, read when needed.

    Parameters
    ----------
    reader : AudioReader
        The recording. Of its first two minutes delays and clocks are learned.
    sample_rate : float
        In Hz.
    ref_mic : int
        The channel that keeps its time.

    Attributes
    ----------
    shape : tuple of (int, int)
        Number of samples and of channels.
    dtype : dtype
        Of the samples.
    delays, offsets : ndarray of shape (n_channels,)
        As `AlignChannels` and `ResampleChannels` find them.
    """

    def __init__(self, reader, sample_rate, ref_mic):
        self._reader = reader
        self.shape, self.dtype = reader.shape, reader.dtype
        self.sample_rate = sample_rate
        align = AlignChannels(ref_mic, sample_rate=sample_rate)
        clocks = ResampleChannels(ref_mic, sample_rate=sample_rate)
        x = reader[: round((LONGEST_CLOCKS + align.max_delay) * sample_rate)]
        x = clocks.fit_transform(align.fit_transform(x))
        self.delays, self.offsets = align.delays_, clocks.offsets_
        if self.offsets.any():  # delays are clearer on one clock
            self.delays = self.delays + align.fit(x).delays_

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, part):
        """Return the samples of a slice, of shape (n_samples, n_channels)."""
        start, stop, _ = part.indices(len(self))
        return at_reference(self._reader, self.delays, self.offsets, start, stop)

    def __str__(self):
        found = []
        for mic, delay, offset in zip(
            range(self.shape[1]), self.delays, self.offsets, strict=True
        ):
            if delay or offset:
                found.append(
                    f"microphone {mic} is {1000 * abs(delay) / self.sample_rate:.0f} "
                    f"ms {'late' if delay >= 0 else 'early'}, its clock "
                    f"{1e6 * abs(offset):.1f} millionths "
                    f"{'fast' if offset >= 0 else 'slow'}"
                )
        return ", ".join(found) or "nothing to align"
