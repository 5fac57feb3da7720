"""Dask as a backend of arrayformer: NumPy in blocks, computed by Dask's scheduler when a step ends."""

import functools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import array_api_compat.dask.array as dask_namespace
import dask
import dask.array as da
import numpy as np

from arrayformer import hookimpl
from arrayformer.core.array_api import Array, register_namespace
from arrayformer.core.backend import Backend, F
from arrayformer.core.plugins.hooks import RegisterBackend


def take_along_axis(x: Array, indices: Array, /, *, axis: int) -> Array:
    """The standard's, which Dask lacks: NumPy's on each block, the axis in one piece."""
    last = da.apply_gufunc(
        functools.partial(np.take_along_axis, axis=-1), "(i),(j)->(j)",
        da.moveaxis(x, axis, -1), da.moveaxis(indices, axis, -1),
        output_dtypes=x.dtype, allow_rechunk=True,
    )  # fmt: skip
    return da.moveaxis(last, -1, axis)


xp = SimpleNamespace(**vars(dask_namespace))
xp.take_along_axis = take_along_axis
register_namespace(da.Array, xp)


class DaskBackend(Backend):
    """Dask arrays of NumPy blocks."""

    name = "dask"
    library = "dask"
    xp = xp
    dtypes = ("float32", "float64")

    def asarray(self, host: np.ndarray, dtype: str | None = None) -> Array:
        """A copy of `host`, in one block."""
        own = np.array(host, dtype=host.dtype.newbyteorder("="), order="C")
        integers = dtype is None and host.dtype.kind in "iu"
        native = self.index_dtype if integers else self.native(dtype or host.dtype.name)
        return da.from_array(own.astype(native), chunks=-1)

    def to_numpy(self, x: Array) -> np.ndarray:
        """`x`, computed."""
        return np.array(x.compute())

    def compile(self, function: F, *, donate: Sequence[int] = ()) -> F:
        """`function` with its results computed: a cache that is only promised would grow with each step."""

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            (result,) = dask.persist(function(*args))
            return result

        return call  # type: ignore[return-value]


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """Offer the backend under the name of the entry point."""
    register("dask", DaskBackend)
