"""Loops once more, compiled by numba where it is installed.

The extra ``fast`` installs it. Each kernel has a twin in numpy, which it agrees with
to rounding, and which runs without numba or where numba's own ``NUMBA_DISABLE_JIT`` is
set. There are kernels only of what makes a whole separation at least 1.5 times as fast:
of dereverberation, which numpy has to stack frames for.
"""

# License: BSD-3-Clause

from functools import cache
from importlib import import_module


@cache
def kernels(name):
    """Return a module of kernels of this package, or None without numba.

    They are also left to numpy where numba finds no folder that it could cache them in,
    neither beside them nor in the home of the user: compiling them in every process
    would take longer than they save.
    """
    try:
        import numba
    except ImportError:
        return None
    if numba.config.DISABLE_JIT:
        return None
    try:
        return import_module(f"skbss.compiled.{name}")
    except RuntimeError:  # "cannot cache function"
        return None
