"""Which function stands in each place of the graph: the standard's, unless backend or config say otherwise."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from arrayformer.core import ops
from arrayformer.core.array_api import Array, array_namespace
from arrayformer.core.models.gpt2 import ACTIVATIONS, GPT2Config

PLAIN_FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        ops.gelu, ops.gelu_erf, ops.relu, ops.silu, ops.layer_norm, ops.linear, ops.causal_attention,
        ops.embed, ops.unembed, ops.write, ops.top_k, ops.put_rows,
    )
}  # fmt: skip


def bind(config: GPT2Config, overrides: Mapping[str, Callable[..., Any]] | None = None) -> ops.Ops:
    """The table the graph calls, for one model on one backend.

    overrides  functions by the name they have in `core/ops.py`
    """
    overrides = overrides or {}
    if unknown := overrides.keys() - PLAIN_FUNCTIONS.keys():
        raise KeyError(f"no such function to override: {', '.join(sorted(unknown))}")
    use = PLAIN_FUNCTIONS | dict(overrides)
    return ops.Ops(
        activation=use[ACTIVATIONS[config.activation_function]],
        attention=partial(use["causal_attention"], upcast=config.reorder_and_upcast_attn),
        embed=partial(in_float32, use["embed"]),
        layer_norm=partial(use["layer_norm"], eps=config.layer_norm_epsilon),
        linear=use["linear"],
        unembed=use["unembed"],
        write=use["write"],
        top_k=use["top_k"],
        put_rows=use["put_rows"],
    )


def in_float32(embed: Callable[[Array, Array], Array], table: Array, ids: Array) -> Array:
    """What `embed` finds, as float32 where the table is float16 or bfloat16: between the weights nothing is rounded."""
    xp = array_namespace(table)
    rows = embed(table, ids)
    return rows if rows.dtype == xp.float32 or rows.dtype == xp.float64 else xp.astype(rows, xp.float32)
