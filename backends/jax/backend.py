"""JAX: the step compiled by XLA, on CPU, GPU or TPU, on one device or a mesh of them."""

import contextlib
import functools
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from arrayformer.backends.jax.mesh import MeshLayout, read_mesh
from arrayformer.core import ops
from arrayformer.core.array_api import Array
from arrayformer.core.backend import Backend, F
from arrayformer.core.errors import BackendError
from arrayformer.core.packed import Packed
from arrayformer.core.params import Params, Weight, map_params
from arrayformer.core.plugins.hooks import RegisterBackend, hookimpl

SMALLEST_BUCKET = 16
PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32"}


class JaxBackend(Backend):
    """JAX, jitted, with a donated cache.

    mesh        several devices: `"data=4,model=2"` or a `jax.sharding.Mesh` with the axes `data` and `model`.
                Rows of a batch are spread over `data`, weights and heads over `model`
    precision   class of float32 products: "float32", or "tf32" where speed on a GPU matters more. JAX's own
                default would be TF32 there, and bfloat16 on a TPU
    cache_dir   keep compiled programs in this directory for the next process. JAX has one such setting for the
                whole process (its environment variable is JAX_COMPILATION_CACHE_DIR)
    """

    name = "jax"
    library = "jax"
    xp = jnp
    dtypes = ("float32", "bfloat16", "float16")
    consumes_cache: ClassVar[bool] = True
    compiles: ClassVar[bool] = True

    def __init__(
        self, device: str | None = None, dtype: str | None = None, *,
        mesh: str | jax.sharding.Mesh | None = None, precision: str = "float32", cache_dir: str | None = None,
    ) -> None:  # fmt: skip
        if precision not in PRECISIONS:
            raise BackendError(f"backend 'jax' has no precision {precision!r}; it has {', '.join(PRECISIONS)}")
        if cache_dir is not None:
            keep_compiled_programs(cache_dir)
        with faults():
            self.layout = MeshLayout(read_mesh(mesh)) if mesh is not None else None
            super().__init__(canonical(device), dtype)
        if self.layout is not None and device is not None:
            raise BackendError("backend 'jax': a mesh names its devices; leave out the device")
        self._precision = precision
        self._where = self.layout.replicated if self.layout is not None else find_device(self.device)
        self._last: list[weakref.ref[jax.Array]] = []

    def devices(self) -> Sequence[str]:
        """Like `cpu:0`, `gpu:0`: JAX's default platform first, then the others."""
        platforms = dict.fromkeys(d.platform for d in jax.local_devices())
        if "cpu" not in platforms:
            platforms["cpu"] = None
        return [f"{p}:{d.id}" for p in platforms for d in jax.local_devices(backend=p)]

    @property
    def precision(self) -> str:
        """float32, tf32, bfloat16 or float16"""
        return self._precision if self.dtype == "float32" else self.dtype

    @property
    def overrides(self) -> Mapping[str, Callable[..., Any]]:
        """Products of the declared precision, and writes that touch only what changes."""
        exact = functools.partial(at_precision, PRECISIONS[self._precision])
        table = {f.__name__: exact(f) for f in (linear, unembed, causal_attention)} | {"top_k": top_k}
        if self.layout is None:
            return table | {"write": write, "put_rows": put_rows}
        return table | {"write": self.layout.write}

    def asarray(self, host: np.ndarray, dtype: str | None = None) -> Array:
        """A copy on the device; over a mesh, what is [batch, seq] is spread over `data`, all else on each device."""
        native = self._native_for(host, dtype)
        # A private copy: device_put may go on using the host's memory instead of copying it.
        return self._put(np.array(host, dtype=native, order="C"), None)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """Room for keys or values, made on the device."""
        where = self._where if self.layout is None else self.layout.cache(shape)
        with faults():
            return jnp.zeros(shape, self.native(self.dtype), device=where)

    def place(self, params: Params, weights: Params, *, owned: bool = False) -> Params:
        """The weights on the device, or each on its part of the mesh."""
        native = np.dtype(self.native(self.dtype))

        def put(x: np.ndarray | Packed, weight: Weight) -> Any:
            if isinstance(x, Packed):
                return self.put(x)
            return self._put(np.asarray(x, native, "C") if owned else np.array(x, native, order="C"), weight)

        placed: Params = map_params(put, params, weights)
        return placed

    def to_numpy(self, x: Array) -> np.ndarray:
        """`x` on the host, from all processes where it is spread over several."""
        with faults():
            if self.layout is not None:
                x = self.layout.gather(x)
            host = np.array(x)
        return host.astype(np.float32) if host.dtype == jnp.bfloat16 else host

    def synchronize(self) -> None:
        """Wait for what the last compiled call returned."""
        with faults():
            alive = [x for ref in self._last if (x := ref()) is not None and not x.is_deleted()]
            jax.block_until_ready(alive)

    def compile(self, function: F, *, donate: Sequence[int] = ()) -> F:
        """`jax.jit`, the declared precision asked for while tracing."""
        exact = at_precision(PRECISIONS[self._precision])(function)
        jitted = jax.jit(exact, donate_argnums=tuple(donate))

        @functools.wraps(exact)
        def call(*args: Any) -> Any:
            with faults():
                result = jitted(*args)
            self._last = [weakref.ref(x) for x in jax.tree.leaves(result)]
            return result

        call.compilations = jitted._cache_size  # type: ignore[attr-defined]  # for tests that count
        return call  # type: ignore[return-value]

    def bucket(self, n: int, limit: int) -> int:
        """1, 16, 32, 64, ...: each length costs a compilation."""
        if n == 1:
            return 1
        return min(limit, max(SMALLEST_BUCKET, 1 << (n - 1).bit_length()))

    def _native_for(self, host: np.ndarray, dtype: str | None) -> Any:
        if dtype is not None:
            return np.dtype(self.native(dtype))
        native = self.index_dtype if np.issubdtype(host.dtype, np.integer) else host.dtype.newbyteorder("=")
        return np.dtype(native)

    def _put(self, host: np.ndarray, weight: Weight | None) -> Array:
        with faults():
            if self.layout is not None:
                return self.layout.put(host, weight)
            return jax.device_put(host, self._where)


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """`ops.linear`; products of float16 and bfloat16 are summed and given back in float32."""
    return product(x, w) if b is None else product(x, w) + b.astype(x.dtype)


def unembed(x: Array, wte: Array) -> Array:
    """`ops.unembed`, likewise."""
    return product(x, wte.T)


def causal_attention(
    q: Array, k: Array, v: Array, position: Array, *,
    window: int | None = None, scale: float | None = None, upcast: bool = False, cap: float | None = None,
    tap: ops.Tap = ops.untouched,
) -> Array:  # fmt: skip
    """`ops.causal_attention`, likewise: queries of heads that share keys stand under each other."""
    shared, by_head = q.shape[-3] // k.shape[-3], (*q.shape[:-1], k.shape[-2])
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    query = q * scale if shared == 1 else ops.group(q * scale, k.shape[-3])
    keys = k.astype(jnp.float32) if upcast else k

    def look(name: str, x: Array) -> Array:
        return x if tap is ops.untouched else tap(name, x.reshape(by_head)).reshape(x.shape)

    scores = look("scores", ops.soft_cap(product(query, jnp.matrix_transpose(keys)), cap))
    mask = jnp.concat([ops.causal_mask(position, k.shape[-2], window)[..., None, :, :]] * shared, axis=-2)
    probs = look("probs", ops.softmax(jnp.where(mask, scores, -jnp.inf)))
    return product(probs, v).reshape(q.shape)


def product(x: Array, w: Array) -> Array:
    """x @ w with the operands in the dtype of `w` and the sums in the dtype of `x`."""
    return jnp.matmul(x.astype(w.dtype), w, preferred_element_type=x.dtype)


def write(old: Array, new: Array, position: Array) -> Array:
    """`ops.write` as a scatter; what lies past the end is dropped, where a slice update would be moved back."""
    rows = jnp.arange(old.shape[0])[:, None]
    values = jnp.moveaxis(new, 1, 2).astype(old.dtype)
    return old.at[rows, :, position].set(values, mode="drop", unique_indices=True)


def put_rows(old: Array, new: Array, rows: Array) -> Array:
    """`ops.put_rows` as a scatter."""
    return old.at[rows].set(new, mode="drop", unique_indices=True)


def top_k(x: Array, k: int) -> tuple[Array, Array]:
    """`ops.top_k` without sorting the whole row."""
    values, places = lax.top_k(x, k)
    return values, places


def at_precision(precision: str, function: Any = None) -> Any:
    """`function` with float32 products of that precision. JAX's setting of the whole process stays as it is."""
    if function is None:
        return functools.partial(at_precision, precision)

    def exact(*args: Any, **kwargs: Any) -> Any:
        with jax.default_matmul_precision(precision):
            return function(*args, **kwargs)

    return exact


@contextlib.contextmanager
def faults() -> Iterator[None]:
    """What the runtime raises, often later than where it happened, as a BackendError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = "; use a smaller batch or context, or --dtype bfloat16" if "RESOURCE_EXHAUSTED" in first else ""
        raise BackendError(f"backend 'jax': {first}{advice}") from error


def canonical(device: str | None) -> str | None:
    """`cpu`, `gpu`, `cuda`, `cuda:1` as JAX's own names: `cpu:0`, `gpu:0`, `gpu:0`, `gpu:1`."""
    if device is None:
        return None
    platform, _, number = device.partition(":")
    platform = "gpu" if platform in ("cuda", "rocm") else platform
    if number:
        return f"{platform}:{number}"
    local = [d.id for d in _local(platform)]
    return f"{platform}:{local[0]}" if local else device


def find_device(name: str) -> jax.Device:
    """The device a name of `devices()` stands for."""
    platform, _, number = name.partition(":")
    return next(d for d in _local(platform) if d.id == int(number))


def _local(platform: str) -> Sequence[jax.Device]:
    try:
        return list(jax.local_devices(backend=platform))
    except RuntimeError:  # a platform that is not there
        return []


def keep_compiled_programs(directory: str) -> None:
    """Tell JAX to keep and reuse compiled programs, small ones too."""
    os.makedirs(directory, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """JAX registers as a plugin does."""
    register("jax", JaxBackend)
