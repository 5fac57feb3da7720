"""Ids and lengths are checked here, on the host, once, before a backend sees them.

Libraries differ in what they do with an id that does not exist: NumPy wraps -1 and raises past the end,
JAX clamps or gives NaN, CuPy wraps. None of that may decide what a model says.
"""

import operator
from collections.abc import Iterable

from arrayformer.core.errors import InputError


def check_ids(ids: Iterable[object], n_vocab: int) -> list[int]:
    """`ids` as a list of Python ints, each from 0 to n_vocab - 1. Raises InputError, naming the first that is not."""
    checked = []
    for place, value in enumerate(ids):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise InputError(f"id {value!r} at place {place} is of type {type(value).__name__}; ids are integers")
        number = operator.index(value)
        if not 0 <= number < n_vocab:
            raise InputError(f"id {number} at place {place} does not exist: this model has the ids 0 to {n_vocab - 1}")
        checked.append(number)
    if not checked:
        raise InputError("no ids: GPT-2 needs one to start from; pass at least one id or some text")
    return checked


def check_inputs(shape: tuple[int, ...], integral: bool, n_ctx: int | None) -> None:
    """Raises InputError unless ids of this static shape can be read; `n_ctx` None leaves the length to the cache's owner."""
    if not integral:
        raise InputError("the ids are not of an integer dtype: convert them before the call")
    if len(shape) not in (1, 2) or 0 in shape:
        raise InputError(f"the ids have shape {shape}; pass [seq] or [batch, seq] with one id at least")
    if n_ctx is not None:
        check_context(shape[-1], n_ctx)


def check_context(n_ids: int, n_ctx: int) -> None:
    """Raises InputError where `n_ids` ids do not fit into the context."""
    if n_ids > n_ctx:
        raise InputError(f"{n_ids} ids do not fit: this model's context is {n_ctx}; shorten by {n_ids - n_ctx}")
