"""Signals that come and go piece by piece: audio files and raw PCM in pipes."""

# License: BSD-3-Clause

import os
import struct
import warnings
from contextlib import contextmanager, suppress

import numpy as np
import soundfile as sf

from skbss.commands.early_reader import make_binary
from skbss.io import (
    PCM_BITS,
    AudioFileError,
    check_finite,
    open_audio,
    reason,
    to_integers,
)

STDIN, STDOUT = 0, 1

# Sample formats of raw PCM, and what soundfile calls them.
SUBTYPES = {
    "s16le": "PCM_16",
    "s24le": "PCM_24",
    "s32le": "PCM_32",
    "f32le": "FLOAT",
    "f64le": "DOUBLE",
}
DTYPES = {"FLOAT": np.dtype("<f4"), "DOUBLE": np.dtype("<f8")}

# Sample formats in headers of WAV files.
FLOAT, EXTENSIBLE = 3, 0xFFFE

# Commands of libsndfile that soundfile has no names for.
SFC_SET_UPDATE_HEADER_AUTO = 0x1061
SFC_RF64_AUTO_DOWNGRADE = 0x1210


def sample_bytes(subtype):
    """Bytes of one sample."""
    return DTYPES[subtype].itemsize if subtype in DTYPES else PCM_BITS[subtype] // 8


def decode(data, subtype):
    """Turn raw PCM into samples.

    Parameters
    ----------
    data : bytes
        Whole samples, little-endian.
    subtype : {'PCM_16', 'PCM_24', 'PCM_32', 'FLOAT', 'DOUBLE'}
        The sample format in soundfile's words.

    Returns
    -------
    x : ndarray of shape (n_values,)
        float64, integers scaled to [-1, 1).

    Examples
    --------
    >>> from skbss.commands.pcm import decode, encode
    >>> encode(decode(b"abcdef", "PCM_24"), "PCM_24")
    b'abcdef'
    """
    if subtype in DTYPES:
        return np.frombuffer(data, DTYPES[subtype]).astype(np.float64)
    n_bytes = sample_bytes(subtype)
    levels = np.zeros((len(data) // n_bytes, 4), np.uint8)
    levels[:, 4 - n_bytes :] = np.frombuffer(data, np.uint8).reshape(-1, n_bytes)
    return levels.view("<i4")[:, 0] / 2.0**31


def encode(x, subtype):
    """Turn samples into raw PCM, the way back of `decode`."""
    if subtype in DTYPES:
        return x.astype(DTYPES[subtype]).tobytes()
    levels = to_integers(x, PCM_BITS[subtype]).astype("<i4")
    n_bytes = sample_bytes(subtype)
    return levels.reshape(-1, 1).view(np.uint8)[:, 4 - n_bytes :].tobytes()


class FileReader:
    """Read an audio file block by block.

    Parameters
    ----------
    path : Path
        A WAV or FLAC file.

    Raises
    ------
    AudioFileError
        If the file cannot be read.
    """

    def __init__(self, path):
        self.name = str(path)
        with open_audio(path) as audio:
            self.sample_rate = audio.samplerate
            self.n_channels = audio.channels
            self.subtype = audio.subtype

    def blocks(self, block_size):
        """Yield samples (n_samples, n_channels), float64, which are finite."""
        with open_audio(self.name) as audio:
            start = 0
            while len(x := audio.read(block_size, always_2d=True)):
                check_finite(x, self.name, self.sample_rate, start=start)
                yield x
                start += len(x)


class PipeReader:
    """Read raw PCM from standard input, as soon as it arrives.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    n_channels : int
        Number of channels.
    subtype : str
        The sample format in soundfile's words.
    read : callable, default=os.read
        Takes a file descriptor and a number of bytes, and returns at most as many, none
        at the end.
    """

    name = "standard input"

    def __init__(self, sample_rate, n_channels, subtype, read=os.read):
        self.sample_rate = sample_rate
        self.n_channels = n_channels
        self.subtype = subtype
        self.read = read

    def blocks(self, block_size):
        """Yield at most `block_size` samples at a time, (n_samples, n_channels).

        Raises
        ------
        AudioFileError
            If standard input cannot be read or samples aren't finite.
        """
        n_bytes = self.n_channels * sample_bytes(self.subtype)
        data = self._after_header()
        start = 0
        while True:
            if len(data) < n_bytes:
                chunk = self._read(block_size * n_bytes - len(data))
                if not chunk:
                    break
                data += chunk
            end = min(len(data) // n_bytes, block_size) * n_bytes
            if end == 0:
                continue
            x = decode(data[:end], self.subtype).reshape(-1, self.n_channels)
            check_finite(x, self.name, self.sample_rate, start=start)
            yield x
            data = data[end:]
            start += len(x)
        if data:
            warnings.warn(
                f"Standard input ended with {len(data)} of the {n_bytes} bytes of a "
                "sample of all channels, which were left out."
            )

    def _after_header(self):
        """Return what comes first, without the header that a WAV file has.

        Raises
        ------
        AudioFileError
            If a header says something else than what was told.
        """
        data = b""
        while data[:4] in (b"RIFF", b"RF64") or not data:
            chunk = self._read(4 if not data else 4096)
            data += chunk
            if not chunk or data[:4] not in (b"RIFF", b"RF64"):
                return data
            if (place := data.find(b"data", 12)) >= 0 and len(data) >= place + 8:
                self._check_header(data)
                return data[place + 8 :]
        return data

    def _check_header(self, data):
        place = data.find(b"fmt ", 12) + 8
        kind, n_channels, rate = struct.unpack("<HHI", data[place : place + 8])
        bits = int.from_bytes(data[place + 14 : place + 16], "little")
        if kind == EXTENSIBLE:
            kind = int.from_bytes(data[place + 24 : place + 26], "little")
        is_float = kind == FLOAT
        found = n_channels, rate, 8 * sample_bytes(self.subtype) == bits
        expected = self.n_channels, self.sample_rate, True
        if found != expected or is_float != (self.subtype in DTYPES):
            raise AudioFileError(
                f"Cannot read standard input: its WAV header tells of {n_channels} "
                f"channels at {rate} Hz in {'floats' if is_float else 'integers'} of "
                f"{bits} bits, but {self.n_channels} at {self.sample_rate} Hz in "
                f"{self.subtype} were told."
            )

    def _read(self, size):
        try:
            return self.read(STDIN, size)
        except OSError as error:
            message = f"Cannot read standard input: {reason(error)}."
            raise AudioFileError(message) from error


class FileWriter:
    """Write a WAV file that is valid after every block.

    Beyond 4 GB, where WAV ends, it becomes an RF64 file.

    Parameters
    ----------
    path : Path
        The file, which is replaced.
    sample_rate : int
        In Hz.
    n_channels : int
        Number of channels.
    subtype : str
        The sample format in soundfile's words.

    Raises
    ------
    AudioFileError
        If the file cannot be written.
    """

    def __init__(self, path, sample_rate, n_channels, subtype):
        self.path = path
        self.subtype = subtype
        with self._told():
            # libsndfile doesn't say what is wrong with a path.
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(path, flags, 0o666)
            self._audio = sf.SoundFile(
                self._descriptor, "w", sample_rate, n_channels, subtype, format="RF64"
            )
        for command in (SFC_SET_UPDATE_HEADER_AUTO, SFC_RF64_AUTO_DOWNGRADE):
            # soundfile has no public way to give commands to libsndfile.
            sf._snd.sf_command(self._audio._file, command, sf._ffi.NULL, 1)

    def write(self, x):
        """Append samples (n_samples, n_channels), integers within full scale."""
        if self.subtype in PCM_BITS:
            x = to_integers(x, PCM_BITS[self.subtype])
        with self._told():
            self._audio.write(x)

    def close(self):
        """Complete the file, and wait until it is on the disk."""
        with self._told():
            self._audio.flush()
            with suppress(OSError):  # some file systems don't know this
                os.fsync(self._descriptor)
            self._audio.close()

    @contextmanager
    def _told(self):
        try:
            yield
        except (OSError, sf.SoundFileError) as error:
            why = reason(error)
            if why == "system error":  # libsndfile doesn't say which
                why = "perhaps the disk is full"
            raise AudioFileError(f"Cannot write {self.path}: {why}.") from error


class PipeWriter:
    """Write raw PCM to standard output.

    Parameters
    ----------
    subtype : str
        The sample format in soundfile's words.
    """

    def __init__(self, subtype):
        self.subtype = subtype
        make_binary(STDOUT)

    def write(self, x):
        """Write samples (n_samples, n_channels), integers within full scale.

        Raises
        ------
        BrokenPipeError
            If nobody reads them any more.
        AudioFileError
            If they cannot be written for another reason.
        """
        data = memoryview(encode(x, self.subtype))
        try:
            while data:
                data = data[os.write(STDOUT, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            message = f"Cannot write to standard output: {reason(error)}."
            raise AudioFileError(message) from error

    def close(self):
        """Do nothing: standard output stays open."""
