"""Ids, lengths and numbers are checked here, on the host, once, before a backend sees them.

Libraries differ in what they do with an id that does not exist: NumPy wraps -1 and raises past the end,
JAX clamps or gives NaN, CuPy wraps. None of that may decide what a model says.
"""

import math
import operator
from collections.abc import Iterable
from dataclasses import fields
from decimal import Decimal
from numbers import Real

from arrayformer.core.errors import InputError


def check_ids(ids: Iterable[object], n_vocab: int) -> list[int]:
    """`ids` as a list of Python ints, each from 0 to n_vocab - 1. Raises InputError, naming the first that is not."""
    checked = []
    for place, value in enumerate(ids):
        number = whole(value)
        if number is None:
            raise InputError(f"id {shown(value)} at place {place} is of type {type(value).__name__}; ids are integers")
        if not 0 <= number < n_vocab:
            there = f"this model has the ids 0 to {n_vocab - 1}"
            raise InputError(f"id {shown(number)} at place {place} does not exist: {there}")
        checked.append(number)
    if not checked:
        raise InputError("no ids: a model needs one to start from; pass at least one id or some text")
    return checked


def whole(value: object) -> int | None:
    """`value` as a Python int if it is an integer of any library; a bool of any library is none."""
    if type(value) is int:
        return value
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def real(value: object) -> float | None:
    """`value` as a Python float if it is a number of any library; a bool, text and an array with axes are none."""
    if isinstance(value, bool):
        return None
    kind = getattr(getattr(value, "dtype", None), "kind", "")  # of an array with no axes: NumPy's, JAX's, CuPy's
    if not isinstance(value, Real | Decimal) and (kind not in tuple("iuf") or getattr(value, "shape", None) != ()):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf


def keep_plain_numbers(config: object) -> None:
    """Put Python's own number in the place of each number of another library among the fields of a frozen dataclass."""

    def plain(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(map(plain, value))
        if value is None or type(value) in (int, float, bool, str):
            return value
        number = whole(value)
        other = real(value) if number is None else number
        return value if other is None else other

    for field in fields(config):  # type: ignore[arg-type]
        object.__setattr__(config, field.name, plain(getattr(config, field.name)))


def shown(value: object) -> str:
    """`value` for a message: short, whatever it is."""
    try:
        return f"{value!r:.100}"
    except ValueError:  # an integer of more digits than Python prints
        return f"an {type(value).__name__} of thousands of digits"


def has_lone_surrogate(text: str) -> bool:
    """Whether `text` holds half a surrogate pair, which is no character and cannot be written as UTF-8."""
    return any("\ud800" <= c <= "\udfff" for c in text)


def check_inputs(shape: tuple[int, ...], integral: bool, n_ctx: int | None) -> None:
    """Raises InputError unless ids of this static shape can be read.

    n_ctx  the longest row; None leaves the length to the cache's owner
    """
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


def check_whole(name: str, value: object, low: int, high: int, advice: str = "") -> int:
    """`value` as an int from `low` to `high`. Raises InputError for anything else, a bool and a float among it."""
    number = whole(value)
    if number is None or not low <= number <= high:
        hint = advice and f"; {advice}"
        raise InputError(f"{name} is {shown(value)}; it is a whole number from {low} to {high}{hint}")
    return number


def check_number(name: str, value: object, low: float, high: float) -> float:
    """`value` as a float from `low` to `high`. Raises InputError for anything else, NaN and a bool among it."""
    number = real(value)
    if number is None or not low <= number <= high:
        raise InputError(f"{name} is {shown(value)}; it is a number from {low:g} to {high:g}")
    return number
