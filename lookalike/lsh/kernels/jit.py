"""The compiler decorator `jit` (numba with a cache on disk), and what numba has no function for."""

import mmap
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


@intrinsic
def _widen(_typing: Any, value: Any) -> Any:
    """A float32 as it is, and the bits of a half-precision number (uint16, finite) as float32.

    By integers and one product, as not every processor has an instruction for it, nor every process the function
    that LLVM would call instead.
    """

    def keep(_context: Any, _builder: Any, _signature: Any, arguments: Any) -> Any:
        return arguments[0]

    def convert(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word, single = ir.IntType(32), ir.FloatType()
        bits = builder.zext(arguments[0], word)
        shifted = builder.bitcast(builder.shl(builder.and_(bits, word(0x7FFF)), word(13)), single)
        magnitude = builder.bitcast(builder.fmul(shifted, single(2.0**112)), word)
        sign = builder.shl(builder.and_(bits, word(0x8000)), word(16))
        return builder.bitcast(builder.or_(magnitude, sign), single)

    return types.float32(value), keep if value == types.float32 else convert


@intrinsic
def _will_need(_typing: Any, array: Any, position: Any, n_items: Any) -> Any:
    """Tell the system that some items of a C-ordered array in a mapped file will be read soon."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if hasattr(mmap, "MADV_WILLNEED"):  # Not on Windows.
            view = context.make_array(signature.args[0])(context, builder, arguments[0])
            size, word = ir.IntType(64), ir.IntType(32)
            begin = builder.ptrtoint(builder.gep(view.data, [arguments[1]]), size)
            end = builder.ptrtoint(builder.gep(view.data, [builder.add(arguments[1], arguments[2])]), size)
            page = builder.and_(begin, size(-mmap.PAGESIZE))
            kind = ir.FunctionType(word, [cgutils.voidptr_t, size, word])
            function = cgutils.get_or_insert_function(builder.module, kind, "madvise")  # type: ignore[no-untyped-call]
            address = builder.inttoptr(page, cgutils.voidptr_t)
            builder.call(function, [address, builder.sub(end, page), word(mmap.MADV_WILLNEED)])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), generate


# numba passes the typing context by itself, which a type checker cannot see.
count_bits: Any = _count_bits
prefetch: Any = _prefetch
widen: Any = _widen
will_need: Any = _will_need
