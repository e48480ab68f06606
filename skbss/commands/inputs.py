"""What the arguments of a command mean: files, folders, patterns, standard input."""

# License: BSD-3-Clause

import glob
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from skbss.commands.recordings import RecordingError
from skbss.config import ConfigError
from skbss.io import READ_SUFFIXES, AudioFileError, reason


@dataclass(frozen=True)
class Input:
    """What will be one recording.

    Parameters
    ----------
    name : str
        As the user would call it.
    paths : tuple of Path
        Its files, whose channels are put side by side.
    folder : Path
        Where its outputs belong, in the folder of all outputs.
    stem : str
        How the names of its outputs begin.
    """

    name: str
    paths: tuple[Path, ...]
    folder: Path
    stem: str


def find_inputs(arguments, *, join=False, stack, output=None):
    """Find out what recordings are meant.

    Parameters
    ----------
    arguments : list of str or Path
        Files, folders of them, patterns where the shell hasn't replaced them, or "-",
        standard input.
    join : bool, default=False
        Whether all files, and all files of each folder, are one recording.
    stack : ExitStack
        Gets the temporary folder of what isn't a file, such as standard input. Without
        such a thing there is none, as there may be no place for it.
    output : Path, default=None
        The folder of outputs, of which nothing is taken for an input.

    Returns
    -------
    inputs : list of Input
        In order; what is in folders is sorted.

    Raises
    ------
    AudioFileError, RecordingError
        If nothing is there.
    """
    inputs, loose = [], []
    for argument in _expanded(arguments):
        path = Path(argument)
        if not path.is_dir():
            loose.append(_regular(argument, stack))
            continue
        found = [p for p in _audio_files(path) if output not in p.parents]
        if not found:
            raise RecordingError(f"Found no audio files in {path}.")
        if join:
            for folder in sorted({p.parent for p in found}):
                paths = tuple(p for p in found if p.parent == folder)
                inside = folder.relative_to(path).parent
                stem = folder.resolve().name
                inputs.append(Input(str(folder), paths, inside, stem))
            continue
        for p in found:
            inside = p.parent.relative_to(path)
            inputs.append(Input(str(p), (p,), inside, p.stem))
    if join and loose:
        names, paths = zip(*loose, strict=True)
        inputs.insert(0, Input(names[0], paths, Path(), paths[0].stem))
    elif loose:
        here = [Input(name, (path,), Path(), path.stem) for name, path in loose]
        inputs = here + inputs
    return inputs


def parse_channels(text):
    """Return channel numbers, counted from 0, of a text such as "1-4,7".

    Examples
    --------
    >>> from skbss.commands.inputs import parse_channels
    >>> parse_channels("1-4,7")
    [0, 1, 2, 3, 6]
    """
    channels = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            numbers = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            numbers = range(0)
        if not numbers or numbers[0] < 1:
            raise ConfigError(
                f"Got --channels {text}, expected numbers from 1, as in 1-4,7."
            )
        channels += [number - 1 for number in numbers]
    return channels


def _expanded(arguments):
    """Replace patterns by what they match, if no file has such a name."""
    for argument in map(str, arguments):
        is_pattern = glob.has_magic(argument) and not Path(argument).exists()
        if not is_pattern:
            yield argument
        elif found := sorted(glob.glob(argument, recursive=True)):
            yield from found
        else:
            raise RecordingError(f"Found no files that match {argument}.")


def _audio_files(folder):
    """Audio files in a folder and those in it, hidden ones left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in READ_SUFFIXES
        and path.is_file()
        and not path.name.startswith(".")
    )


def _regular(argument, stack):
    """Return a name, and a file in which one can go back."""
    path = Path(argument)
    is_pipe = path.is_fifo() or path.is_char_device()
    if argument != "-" and not is_pipe:
        return argument, path
    try:
        folder = tempfile.TemporaryDirectory(prefix="skbss-")
        folder = Path(stack.enter_context(folder))
        copy = folder / ("stdin" if argument in ("-", "/dev/stdin") else path.stem)
        with open(copy, "wb") as file:
            if argument == "-":
                shutil.copyfileobj(sys.stdin.buffer, file)
            else:
                with open(path, "rb") as pipe:
                    shutil.copyfileobj(pipe, file)
    except OSError as error:
        raise AudioFileError(f"Cannot read {argument}: {reason(error)}.") from error
    return argument, copy
