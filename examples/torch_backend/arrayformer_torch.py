"""PyTorch as a backend of arrayformer: float32, bfloat16, float16 and float64, on CPU and CUDA.

One module: a Backend that says what PyTorch can do, the functions PyTorch has faster than the standard's
building blocks, and the hook that registers it.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import array_api_compat.torch as xp
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from arrayformer import hookimpl
from arrayformer.core import ops
from arrayformer.core.backend import Backend, F
from arrayformer.core.errors import BackendError
from arrayformer.core.plugins.hooks import RegisterBackend

MULTIPLIES_BFLOAT16 = "AVX512" in torch.backends.cpu.get_cpu_capability()
"""Whether the CPU has products of bfloat16 that are worth having."""


class TorchBackend(Backend):
    """PyTorch, eager. The default device is the first CUDA device, or else the CPU."""

    name = "torch"
    library = "torch"
    xp = xp
    dtypes = ("float32", "bfloat16", "float16", "float64")
    consumes_cache: ClassVar[bool] = True

    def __init__(self, device: str | None = None, dtype: str | None = None) -> None:
        super().__init__("cuda:0" if device == "cuda" else device, dtype)

    def devices(self) -> Sequence[str]:
        """`cuda:0`, `cuda:1`, ..., `cpu`"""
        return [*(f"cuda:{i}" for i in range(torch.cuda.device_count())), "cpu"]

    @property
    def precision(self) -> str:
        """PyTorch computes float32 as float32 unless `torch.set_float32_matmul_precision` was told otherwise."""
        if self.dtype == "float32" and self.device != "cpu" and torch.get_float32_matmul_precision() != "highest":
            return "tf32"
        return self.dtype

    @property
    def overrides(self) -> Mapping[str, Callable[..., Any]]:
        """PyTorch's fused functions; in-place writes where they need not wait for the device."""
        own: list[Callable[..., Any]] = [gelu, gelu_erf, layer_norm, linear, unembed, causal_attention, embed, top_k]
        own.extend((rms_norm, put_rows, functional.relu, functional.silu))
        if self.device == "cpu":
            own.append(write)
        return {f.__name__: f for f in own}

    def asarray(self, host: np.ndarray, dtype: str | None = None) -> Tensor:
        """A copy of `host` on the device."""
        if dtype is None and np.issubdtype(host.dtype, np.integer):
            dtype = "int64"
        own = np.array(host, dtype=host.dtype.newbyteorder("="), order="C")
        return torch.from_numpy(own).to(self.device, self.native(dtype) if dtype else None)

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """Room for keys or values, made on the device."""
        return torch.zeros(shape, dtype=self.native(self.dtype), device=self.device)

    def to_numpy(self, x: Tensor) -> np.ndarray:
        """`x` on the host; bfloat16 as float32, which NumPy has."""
        x = x.detach()
        return np.array((x.float() if x.dtype == torch.bfloat16 else x).cpu().numpy())

    def synchronize(self) -> None:
        """Wait for the CUDA device."""
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)

    def compile(self, function: F, *, donate: Sequence[int] = ()) -> F:
        """`function` without the bookkeeping for gradients."""

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            try:
                with torch.inference_mode():
                    return function(*args)
            except torch.OutOfMemoryError as error:
                raise BackendError(f"backend 'torch': {error}; use a smaller batch or context") from error

        return call  # type: ignore[return-value]


def gelu(x: Tensor) -> Tensor:
    """`ops.gelu`"""
    return functional.gelu(x, approximate="tanh")


def gelu_erf(x: Tensor) -> Tensor:
    """`ops.gelu_erf`"""
    return functional.gelu(x)


def layer_norm(x: Tensor, g: Tensor, b: Tensor, eps: float = 1e-5) -> Tensor:
    """`ops.layer_norm`"""
    return functional.layer_norm(x, x.shape[-1:], g.to(x.dtype), b.to(x.dtype), eps)


def rms_norm(x: Tensor, g: Tensor, eps: float = 1e-6) -> Tensor:
    """`ops.rms_norm`"""
    return functional.rms_norm(x, x.shape[-1:], g.to(x.dtype), eps)


def linear(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """`ops.linear`, bias and product in one call where no dtype changes"""
    if b is None or x.dtype != w.dtype:
        y = product(x, w)
        return y if b is None else y + b.to(x.dtype)
    rows = torch.addmm(b, x.reshape(-1, x.shape[-1]), w)
    return rows.reshape(*x.shape[:-1], w.shape[-1])


def unembed(x: Tensor, wte: Tensor) -> Tensor:
    """`ops.unembed`"""
    return product(x, wte.T)


def product(x: Tensor, w: Tensor) -> Tensor:
    """x [..., n] @ w [n, m] with the operands in the dtype of `w` and the sums in the dtype of `x`."""
    if x.dtype == w.dtype:
        return x @ w
    rows = x.reshape(-1, x.shape[-1]).to(w.dtype)
    if x.is_cuda:
        out = torch.mm(rows, w, out_dtype=x.dtype)
    elif w.dtype == torch.bfloat16 and MULTIPLIES_BFLOAT16:  # sums are float32 inside, and rounded once on the way out
        out = torch.mm(rows, w).to(x.dtype)
    else:  # such products are many times slower here than float32's: the operands are rounded, the product is float32
        out = rows.to(x.dtype) @ w.to(x.dtype)
    return out.reshape(*x.shape[:-1], w.shape[-1])


def causal_attention(
    q: Tensor, k: Tensor, v: Tensor, position: Tensor, *,
    window: int | None = None, scale: float | None = None, upcast: bool = False, cap: float | None = None,
    tap: ops.Tap = ops.untouched,
) -> Tensor:  # fmt: skip
    """`ops.causal_attention`, fused. Who looks at the scores or caps them gets the standard's version."""
    if tap is not ops.untouched or upcast or cap is not None:
        how: dict[str, Any] = {"window": window, "scale": scale, "upcast": upcast, "cap": cap, "tap": tap}
        plain: Tensor = ops.causal_attention(q, k, v, position, **how)
        return plain
    # Keys that no query sees are not read; on CUDA asking for their number would wait for the device.
    if not q.is_cuda:
        used = int(position.max()) + 1
        k, v = k[..., :used, :], v[..., :used, :]
    mask = ops.causal_mask(position, k.shape[-2], window)[..., None, :, :]
    shared = q.shape[-3] != k.shape[-3]
    out: Tensor = functional.scaled_dot_product_attention(
        q.to(k.dtype), k, v, attn_mask=mask, scale=scale, enable_gqa=shared
    )
    return out.to(q.dtype)


def embed(table: Tensor, ids: Tensor) -> Tensor:
    """`ops.embed`"""
    return functional.embedding(ids, table)


def write(old: Tensor, new: Tensor, position: Tensor) -> Tensor:
    """`ops.write`, in place."""
    for row, start in enumerate(position[:, 0].tolist()):
        n = max(0, min(new.shape[2], old.shape[2] - start))
        old[row, :, start : start + n] = new[row, :, :n]
    return old


def put_rows(old: Tensor, new: Tensor, rows: Tensor) -> Tensor:
    """`ops.put_rows`, in place."""
    return old.index_copy_(0, rows, new)


def top_k(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`ops.top_k` without sorting the whole row. Of equals `torch.topk` takes any; here it is the lowest place."""
    lowest = torch.topk(x, k, dim=-1).values[..., -1:]
    tied = x == lowest
    above = x > lowest
    room = k - above.sum(-1, keepdim=True)
    chosen = above | (tied & (tied.cumsum(-1) <= room))
    falling = torch.arange(x.shape[-1], 0, -1, device=x.device)
    places = torch.topk(torch.where(chosen, falling, 0), k, dim=-1).indices  # distinct numbers: lowest place first
    values, order = torch.sort(torch.gather(x, -1, places), dim=-1, descending=True, stable=True)
    return values, torch.gather(places, -1, order)


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """Offer the backend under the name of the entry point."""
    register("torch", TorchBackend)
