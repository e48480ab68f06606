"""numba's compiler as the kernels need it."""

# License: BSD-3-Clause

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

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
def prefetch(typing_context, array, start, stop):
    """Ask for entries of a contiguous array, by flat indices that may lie beyond it.

    Short rows end before the processor has noticed that they are read in order. LLVM's
    own instruction: it reads nothing, and cannot fail.
    """

    def codegen(context, builder, signature, args):
        array_type = signature.args[0]
        data = context.make_array(array_type)(context, builder, args[0]).data
        entry = context.get_abi_sizeof(context.get_data_type(array_type.dtype))
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = cgutils.get_or_insert_function(
            builder.module, function, "llvm.prefetch.p0"
        )
        step = ir.Constant(args[1].type, 64 // entry)  # one in each cache line
        with cgutils.for_range_slice(builder, args[1], args[2], step) as (index, _):
            address = builder.bitcast(builder.gep(data, [index]), byte)
            builder.call(function, [address, i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), codegen
