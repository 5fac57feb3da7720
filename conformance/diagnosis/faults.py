"""Faults a GPT-2 can have, each as what it puts in the place of the graph's own functions.

The graph calls its functions by name, so a fault is a table of wrong ones, or wrong weights. One table serves twice:
put on a good backend it is a wrong backend that the suite must catch; put on the oracle it says what a wrong backend
computes, and the fault whose tensor fits best is the likely cause.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from arrayformer.conformance.criterion.metrics import rounded
from arrayformer.conformance.criterion.oracle import emulation
from arrayformer.conformance.diagnosis import attention_faults, rotation_faults, row_faults
from arrayformer.conformance.diagnosis.fault import Fault, Table
from arrayformer.core import ops
from arrayformer.core.array_api import Array, array_namespace
from arrayformer.core.params import Params


def rounded_products(precision: str) -> Table:
    """Matrix products whose operands are rounded, NumPy only."""
    return emulation(precision)


def sigmoid_gelu(x: Array) -> Array:
    """GELU as x * sigmoid(1.702 x)"""
    return x / (1.0 + array_namespace(x).exp(-1.702 * x))


def norm_with_eps(eps_factor: float) -> Callable[..., Array]:
    """Layer norm whose epsilon is the right one times a factor."""

    def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
        return ops.layer_norm(x, g, b, eps * eps_factor)

    return layer_norm


def unbiased_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
    """Layer norm that divides by n - 1."""
    xp, n = array_namespace(x), x.shape[-1]
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    variance = xp.sum(centred * centred, axis=-1, keepdims=True) / (n - 1)
    return centred / xp.sqrt(variance + eps) * g + b


def one_pass_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
    """Layer norm with the variance as E[x^2] - E[x]^2."""
    xp = array_namespace(x)
    mean = xp.mean(x, axis=-1, keepdims=True)
    variance = xp.mean(x * x, axis=-1, keepdims=True) - mean * mean
    return (x - mean) / xp.sqrt(variance + eps) * g + b


def eps_outside_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
    """Layer norm that adds epsilon to the deviation."""
    xp = array_namespace(x)
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    return centred / (xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True)) + eps) * g + b


def without_gain(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
    """Layer norm that forgets its gain."""
    return ops.layer_norm(x, g * 0.0 + 1.0, b, eps)


def without_shift(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
    """Layer norm that forgets its bias."""
    return ops.layer_norm(x, g, b * 0.0, eps)


def without_bias(x: Array, w: Array, b: Array) -> Array:
    """A linear layer that forgets its bias."""
    return ops.product(x, w)


def shifted_mask(by: int) -> Callable[..., Array]:
    """Attention that sees `by` positions too many."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
        xp = array_namespace(position)
        moved = position + by if by > 0 else xp.clip(position + by, 0, 1 << 30)
        return ops.causal_attention(q, k, v, moved, **how)

    return causal_attention


def soft_mask(value: float, add: bool = True) -> Callable[..., Array]:
    """Attention whose mask is a number: added to the score, or standing in its place."""

    def causal_attention(
        q: Array, k: Array, v: Array, position: Array, *,
        scale: float | None = None, upcast: bool = False, tap: ops.Tap = ops.untouched,
    ) -> Array:  # fmt: skip
        xp = array_namespace(q)
        mask = ops.causal_mask(position, k.shape[-2])[..., None, :, :]
        scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
        scores = tap("scores", ops.product(q * scale, xp.matrix_transpose(k)))
        hidden = scores + value if add else scores * 0.0 + value
        probs = tap("probs", ops.softmax(xp.where(mask, scores, hidden)))
        return ops.product(ops.like(probs, q), v)

    return causal_attention


def scaled_attention(factor: Callable[[int], float]) -> Callable[..., Array]:
    """Attention whose scores are off by a factor of the width of a head."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
        scale = how.pop("scale", None)
        scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
        return ops.causal_attention(q, k, v, position, scale=scale * factor(q.shape[-1]), **how)

    return causal_attention


def half_probs(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
    """Attention whose probabilities go through float16."""
    tap = how.pop("tap", ops.untouched)

    def narrow(name: str, x: Array) -> Array:
        xp: Any = array_namespace(x)
        return tap(name, xp.astype(xp.astype(x, xp.float16), x.dtype) if name == "probs" else x)

    return ops.causal_attention(q, k, v, position, tap=narrow, **how)


def clamped_embed(table: Array, ids: Array) -> Array:
    """An embedding that takes the last row for the last but one."""
    xp = array_namespace(table)
    return ops.embed(table, xp.clip(ids, 0, table.shape[0] - 2))


def through(precision: str, function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A function of one array whose result is rounded, NumPy only."""

    def narrowed(x: Array) -> Array:
        return rounded(np.asarray(function(x)), precision)

    return narrowed


def shifted_positions(params: Params) -> Params:
    """Positions counted from 1."""
    wpe = params["wpe"]
    return {**params, "wpe": np.concatenate([wpe[1:], wpe[-1:]])}


def no_positions(params: Params) -> Params:
    """No position embedding at all."""
    return {**params, "wpe": params["wpe"] * 0.0}


def by_block(change: Callable[[Params], Params]) -> Callable[[Params], Params]:
    """A change to each block."""
    return lambda params: {**params, "blocks": [change(block) for block in params["blocks"]]}


def reordered(order: Callable[[np.ndarray], np.ndarray]) -> Callable[[Params], Params]:
    """Columns of c_attn in another order: order([3, n_embd]) -> column numbers."""

    def change(block: Params) -> Params:
        c_attn = block["attn"]["c_attn"]
        n = c_attn["b"].shape[0]
        columns = order(np.arange(n).reshape(3, n // 3)).reshape(-1)
        attn = {**block["attn"], "c_attn": {"w": c_attn["w"][:, columns], "b": c_attn["b"][columns]}}
        return {**block, "attn": attn}

    return by_block(change)


def interleaved(columns: np.ndarray) -> np.ndarray:
    """Each part read as [head_dim, head] instead of [head, head_dim]; heads of 16 are told apart by any split."""
    n = columns.shape[1]
    head_dim = next((d for d in (16, 12, 8, 4, 2) if n % d == 0 and n > d), n)
    return columns.reshape(3, n // head_dim, head_dim).swapaxes(1, 2).reshape(3, n)


def post_norm(block: Params) -> Params:
    """ln_1 and ln_2 in each other's place."""
    return {**block, "ln_1": block["ln_2"], "ln_2": block["ln_1"]}


_ALL = (
    Fault("tf32", "the matrix products round their operands to TF32 (10 bits of mantissa)",
          rounded_products("tf32"), host=True),
    Fault("bfloat16", "the matrix products round their operands to bfloat16 (7 bits of mantissa)",
          rounded_products("bfloat16"), host=True),
    Fault("float16", "the matrix products round their operands to float16", rounded_products("float16"), host=True),
    Fault("head_tf32", "the last product (unembed) rounds its operands to TF32",
          {"unembed": emulation("tf32")["unembed"]}, host=True),
    Fault("head_bfloat16", "the last product (unembed) rounds its operands to bfloat16",
          {"unembed": emulation("bfloat16")["unembed"]}, host=True),
    Fault("attention_tf32", "attention rounds the operands of its products to TF32",
          {"causal_attention": emulation("tf32")["causal_attention"]}, host=True),
    Fault("attention_bfloat16", "attention rounds the operands of its products to bfloat16",
          {"causal_attention": emulation("bfloat16")["causal_attention"]}, host=True),
    Fault("half_probs", "attention keeps its probabilities in float16", {"causal_attention": half_probs}),
    Fault("half_activation", "the activation goes through float16",
          {"gelu": through("float16", ops.gelu)}, host=True),
    Fault("brain_activation", "the activation goes through bfloat16",
          {"gelu": through("bfloat16", ops.gelu)}, host=True),
    Fault("erf_gelu", "GELU is computed in its erf form; GPT-2's is the tanh form", {"gelu": ops.gelu_erf}),
    Fault("tanh_gelu", "GELU is computed in its tanh form; this model's is the erf form", {"gelu_erf": ops.gelu}),
    Fault("sigmoid_gelu", "GELU is approximated by x * sigmoid(1.702 x)", {"gelu": sigmoid_gelu}),
    Fault("relu_for_gelu", "the activation is relu instead of GELU", {"gelu": ops.relu}),
    Fault("silu_for_gelu", "the activation is silu instead of GELU", {"gelu": ops.silu}),
    Fault("eps_1e-6", "the layer norm's epsilon is 1e-6 instead of 1e-5", {"layer_norm": norm_with_eps(0.1)}),
    Fault("eps_1e-12", "the layer norm's epsilon is 1e-12 instead of 1e-5", {"layer_norm": norm_with_eps(1e-7)}),
    Fault("eps_none", "the layer norm adds no epsilon", {"layer_norm": norm_with_eps(0.0)}),
    Fault("eps_1e-3", "the layer norm's epsilon is 1e-3 instead of 1e-5", {"layer_norm": norm_with_eps(100.0)}),
    Fault("eps_outside", "the layer norm adds its epsilon to the deviation, not to the variance",
          {"layer_norm": eps_outside_norm}),
    Fault("unbiased_norm", "the layer norm's variance is divided by n - 1", {"layer_norm": unbiased_norm}),
    Fault("one_pass_norm", "the layer norm computes its variance in one pass, as E[x^2] - E[x]^2",
          {"layer_norm": one_pass_norm}),
    Fault("no_gain", "the layer norm's gain is not applied", {"layer_norm": without_gain}),
    Fault("no_shift", "the layer norm's bias is not added", {"layer_norm": without_shift}),
    Fault("no_bias", "the linear layers' biases are not added", {"linear": without_bias}),
    Fault("mask_sees_next", "the causal mask is off by one: each position sees the one after it",
          {"causal_attention": shifted_mask(1)}),
    Fault("mask_hides_self", "the causal mask is off by one: positions do not see themselves",
          {"causal_attention": shifted_mask(-1)}),
    Fault("no_mask", "there is no causal mask: every position sees the future",
          {"causal_attention": shifted_mask(1 << 20)}),
    Fault("mask_-10", "masked scores are lowered by 10 instead of being -inf: the future shines through",
          {"causal_attention": soft_mask(-10.0)}),
    Fault("mask_-1e4", "masked scores are lowered by 1e4 instead of being -inf",
          {"causal_attention": soft_mask(-1e4)}),
    Fault("mask_is_-10", "masked scores are -10 instead of -inf", {"causal_attention": soft_mask(-10.0, add=False)}),
    Fault("mask_is_-1e4", "masked scores are -1e4 instead of -inf", {"causal_attention": soft_mask(-1e4, add=False)}),
    Fault("mask_is_0", "masked scores are 0 instead of -inf: the mask is multiplied",
          {"causal_attention": soft_mask(0.0, add=False)}),
    Fault("no_scale", "attention scores are not divided by sqrt(head_dim)",
          {"causal_attention": scaled_attention(lambda d: math.sqrt(d))}),
    Fault("scale_d", "attention scores are divided by head_dim, not by its square root",
          {"causal_attention": scaled_attention(lambda d: 1 / math.sqrt(d))}),
    Fault("scale_twice", "attention scores are divided by sqrt(head_dim) twice over two",
          {"causal_attention": scaled_attention(lambda d: 0.5)}),
    Fault("clamped_ids", "ids are clamped: the last id gets the row of the one before", {"embed": clamped_embed}),
    Fault("positions_from_1", "positions are counted from 1", weights=shifted_positions),
    Fault("no_positions", "no position embedding is added", weights=no_positions),
    Fault("heads_interleaved", "heads are split in the wrong order (interleaved)", weights=reordered(interleaved)),
    Fault("k_and_v_swapped", "keys and values are swapped", weights=reordered(lambda c: c[[0, 2, 1]])),
    Fault("q_and_k_swapped", "queries and keys are swapped", weights=reordered(lambda c: c[[1, 0, 2]])),
    Fault("norms_swapped", "ln_1 and ln_2 are in each other's place", weights=by_block(post_norm)),
)  # fmt: skip
FAULTS: dict[str, Fault] = {
    fault.name: fault for fault in (*_ALL, *rotation_faults.ALL, *attention_faults.ALL, *row_faults.ALL)
}
