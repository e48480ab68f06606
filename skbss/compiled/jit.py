"""numba's compiler as the kernels need it."""

# License: BSD-3-Clause

from numba import njit

OPTIONS = {"error_model": "numpy", "nogil": True}
# Sums may be reordered, so that they can be vectorized. NaN and infinities keep their
# meaning, and divisions aren't replaced by products with reciprocals, which overflow
# for subnormal numbers.
SUMS = {"fastmath": {"reassoc", "contract", "nsz"}}

kernel = njit(**OPTIONS, **SUMS, cache=True)
kernel_in_order = njit(**OPTIONS, cache=True)
# What kernels call must be inlined: a process that compiles and one that reads the
# cache would take different copies of it otherwise, which may round differently.
inlined = njit(**OPTIONS, **SUMS, forceinline=True)
