"""Functions that are wrong for some values, ids, widths or weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.diagnosis.faults import FAULTS
from arrayformer.conformance.wrong.registry import wrong
from arrayformer.core import ops
from arrayformer.core.params import Params

Array = Any  # NumPy arrays, whose functions have types only in part


@wrong("L1-embed", "the row of id 7")
def one_id() -> Mapping[str, Any]:
    """Only one id is embedded wrongly."""

    def embed(table: Array, ids: Array) -> Array:
        return ops.embed(table, np.where(ids == 7, 6, ids))

    return {"embed": embed}


@wrong("L1-embed", "50257 is wrong")
def far_ids() -> Mapping[str, Any]:
    """Ids above 32767 wrap, as 16-bit integers do."""
    return {"embed": lambda table, ids: ops.embed(table, np.where(ids > 32767, ids - 32768, ids))}


@wrong("L1-gelu", "gelu")
def gelu_far_out() -> Mapping[str, Any]:
    """GELU is cut off at 8."""
    return {"gelu": lambda x: np.where(np.abs(x) > 8, np.clip(ops.gelu(x), 0, 8), ops.gelu(x)).astype(x.dtype)}


@wrong("L1-gelu", "gelu")
def gelu_near_zero() -> Mapping[str, Any]:
    """GELU is linear close to zero."""
    return {"gelu": lambda x: np.where(np.abs(x) < 0.01, 0.5 * x, ops.gelu(x)).astype(x.dtype)}


@wrong("L1-write", "clamped")
def clamping_write() -> Mapping[str, Any]:
    """A write that runs past the end is moved back, as a dynamic slice update is."""

    def write(old: Array, new: Array, position: Array) -> Array:
        old = old.copy()
        for row, start in enumerate(position[:, 0]):
            start = max(0, min(start, old.shape[2] - new.shape[2]))
            old[row, :, start : start + new.shape[2]] = new[row, :, : old.shape[2]]
        return old

    return {"write": write}


@wrong("L1-top_k", "equals")
def top_k_ties() -> Mapping[str, Any]:
    """Among equals the highest place comes first."""

    def top_k(x: Array, k: int) -> tuple[Array, Array]:
        places = x.shape[-1] - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
        order = np.lexsort((-places, -np.take_along_axis(x, places, axis=-1)), axis=-1)
        places = np.take_along_axis(places, order, axis=-1)[..., :k]
        return np.take_along_axis(x, places, axis=-1), places

    return {"top_k": top_k}


@wrong("L1-put_rows", "wrong")
def rows_in_order() -> Mapping[str, Any]:
    """Rows are put in ascending order whatever order was asked for."""
    return {"put_rows": lambda old, new, rows: ops.put_rows(old, new, np.sort(rows))}


@wrong("L1-unembed", "NaN or infinity")
def hides_nan() -> Mapping[str, Any]:
    """The head gives NaN and zeros beyond a vocabulary of 32768."""

    def unembed(x: Array, wte: Array) -> Array:
        logits = ops.unembed(x, wte)
        logits[..., 32768:] = np.nan
        return logits

    return {"unembed": unembed}


@wrong("L2-not-finite", "finite")
def hides_not_finite() -> Mapping[str, Any]:
    """Logits that are not finite are replaced by numbers."""
    return {"unembed": lambda x, wte: np.nan_to_num(ops.unembed(x, wte))}


@wrong("L2-isolation", "changed the rows beside it")
def nan_spreads() -> Mapping[str, Any]:
    """One product over the whole batch: 0 x NaN reaches other rows."""

    def linear(x: Array, w: Array, b: Array) -> Array:
        return ops.linear(x, w, b) + 0.0 * x.max()

    return {"linear": linear}


@wrong("L1-gelu", "float64")
def float64_leak() -> Mapping[str, Any]:
    """A NumPy scalar makes the activation float64."""
    return {"gelu": lambda x: ops.gelu(x) * np.float64(1.0)}


@wrong("L1-in-place", "changed its argument 0")
def norm_in_place() -> Mapping[str, Any]:
    """The layer norm writes into what the residual connection reads again."""

    def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
        x -= x.mean(axis=-1, keepdims=True)
        return ops.layer_norm(x, g, b, eps)

    return {"layer_norm": layer_norm}


@wrong("L2-logits[loud]", "")
def no_maximum() -> Mapping[str, Any]:
    """Attention does not subtract the maximum: large scores overflow."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
        scale = how.get("scale") or q.shape[-1] ** -0.5
        mask = ops.causal_mask(position, k.shape[-2])[..., None, :, :]
        exps = np.where(mask, np.exp(q @ np.swapaxes(k, -1, -2) * np.float32(scale)), np.float32(0))
        return exps / exps.sum(axis=-1, keepdims=True) @ v

    return {"causal_attention": causal_attention}


@wrong("L2-logits[deep]", "h.11")
class last_layer(NumpyBackend):
    """The last of twelve layers has keys and values swapped."""

    def place(self, params: Params, weights: Params, *, owned: bool = False) -> Params:
        blocks = list(params.get("blocks", ()))
        if len(blocks) == 12:
            swapped = FAULTS["k_and_v_swapped"].weights
            assert swapped is not None
            blocks[-1] = swapped({"blocks": blocks[-1:]})["blocks"][0]
            params = {**params, "blocks": blocks}
        return super().place(params, weights, owned=owned)


@wrong("L3-edges[long]", "256")
def past_a_bucket() -> Mapping[str, Any]:
    """Positions past 255 wrap, as 8-bit integers do."""
    return {
        "embed": lambda table, ids: ops.embed(table, np.where((ids > 255) & (table.shape[0] < 400), ids - 256, ids))
    }


@wrong("L2-logits[still]", "R =")
class last_norm_eps(NumpyBackend):
    """The epsilon of the last layer norm alone is 1e-6."""

    def place(self, params: Params, weights: Params, *, owned: bool = False) -> Params:
        placed = super().place(params, weights, owned=owned)
        self.gains = [*getattr(self, "gains", []), *([placed["ln_f"]["g"]] if "ln_f" in placed else [])]
        return placed

    @property
    def overrides(self) -> Mapping[str, Any]:
        def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
            last = any(g is gain for gain in getattr(self, "gains", []))
            return ops.layer_norm(x, g, b, eps * 0.1 if last else eps)

        return {**super().overrides, "layer_norm": layer_norm}


@wrong("L1-attention", "large, 9 queries")
def clipped_scores() -> Mapping[str, Any]:
    """Scores are cut at the largest float16."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
        def tap(name: str, x: Array) -> Array:
            return np.clip(x, -65504, 65504) if name == "scores" else x

        return ops.causal_attention(q, k, v, position, **{**how, "tap": tap})

    return {"causal_attention": causal_attention}
