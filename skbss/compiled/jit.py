"""numba's compiler as the kernels need it."""

# License: BSD-3-Clause

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from skbss.compiled import LINE_BYTES

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


@intrinsic
def read_through(typing_context, array):
    """Read a contiguous array in order, one entry of each cache line, for nothing.

    It is in the cache then. Processors read ahead where memory is read in order, but
    don't where several short rows are at the same time, and wait for each of them.
    """

    def codegen(context, builder, signature, args):
        array_type = signature.args[0]
        entries = context.make_array(array_type)(context, builder, args[0])
        entry = context.get_abi_sizeof(context.get_data_type(array_type.dtype))
        first = ir.Constant(entries.nitems.type, 0)
        step = ir.Constant(entries.nitems.type, LINE_BYTES // entry)
        with cgutils.for_range_slice(builder, first, entries.nitems, step) as (i, _):
            # An atomic read, here a usual one, isn't left out though nobody uses it.
            builder.load_atomic(builder.gep(entries.data, [i]), "monotonic", entry)
        return context.get_dummy_value()

    return types.void(array), codegen
