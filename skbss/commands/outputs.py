"""Files of separated sources: their names, their format, and how they grow."""

# License: BSD-3-Clause

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from skbss.commands.recordings import RecordingError
from skbss.config import ConfigError
from skbss.io import PCM_BITS, SUFFIXES, WAV_BYTES, AudioWriter

BYTES = {"FLOAT": 4, "DOUBLE": 8} | {name: n // 8 for name, n in PCM_BITS.items()}


@dataclass(frozen=True)
class FileFormat:
    """A container, a sample format and an extension, in soundfile's words."""

    container: str
    subtype: str

    @property
    def suffix(self):
        """Extension of the files."""
        return SUFFIXES.get(self.container, ".wav")


def choose_format(info, n_samples, name=None, *, floats=False):
    """Choose the format of outputs.

    Parameters
    ----------
    info : AudioInfo
        Of the recording.
    n_samples : int
        Length of the outputs.
    name : str, default=None
        A container. None stands for that of the recording.
    floats : bool, default=False
        Whether samples are to be floating point. A recording whose container has none
        gets WAV.

    Returns
    -------
    format : FileFormat
        The recording's container and sample format if both can be written and lose
        nothing; else WAV of 16 bits, as separation must not be followed by another
        loss. WAV beyond 4 GB is RF64.

    Raises
    ------
    ConfigError
        If there is no such container, or it has no floating point samples.
    """
    lossless = info.subtype in BYTES
    if name is None:
        container = "WAV" if info.format in ("WAVEX", "RF64") else info.format
        if not lossless or container not in SUFFIXES:
            container = "WAV"
        if floats and not sf.check_format(container, "FLOAT"):
            container = "WAV"
    elif (container := name.upper()) not in SUFFIXES:
        expected = ", ".join(SUFFIXES).lower()
        raise ConfigError(f"Got --format {name}, expected one of {expected}.")
    elif floats and not sf.check_format(container, "FLOAT"):
        raise ConfigError(f"Got --float with --format {name}, which has integers only.")
    fitting = [info.subtype] if lossless else []
    if floats:
        fitting = ["DOUBLE" if info.subtype == "DOUBLE" else "FLOAT"]
    fitting += ["PCM_24"] * (info.subtype in ("FLOAT", "DOUBLE", "PCM_32"))
    fitting += ["PCM_16", sf.default_subtype(container)]
    subtype = next(s for s in fitting if sf.check_format(container, s))
    if container == "WAV" and n_samples * BYTES[subtype] > WAV_BYTES:
        container = "RF64"
    return FileFormat(container, subtype)


def output_paths(recordings, formats, folder, n_sources=None):
    """Name the files of the separated sources.

    Parameters
    ----------
    recordings : list of Recording
        All that will be separated.
    formats : list of FileFormat
        One for each.
    folder : Path
        Where the files will be.
    n_sources : int, default=None
        How many there are of each recording. None: as many as microphones.

    Returns
    -------
    outputs : list of list of Path
        For each recording and source, ``<name>_source<k>`` and the extension of the
        format, in the subfolder of the recording. The name is the recording's, after
        that of its folder if there are others of the same name, and before its own
        extension if there still are.

    Raises
    ------
    RecordingError
        If one file would overwrite another, or a recording.
    """
    taken = {path.resolve() for recording in recordings for path in recording.paths}
    outputs = []
    stems = _distinct_stems(recordings, formats)
    for recording, format, stem in zip(recordings, formats, stems, strict=True):
        files = [
            folder / recording.folder / f"{stem}_source{k}{format.suffix}"
            for k in range(n_sources or recording.n_mics)
        ]
        for file in files:
            if file.resolve() in taken:
                raise RecordingError(
                    f"Got {recording.path}, whose output {file} would overwrite "
                    "another recording or its output."
                )
            taken.add(file.resolve())
        outputs.append(files)
    return outputs


def _distinct_stems(recordings, formats):
    """Beginnings of names, longer where short ones come twice."""

    def variants(recording):
        parent = recording.paths[0].absolute().parent.name
        longer = f"{parent}_{recording.stem}"
        kind = recording.paths[0].suffix.removeprefix(".")
        return recording.stem, longer, f"{longer}_{kind}"

    stems = [variants(recording) for recording in recordings]
    where = [(r.folder, f.suffix) for r, f in zip(recordings, formats, strict=True)]
    chosen = [0] * len(recordings)
    for _ in range(2):
        keys = [
            (*place, names[c])
            for place, names, c in zip(where, stems, chosen, strict=True)
        ]
        count = Counter(keys)
        chosen = [c + (count[key] > 1) for key, c in zip(keys, chosen, strict=True)]
    return [names[c] for names, c in zip(stems, chosen, strict=True)]


class SourceFiles:
    """The files of a recording's sources, which grow piece by piece.

    A context manager. The files are there when it ends well, and none if it doesn't.

    Parameters
    ----------
    paths : list of Path
        One for each source.
    sample_rate : int
        In Hz.
    format : FileFormat
        Of all.

    Attributes
    ----------
    energy : ndarray of shape (n_sources,)
        Sum of the squares of what was written.
    """

    def __init__(self, paths, sample_rate, format):
        Path(paths[0]).parent.mkdir(parents=True, exist_ok=True)
        self.writers = [
            AudioWriter(
                path, sample_rate, 1, subtype=format.subtype, format=format.container
            )
            for path in paths
        ]
        self.energy = np.zeros(len(paths))

    def __enter__(self):
        with ExitStack() as stack:
            for writer in self.writers:
                stack.enter_context(writer)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    def write(self, y):
        """Append samples, of shape (n_samples, n_sources)."""
        for k, (writer, source) in enumerate(zip(self.writers, y.T, strict=True)):
            writer.write(source)
            self.energy[k] += np.square(source, dtype=float).sum()
