"""What commands tell beside their results: on stderr, a line each."""

# License: BSD-3-Clause

import sys


def tell(message, *, transient=False):
    """Print a line on stderr.

    Parameters
    ----------
    message : str
        The line.
    transient : bool, default=False
        Whether the next line takes its place, as suits progress. It stays if stderr is
        no terminal.
    """
    is_terminal = sys.stderr.isatty()
    end = "\r" if transient and is_terminal else "\n"
    clear = "\r\033[K" if is_terminal else ""
    print(f"{clear}{message}", end=end, file=sys.stderr, flush=True)


def clear():
    """Clear a transient line, before something is printed on stdout."""
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def show_warning(message, category, filename, lineno, file=None, line=None):
    """Take the place of `warnings.showwarning`: tell the message without the code."""
    tell(f"skbss: warning: {' '.join(str(message).split())}")
