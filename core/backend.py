"""What a backend is: an array library with a name, a device, a dtype, and what it does better than the standard.

A subclass needs `name`, `library` and `xp`; everything else has a default that works on any library which
follows the standard. Each attribute is a claim that the conformance suite tests.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from arrayformer.core.array_api import Array
from arrayformer.core.errors import BackendError
from arrayformer.core.packed import Packed
from arrayformer.core.params import Params, Weight, map_params

API_VERSION = (1, 0)
F = TypeVar("F", bound=Callable[..., Any])


class Backend:
    """One array library on one device, computing in one dtype.

    name              what `--backend` says; a lower-case identifier
    api_version       the version of this contract the backend was written for, (major, minor)
    library           the distribution whose version is reported
    xp                the namespace of the standard's functions
    dtypes            dtypes the weights and the cache may have, the first is the default. With float16 or
                      bfloat16 what lies between them stays float32
    consumes_cache    whether a step may overwrite the cache it was given
    compiles          whether each new shape costs a compilation, so that lengths are rounded up to buckets
    deterministic     whether the same call gives the same bits
    batch_invariant   whether a row gives the same bits in any batch
    multiplies_packed whether it multiplies packed weights as they are: then those of a file stay packed
    overrides         functions of `core/ops.py` this library has faster, by name
    """

    name: ClassVar[str]
    library: ClassVar[str]
    xp: Any  # a Namespace: a module, whose functions no type checker compares with a protocol's
    api_version: ClassVar[tuple[int, int]] = API_VERSION
    dtypes: ClassVar[tuple[str, ...]] = ("float32",)
    consumes_cache: ClassVar[bool] = False
    compiles: ClassVar[bool] = False
    deterministic: ClassVar[bool] = True
    batch_invariant: ClassVar[bool] = False
    multiplies_packed: ClassVar[bool] = False

    def __init__(self, device: str | None = None, dtype: str | None = None) -> None:
        self.device = self._choose("device", device, self.devices())
        self.dtype = self._choose("dtype", dtype, self.dtypes)

    def _choose(self, what: str, wanted: str | None, offered: Sequence[str]) -> str:
        if not offered:
            raise BackendError(f"backend {self.name!r} has no {what} here")
        if wanted is not None and wanted not in offered:
            raise BackendError(f"backend {self.name!r} has no {what} {wanted!r}; it has {', '.join(offered)}")
        return offered[0] if wanted is None else wanted

    @property
    def overrides(self) -> Mapping[str, Callable[..., Any]]:
        """Functions to use in the place of those of the same name in `core/ops.py`."""
        return {}

    @property
    def precision(self) -> str:
        """The class its matrix products are judged by: float32, tf32, bfloat16 or float16."""
        return self.dtype

    def version(self) -> str:
        """Version of the array library."""
        try:
            return version(self.library)
        except PackageNotFoundError:
            return "unknown"

    def devices(self) -> Sequence[str]:
        """Names of the devices, the default first. Raises BackendError with the reason where there is none."""
        return ("cpu",)

    def native(self, dtype: str) -> Any:
        """The library's own dtype of that name."""
        return getattr(self.xp, dtype)

    @cached_property
    def index_dtype(self) -> Any:
        """The namespace's default integer dtype: what ids and positions have."""
        return self.xp.__array_namespace_info__().default_dtypes()["integral"]

    def asarray(self, host: np.ndarray, dtype: str | None = None) -> Array:
        """A copy of `host` on the device.

        In `dtype` if given; else integers get the default integer dtype and others keep theirs.
        """
        if dtype is None and host.dtype.kind in "iu":
            native = self.index_dtype
        else:
            native = self.native(dtype or host.dtype.name)
        return self.xp.asarray(np.array(host), dtype=native)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """Where the cache's keys or values go, [batch, kv_head, capacity, head_dim] in this backend's dtype."""
        return self.asarray(np.zeros(shape, dtype=np.float32), self.dtype)

    def cache_arrays(self, n: int, shape: tuple[int, ...]) -> list[Array]:
        """`n` arrays as `zeros` makes them: the keys and values of all layers."""
        return [self.zeros(shape) for _ in range(n)]

    def order(self, weight: Weight) -> Literal["C", "F", "K"]:
        """In which order of the host's memory `place` wants a weight, so that it need not be copied.

        "K" where it may stay as it is stored.
        """
        return "C"

    def place(self, params: Params, weights: Params, *, owned: bool = False) -> Params:
        """The weights on the device, in this backend's dtype and layout.

        params   on the host: neither changed nor kept, unless the caller gives them away (`owned`)
        weights  a `Weight` for each of them, nested alike: its role says what it is for
        """
        placed: Params = map_params(lambda x, _weight: self.put(x), params, weights)
        return placed

    def put(self, x: np.ndarray | Packed) -> Any:
        """One weight on the device, in this backend's dtype; a packed one in its own, with scales of float32."""
        if isinstance(x, Packed):
            return x.each(lambda part: self.asarray(part, "float32" if part.dtype == np.float16 else part.dtype.name))
        return self.asarray(x, self.dtype)

    def to_numpy(self, x: Array) -> np.ndarray:
        """`x` on the host: its own memory, in a dtype NumPy has (bfloat16 comes as float32)."""
        return np.array(x)

    def synchronize(self) -> None:
        """Return when everything that was asked for is done; a library's delayed errors come out here."""

    def compile(self, function: F, *, donate: Sequence[int] = ()) -> F:
        """`function` made fast for calls with equal shapes. Positional arguments in `donate` may be consumed."""
        return function

    def bucket(self, n: int, limit: int) -> int:
        """To which length `n` ids are padded, from `n` to `limit`: `n` itself where new shapes are free."""
        return n
