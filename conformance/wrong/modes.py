"""Faults that show only in some mode: behind a cache, in a ragged batch, in a narrow dtype, in large batches."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.criterion.metrics import rounded
from arrayformer.conformance.diagnosis.faults import one_pass_norm as in_one_pass
from arrayformer.conformance.wrong.registry import PLAIN_NUMPY, wrong
from arrayformer.core import ops

Array = Any  # NumPy arrays, whose functions have types only in part


@wrong("L3-ragged[5]", "row 1")
def second_row() -> Mapping[str, Any]:
    """Cached attention uses the first row's positions for all rows."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
        if position.ndim == 2 and len(position) > 1:
            position = np.broadcast_to(position[:1], position.shape)
        return ops.causal_attention(q, k, v, position, **how)

    return {"causal_attention": causal_attention}


@wrong("L3-cached[p2]", "length")
def only_cached() -> Mapping[str, Any]:
    """Attention of a single query rounds its probabilities, the way decode kernels in half precision do."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
        if q.shape[-2] == 1 and k.shape[-2] > 1:
            v = rounded(v, "bfloat16")
        return ops.causal_attention(q, k, v, position, **how)

    return {"causal_attention": causal_attention}


@wrong("L3-cached[p2]", "at length 64")
def full_context() -> Mapping[str, Any]:
    """The last slot of a full context is never written."""

    def write(old: Array, new: Array, position: Array) -> Array:
        if old.shape[2] < 64:
            return PLAIN_NUMPY["write"](old, new, position)
        return np.concatenate([ops.write(old, new, position)[:, :, :63], old[:, :, 63:]], axis=2)

    return {"write": write}


@wrong("L3-stale", "stale")
def sees_stale_slots() -> Mapping[str, Any]:
    """Attention sees one slot behind each row's length, as long as it looks harmless."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
        past = position + 1 if k.shape[-2] > q.shape[-2] else position
        return ops.causal_attention(q, k, v, past, **how)

    return {"causal_attention": causal_attention}


class Low(NumpyBackend):
    """NumPy that stores float16 as well, honestly."""

    dtypes = ("float32", "float16")


@wrong("L2-dtype[float16]", "float16")
class only_float16(Low):
    """In float16 the layer norm is computed in float16 too."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
            low = x.astype(np.float16)
            return in_one_pass(low, g, b, eps).astype(x.dtype)

        return {**super().overrides, **({"layer_norm": layer_norm} if self.dtype == "float16" else {})}


@wrong("L2-batch[8]", "batch_invariant")
class not_batch_invariant(NumpyBackend):
    """Declares that a row gives the same bits in any batch, and adds in another order in large ones."""

    batch_invariant = True

    @property
    def overrides(self) -> Mapping[str, Any]:
        def unembed(x: Array, wte: Array) -> Array:
            if x.shape[0] < 8:
                return ops.unembed(x, wte)
            half = x.shape[-1] // 2
            return x[..., :half] @ wte[:, :half].T + x[..., half:] @ wte[:, half:].T

        return {**super().overrides, "unembed": unembed}


def rounds_values(when: Callable[[Array, Array, Array], bool]) -> Mapping[str, Any]:
    """Attention that rounds its values to bfloat16 in the calls where `when(q, k, position)`."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
        v = rounded(v, "bfloat16") if when(q, k, position) else v
        return PLAIN_NUMPY["causal_attention"](q, k, v, position, **how)

    return {"causal_attention": causal_attention}


@wrong("L3-chunks", "a piece of")
def third_piece() -> Mapping[str, Any]:
    """From the third piece of a long prompt on attention is rounded; single ids are not."""
    return rounds_values(lambda q, k, p: q.shape[-2] > 1 and p.ndim == 2 and int(p[:, 0].min()) > 33)


@wrong("L3-repeat", "run 1")
def equal_rows() -> Mapping[str, Any]:
    """Rows of one length behind a cache take a shorter way, which rounds."""
    return rounds_values(lambda q, k, p: p.ndim == 2 and len(p) > 1 and p[0, 0] > 0 and len(np.unique(p[:, 0])) == 1)


@wrong("L1-attention", "1100 keys")
def long_keys() -> Mapping[str, Any]:
    """Attention over more than 1024 keys is rounded."""
    return rounds_values(lambda q, k, p: k.shape[-2] > 1024)


@wrong("L1-unembed", "1 rows, 20 to 50257")
def one_row_head() -> Mapping[str, Any]:
    """The head of a single row forgets the last ids of a long vocabulary."""

    def unembed(x: Array, wte: Array) -> Array:
        logits = ops.unembed(x, wte)
        if x.size == x.shape[-1]:
            logits[..., len(wte) // 1024 * 1024 or len(wte) :] = 0
        return logits

    return {"unembed": unembed}


@wrong("L1-linear", "1 rows, 3072 to 8")
def one_row_product() -> Mapping[str, Any]:
    """The product of a single row with many inputs is rounded to bfloat16."""

    def linear(x: Array, w: Array, b: Array) -> Array:
        return ops.linear(rounded(x, "bfloat16") if x.size == len(w) > 2048 else x, w, b)

    return {"linear": linear}


@wrong("L1-layer_norm", "1600 wide")
def wide_norm() -> Mapping[str, Any]:
    """The layer norm takes mean and variance of the first 1024 numbers."""

    def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
        some = x[..., :1024]
        variance = some.var(axis=-1, keepdims=True)
        return (x - some.mean(axis=-1, keepdims=True)) / np.sqrt(variance + np.float32(eps)) * g + b

    return {"layer_norm": layer_norm}


@wrong("L3-threads", "computed something else than alone")
class one_thread(NumpyBackend):
    """Full precision is a setting of the thread that made the backend; others compute in TF32."""

    def __init__(self, device: str | None = None, dtype: str | None = None) -> None:
        super().__init__(device, dtype)
        self.thread = threading.get_ident()

    @property
    def overrides(self) -> Mapping[str, Any]:
        def linear(x: Array, w: Array, b: Array) -> Array:
            return ops.linear(x if threading.get_ident() == self.thread else rounded(x, "tf32"), w, b)

        return {**super().overrides, "linear": linear}
