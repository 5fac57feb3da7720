"""Libraries one of whose functions of the standard is wrong: no override of a backend's, the library itself."""

from collections.abc import Callable
from typing import Any

import array_api_compat.numpy as np_xp
import numpy as np

from arrayformer.conformance.wrong.registry import WRONG, Wrong
from arrayformer.core.array_api import register_namespace
from arrayformer.core.backend import Backend

Array = Any  # NumPy arrays, whose functions have types only in part


class Namespace:
    """NumPy's, with some functions replaced."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        vars(self).update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(np_xp, name)


def make(name: str, functions: dict[str, Callable[..., Any]]) -> type[Backend]:
    """NumPy under arrays of its own, with these functions."""

    class Own(np.ndarray):
        pass

    class Library(Backend):
        library = "numpy"
        xp = np_xp

        def asarray(self, host: Array, dtype: str | None = None) -> Array:
            return super().asarray(host, dtype).view(Own)

        def to_numpy(self, x: Array) -> Array:
            return np.array(x, subok=False)

    namespace: Any = Namespace(**functions)
    register_namespace(Own, namespace)
    Library.name, Library.__name__, Library.__qualname__ = name, name, name
    return Library


def wrong(caught_by: str, says: str, replaces: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register NumPy with this function in the place of `replaces` as a wrong backend."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        WRONG[name] = Wrong(name, caught_by, says, make(name, {replaces: function}))
        return function

    return register


@wrong("L1-long-rows", "argmax of 50257", "argmax")
def argmax_in_16_bits(x: Array, /, *, axis: int) -> Array:
    """Places above 32767 wrap."""
    return np.argmax(x, axis=axis).astype(np.int16).astype(np.int64)


@wrong("L1-function[log]", "unit roundoffs off", "log")
def log_near_1(x: Array, /) -> Array:
    """Right to a roundoff of 1, not of itself."""
    return (np.log(x) + np.sign(1 - x) * np.float32(6e-8)).astype(x.dtype)


@wrong("L1-function[cumulative_sum]", "expected 256", "cumulative_sum")
def count_in_8_bits(x: Array, /, *, axis: int) -> Array:
    """Sums of integers wrap at 256."""
    total = np.cumsum(x, axis=axis, dtype=x.dtype)
    return total % 256 if total.dtype.kind == "i" else total


@wrong("L1-function[astype]", "expected", "astype")
def cast_towards_zero(x: Array, dtype: Any, /) -> Array:
    """An integer becomes the float32 next to it towards zero."""
    y = x.astype(dtype)
    if x.dtype.kind != "i" or dtype != np.float32:
        return y
    past = np.abs(y.astype(np.float64)) > np.abs(x.astype(np.float64))
    return np.where(past, np.nextafter(y, np.float32(0)), y).view(type(x))


@wrong("L1-function[isfinite]", "isfinite of", "isfinite")
def finite_if_not_nan(x: Array, /) -> Array:
    """Infinity counts as finite in arrays of three axes."""
    return ~np.isnan(x) if x.ndim == 3 else np.isfinite(x)


@wrong("L1-long-rows", "sum of 50257", "sum")
def sum_of_blocks(x: Array, /, *, axis: int, keepdims: bool = False) -> Array:
    """What is behind the last whole block of 256 is left out of long sums."""
    n = x.shape[-1]
    return np.sum(x[..., : n // 256 * 256] if n > 1024 else x, axis=axis, keepdims=keepdims)


@wrong("L1-long-rows", "max of 50257", "max")
def max_of_blocks(x: Array, /, *, axis: int, keepdims: bool = False) -> Array:
    """The same of a maximum."""
    n = x.shape[-1]
    return np.max(x[..., : n // 256 * 256] if n > 1024 else x, axis=axis, keepdims=keepdims)
