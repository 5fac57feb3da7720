"""Right backends beside those that are installed, as positive controls: none of them may fail a case."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.backend import Backend


class ReadOnlyNumpy(Backend):
    """NumPy that raises where somebody writes into an array: nothing of the graph may."""

    name = "numpy_read_only"
    library = "numpy"
    xp = NumpyBackend.xp

    def asarray(self, host: np.ndarray, dtype: str | None = None) -> Any:
        """A copy that nobody can write into."""
        array: np.ndarray = np.array(super().asarray(host, dtype))
        array.flags.writeable = False
        return array


def jax_as_written(device: str | None = None, dtype: str | None = None) -> Backend:
    """JAX without its compiler."""
    from arrayformer.backends.jax.backend import JaxBackend

    class AsWritten(JaxBackend):
        compiles = False

        def compile(self, function: Any, *, donate: Sequence[int] = ()) -> Any:
            return function

    return AsWritten(device, dtype)
