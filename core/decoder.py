"""GPT-2. A word's way: ids -> embedding -> blocks -> layer norm -> logits.

One graph serves a list of ids, a ragged batch, a cache, and a compiler. Shapes are written for a batch;
without one, the leading axis is simply not there. Weights are nested dicts named as in the checkpoint:
`blocks[0]["attn"]["c_attn"]["w"]`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, overload

from arrayformer.core.array_api import Array, array_namespace, device
from arrayformer.core.cache import Cache
from arrayformer.core.checks import check_ids, check_inputs
from arrayformer.core.ops import PLAIN, Ops, Tap, untouched

Params = dict[str, Any]


def under(tap: Tap, scope: str) -> Tap:
    """The same tap, for names inside `scope`."""
    return tap if tap is untouched else lambda name, x: tap(f"{scope}.{name}", x)


def swap(x: Array) -> Array:
    """[..., a, b, head_dim] -> [..., b, a, head_dim]"""
    n = len(x.shape)
    return array_namespace(x).permute_dims(x, (*range(n - 3), n - 2, n - 3, n - 1))


def split_heads(x: Array, n_head: int) -> Array:
    """[batch, seq, n_embd] -> [batch, head, seq, head_dim]"""
    xp = array_namespace(x)
    return swap(xp.reshape(x, (*x.shape[:-1], n_head, x.shape[-1] // n_head)))


def merge_heads(x: Array) -> Array:
    """[batch, head, seq, head_dim] -> [batch, seq, n_embd]"""
    x = swap(x)
    return array_namespace(x).reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))


def ffn(x: Array, c_fc: Params, c_proj: Params, *, ops: Ops = PLAIN, tap: Tap = untouched) -> Array:
    """[batch, seq, n_embd] -> [batch, seq, n_embd], through n_inner"""
    x = tap("fc", ops.linear(x, **c_fc))
    x = tap("act", ops.activation(x))
    return tap("proj", ops.linear(x, **c_proj))


def count(x: Array) -> Array:
    """0, 1, 2, ... along the last axis, shaped like `x`"""
    xp = array_namespace(x)
    return xp.cumulative_sum(xp.ones_like(x), axis=-1) - 1


def look_back(q: Array, k: Array, v: Array, *, ops: Ops = PLAIN, **how: Any) -> Array:
    """Causal attention of the queries [batch, head, seq, head_dim] to the keys and values beside them."""
    position = array_namespace(q).arange(q.shape[-2], device=device(q))
    return ops.attention(q, k, v, position, position, **how)


def mha(
    x: Array, c_attn: Params, c_proj: Params, n_head: int, *,
    attend: Callable[..., Array] = look_back, ops: Ops = PLAIN, tap: Tap = untouched,
) -> Array:  # fmt: skip
    """Multi-head causal self-attention, [batch, seq, n_embd] -> [batch, seq, n_embd]"""
    qkv = split_heads(tap("qkv", ops.linear(x, **c_attn)), 3 * n_head)  # [batch, 3 * head, seq, head_dim]
    q, k, v = (qkv[..., i * n_head : (i + 1) * n_head, :, :] for i in range(3))
    x = tap("out", merge_heads(attend(q, k, v, ops=ops, tap=tap)))
    return tap("proj", ops.linear(x, **c_proj))


def transformer_block(
    x: Array, mlp: Params, attn: Params, ln_1: Params, ln_2: Params, n_head: int, *,
    attend: Callable[..., Array] = look_back, ops: Ops = PLAIN, tap: Tap = untouched,
) -> Array:  # fmt: skip
    """[batch, seq, n_embd] -> [batch, seq, n_embd]"""
    normed = tap("ln_1", ops.layer_norm(x, **ln_1))
    x = tap("mid", x + mha(normed, **attn, n_head=n_head, attend=attend, ops=ops, tap=under(tap, "attn")))
    normed = tap("ln_2", ops.layer_norm(x, **ln_2))
    return tap("end", x + ffn(normed, **mlp, ops=ops, tap=under(tap, "mlp")))


def cached(cache: Cache, k: list[Array], v: list[Array], layer: int, position: Array) -> Callable[..., Array]:
    """`look_back` that also sees what was read before, and writes what it reads into `k[layer]`, `v[layer]`."""

    def attend(q: Array, new_k: Array, new_v: Array, *, ops: Ops, **how: Any) -> Array:
        k[layer] = ops.write(cache.k[layer], new_k, position, cache.slot)
        v[layer] = ops.write(cache.v[layer], new_v, position, cache.slot)
        return ops.attention(q, k[layer], v[layer], position, cache.slot, **how)

    return attend


@overload
def gpt2(
    inputs: Sequence[int] | Array, wte: Array, wpe: Array, blocks: list[Params], ln_f: Params, n_head: int, *,
    lm_head: Array | None = ..., scales: Sequence[float] | None = ..., cache: None = ..., only: Array | None = ...,
    ops: Ops = ..., tap: Tap = ...,
) -> Array: ...  # fmt: skip
@overload
def gpt2(
    inputs: Array, wte: Array, wpe: Array, blocks: list[Params], ln_f: Params, n_head: int, *,
    lm_head: Array | None = ..., scales: Sequence[float] | None = ..., cache: Cache, only: Array | None = ...,
    ops: Ops = ..., tap: Tap = ...,
) -> tuple[Array, Cache]: ...  # fmt: skip
def gpt2(
    inputs: Sequence[int] | Array, wte: Array, wpe: Array, blocks: list[Params], ln_f: Params, n_head: int, *,
    lm_head: Array | None = None, scales: Sequence[float] | None = None, cache: Cache | None = None,
    only: Array | None = None, ops: Ops = PLAIN, tap: Tap = untouched,
) -> Array | tuple[Array, Cache]:  # fmt: skip
    """Logits, not softmaxed.

    inputs   ids: list[int], or an integer array [seq] or [batch, seq];
             with a cache [batch, seq], rows may end in padding
    wte      [n_vocab, n_embd], wpe [n_ctx, n_embd]
    lm_head  [n_vocab, n_embd] where the head is not tied to wte
    scales   per layer, what multiplies q @ k.T (1 / sqrt(head_dim))
    cache    what was read before: `inputs` go on at cache.length
    only     [batch, n] int, the places in `inputs` whose logits are wanted (all)
    returns  [batch, seq or n, n_vocab]; with a cache also the cache with `inputs` written behind its length.
             Its owner then moves `length` on by the ids that were real: padding is never seen again.

    Raises InputError for a list that is empty, too long, or holds what is no id, and for an array of a wrong
    shape or dtype. The values of an array are its owner's to check: under a compiler nobody can look.
    """
    xp = array_namespace(wte)
    if isinstance(inputs, Sequence):
        ids = xp.asarray(check_ids(inputs, wte.shape[0]), device=device(wte))
    else:
        ids = inputs
    check_inputs(ids.shape, xp.isdtype(ids.dtype, "integral"), None if cache else wpe.shape[0])
    position = count(ids) if cache is None else cache.length[:, None] + count(ids)
    # Padding may reach past the context: it reads the last row there, and nobody reads it.
    x = tap("embed", ops.embed(wte, ids) + ops.embed(wpe, xp.clip(position, 0, wpe.shape[0] - 1)))
    k, v = (list(cache.k), list(cache.v)) if cache else ([], [])
    for layer, block in enumerate(blocks):
        how: dict[str, Any] = {"scale": scales[layer]} if scales else {}
        attend = cached(cache, k, v, layer, position) if cache else look_back
        x = transformer_block(
            x, **block, n_head=n_head, attend=partial(attend, **how), ops=ops, tap=under(tap, f"h.{layer}")
        )
    if only is not None:
        x = xp.take_along_axis(x, only[..., None], axis=-2)
    x = tap("ln_f", ops.layer_norm(x, **ln_f))
    logits = tap("logits", ops.unembed(x, wte if lm_head is None else lm_head))
    return (logits, cache._replace(k=k, v=v)) if cache else logits
