"""Faults that show only in some mode: behind a cache, in a ragged batch, in a narrow dtype, in large batches."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from arrayformer.backends.numpy_backend import NumpyBackend
from arrayformer.conformance.faults import one_pass_norm as in_one_pass
from arrayformer.conformance.measure import rounded
from arrayformer.conformance.wrong.registry import PLAIN_NUMPY, wrong
from arrayformer.core import ops

Array = Any  # NumPy arrays, whose functions have types only in part


@wrong("L3-ragged[5]", "row 1")
def second_row() -> Mapping[str, Any]:
    """Cached attention uses the first row's positions for all rows."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, slot: Array, **how: Any) -> Array:
        if position.ndim == 2 and len(position) > 1:
            position = np.broadcast_to(position[:1], position.shape)
        return ops.causal_attention(q, k, v, position, slot, **how)

    return {"causal_attention": causal_attention}


@wrong("L3-cached[p2]", "length")
def only_cached() -> Mapping[str, Any]:
    """Attention of a single query rounds its probabilities, the way decode kernels in half precision do."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, slot: Array, **how: Any) -> Array:
        if q.shape[-2] == 1 and k.shape[-2] > 1:
            v = rounded(v, "bfloat16")
        return ops.causal_attention(q, k, v, position, slot, **how)

    return {"causal_attention": causal_attention}


@wrong("L3-cached[p2]", "at length 64")
def full_context() -> Mapping[str, Any]:
    """The last slot of a full context is never written."""

    def write(old: Array, new: Array, position: Array, slot: Array) -> Array:
        if old.shape[2] < 64:
            return PLAIN_NUMPY["write"](old, new, position, slot)
        return ops.write(old, new, position, np.where(slot == 63, -1, slot))

    return {"write": write}


@wrong("L3-stale", "stale")
def sees_stale_slots() -> Mapping[str, Any]:
    """Attention sees one slot behind each row's length, as long as it looks harmless."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, slot: Array, **how: Any) -> Array:
        past = position + 1 if k.shape[-2] > q.shape[-2] else position
        return ops.causal_attention(q, k, v, past, slot, **how)

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
