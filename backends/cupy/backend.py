"""CuPy: the graph on an NVIDIA GPU, with the steps between the matrix products fused.

docs/gpu-runs.md says what of this has run, where and when.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import array_api_compat.cupy as xp
import cupy
import numpy as np

from arrayformer.backends.cupy.kernels import ELEMENTWISE, ROWS
from arrayformer.core import ops
from arrayformer.core.array_api import Array
from arrayformer.core.backend import Backend, F
from arrayformer.core.errors import BackendError
from arrayformer.core.plugins.hooks import RegisterBackend, hookimpl

THREADS = 256


class CupyBackend(Backend):
    """CuPy on one CUDA device, with CuPy's own memory pool.

    float32 is computed as float32 unless CuPy was told otherwise (its environment variable is CUPY_TF32).
    """

    name = "cupy"
    library = "cupy"
    xp = xp
    dtypes = ("float32", "float16", "float64")
    consumes_cache: ClassVar[bool] = True

    def __init__(self, device: str | None = None, dtype: str | None = None) -> None:
        super().__init__("cuda:0" if device in ("cuda", "gpu") else device, dtype)
        self._device = cupy.cuda.Device(int(self.device.partition(":")[2]))

    def devices(self) -> Sequence[str]:
        """`cuda:0`, `cuda:1`, ... Raises BackendError with the driver's reason where there is none."""
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise BackendError(f"backend 'cupy' cannot run here: {error}; it needs an NVIDIA GPU and driver") from error
        return [f"cuda:{i}" for i in range(count)]

    def version(self) -> str:
        """CuPy's version; its distributions have several names."""
        return str(cupy.__version__)

    @property
    def precision(self) -> str:
        """float32, unless the environment lets CuPy use TF32 for it."""
        if self.dtype == "float32" and os.environ.get("CUPY_TF32", "0") not in ("", "0"):
            return "tf32"
        return self.dtype

    @property
    def overrides(self) -> Mapping[str, Callable[..., Any]]:
        """Fused kernels and in-place writes."""
        own = (gelu, gelu_erf, relu, silu, layer_norm, rms_norm, rotate, linear, causal_attention, write, put_rows)
        return {f.__name__: f for f in own}

    def asarray(self, host: np.ndarray, dtype: str | None = None) -> Array:
        """A copy on the device."""
        with self._here():
            return super().asarray(host, dtype)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """Room for keys or values, made on the device."""
        with self._here():
            return cupy.zeros(shape, dtype=self.dtype)

    def to_numpy(self, x: Array) -> np.ndarray:
        """`x` on the host."""
        with self._here():
            return np.array(cupy.asnumpy(x))

    def synchronize(self) -> None:
        """Wait for the device."""
        with self._here():
            self._device.synchronize()

    def compile(self, function: F, *, donate: Sequence[int] = ()) -> F:
        """`function` on this device. Its kernels are compiled on first use and kept by CuPy."""

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            with self._here():
                return function(*args)

        return call  # type: ignore[return-value]

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        try:
            with self._device:
                yield
        except cupy.cuda.memory.OutOfMemoryError as error:
            cupy.get_default_memory_pool().free_all_blocks()
            raise BackendError(
                f"backend 'cupy': {error}; use a smaller batch or context, or --dtype float16"
            ) from error
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise BackendError(f"backend 'cupy': {error}") from error


@functools.cache
def elementwise(name: str) -> Any:
    """A kernel of ELEMENTWISE."""
    return cupy.ElementwiseKernel(*ELEMENTWISE[name], f"arrayformer_{name}")


@functools.cache
def rows_kernel(name: str, dtype: str) -> Any:
    """A kernel of ROWS for float32 or float64."""
    number = {"float32": "float", "float64": "double"}[dtype]
    return cupy.RawModule(code=f"#define T {number}\n{ROWS}", options=("--std=c++14",)).get_function(name)


def gelu(x: Array) -> Array:
    """`ops.gelu`, in place."""
    return elementwise("gelu")(x, x)


def gelu_erf(x: Array) -> Array:
    """`ops.gelu_erf`, in place."""
    return elementwise("gelu_erf")(x, x)


def relu(x: Array) -> Array:
    """`ops.relu`, in place."""
    return elementwise("relu")(x, x)


def silu(x: Array) -> Array:
    """`ops.silu`, in place."""
    return elementwise("silu")(x, x)


def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
    """`ops.layer_norm` in one kernel."""
    x, g, b = (cupy.ascontiguousarray(a) for a in (x, ops.like(g, x), ops.like(b, x)))
    y, n = cupy.empty_like(x), x.shape[-1]
    rows_kernel("layer_norm", x.dtype.name)((x.size // n,), (THREADS,), (x, g, b, y, np.int32(n), np.float64(eps)))
    return y


def rms_norm(x: Array, g: Array, eps: float = 1e-6) -> Array:
    """`ops.rms_norm` in one kernel."""
    x, g = (cupy.ascontiguousarray(a) for a in (x, ops.like(g, x)))
    y, n = cupy.empty_like(x), x.shape[-1]
    rows_kernel("rms_norm", x.dtype.name)((x.size // n,), (THREADS,), (x, g, y, np.int32(n), np.float64(eps)))
    return y


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """`ops.rotate` in one kernel, beside a copy of the channels that stay."""
    x, half = cupy.ascontiguousarray(x), cos.shape[-1]
    y = x.copy()
    cos, sin = (cupy.broadcast_to(ops.like(a, x)[..., None, :, :], (*x.shape[:-1], half)) for a in (cos, sin))
    elementwise("rotate")(x, cos, sin, half, x.shape[-1], y)
    return y


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """`ops.linear` as one product of two matrices."""
    rows = ops.product(x.reshape(-1, x.shape[-1]), w)
    if b is not None:
        rows += b
    return rows.reshape(*x.shape[:-1], w.shape[-1])


def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
    """`ops.causal_attention` with scale, cap, mask and softmax in one kernel.

    Someone who looks at the scores, and caches of another dtype than the queries, get the standard's version.
    """
    plain = how.get("upcast") or how.get("tap", ops.untouched) is not ops.untouched
    if plain or q.dtype != k.dtype or q.dtype.name == "float16":
        return ops.causal_attention(q, k, v, position, **how)
    n_head, n_kv_head = q.shape[-3], k.shape[-3]
    q = q if n_head == n_kv_head else ops.group(q, n_kv_head)
    scores = cupy.ascontiguousarray(cupy.matmul(q, k.swapaxes(-1, -2)))  # [batch, kv_head, query, key]
    queries, keys = position.shape[-1], scores.shape[-1]
    scale = q.shape[-1] ** -0.5 if how.get("scale") is None else how["scale"]
    arguments = (
        scores, cupy.ascontiguousarray(position, dtype=cupy.int64),
        *map(np.int32, (keys, queries, n_head, position.ndim - 1, how.get("window") or 0)),
        np.float64(scale), np.float64(how.get("cap") or 0.0),
    )  # fmt: skip
    rows_kernel("causal_softmax", scores.dtype.name)((scores.size // keys,), (THREADS,), arguments)
    out = cupy.matmul(scores, v)
    return out if n_head == n_kv_head else ops.ungroup(out, n_head)


def write(old: Array, new: Array, position: Array) -> Array:
    """`ops.write`, in place."""
    _, _, seq, head_dim = new.shape
    elementwise("write")(new, position[:, None, :, None], seq, head_dim, old.shape[2], old)
    return old


def put_rows(old: Array, new: Array, rows: Array) -> Array:
    """`ops.put_rows`, in place."""
    old[rows] = new
    return old


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """CuPy registers as a plugin does."""
    register("cupy", CupyBackend)
