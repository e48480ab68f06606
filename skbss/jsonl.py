"""JSON Lines: files of one object a line, appended to while work goes on."""

# License: BSD-3-Clause

import json
import math
import os
import warnings
from pathlib import Path


def append_jsonl(path, record):
    """Append an object to a file, as one line of strict JSON.

    Several processes of a machine may append to the same file. A process that is
    killed leaves whole lines behind it.

    Parameters
    ----------
    path : str or Path
        The file, which is made if there is none.
    record : dict
        Of strings, numbers, booleans, None, lists and dicts, numpy's too. Numbers that
        are not finite become null.

    Raises
    ------
    TypeError
        If a value is of another type.
    OSError
        If the file cannot be written to.
    """
    data = json_line(record)
    # Whatever is appended by one call to write stays together.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags, 0o666)
    try:
        if _is_torn(file):
            data = b"\n" + data
        written = os.write(file, data)
        if written < len(data):
            raise OSError(f"Only {written} of {len(data)} bytes fit in {path}.")
    finally:
        os.close(file)


def read_jsonl(path: str | Path) -> list[dict]:
    """Read the objects of a file that has one a line.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    records : list of dict
        One for each line. A last line that was cut off, by a crash or because it is
        being written, is left out; any other line that isn't an object is left out with
        a warning.

    Raises
    ------
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skbss.jsonl import append_jsonl, read_jsonl
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "results.jsonl"
    ...     append_jsonl(path, {"n_basis": 2, "si_sdr": [9.5, float("nan")]})
    ...     read_jsonl(path)
    [{'n_basis': 2, 'si_sdr': [9.5, None]}]
    """
    *lines, rest = Path(path).read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        elif line.strip():
            warnings.warn(f"Left out line {number} of {path}, which is no JSON object.")
    try:  # written by something that ends no last line
        record = json.loads(rest)
    except ValueError:
        return records
    return records + [record] if isinstance(record, dict) else records


def _is_torn(file):
    """Whether the last line of a file has no end."""
    size = os.lseek(file, 0, os.SEEK_END)
    if size == 0:
        return False
    os.lseek(file, size - 1, os.SEEK_SET)
    return os.read(file, 1) != b"\n"


def json_line(record):
    """Return an object as a line of strict JSON.

    Parameters
    ----------
    record : dict
        As for `append_jsonl`.

    Returns
    -------
    line : bytes
        In UTF-8, with its end.
    """
    text = json.dumps(to_json(record), ensure_ascii=False, allow_nan=False)
    # Of names of files that are no UTF-8, what is left are escapes that JSON has too.
    return text.encode("utf-8", errors="backslashreplace") + b"\n"


def to_json(value):
    """Return a value as strict JSON has it, with None for nan and infinite numbers.

    Parameters
    ----------
    value : object
        Of dicts, lists, numbers, numpy's too, strings, paths, booleans and None.

    Returns
    -------
    value : object
        Of Python's types only.
    """
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if hasattr(value, "tolist"):
        return to_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
