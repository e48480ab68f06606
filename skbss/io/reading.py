"""Audio files, read and checked."""

# License: BSD-3-Clause

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import DTypeLike

# Extensions of formats that are written, and of others that are read.
SUFFIXES = {
    "WAV": ".wav",
    "FLAC": ".flac",
    "AIFF": ".aiff",
    "AU": ".au",
    "CAF": ".caf",
    "W64": ".w64",
    "OGG": ".ogg",
    "MP3": ".mp3",
}
FORMATS = {suffix: name for name, suffix in SUFFIXES.items()}
READ_SUFFIXES = {*FORMATS, ".aif", ".aifc", ".oga", ".opus", ".rf64", ".snd", ".sph"}
# A WAV file is no longer than its 32 bits can tell.
WAV_BYTES = 2**32 - 2**16
SKIP_SAMPLES = 2**20
UNBOUNDED = ("FLOAT", "DOUBLE")
PCM_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}


class AudioFileError(OSError, ValueError):
    """An audio file cannot be read or written; the message is one sentence."""


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file is like, apart from its samples.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    format : str
        The container in soundfile's words: 'WAV', 'WAVEX', 'RF64', 'FLAC', 'MP3', ...,
        by content, whatever the file is called.
    subtype : str
        The sample format in soundfile's words: 'PCM_16', 'PCM_24', 'FLOAT', ...
    """

    sample_rate: int
    format: str
    subtype: str

    @property
    def suffix(self) -> str:
        """Extension of files of this format: '.wav' of what can only be read."""
        return SUFFIXES.get(self.format, ".wav")


def read_audio(
    path: str | Path,
    *,
    start: int = 0,
    n_samples: int | None = None,
    dtype: DTypeLike = np.float64,
) -> tuple[np.ndarray, AudioInfo]:
    """Read an audio file of any format that libsndfile knows, or a part of it.

    Parameters
    ----------
    path : str or Path
        The file.
    start : int, default=0
        The first sample to read. Nothing before it is decoded or kept.
    n_samples : int, default=None
        Number of samples to read, fewer if the file ends before. None stands for all
        that follow `start`.
    dtype : {np.float64, np.float32}, default=np.float64
        Of the samples. Integers are scaled to [-1, 1).

    Returns
    -------
    x : ndarray of shape (n_samples, n_channels)
        The samples, all finite.
    info : AudioInfo
        Sample rate and sample format, for `write_audio`.

    Raises
    ------
    AudioFileError
        If the file is missing, empty, truncated, not audio, without samples, with none
        after `start` or with samples that are NaN or infinite.

    See Also
    --------
    write_audio : The way back.
    """
    with open_audio(path) as audio:
        info = AudioInfo(audio.samplerate, audio.format, audio.subtype)
        if not 0 <= start < audio.frames:
            raise AudioFileError(
                f"Cannot read {path} from sample {start} on: it has {audio.frames}."
            )
        expected = audio.frames - start
        if n_samples is not None:
            expected = min(expected, n_samples)
        _skip(audio, start)
        x = audio.read(expected, dtype=np.dtype(dtype).name, always_2d=True)
    if len(x) < expected:
        raise AudioFileError(
            f"Cannot read {path}: it is truncated, {len(x)} of {expected} samples are "
            "there."
        )
    check_finite(x, path, info.sample_rate, start=start)
    return x, info


def _skip(audio, n_samples):
    """Go forward in a file that has just been opened."""
    if audio.format != "MP3":
        audio.seek(n_samples)
        return
    while n_samples > 0:
        n_samples -= len(audio.read(min(n_samples, SKIP_SAMPLES), dtype="float32"))


def read_header(path):
    """Read what an audio file says of itself, and decode its last sample.

    The last sample tells in a fraction of a millisecond whether a FLAC file is
    truncated.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    sample_rate : int
        In Hz.
    n_samples, n_channels : int
        Its size.

    Raises
    ------
    AudioFileError
        As `read_audio`, apart from samples that aren't finite.
    """
    with open_audio(path) as audio:
        try:
            audio.seek(audio.frames - 1)
            audio.read(1)
        except sf.SoundFileError as error:
            message = f"Cannot read {path}: it is truncated or damaged."
            raise AudioFileError(message) from error
        return audio.samplerate, audio.frames, audio.channels


@contextmanager
def open_audio(path):
    """Open an audio file to read it piece by piece.

    Parameters
    ----------
    path : str or Path
        The file.

    Yields
    ------
    audio : soundfile.SoundFile
        The open file, which has samples.

    Raises
    ------
    AudioFileError
        As `read_audio`, also for what goes wrong while the file is read, apart from
        samples that aren't finite.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if not file.peek(1):
                raise AudioFileError(f"Cannot read {path}: the file is empty.")
            _check_length(file, path)
            with _open(file) as audio:
                if audio.frames == 0:
                    message = f"Cannot read {path}: it has no samples."
                    raise AudioFileError(message)
                yield audio
    except AudioFileError:
        raise
    except OSError as error:
        raise AudioFileError(f"Cannot read {path}: {reason(error)}.") from error
    except sf.SoundFileError as error:
        why = reason(error) or "it is truncated or damaged"
        message = f"Cannot read {path} as audio: {why}."
        raise AudioFileError(message) from error


class _Sequential(sf.SoundFile):
    """Seeks nowhere by itself: after that, libsndfile reads MP3 wrong."""

    def seekable(self):
        return False


def _open(file):
    audio = sf.SoundFile(file)
    if audio.format != "MP3":
        return audio
    audio.close()
    file.seek(0)
    return _Sequential(file)


def check_finite(x, name, sample_rate, *, start=0):
    """Raise AudioFileError if samples are NaN or infinite.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_channels)
        The samples.
    name : str or Path
        Where they come from.
    sample_rate : int
        In Hz.
    start : int, default=0
        Number of samples before these.
    """
    finite = np.isfinite(x)
    if not finite.all():
        sample, channel = np.argwhere(~finite)[0]
        raise AudioFileError(
            f"Cannot read {name}: got {x.size - finite.sum()} NaN or infinite "
            f"samples, the first at {(start + sample) / sample_rate:.3f} s in channel "
            f"{channel}."
        )


def _check_length(file, path):
    """Raise AudioFileError if a WAV or AIFF file ends before its header says so.

    libsndfile reads what is there. Programs that write to a pipe don't know the length
    and say the most that fits.
    """
    head = file.read(12)
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(0)
    order = {b"RIFF": "little", b"FORM": "big"}.get(head[:4])
    if order is None or len(head) < 12:
        return
    expected = 8 + int.from_bytes(head[4:8], order)
    if size < expected < 0x7FFFF000:
        raise AudioFileError(
            f"Cannot read {path}: it is truncated, {size} of {expected} bytes are "
            "there."
        )


def reason(error):
    """Return what went wrong, as the end of a sentence."""
    names = ("strerror", "error_string")  # of OSError, of LibsndfileError
    reason = next((r for name in names if (r := getattr(error, name, None))), error)
    reason = str(reason).removeprefix("Error : ").rstrip(".")
    return reason[:1].lower() + reason[1:]
