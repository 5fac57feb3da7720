"""What numba lacks for threads of one's own: atomic access to a shared array, and calls through an address.

With NUMBA_DISABLE_JIT=1 none of this is called: `parallel.spread` then runs everything itself.
"""

import os
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_WORD = ir.IntType(64)
_JOB = ir.FunctionType(ir.VoidType(), [_WORD, _WORD, _WORD])


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Pointer to the element that the first two arguments name."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


@intrinsic
def load(typing_context: Any, words: Any, i: Any) -> Any:
    """words[i], seen as the other threads left it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_place(context, builder, signature, args), "seq_cst", 8)

    return types.int64(words, types.intp), generate


@intrinsic
def store(typing_context: Any, words: Any, i: Any, value: Any) -> Any:
    """words[i] = value, after everything that was written before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _place(context, builder, signature, args), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), generate


@intrinsic
def add(typing_context: Any, words: Any, i: Any, value: Any) -> Any:
    """words[i] += value in one step; returns what was there."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _place(context, builder, signature, args), args[2], "seq_cst")

    return types.int64(words, types.intp, types.int64), generate


def job(body: Any) -> Any:
    """A function of the tuple `args` that gives two addresses: of code that calls `body(*args, first, last)`, and of
    a copy of `args`, which lives as long as the call of the function it was made in.

    One for each body, because a compiled function that takes another as an argument cannot be kept on disk.
    """

    @intrinsic
    def prepared(typing_context: Any, args: Any) -> Any:
        inner = numba.typeof(body).get_call_type(typing_context, (*args.types, types.intp, types.intp), {})

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            compiled = body.overloads[inner.args]
            context.add_linking_libs([compiled.library])
            code = _entry(context, builder.module, compiled.fndesc, inner, args)
            place = cgutils.alloca_once_value(builder, values[0])
            addresses = [builder.ptrtoint(pointer, _WORD) for pointer in (code, place)]
            return context.make_tuple(builder, signature.return_type, addresses)

        return types.UniTuple(types.int64, 2)(args), generate

    return prepared


def _entry(context: Any, module: Any, described: Any, inner: Any, args: Any) -> Any:
    """The function (address of args, first, last) that calls the described one."""
    name = context.mangler("entry_" + described.mangled_name, ())
    outer = cgutils.get_or_insert_function(module, _JOB, name)
    if not outer.blocks:
        outer.linkage = "internal"
        builder = ir.IRBuilder(outer.append_basic_block())
        pointer = builder.inttoptr(outer.args[0], context.get_value_type(args).as_pointer())
        whole = [*cgutils.unpack_tuple(builder, builder.load(pointer), len(args)), *outer.args[1:]]
        function = context.declare_function(module, described)
        context.call_conv.call_function(builder, function, inner.return_type, inner.args, whole)
        builder.ret_void()
    return outer


@intrinsic
def call(typing_context: Any, address: Any, args: Any, first: Any, last: Any) -> Any:
    """Call the code that `job` gave."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.call(builder.inttoptr(values[0], _JOB.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


def _system(name: str, result: Any) -> Any:
    """A function of the system or the processor that takes and tells nothing."""

    @intrinsic
    def called(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, []), name), [])
            return context.get_dummy_value()

        return types.void(), generate

    return called


give_way = _system("SwitchToThread" if os.name == "nt" else "sched_yield", ir.IntType(32))
