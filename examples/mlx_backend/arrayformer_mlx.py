"""MLX as a backend of arrayformer: float32, bfloat16 and float16.

MLX follows most of the standard; the namespace registered here for its arrays supplies the rest.
"""

import functools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np

from arrayformer import hookimpl
from arrayformer.core.array_api import Array, register_namespace
from arrayformer.core.backend import Backend, F
from arrayformer.core.plugins.hooks import RegisterBackend


def arange(stop: int, /, *, dtype: Any = None, device: Any = None) -> Array:
    """The standard's; MLX's takes no device."""
    return mx.arange(stop, dtype=dtype)


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
    """The standard's; MLX's takes no device."""
    return mx.asarray(obj, dtype=dtype)


def argmax(x: Array, /, *, axis: int) -> Array:
    """The standard's; MLX's gives uint32, beside which no -1 can stand."""
    return mx.argmax(x, axis=axis).astype(mx.int32)


def argsort(x: Array, /, *, axis: int, descending: bool, stable: bool) -> Array:
    """The standard's; MLX's only ascends, and gives uint32. It is stable."""
    return mx.argsort(-x if descending else x, axis=axis).astype(mx.int32)


xp = SimpleNamespace(**vars(mx))
xp.bool = mx.bool_
xp.arange, xp.asarray, xp.argmax, xp.argsort = arange, asarray, argmax, argsort
register_namespace(mx.array, xp, device=lambda x: None)  # MLX's memory is shared: an array lies nowhere in particular


class MlxBackend(Backend):
    """MLX, uncompiled, on its default device."""

    name = "mlx"
    library = "mlx"
    xp = xp
    dtypes = ("float32", "bfloat16", "float16")

    def devices(self) -> Sequence[str]:
        """The one that MLX computes on unless told otherwise: `gpu` or `cpu`."""
        return (mx.default_device().type.name,)

    def asarray(self, host: np.ndarray, dtype: str | None = None) -> Array:
        """A copy of `host`; MLX reads no foreign byte order and no negative strides."""
        own = np.array(host, dtype=host.dtype.newbyteorder("="), order="C")
        integers = dtype is None and host.dtype.kind in "iu"
        return mx.array(own, dtype=self.index_dtype if integers else self.native(dtype or host.dtype.name))

    def to_numpy(self, x: Array) -> np.ndarray:
        """`x` on the host; bfloat16 as float32, which NumPy has."""
        return np.array(x.astype(mx.float32) if x.dtype == mx.bfloat16 else x)

    def compile(self, function: F, *, donate: Sequence[int] = ()) -> F:
        """`function`, computed before it returns: MLX would wait until somebody looks at the result."""

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            result = function(*args)
            mx.eval(result)
            return result

        return call  # type: ignore[return-value]


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """Offer the backend under the name of the entry point."""
    register("mlx", MlxBackend)
