"""The compiler decorator `jit` (numba with a cache on disk), and two processor instructions."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])


def jit(**options: Any) -> Callable[[Function], Function]:
    """Numba's `njit` without the interpreter's lock, cached on disk if a cache folder is writable."""

    def decorate(function: Function) -> Function:
        try:
            return cast(Function, njit(cache=True, nogil=True, **options)(function))
        except RuntimeError:  # No folder of the cache is writable: compile in every process.
            return cast(Function, njit(nogil=True, **options)(function))

    return decorate


@intrinsic
def _count_bits(_typing: Any, word: Any) -> Any:
    """The number of ones in a 64-bit word, by the processor's own instruction."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@intrinsic
def _prefetch(_typing: Any, array: Any, position: Any) -> Any:
    """Start to load the cache line that holds the element at a flat position of a C-ordered array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(view.data, [arguments[1]])
        address = builder.bitcast(address, cgutils.voidptr_t)
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
        builder.call(function, [address, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


# numba passes the typing context by itself, which a type checker cannot see.
count_bits: Any = _count_bits
prefetch: Any = _prefetch
