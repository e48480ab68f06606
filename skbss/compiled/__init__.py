"""The hottest loops once more, compiled by numba where it is installed.

The extra ``fast`` installs it. Each kernel has a twin in numpy, which it agrees with
to rounding, and which runs without numba or where numba's own ``NUMBA_DISABLE_JIT`` is
set.
"""

# License: BSD-3-Clause

from functools import cache
from importlib import import_module

# Bytes of a line of the processor's cache, and about those of one core's second level.
LINE_BYTES = 64
CACHE_BYTES = 1 << 20


@cache
def kernels(name):
    """Return a module of kernels of this package, or None without numba."""
    try:
        import numba
    except ImportError:
        return None
    if numba.config.DISABLE_JIT:
        return None
    return import_module(f"skbss.compiled.{name}")
