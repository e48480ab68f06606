"""Audio files, written whole or not at all."""

# License: BSD-3-Clause

import errno
import os
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skbss.io.reading import FORMATS, PCM_BITS, UNBOUNDED, AudioFileError, reason

# Bytes at the beginning of a file in which the chunk of the peak is.
PEAK_WITHIN = 200


def write_audio(
    path: str | Path, x: ArrayLike, sample_rate: int, *, subtype: str = "PCM_16"
) -> None:
    """Write an audio file.

    The file appears under its name when it is complete, so that whatever happens
    nothing half-written is left, and a file of that name stays as it was until then.
    Integer formats are rounded to the nearest value, so that what `read_audio` has read
    is written back bit for bit.

    Parameters
    ----------
    path : str or Path
        The file; the extension decides the format: ``.wav``, ``.flac``, ``.aiff``,
        ``.au``, ``.caf``, ``.w64``, ``.ogg`` or ``.mp3``.
    x : array-like of shape (n_samples,) or (n_samples, n_channels)
        The samples; full scale is [-1, 1).
    sample_rate : int
        In Hz.
    subtype : str, default='PCM_16'
        The sample format in soundfile's words: 'PCM_16', 'PCM_24', 'FLOAT' (not in
        FLAC), ...

    Raises
    ------
    AudioFileError
        If the extension or the sample format is not supported, or the file cannot be
        written.
    ValueError
        If `x` has no samples or any that is NaN or infinite.

    Warns
    -----
    UserWarning
        If samples are beyond full scale and are clipped, since the sample format has
        only integers. The samples are not scaled instead, because that would hide how
        loud one source is relative to another.

    See Also
    --------
    read_audio : The way back.

    Examples
    --------
    >>> import tempfile
    >>> from skbss.datasets import make_convolutive_mixture
    >>> from skbss.io import read_audio, write_audio
    >>> X, _ = make_convolutive_mixture(8000, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(f"{folder}/mixture.flac", X, 16000, subtype="PCM_24")
    ...     x, info = read_audio(f"{folder}/mixture.flac")
    >>> x.shape, info
    ((8000, 2), AudioInfo(sample_rate=16000, format='FLAC', subtype='PCM_24'))
    """
    x = check_array(x, dtype=[np.float64, np.float32], ensure_2d=False, input_name="x")
    n_channels = 1 if x.ndim == 1 else x.shape[1]
    with AudioWriter(path, sample_rate, n_channels, subtype=subtype) as file:
        file.write(x)


class AudioWriter:
    """An audio file that is written piece by piece, and there when it is complete.

    A context manager. The file grows beside its place under another name, which ends in
    ``.part``, and gets its own when the context ends well.

    Parameters
    ----------
    path : str or Path
        The file; the extension decides the format, unless `format` does.
    sample_rate : int
        In Hz.
    n_channels : int
        Number of channels.
    subtype : str, default='PCM_16'
        As in `write_audio`.
    format : str, default=None
        The container in soundfile's words, such as 'RF64'.

    Raises
    ------
    AudioFileError
        As `write_audio`; from `write` and from the end of the context too.
    """

    def __init__(self, path, sample_rate, n_channels, *, subtype="PCM_16", format=None):
        self.path, self.sample_rate = Path(path), sample_rate
        self.n_channels, self.subtype = n_channels, subtype
        self.format = format or FORMATS.get(self.path.suffix.lower())
        if self.format is None:
            raise AudioFileError(
                f"Cannot write {path}: got extension {self.path.suffix!r}, expected "
                f"one of {', '.join(FORMATS)}."
            )
        if not sf.check_format(self.format, subtype):
            expected = ", ".join(sf.available_subtypes(self.format))
            raise AudioFileError(
                f"Cannot write {path}: got subtype={subtype!r}, expected one of "
                f"{expected}."
            )
        self._n_beyond = self._n_samples = 0
        self._peak = 0.0

    def __enter__(self):
        with self._told(), ExitStack() as stack:
            temporary = stack.enter_context(whole_file(self.path))
            self._file = _Sink(stack.enter_context(open(temporary, "w+b")))
            self._audio = sf.SoundFile(
                self._file,
                "w",
                self.sample_rate,
                self.n_channels,
                self.subtype,
                format=self.format,
            )
            self._stack = stack.pop_all()
        return self

    def write(self, x):
        """Append samples.

        Parameters
        ----------
        x : ndarray of shape (n_samples,) or (n_samples, n_channels)
            The samples; full scale is [-1, 1).
        """
        if self.subtype not in UNBOUNDED:
            magnitude = np.abs(x)
            self._n_beyond += np.count_nonzero(magnitude > 1)
            self._peak = max(self._peak, magnitude.max(initial=0.0))
            # Left to itself, libsndfile wraps them around in some formats.
            x = np.clip(x, -1, 1)
        if self.subtype in PCM_BITS:
            x = to_integers(x, PCM_BITS[self.subtype])
        self._n_samples += x.size
        with self._told():
            self._audio.write(x)

    def __exit__(self, kind, error, traceback):
        with self._told(), self._stack:
            self._audio.close()
            _forget_time(self._file)
            self._file.check()
            if error is not None:
                raise error  # so that no half of a file gets its name
        if self._n_beyond:
            warnings.warn(
                f"{self.path.name}: {self._n_beyond} of {self._n_samples} samples are "
                f"beyond full scale (peak {self._peak:.3g}) and were clipped. Scale "
                "the signal down, or write floating point: subtype='FLOAT' in WAV, "
                "--float in the shell.",
                stacklevel=3,
            )

    @contextmanager
    def _told(self):
        """Raise what goes wrong with the file as AudioFileError."""
        try:
            try:
                yield
            except (AssertionError, sf.SoundFileError):
                self._file.check()  # the reason, where the disk is full
                raise
        except AudioFileError:
            raise
        except (OSError, sf.SoundFileError) as error:
            message = f"Cannot write {self.path}: {reason(error)}."
            raise AudioFileError(message) from error


def _forget_time(file):
    """Set the time in the header to 0, so that equal samples make equal files.

    libsndfile notes when the peak of floating point samples was found.
    """
    file.seek(0)
    head = file.read(PEAK_WITHIN)
    where = head.find(b"PEAK")
    if where >= 0:
        file.seek(where + 12)  # after the name, the size and the version
        file.write(b"\0" * 4)


class _Sink:
    """A file for libsndfile, which can't be told what goes wrong."""

    def __init__(self, file):
        self.file, self.error = file, None

    def read(self, size):
        return self._try(self.file.read, size) or b""

    def seek(self, *where):
        return self._try(self.file.seek, *where)

    def tell(self):
        return self._try(self.file.tell)

    def write(self, data):
        return self._try(self.file.write, data)

    def _try(self, method, *args):
        if self.error is None:
            try:
                return method(*args)
            except OSError as error:
                self.error = error
        return 0

    def check(self) -> None:
        if self.error is not None:
            raise self.error


@contextmanager
def whole_file(path, sync=True):
    """Yield another name for a file, which gets its own when it is complete.

    It is on the disk then, also if the power fails; without `sync`, nothing waits for
    the disk. If writing fails, nothing is left, and a file of the right name stays as
    it was. A link stays one to the new file.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "it is there and no regular file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        if sync:
            _to_disk(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync and os.name == "posix":
        _to_disk(path.parent, os.O_RDONLY)  # the name, too


def _to_disk(path, flags=os.O_RDWR):
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise  # some file systems of networks don't know this
    finally:
        os.close(descriptor)


def to_integers(x, bits):
    """Round to integers of `bits`, kept in the upper bits of 32."""
    # Not left to libsndfile, which rounds in FLAC and truncates in WAV.
    full_scale = 2.0 ** (bits - 1)
    levels = np.rint(x.astype(np.float64) * full_scale)
    return np.minimum(levels, full_scale - 1).astype(np.int32) << (32 - bits)
