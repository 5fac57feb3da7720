"""NumPy: the CPU reference every other backend is compared with."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import array_api_compat.numpy as xp
import numpy as np

from arrayformer.backends.hookspecs import Register, hookimpl
from arrayformer.core.array_api import Array
from arrayformer.core.backend import Backend
from arrayformer.core.params import Params, map_params


def write(old: np.ndarray, new: np.ndarray, position: np.ndarray, slot: np.ndarray) -> np.ndarray:
    """`ops.write`, in place."""
    capacity = old.shape[2]
    for row, start in enumerate(position[:, 0]):
        n = max(0, min(new.shape[2], capacity - start))
        old[row, :, start : start + n] = new[row, :, :n]
    return old


class NumpyBackend(Backend):
    """NumPy on the CPU, float32; float64 for the oracle."""

    name = "numpy"
    library = "numpy"
    xp = xp
    dtypes = ("float32", "float64")
    consumes_cache: ClassVar[bool] = True

    @property
    def overrides(self) -> Mapping[str, Callable[..., Any]]:
        """In-place versions of what the graph calls."""
        return {"write": write}

    def place(self, params: Params, *, owned: bool = False) -> Params:
        """The weights in this backend's dtype; arrays given away are used as they are."""

        def own(_path: str, x: np.ndarray) -> Array:
            return np.asarray(x, dtype=self.dtype) if owned else np.array(x, dtype=self.dtype)

        placed: Params = map_params(own, params)
        return placed


@hookimpl
def register_backends(register: Register) -> None:
    """NumPy registers as a plugin does."""
    register("numpy", NumpyBackend)
