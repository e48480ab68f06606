"""Recordings in files, read part by part."""

# License: BSD-3-Clause

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from skbss.io.reading import (
    AudioFileError,
    AudioInfo,
    check_finite,
    open_audio,
    read_audio,
)

# Of these, single precision keeps every bit; of lossy ones all that was meant.
DOUBLE = "PCM_32", "DOUBLE"
BLOCK_SAMPLES = 2**20


class AudioReader:
    """A recording in one audio file or several, of which parts are read when needed.

    It looks like an array of shape (n_samples, n_mics) that can be sliced, and is what
    `BlockBatch` takes for recordings that don't fit into memory.

    Parameters
    ----------
    paths : str, Path or sequence of them
        The file, or several of the same length and rate, whose channels are put side by
        side: one for each microphone, say.
    channels : sequence of int, default=None
        Which channels to keep, counted from 0 over all files. None means all.
    dtype : dtype, default=None
        Of the samples. None means float32, or float64 where samples have more than 24
        bits.
    pad : bool, default=False
        Whether files may differ in length, as of several recorders. Shorter ones are
        followed by zeros.

    Attributes
    ----------
    paths : tuple of Path
        The files.
    info : AudioInfo
        Sample rate and sample format of the first file.
    shape : tuple of (int, int)
        Number of samples and of channels.
    dtype : dtype
        Of the samples.

    Raises
    ------
    AudioFileError
        If a file can't be read, files don't fit together, or there is no such channel.

    See Also
    --------
    skbss.BlockBatch : Separates what doesn't fit into memory.

    Examples
    --------
    >>> import tempfile
    >>> from skbss.datasets import make_convolutive_mixture
    >>> from skbss.io import AudioReader, write_audio
    >>> x, _ = make_convolutive_mixture(8000, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(f"{folder}/mixture.wav", x, 16_000)
    ...     reader = AudioReader(f"{folder}/mixture.wav")
    ...     part = reader[1000:3000]
    >>> reader.shape, part.shape, part.dtype
    ((8000, 2), (2000, 2), dtype('float32'))
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        channels: Sequence[int] | None = None,
        dtype: DTypeLike | None = None,
        pad: bool = False,
    ):
        if isinstance(paths, str | Path):
            paths = [paths]
        self.paths = tuple(map(Path, paths))
        lengths, counts, self.info = [], [], None
        for path in self.paths:
            with open_audio(path) as audio:
                info = AudioInfo(audio.samplerate, audio.format, audio.subtype)
                lengths.append(audio.frames)
                counts.append(audio.channels)
            self.info = self.info or info
            is_as_long = pad or lengths[-1] == lengths[0]
            if info.sample_rate != self.info.sample_rate or not is_as_long:
                raise AudioFileError(
                    f"Cannot join {path}, {lengths[-1]} samples at {info.sample_rate} "
                    f"Hz, with {self.paths[0]}, {lengths[0]} at "
                    f"{self.info.sample_rate} Hz: expected the same."
                )
        n_channels = sum(counts)
        self.channels = list(range(n_channels)) if channels is None else [*channels]
        for channel in self.channels:
            if not 0 <= channel < n_channels:
                raise AudioFileError(
                    f"Got channel {channel + 1}, but {self.paths[0]} has {n_channels}."
                )
        if dtype is None:
            dtype = np.float64 if self.info.subtype in DOUBLE else np.float32
        self.dtype = np.dtype(dtype)
        self.shape = max(lengths), len(self.channels)
        self._sizes = list(zip(lengths, counts, strict=True))

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, part):
        """Return the samples of a slice, of shape (n_samples, n_channels)."""
        start, stop, step = part.indices(len(self))
        if step != 1 or stop <= start:
            raise ValueError(f"Got {part}, expected a slice of successive samples.")
        read = []
        for path, (length, n_channels) in zip(self.paths, self._sizes, strict=True):
            n = min(stop, length) - start
            if n > 0:
                x = read_audio(path, start=start, n_samples=n, dtype=self.dtype)[0]
            else:
                x = np.zeros((0, n_channels), self.dtype)
            read.append(x)
        return self._side_by_side(read, stop - start)

    def _side_by_side(self, read, n_samples):
        """Put the channels of files side by side, with zeros after those that end."""
        read = [
            x if len(x) == n_samples else np.pad(x, ((0, n_samples - len(x)), (0, 0)))
            for x in read
        ]
        x = read[0] if len(read) == 1 else np.concatenate(read, axis=1)
        if self.channels != list(range(x.shape[1])):
            x = np.ascontiguousarray(x[:, self.channels])
        return x

    def parts(self, n_samples: int) -> Iterator[np.ndarray]:
        """Yield the samples in order, some at a time, decoded once.

        Parameters
        ----------
        n_samples : int
            How many at a time, fewer at the end.
        """
        with ExitStack() as stack:
            files = [stack.enter_context(open_audio(path)) for path in self.paths]
            for _ in range(0, len(self), n_samples):
                read = [
                    f.read(n_samples, self.dtype.name, always_2d=True) for f in files
                ]
                yield self._side_by_side(read, max(map(len, read)))

    def check(self) -> None:
        """Read all there is once, to raise AudioFileError early if that can't be."""
        for path in self.paths:
            with open_audio(path) as audio:
                done = 0
                read = partial(audio.read, BLOCK_SAMPLES, "float32", always_2d=True)
                while len(x := read()):
                    check_finite(x, path, audio.samplerate, start=done)
                    done += len(x)
                if done < audio.frames:
                    raise AudioFileError(
                        f"Cannot read {path}: it is truncated, {done} of "
                        f"{audio.frames} samples are there."
                    )
