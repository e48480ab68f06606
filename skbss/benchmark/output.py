"""Files that appear under their names when they are complete."""

# License: BSD-3-Clause

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from skbss.io import reason, whole_file


class OutputError(OSError):
    """Results cannot be written; the message is one sentence.

    Examples
    --------
    >>> from skbss.benchmark import OutputError
    >>> issubclass(OutputError, OSError)
    True
    """


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of a file; raise OutputError if either cannot be written."""
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
def replacing(path: Path) -> Iterator[Path]:
    """Yield another name for a file, which gets its own when it is complete.

    If that fails, nothing is left, and a file of the right name stays as it was.
    """
    with writing(path), whole_file(path) as temporary:
        yield temporary


def write_csv(path: Path, header: Sequence[str], lines: Iterable[Iterable]) -> None:
    """Write a table, with empty fields for nan, by `replacing`."""
    form = {"encoding": "utf-8", "newline": "", "errors": "backslashreplace"}
    with replacing(path) as temporary, open(temporary, "w", **form) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for line in lines:
            writer.writerow("" if v is None or v != v else v for v in line)
