"""A decoder. A word's way, whatever the model: ids -> embedding -> blocks -> norm -> logits.

What one model does and another does not stands on its own page in `models/`. This one graph serves a list of ids, a
ragged batch, a cache, a compiler and gradients. Shapes are written for a batch; without one, the leading axis is
simply not there. Weights are nested dicts named as in the checkpoint: `params["blocks"][0]["attn"]["q_proj"]["w"]`.
"""

from typing import NamedTuple

from arrayformer.core.architecture import Architecture, Tables
from arrayformer.core.array_api import Array, array_namespace, device
from arrayformer.core.ops import PLAIN, Ops, Tap, untouched
from arrayformer.core.params import Params


class Cache(NamedTuple):
    """The KV cache: what was read so far. A tuple of lists of arrays, which JAX knows as a pytree without being told.

    layers     per layer keys and values, two of [batch, kv_head, capacity, head_dim]
    length     [batch] int, how many places of each row hold an id; what lies behind them is never looked at
    rotations  per kind of rotation cosines and sines [capacity, n / 2], from the host's float64. They lie here and not
               among the weights because a backend of bfloat16 must not round them

    Only `length` commits: padding, an aborted step and a rejected draft cost nothing.
    """

    layers: list[tuple[Array, Array]]
    length: Array
    rotations: list[tuple[Array, Array]]


def forward(
    model: Architecture, params: Params, ids: Array, cache: Cache | None = None, *,
    only: Array | None = None, ops: Ops = PLAIN, tap: Tap = untouched,
) -> tuple[Array, Cache]:  # fmt: skip
    """Logits, not softmaxed, and the cache with `ids` written behind its length.

    model    an architecture with its sizes
    params   nested as `model.weights()` says
    ids      [batch, seq] or [seq] int; rows may end in padding
    cache    what was read before: `ids` go on at cache.length. None where nothing was: then what comes back is a cache
             that is full
    only     [batch, n] int, the places in `ids` whose logits are wanted (all)
    ops      the functions to call
    tap      is shown each tensor under its name, and may put another in its place
    returns  logits [batch, seq or n, n_vocab], and the cache. Its owner moves `length` on by the ids that were real:
             padding is never seen again
    """
    n = ids.shape[-1]
    position = array_namespace(ids).arange(n, dtype=ids.dtype, device=device(ids))
    place = position
    if cache is not None:
        position = cache.length[:, None] + position
        # Padding may reach past the end. It is nowhere written, and computed as if it stood in the last place: with a
        # window it would else see no key at all.
        place = array_namespace(ids).clip(position, 0, cache.layers[0][0].shape[-2] - 1)
    x = tap("embed", model.embed(params, ids, place, ops))
    tables = on_device(model.rotations(n, n), x) if cache is None else cache.rotations
    rotations = [(ops.embed(cos, place), ops.embed(sin, place)) for cos, sin in tables]
    layers: list[tuple[Array, Array]] = []

    def attend(
        q: Array, k: Array, v: Array, *, rotation: int | None = None, tap: Tap = untouched, **how: object
    ) -> Array:
        """Turn queries and keys, keep the keys and values of this layer, and look back at all that are kept."""
        if rotation is not None:
            q = tap("q_rotated", ops.rotate(q, *rotations[rotation]))
            k = tap("k_rotated", ops.rotate(k, *rotations[rotation]))
        if cache is not None:
            k, v = (ops.write(old, new, position) for old, new in zip(cache.layers[len(layers)], (k, v), strict=True))
        layers.append((k, v))
        return ops.causal_attention(q, k, v, place, tap=tap, **how)

    for layer, weights in enumerate(params["blocks"]):
        x = model.block(layer, x, weights, attend=attend, ops=ops, tap=under(tap, f"h.{layer}"))
    if only is not None:
        x = array_namespace(x).take_along_axis(x, only[..., None], axis=-2)
    logits = tap("logits", model.head(params, x, ops, tap))
    length = ids[..., 0] * 0 + n if cache is None else cache.length
    return logits, Cache(layers, length, tables)


def on_device(tables: Tables, x: Array) -> list[tuple[Array, Array]]:
    """Tables of the host beside `x`, in its dtype."""
    xp, place = array_namespace(x), {"dtype": x.dtype, "device": device(x)}
    return [(xp.asarray(cos, **place), xp.asarray(sin, **place)) for cos, sin in tables]


def under(tap: Tap, scope: str) -> Tap:
    """The same tap, for names inside `scope`."""
    return tap if tap is untouched else lambda name, x: tap(f"{scope}.{name}", x)
