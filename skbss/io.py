"""Audio files: read them checked, write them whole or not at all."""

# License: BSD-3-Clause

import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from sklearn.utils import check_array

_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
_READABLE = ("WAV", "WAVEX", "RF64", "FLAC")
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
    format : {'WAV', 'WAVEX', 'RF64', 'FLAC'}
        The container, by content, whatever the file is called.
    subtype : str
        The sample format in soundfile's words: 'PCM_16', 'PCM_24', 'FLOAT', ...
    """

    sample_rate: int
    format: str
    subtype: str

    @property
    def suffix(self):
        """Extension of files of this format, '.wav' or '.flac'."""
        return ".flac" if self.format == "FLAC" else ".wav"


def read_audio(path, *, start=0, n_samples=None, dtype=np.float64):
    """Read a WAV or FLAC file, or a part of it.

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
        If the file is missing, empty, truncated, not WAV or FLAC, without samples, with
        none after `start` or with samples that are NaN or infinite.

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
        if start:
            audio.seek(start)
        x = audio.read(expected, dtype=np.dtype(dtype).name, always_2d=True)
    if len(x) < expected:
        raise AudioFileError(
            f"Cannot read {path}: it is truncated, {len(x)} of {expected} samples are "
            "there."
        )
    check_finite(x, path, info.sample_rate, start=start)
    return x, info


def read_header(path):
    """Read what a WAV or FLAC file says of itself, and decode its last sample.

    The last sample tells in a fraction of a millisecond whether a FLAC file is
    truncated. A truncated WAV file has fewer samples.

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
    """Open a WAV or FLAC file to read it piece by piece.

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
            with sf.SoundFile(file) as audio:
                if audio.format not in _READABLE:
                    raise AudioFileError(
                        f"Cannot read {path}: got a file in {audio.format} format, "
                        "expected WAV or FLAC."
                    )
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


def write_audio(path, x, sample_rate, *, subtype="PCM_16"):
    """Write a WAV or FLAC file.

    The file appears under its name when it is complete, so that whatever happens
    nothing half-written is left, and a file of that name stays as it was until then.
    Integer formats are rounded to the nearest value, so that what `read_audio` has read
    is written back bit for bit.

    Parameters
    ----------
    path : str or Path
        The file; the extension, ``.wav`` or ``.flac``, decides the format.
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
    path = Path(path)
    x = check_array(x, dtype=[np.float64, np.float32], ensure_2d=False, input_name="x")
    audio_format = _FORMATS.get(path.suffix.lower())
    if audio_format is None:
        raise AudioFileError(
            f"Cannot write {path}: got extension {path.suffix!r}, expected '.wav' or "
            "'.flac'."
        )
    if not sf.check_format(audio_format, subtype):
        expected = ", ".join(sf.available_subtypes(audio_format))
        raise AudioFileError(
            f"Cannot write {path}: got subtype={subtype!r}, expected one of {expected}."
        )
    n_beyond = np.count_nonzero(np.abs(x) > 1)
    if n_beyond and subtype not in UNBOUNDED:
        warnings.warn(
            f"{path.name}: {n_beyond} of {x.size} samples are beyond full scale (peak "
            f"{np.abs(x).max():.3g}) and were clipped. Scale the signal down or write "
            "floating point (WAV, subtype 'FLOAT') to keep them.",
            stacklevel=2,
        )
        # Left to itself, libsndfile wraps them around in some formats.
        x = np.clip(x, -1, 1)
    if subtype in PCM_BITS:
        x = to_integers(x, PCM_BITS[subtype])
    try:
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            sf.write(file, x, sample_rate, subtype, format=audio_format)
    except (OSError, sf.SoundFileError) as error:
        raise AudioFileError(f"Cannot write {path}: {reason(error)}.") from error


@contextmanager
def whole_file(path):
    """Yield another name for a file, which gets its own when it is complete.

    If writing fails, nothing is left, and a file of the right name stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def to_integers(x, bits):
    """Round to integers of `bits`, kept in the upper bits of 32."""
    # Not left to libsndfile, which rounds in FLAC and truncates in WAV.
    full_scale = 2.0 ** (bits - 1)
    levels = np.rint(x.astype(np.float64) * full_scale)
    return np.minimum(levels, full_scale - 1).astype(np.int32) << (32 - bits)


def reason(error):
    """Return what went wrong, as the end of a sentence."""
    names = ("strerror", "error_string")  # of OSError, of LibsndfileError
    reason = next((r for name in names if (r := getattr(error, name, None))), error)
    reason = str(reason).removeprefix("Error : ").rstrip(".")
    return reason[:1].lower() + reason[1:]
