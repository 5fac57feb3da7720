"""Faults of what looks at one row, or at one number: RMS norms, gates, and the linear layers beside them."""

from collections.abc import Callable

import numpy as np

from arrayformer.conformance.criterion.metrics import rounded
from arrayformer.conformance.diagnosis.fault import Fault, Table
from arrayformer.core import ops
from arrayformer.core.array_api import Array, array_namespace
from arrayformer.core.params import Params


def norm(change: Callable[[Array, Array, float], Array]) -> Table:
    """`change` in the place of the RMS norm."""
    return {"rms_norm": lambda x, g, eps=1e-6: change(x, g, eps)}


def mean_square(x: Array) -> Array:
    """[..., n] -> [..., 1]"""
    return array_namespace(x).mean(x * x, axis=-1, keepdims=True)


def without_mean(x: Array, g: Array, eps: float) -> Array:
    """RMS norm that subtracts the mean first, as a layer norm does."""
    return ops.rms_norm(x - array_namespace(x).mean(x, axis=-1, keepdims=True), g, eps)


def half_norm(x: Array, g: Array, eps: float) -> Array:
    """RMS norm whose mean square is float16: above 256 it overflows."""
    h = x.astype(np.float16)
    size = np.sqrt(np.mean(h * h, axis=-1, keepdims=True, dtype=np.float16) + np.float16(eps))
    return (h / size).astype(x.dtype) * g


def of_heads(change: Callable[[Array, Array, float], Array]) -> Table:
    """`change` in the place of the norm of queries and keys."""
    return norm(lambda x, g, eps: change(x, g, eps) if x.ndim == 4 else ops.rms_norm(x, g, eps))


def over_all_heads(x: Array, g: Array, eps: float) -> Array:
    """A norm of heads over all of them at once."""
    size = np.sqrt(np.mean(x * x, axis=(-3, -1), keepdims=True) + x.dtype.type(eps))
    return x / size * g


def after_rotation() -> Table:
    """Queries and keys are normed after they are rotated."""
    gains: list[tuple[Array, float]] = []

    def rms_norm(x: Array, g: Array, eps: float = 1e-6) -> Array:
        if x.ndim < 4:
            return ops.rms_norm(x, g, eps)
        gains.append((g, eps))
        return x

    def rotate(x: Array, cos: Array, sin: Array) -> Array:
        turned = ops.rotate(x, cos, sin)
        return ops.rms_norm(turned, *gains.pop(0)) if gains else turned

    return {"rms_norm": rms_norm, "rotate": rotate}


def gate(change: Callable[[Array, Array, Callable[[Array], Array]], Array]) -> Table:
    """`change` in the place of the gate. Activations may overwrite: they get copies."""
    return {"gated": lambda gate, up, activation: change(gate * 1.0, up * 1.0, activation)}


def bias_of_the_last() -> Table:
    """A linear layer without a bias adds the beginning of the widest there was."""
    widest: list[Array] = []

    def linear(x: Array, w: Array, b: Array | None = None) -> Array:
        if b is not None and (not widest or len(b) > len(widest[0])):
            widest[:] = [b]
        n = w.shape[1]
        return ops.linear(x, w, widest[0][:n] if b is None and widest and len(widest[0]) >= n else b)

    return {"linear": linear}


def head_is_the_embedding() -> Table:
    """The logits are made by the table that ids were looked up in, though the model has a head of its own."""
    first: list[Array] = []

    def embed(table: Array, ids: Array) -> Array:
        if not first:
            first.append(table)
        return ops.embed(table, ids)

    def unembed(x: Array, wte: Array) -> Array:
        return ops.unembed(x, first[0] if first and first[0].shape == wte.shape else wte)

    return {"embed": embed, "unembed": unembed}


def by_part(change: Callable[[str, Params], Params]) -> Callable[[Params], Params]:
    """A change to each part of attention: change(name, its weights)."""

    def changed(params: Params) -> Params:
        return {**params, "blocks": [
            {**block, "attn": {name: change(name, part) for name, part in block["attn"].items()}}
            for block in params["blocks"]
        ]}  # fmt: skip

    return changed


def without_bias_of(*names: str) -> Callable[[Params], Params]:
    """The biases of these projections are zero."""
    return by_part(lambda name, part: {**part, "b": part["b"] * 0} if name in names and "b" in part else part)


def swapped(one: str, other: str) -> Callable[[Params], Params]:
    """Two parts of attention in each other's place."""

    def change(params: Params) -> Params:
        def block(b: Params) -> Params:
            attn = b["attn"]
            return {**b, "attn": {**attn, one: attn[other], other: attn[one]}}

        return {**params, "blocks": [block(b) for b in params["blocks"]]}

    return change


NORMS = (
    Fault("rms_mean_subtracted", "the RMS norm subtracts the mean, as a layer norm does", norm(without_mean)),
    Fault("rms_1_plus_w", "the RMS norm multiplies by 1 + w instead of w",
          norm(lambda x, g, eps: ops.rms_norm(x, g + 1.0, eps))),
    Fault("rms_eps_outside", "the RMS norm adds its epsilon to the root, not below it",
          norm(lambda x, g, eps: x / (array_namespace(x).sqrt(mean_square(x)) + eps) * g)),
    Fault("rms_eps_none", "the RMS norm adds no epsilon",
          norm(lambda x, g, eps: ops.rms_norm(x, g, 0.0))),
    Fault("rms_eps_tenfold", "the RMS norm's epsilon is ten times as large",
          norm(lambda x, g, eps: ops.rms_norm(x, g, 10 * eps))),
    Fault("rms_eps_tenth", "the RMS norm's epsilon is a tenth", norm(lambda x, g, eps: ops.rms_norm(x, g, 0.1 * eps))),
    Fault("rms_no_gain", "the RMS norm's gain is not applied",
          norm(lambda x, g, eps: ops.rms_norm(x, g * 0.0 + 1.0, eps))),
    Fault("rms_n_minus_1", "the RMS norm divides by n - 1",
          norm(lambda x, g, eps: x / array_namespace(x).sqrt(
              mean_square(x) * (x.shape[-1] / max(1, x.shape[-1] - 1)) + eps) * g)),
    Fault("rms_sum_for_mean", "the RMS norm takes the sum of squares for their mean",
          norm(lambda x, g, eps: x / array_namespace(x).sqrt(mean_square(x) * x.shape[-1] + eps) * g)),
    Fault("rms_mean_of_sizes", "the RMS norm divides by the mean size, not by the root of the mean square",
          norm(lambda x, g, eps: x / (array_namespace(x).mean(abs(x), axis=-1, keepdims=True) + eps) * g)),
    Fault("rms_float16", "the RMS norm's mean square is kept in float16", norm(half_norm), host=True),
    Fault("rms_bfloat16", "the RMS norm's result is rounded to bfloat16",
          norm(lambda x, g, eps: rounded(ops.rms_norm(x, g * 0 + 1, eps), "bfloat16") * g), host=True),
    Fault("rms_gain_bfloat16", "the RMS norm's gain is rounded to bfloat16",
          norm(lambda x, g, eps: ops.rms_norm(x, rounded(g, "bfloat16"), eps)), host=True),
    Fault("heads_not_normed", "queries and keys are not normed", of_heads(lambda x, g, eps: x)),
    Fault("heads_normed_together", "queries and keys are normed over all heads at once, not head by head",
          of_heads(over_all_heads), host=True),
    Fault("heads_normed_after_rotation", "queries and keys are normed after their rotation, not before",
          remembers=after_rotation),
    Fault("q_and_k_norms_swapped", "the norms of queries and keys are in each other's place",
          weights=swapped("q_norm", "k_norm")),
)  # fmt: skip
GATES = (
    Fault("gate_and_up_swapped", "gate and values are in each other's place: the values are activated",
          gate(lambda g, u, f: g * f(u))),
    Fault("gate_not_activated", "the gate is not activated", gate(lambda g, u, f: g * u)),
    Fault("gate_of_the_product", "the product is activated, not the gate", gate(lambda g, u, f: f(g * u))),
    Fault("gate_added", "the activated gate is added, not multiplied", gate(lambda g, u, f: f(g) + u)),
    Fault("gate_alone", "the activated gate is not multiplied with anything", gate(lambda g, u, f: f(g))),
    Fault("gate_sigmoid", "the gate goes through a logistic function, whatever activation is asked for",
          gate(lambda g, u, f: u / (1.0 + array_namespace(g).exp(-g)))),
    Fault("gate_always_gelu", "the gate's activation is GELU, whatever is asked for",
          gate(lambda g, u, f: ops.gelu(g) * u)),
    Fault("gate_always_silu", "the gate's activation is silu, whatever is asked for",
          gate(lambda g, u, f: ops.silu(g) * u)),
    Fault("silu_1.702", "silu has a factor of 1.702 inside", {"silu": lambda x: x / (1 + np.exp(-1.702 * x))},
          host=True),
    Fault("silu_float16", "silu goes through float16", {"silu": lambda x: rounded(ops.silu(x), "float16")}, host=True),
    Fault("silu_hard", "silu is approximated by straight lines (hard swish)",
          {"silu": lambda x: x * np.clip(x + 3, 0, 6) / 6}, host=True),
    Fault("silu_overflows", "silu is computed as x exp(x) / (1 + exp(x)): large numbers overflow",
          {"silu": lambda x: x * np.exp(x) / (1 + np.exp(x))}, host=True),
)  # fmt: skip
LAYERS = (
    Fault("bias_of_the_last", "a linear layer without a bias adds that of another layer", remembers=bias_of_the_last),
    Fault("head_is_the_embedding", "the logits are made by the embedding, though the head is not tied to it",
          remembers=head_is_the_embedding),
    Fault("k_bias_dropped", "the bias of the keys is not added", weights=without_bias_of("k_proj")),
    Fault("v_bias_dropped", "the bias of the values is not added", weights=without_bias_of("v_proj")),
    Fault("o_bias_dropped", "the bias behind attention is not added", weights=without_bias_of("o_proj")),
)  # fmt: skip
ALL = (*NORMS, *GATES, *LAYERS)
