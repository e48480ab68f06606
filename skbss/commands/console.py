"""What commands tell beside their results: on stderr, a line each."""

# License: BSD-3-Clause

import os
import shutil
import sys
import time
from contextlib import suppress

# Waits beyond this, in seconds, are told.
LONG_WAIT = 10


def tell(message, *, transient=False):
    """Print a line on stderr.

    Parameters
    ----------
    message : str
        The line.
    transient : bool, default=False
        Whether the next line takes its place, as suits progress. It stays if stderr is
        no terminal. If it is wider than the terminal, its beginning is left out.
    """
    is_terminal = sys.stderr.isatty()
    if transient and is_terminal:
        width = shutil.get_terminal_size().columns - 1
        if len(message) > width:  # a line that wraps could not be cleared
            message = f"…{message[len(message) - width + 1 :]}"
    end = "\r" if transient and is_terminal else "\n"
    clear = "\r\033[K" if is_terminal else ""
    try:
        print(f"{clear}{message}", end=end, file=sys.stderr, flush=True)
    except OSError:  # nobody can be told
        _forget(sys.stderr)


class StdoutError(OSError):
    """Standard output is closed or full."""


def say(text="", *, end="\n"):
    """Print a result on stdout, at once.

    Parameters
    ----------
    text : str, default=""
        A line, or several.
    end : str
        What follows.

    Raises
    ------
    StdoutError
        If it cannot be written.
    """
    clear()
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        _forget(sys.stdout)
        raise StdoutError(error.errno, error.strerror) from error


def _forget(stream):
    """Let what waits in a stream that cannot be written go nowhere at the end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def prepare_streams():
    """Make the standard streams such that what is printed can be.

    Characters that the encoding lacks are escaped. Streams that are closed lead
    nowhere: else files that are opened would take their places.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="backslashreplace")


class Progress:
    """Tells how much of something is done, ten times a second on a terminal.

    Elsewhere, where lines stay, it tells so every ten seconds.

    Parameters
    ----------
    message : str
        What is being done. It is told at once.
    """

    def __init__(self, message):
        self.message = message
        self._began = time.monotonic()
        self._tell(message)

    def _tell(self, message):
        tell(message, transient=True)
        self._told = time.monotonic()

    def __call__(self, fraction):
        """Tell the message and a fraction, if it is time to."""
        seconds = 0.1 if sys.stderr.isatty() else 10.0
        if time.monotonic() - self._told > seconds:
            left = (time.monotonic() - self._began) * (1 / max(fraction, 1e-9) - 1)
            when = f", {_duration(left)} left" if left > LONG_WAIT else ""
            self._tell(f"{self.message}, {fraction:.0%}{when}")


def _duration(seconds):
    """Write a duration as one would say it: 40 s, 3 min, 2 h 10 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"


def clear():
    """Clear a transient line, before something is printed on stdout."""
    if sys.stderr.isatty():
        tell("", transient=True)


def show_warning(message, category, filename, lineno, file=None, line=None):
    """Take the place of `warnings.showwarning`: tell the message without the code."""
    tell(f"skbss: warning: {' '.join(str(message).split())}")
