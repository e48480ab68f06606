"""``results.jsonl``: a line for each task, appended when it is done.

Only the process that runs the experiment writes to it, each line by a single call that
appends. Killed at any moment, it leaves whole lines and at most one torn line behind
them, which is cut off when the run is resumed. What the operating system has taken
survives the end of the process; against a power failure the file is synchronized to
the disk once a second and at the end, so that at most the tasks of the last second are
lost, and done again.
"""

# License: BSD-3-Clause

import json
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from filelock import FileLock, Timeout

from skbss.benchmark.output import OutputError, replacing
from skbss.io import reason
from skbss.jsonl import json_line

# What the seconds of a task are spent on, and what of it is the method's own work.
STAGES = ("read", "stft", "separation", "istft", "score", "write")
COMPUTING = ("stft", "separation", "istft")
SYNC_SECONDS = 1.0


class RunError(ValueError):
    """A run folder cannot be used; the message is one sentence.

    Examples
    --------
    >>> from skbss.benchmark import read_results
    >>> read_results("nowhere")
    Traceback (most recent call last):
    skbss.benchmark.results.RunError: Cannot read nowhere/results.jsonl: no such file or
    directory.
    """


def read_results(folder: str | Path) -> list[dict]:
    """Read the results of a run.

    Parameters
    ----------
    folder : str or Path
        The run folder; the run may still be going on.

    Returns
    -------
    rows : list of dict
        One for each task, in the order in which they were done. A torn last line is
        left out. Undefined numbers are None.

    Raises
    ------
    RunError
        If there is no such file, or a line before the last is no JSON object.

    See Also
    --------
    summarize : Means over the recordings.

    Examples
    --------
    >>> import tempfile
    >>> from skbss.benchmark import make_experiment, read_results, run_experiment
    >>> dataset = {"name": "cocktail_party", "duration": 2.0}
    >>> experiment = make_experiment({"dataset": dataset, "methods": ["auxiva"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = run_experiment(experiment, folder)
    ...     (row,) = read_results(folder)
    >>> row["recording"], row["candidate"], row["status"], row["audio"][0]
    ('cocktail_party', 'auxiva', 'ok', 'audio/cocktail_party/auxiva/source_00.wav')
    """
    return [row for row, _ in iterate_results(folder)]


def iterate_results(folder: str | Path) -> Iterator[tuple[dict, int]]:
    """Yield what `read_results` returns row by row, with the end of each in bytes."""
    path = Path(folder) / "results.jsonl"
    try:
        with open(path, "rb") as file:
            end, torn = 0, 0
            for number, line in enumerate(file, 1):
                if torn:
                    raise RunError(f"Got {path} with line {torn} that is no result.")
                row = _parse(line)
                if row is None:
                    torn = number
                else:
                    end += len(line)
                    yield row, end
    except OSError as error:
        raise RunError(f"Cannot read {path}: {reason(error)}.") from error


def _parse(line):
    """Return the row of a line, or None if it is torn."""
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    known = isinstance(row, dict) and "recording" in row and "candidate" in row
    return row if known else None


class ResultsFile(AbstractContextManager):
    """The results of a run, open to be appended to by this process alone.

    With `retry_failed`, rows of tasks that failed are taken out, so that they are done
    again. `done` has the recording and the candidate of every row. Raises RunError if
    another process is running there, and OutputError where nothing can be written.
    """

    def __init__(self, folder: Path, *, retry_failed: bool = False):
        self.path = folder / "results.jsonl"
        self.done: set[tuple[str, str]] = set()
        self._synced = time.monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                stack.enter_context(FileLock(folder / "run.lock", timeout=0))
                self._file = stack.enter_context(self._open(retry_failed))
                self._closing = stack.pop_all()
        except Timeout as error:
            raise RunError(
                f"Got {folder}, in which another process is running."
            ) from error
        except OSError as error:
            raise self._failure(error) from error

    def _open(self, retry_failed):
        """Find what is done, cut off a torn line, and open the file."""
        if retry_failed and self.path.exists():
            rows = (row for row, _ in iterate_results(self.path.parent))
            kept = (row for row in rows if row["status"] != "failed")
            with replacing(self.path) as temporary, open(temporary, "wb") as file:
                file.writelines(map(json_line, kept))
                file.flush()
                os.fsync(file.fileno())
        self.path.touch()
        end = 0
        for row, end in iterate_results(self.path.parent):  # noqa: B007
            key = row["recording"], row["candidate"]
            if key in self.done:
                raise RunError(
                    f"Got {self.path} with two results of {' and '.join(key)}."
                )
            self.done.add(key)
        os.truncate(self.path, end)
        self._size = end
        return open(self.path, "ab", buffering=0)

    def append(self, row: dict) -> None:
        """Append the row of a task; if it cannot be written, the others stay."""
        line = json_line(row)
        try:
            if self._file.write(line) < len(line):
                raise OSError(28, "no space left on device")
            now = time.monotonic()
            if now - self._synced > SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = now
        except OSError as error:
            self._file.truncate(self._size)
            raise self._failure(error) from error
        self._size += len(line)
        self.done.add((row["recording"], row["candidate"]))

    def close(self) -> None:
        """Synchronize to the disk and let other processes write."""
        try:
            with self._closing:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error):
        return OutputError(f"Cannot write {self.path}: {reason(error)}.")

    def __exit__(self, *exception):
        self.close()
