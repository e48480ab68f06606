"""Audio files: read them checked, write them whole or not at all."""

# License: BSD-3-Clause

from skbss.io.reader import AudioReader
from skbss.io.reading import (
    PCM_BITS,
    READ_SUFFIXES,
    SUFFIXES,
    UNBOUNDED,
    WAV_BYTES,
    AudioFileError,
    AudioInfo,
    check_finite,
    open_audio,
    read_audio,
    read_header,
    reason,
)
from skbss.io.writing import AudioWriter, to_integers, whole_file, write_audio

__all__ = [
    "PCM_BITS",
    "READ_SUFFIXES",
    "SUFFIXES",
    "UNBOUNDED",
    "WAV_BYTES",
    "AudioFileError",
    "AudioInfo",
    "AudioReader",
    "AudioWriter",
    "check_finite",
    "open_audio",
    "read_audio",
    "read_header",
    "reason",
    "to_integers",
    "whole_file",
    "write_audio",
]
