"""Files that appear under their names when they are complete."""

# License: BSD-3-Clause

import csv
from contextlib import contextmanager

from skbss.io import reason, whole_file


class OutputError(OSError):
    """Results cannot be written; the message is one sentence.

    Examples
    --------
    >>> from skbss.benchmark import OutputError, make_experiment, run_experiment
    >>> experiment = make_experiment(
    ...     {"dataset": "cocktail_party", "methods": ["auxiva"]}
    ... )
    >>> try:
    ...     run_experiment(experiment, "/dev/null/run")
    ... except OutputError as error:
    ...     print(error)
    Cannot write /dev/null/run/results.jsonl: not a directory.
    """


@contextmanager
def writing(path):
    """Make the folder of a file; raise OutputError if either cannot be written.

    Parameters
    ----------
    path : Path
        The file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except AssertionError as error:  # by soundfile, of which a part was written
        raise OutputError(f"Cannot write {path} whole.") from error
    except OSError as error:
        # AudioFileError has a sentence already.
        text = str(error) if error.errno is None else f"{reason(error)}."
        text = text if "Cannot write" in text else f"Cannot write {path}: {text}"
        raise OutputError(text) from error


@contextmanager
def replacing(path):
    """Write a file under another name, and give it its own when it is complete.

    Parameters
    ----------
    path : Path
        The file. Its folder is made.

    Yields
    ------
    temporary : Path
        What to write. If that fails, it is removed, and a file of the right name stays
        as it was.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with writing(path), whole_file(path) as temporary:
        yield temporary


def write_csv(path, header, lines):
    """Write a table, with empty fields for nan, by `replacing`."""
    with (
        replacing(path) as temporary,
        open(
            temporary, "w", encoding="utf-8", newline="", errors="backslashreplace"
        ) as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for line in lines:
            writer.writerow("" if v is None or v != v else v for v in line)


def remove_parts(folder):
    """Remove what processes that were killed had begun to write.

    Parameters
    ----------
    folder : Path
        Searched with all folders in it.
    """
    for path in folder.rglob(".*.part"):
        path.unlink(missing_ok=True)
