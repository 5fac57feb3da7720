"""numba: NumPy's arrays, functions compiled for this processor, weights as narrow as they are."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import array_api_compat.numpy as xp
import ml_dtypes
import numpy as np

from arrayformer.backends.numba import ops
from arrayformer.backends.numba.compiled import COMPILES
from arrayformer.backends.numba.layout import copied, turned
from arrayformer.backends.numba.packed import panels
from arrayformer.backends.numba.uncompiled import OVERRIDES as UNCOMPILED
from arrayformer.backends.numpy.backend import OVERRIDES as NUMPY_OVERRIDES
from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.packed import Packed
from arrayformer.core.params import Weight
from arrayformer.core.plugins.hooks import RegisterBackend, hookimpl

OVERRIDES: dict[str, Callable[..., Any]] = NUMPY_OVERRIDES | {
    f.__name__: f
    for f in (
        ops.gelu, ops.gelu_erf, ops.silu, ops.relu, ops.gated, ops.layer_norm, ops.rms_norm, ops.rotate, ops.linear,
        ops.causal_attention, ops.embed, ops.unembed,
    )
}  # fmt: skip


class NumbaBackend(NumpyBackend):
    """Compiled for the CPU, float32 or bfloat16; sums are float32."""

    name = "numba"
    library = "numba"
    xp = xp
    dtypes = ("float32", "bfloat16")
    consumes_cache: ClassVar[bool] = True
    multiplies_packed: ClassVar[bool] = COMPILES

    @property
    def overrides(self) -> Mapping[str, Callable[..., Any]]:
        """Compiled, or NumPy's."""
        return OVERRIDES if COMPILES else UNCOMPILED

    def native(self, dtype: str) -> Any:
        """NumPy's dtype of that name; bfloat16 is that of ml_dtypes."""
        return np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else super().native(dtype)

    def to_numpy(self, x: np.ndarray) -> np.ndarray:
        """`x`, bfloat16 as float32."""
        return np.array(x, dtype=np.float32 if x.dtype == ml_dtypes.bfloat16 else None)

    def zeros(self, shape: tuple[int, ...]) -> np.ndarray:
        """Memory that costs nothing until it is written."""
        return np.zeros(shape, dtype=self.native(self.dtype))

    def order(self, weight: Weight) -> Literal["C", "F", "K"]:
        """As the file has it: `place` turns a matrix faster than it can be read in another order."""
        return "K"

    def _laid_out(self, x: np.ndarray | Packed, weight: Weight, owned: bool) -> Any:
        if not COMPILES:
            return super()._laid_out(x, weight, owned) if isinstance(x, Packed) else x.astype(self.native(self.dtype))
        if isinstance(x, Packed):
            return panels(x)
        by_column = len(weight.shape) == 2 and weight.role in ("column", "row")
        return self._by_column(x, owned) if by_column else self._by_row(x, owned)

    def _by_column(self, x: np.ndarray, owned: bool) -> np.ndarray:
        """A matrix with all that one output is made of in one run."""
        return self._by_row(x.T, owned).T if x.flags.f_contiguous else turned(_float32(x), self.native(self.dtype))

    def _by_row(self, x: np.ndarray, owned: bool) -> np.ndarray:
        """A table with all that one id has in one run, or a vector."""
        wanted = self.native(self.dtype)
        if owned and x.dtype == wanted and x.flags.c_contiguous:
            return x
        return copied(np.ascontiguousarray(_float32(x)), wanted)


def _float32(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32, copy=False)


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """numba registers as a plugin does."""
    register("numba", NumbaBackend)
