"""Recordings as files: checked before the work begins, with their references."""

# License: BSD-3-Clause

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skbss.datasets.scene_files import find_sources
from skbss.io import AudioReader, read_audio


class RecordingError(ValueError):
    """A recording or its references cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class Recording:
    """A multichannel recording on disk, which `check_recording` found usable.

    Parameters
    ----------
    path : str
        What it is called.
    reader : AudioReader
        Its samples.
    reference_paths : tuple of Path
        The files of its sources, may be empty.
    folder : Path
        Where its outputs belong, in the folder of all outputs.
    stem : str
        How the names of its outputs begin.
    """

    path: str
    reader: AudioReader
    reference_paths: tuple[Path, ...]
    folder: Path
    stem: str

    @property
    def paths(self):
        """Its files."""
        return self.reader.paths

    @property
    def info(self):
        """Sample rate and sample format."""
        return self.reader.info

    @property
    def n_mics(self):
        """Number of microphones."""
        return self.reader.shape[1]

    @property
    def duration(self):
        """Duration in seconds."""
        return len(self.reader) / self.info.sample_rate

    def read_references(self, ref_mic):
        """Return the sources at a microphone, of shape (n_samples, n_sources)."""
        references = [read_audio(path)[0] for path in self.reference_paths]
        return np.stack([x[:, ref_mic if x.shape[1] > 1 else 0] for x in references], 1)


def check_recording(
    found,
    reference_paths,
    ref_mic,
    n_sources=None,
    channels=None,
    *,
    more_sources=False,
    pad=False,
):
    """Read a recording and its references once and check that they can be used.

    Parameters
    ----------
    found : Input
        The recording.
    reference_paths : sequence of Path
        The files of its sources. With several channels, like the recording's, the
        reference microphone's counts.
    ref_mic : int
        The reference microphone.
    n_sources : int, default=None
        How many sources there will be. None: as many as microphones.
    channels : list of int, default=None
        The channels to use. None: all.
    more_sources : bool, default=False
        Whether there may be more sources than microphones.
    pad : bool, default=False
        Whether its files may differ in length.

    Returns
    -------
    recording : Recording
        What is needed to read it again: the samples are not kept, there may be more
        than fit in memory.

    Raises
    ------
    AudioFileError
        If a file cannot be read.
    RecordingError
        If the recording has one channel, no such microphone or too few for so many
        sources, or if the references differ from it in rate or length or are more than
        the sources.
    """
    reader = AudioReader(found.paths, channels=channels, pad=pad)
    reader.check()
    path, n_mics, info = found.name, reader.shape[1], reader.info
    if n_mics < 2:
        raise RecordingError(
            f"Got {path} with 1 channel, expected at least 2: sources are told apart "
            "by how they arrive at several microphones."
        )
    if not 0 <= ref_mic < n_mics:
        raise RecordingError(
            f"Got ref_mic={ref_mic}, but {path} has {n_mics} microphones (0 to "
            f"{n_mics - 1})."
        )
    if n_sources is not None and n_sources > n_mics and not more_sources:
        raise RecordingError(
            f"Got n_sources={n_sources}, but {path} has {n_mics} microphones, expected "
            "at most as many sources, or the method refined."
        )
    if len(reference_paths) > (n_sources or n_mics):
        limit = f"its {n_mics} microphones allow for {n_mics} sources"
        if n_sources is not None:
            limit = f"n_sources={n_sources}"
        raise RecordingError(
            f"Got {len(reference_paths)} references of {path}, but {limit}."
        )
    for reference_path in reference_paths:
        _check_reference(reference_path, path, reader.shape, info)
    return Recording(path, reader, tuple(reference_paths), found.folder, found.stem)


def _check_reference(path, recording_path, shape, info):
    reference, reference_info = read_audio(path)
    if reference_info.sample_rate != info.sample_rate:
        raise RecordingError(
            f"Got reference {path} at {reference_info.sample_rate} Hz, but "
            f"{recording_path} is at {info.sample_rate} Hz."
        )
    if len(reference) != shape[0]:
        raise RecordingError(
            f"Got reference {path} of {len(reference)} samples, but {recording_path} "
            f"has {shape[0]}."
        )
    if reference.shape[1] not in (1, shape[1]):
        raise RecordingError(
            f"Got reference {path} of {reference.shape[1]} channels, expected 1 or, "
            f"like {recording_path}, {shape[1]}."
        )


def find_references(folder, path, *, is_only):
    """Find the files of a recording's sources.

    They are the files ``source*.wav`` or ``source*.flac`` in a subfolder that has the
    name of the recording (without extension) or of the recording's own folder, as when
    each recording lies in a folder with its sources.

    Parameters
    ----------
    folder : Path
        Where to look.
    path : Path
        The recording.
    is_only : bool
        Whether there are no other recordings, so that `folder` itself may hold the
        sources.

    Returns
    -------
    reference_paths : list of Path
        In the order of their numbers, at least one.

    Raises
    ------
    RecordingError
        If there are none.
    """
    candidates = [folder / path.stem, folder / path.absolute().parent.name]
    candidates += [folder] * is_only
    for candidate in candidates:
        if candidate.is_dir() and (found := find_sources(candidate)):
            return found
    raise RecordingError(
        f"Found no references of {path}: no source*.wav or source*.flac in "
        f"{' or '.join(map(str, candidates))}."
    )
