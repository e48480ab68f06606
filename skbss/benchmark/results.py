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
from pathlib import Path

from skbss.benchmark.output import OutputError, replacing
from skbss.io import reason
from skbss.jsonl import json_line

try:
    import fcntl
except ImportError:  # Windows, which locks files that are open
    fcntl = None

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


def read_results(folder):
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
    >>> experiment = make_experiment(
    ...     {
    ...         "dataset": {"name": "cocktail_party", "duration": 2.0},
    ...         "stft": {"n_fft": 1024},
    ...         "methods": ["auxiva"],
    ...     }
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = run_experiment(experiment, folder)
    ...     (row,) = read_results(folder)
    >>> row["recording"], row["candidate"], row["status"], row["audio"][0]
    ('cocktail_party', 'auxiva', 'ok', 'audio/cocktail_party/auxiva/source_00.wav')
    """
    return [row for row, _ in iterate_results(folder)]


def iterate_results(folder):
    """Yield what `read_results` returns row by row, with the end of each line.

    Parameters
    ----------
    folder : str or Path
        The run folder.

    Yields
    ------
    row : dict
        The result of a task.
    end : int
        Where its line ends, in bytes.
    """
    path = Path(folder) / "results.jsonl"
    try:
        with open(path, "rb") as file:
            end = 0
            torn = None
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
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    known = isinstance(row, dict) and "recording" in row and "candidate" in row
    return row if known else None


class ResultsFile:
    """The results of a run, open to be appended to by this process alone.

    Parameters
    ----------
    folder : Path
        The run folder.
    retry_failed : bool, default=False
        Take out the rows of tasks that failed, so that they are done again.

    Attributes
    ----------
    done : set of tuple
        Recording and candidate of every task that has a row.

    Raises
    ------
    RunError
        If another process is running there, or the file is damaged.
    OutputError
        If it cannot be written.
    """

    def __init__(self, folder, *, retry_failed=False):
        self.path = Path(folder) / "results.jsonl"
        self.done = set()
        self._synced = time.monotonic()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
            try:
                self._repair(folder)
                if retry_failed:
                    self._drop_failed(folder)
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            raise self._failure(error) from error

    def _repair(self, folder):
        """Find what is done, and cut off a torn line."""
        end = 0
        for row, end in iterate_results(folder):  # noqa: B007
            key = row["recording"], row["candidate"]
            if key in self.done:
                raise RunError(
                    f"Got {self.path} with two results of {' and '.join(key)}."
                )
            self.done.add(key)
        os.ftruncate(self._file, end)
        self._size = end

    def _open(self):
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(file)
                raise RunError(
                    f"Got {self.path.parent}, in which another process is running."
                ) from error
        self._file = file

    def _drop_failed(self, folder):
        kept = [row for row, _ in iterate_results(folder) if row["status"] != "failed"]
        with replacing(self.path) as temporary, open(temporary, "wb") as file:
            file.writelines(map(json_line, kept))
            file.flush()
            os.fsync(file.fileno())
        replaced = self._file
        self._open()
        os.close(replaced)
        self._size = self.path.stat().st_size
        self.done = {(row["recording"], row["candidate"]) for row in kept}

    def append(self, row):
        """Append the row of a task.

        Parameters
        ----------
        row : dict
            As `read_results` returns it, where numbers may be undefined.

        Raises
        ------
        OutputError
            If it cannot be written. The lines before it stay as they are.
        """
        line = json_line(row)
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(28, "no space left on device")
            now = time.monotonic()
            if now - self._synced > SYNC_SECONDS:
                os.fsync(self._file)
                self._synced = now
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise self._failure(error) from error
        self._size += len(line)
        self.done.add((row["recording"], row["candidate"]))

    def close(self):
        """Synchronize to the disk and let other processes write."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._failure(error) from error
        finally:
            os.close(self._file)

    def _failure(self, error):
        return OutputError(f"Cannot write {self.path}: {reason(error)}.")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
