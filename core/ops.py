"""The functions GPT-2 is made of, on any array library that follows the array API standard.

Arrays are never written in place here. A backend may replace functions by name (`Ops`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arrayformer.core.array_api import Array, array_namespace, device
from arrayformer.core.errors import InputError

Tap = Callable[[str, Array], Array]


def untouched(name: str, x: Array) -> Array:
    """The tap that is there when nobody looks."""
    return x


def gelu(x: Array) -> Array:
    """Gaussian error linear unit in its tanh form, section 2 of https://arxiv.org/abs/1606.08415."""
    xp = array_namespace(x)
    # x * x * x, not x**3: NumPy raises float32 to a power far slower than it multiplies.
    return 0.5 * x * (1.0 + xp.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x))))


def gelu_erf(x: Array) -> Array:
    """Gaussian error linear unit in its exact form, x times the normal distribution function."""
    return 0.5 * x * erfc(x * -math.sqrt(0.5))


def relu(x: Array) -> Array:
    """max(x, 0)"""
    return array_namespace(x).maximum(x, 0.0)


def silu(x: Array) -> Array:
    """x times its logistic function, https://arxiv.org/abs/1606.08415 section 4."""
    return x / (1.0 + array_namespace(x).exp(-x))


# log(erfc(z) exp(z^2) / t) as a Chebyshev series in 2t - 1, where t = 2 / (2 + z) and z >= 0: computed with
# mpmath at 40 digits. Cut here, erfc is right to 3e-16 of itself for small z.
_ERFC = (
    -0.6513268598908547171, 0.6419697923564902603, 0.019476473204185836312, -0.0095615147868086316419,
    -0.0009465953444820368663, 0.00036683949785276145187, 0.000042523324806907771645, -0.000020278578112534243154,
    -1.6242900046470255135e-6, 1.3036558355805232018e-6, 1.5626441722066143178e-8, -8.5238095914926542525e-8,
    6.5290544390988514964e-9, 5.0593434955514689418e-9, -9.9136415649303308674e-10, -2.2736512229318358557e-10,
    9.646791102015526802e-11, 2.3940380830391147447e-12, -6.8860275264975533984e-12, 8.9448792730907257167e-13,
    3.1309213993429580783e-13, -1.1270822361367252366e-13, 3.8109052551892320601e-16, 7.1060976136092369873e-15,
)  # fmt: skip


def erfc(x: Array) -> Array:
    """Complementary error function, which the standard lacks."""
    xp = array_namespace(x)
    z = xp.abs(x)
    t = 2.0 / (2.0 + z)
    twice_y = 4.0 * t - 2.0
    last, before = x * 0.0, x * 0.0
    for coefficient in reversed(_ERFC[1:]):  # Clenshaw's recurrence
        last, before = twice_y * last - before + coefficient, last
    tail = t * xp.exp(0.5 * twice_y * last - before + _ERFC[0] - z * z)
    return xp.where(x < 0.0, 2.0 - tail, tail)


def softmax(x: Array) -> Array:
    """[..., n] -> [..., n], each row positive and of sum 1"""
    xp = array_namespace(x)
    # Subtracting the maximum leaves the result the same and keeps exp() finite.
    exps = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return exps / xp.sum(exps, axis=-1, keepdims=True)


def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
    """Each row of `x` [..., n] to mean 0 and variance 1, then times `g` [n] plus `b` [n].

    https://arxiv.org/abs/1607.06450
    """
    xp = array_namespace(x)
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    variance = xp.mean(centred * centred, axis=-1, keepdims=True)
    return centred / xp.sqrt(variance + eps) * like(g, x) + like(b, x)


def like(x: Array, other: Array) -> Array:
    """`x` in the dtype of `other`"""
    return x if x.dtype == other.dtype else array_namespace(x).astype(x, other.dtype)


def product(x: Array, w: Array) -> Array:
    """x @ w in the dtype of `w`, given back in the dtype of `x`.

    Weights and cache may be float16 or bfloat16 while everything between them stays float32.
    """
    return like(like(x, w) @ w, x)


def linear(x: Array, w: Array, b: Array) -> Array:
    """[..., n_in] @ [n_in, n_out] + [n_out] -> [..., n_out]"""
    return product(x, w) + like(b, x)


def unembed(x: Array, wte: Array) -> Array:
    """x [..., n_embd], wte [n_vocab, n_embd] -> how well each id fits, [..., n_vocab]"""
    return product(x, array_namespace(wte).matrix_transpose(wte))


def attention(
    q: Array, k: Array, v: Array, mask: Array, *,
    scale: float | None = None, upcast: bool = False, tap: Tap = untouched,
) -> Array:  # fmt: skip
    """Scaled dot-product attention, https://arxiv.org/abs/1706.03762 section 3.2.1.

    q        [..., query, head_dim]
    k, v     [..., key, head_dim]
    mask     [..., query, key] bool, True where a query may look; each query needs one key at least
    scale    what multiplies q @ k.T (1 / sqrt(head_dim))
    upcast   whether the scores are computed in float32 where `q` and `k` are narrower
    returns  [..., query, head_dim] in the dtype of `q`
    """
    xp = array_namespace(q)
    if not xp.isdtype(mask.dtype, "bool"):
        raise InputError(f"attention: the mask has dtype {mask.dtype}; pass booleans, True where a query may look")
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    query, key = (xp.astype(q, xp.float32), xp.astype(k, xp.float32)) if upcast and q.dtype != xp.float64 else (q, k)
    scores = tap("scores", product(query * scale, xp.matrix_transpose(key)))
    probs = tap("probs", softmax(xp.where(mask, scores, -math.inf)))
    return product(like(probs, q), v)


def causal_attention(q: Array, k: Array, v: Array, position: Array, slot: Array, **how: Any) -> Array:
    """`attention` in which each query sees the keys up to its own position.

    q         [..., head, query, head_dim]
    k, v      [..., head, key, head_dim]
    position  [..., query] int, where each query stands in its text
    slot      [..., key] int, where each key stands
    """
    mask = position[..., None, :, None] >= slot[..., None, None, :]  # [..., head = 1, query, key]
    return attention(q, k, v, mask if len(q.shape) == len(mask.shape) else mask[..., 0, :, :], **how)


def embed(table: Array, ids: Array) -> Array:
    """table [n, n_embd], ids [...] int -> [..., n_embd]"""
    xp = array_namespace(table)
    rows = xp.take(table, xp.reshape(ids, (-1,)), axis=0)  # the standard takes with 1-d indices only
    return xp.reshape(rows, (*ids.shape, table.shape[-1]))


def write(old: Array, new: Array, position: Array, slot: Array) -> Array:
    """`old` with `new` at the slots `position`; what would land past the end is dropped.

    old       [batch, head, capacity, head_dim]
    new       [batch, head, seq, head_dim]
    position  [batch, seq] int, consecutive in each row
    slot      [capacity] int: 0, 1, 2, ...
    """
    xp = array_namespace(old)
    source = (slot - position[:, :1])[:, None, :, None]  # which of `new` belongs into the slot
    moved = xp.take_along_axis(like(new, old), xp.clip(source, 0, new.shape[2] - 1), axis=2)
    return xp.where((source >= 0) & (source < new.shape[2]), moved, old)


def put_rows(old: Array, new: Array, rows: Array) -> Array:
    """`old` [batch, ...] with `new` [n, ...] at the distinct places `rows` [n] of the first axis."""
    xp = array_namespace(old)
    place = xp.arange(old.shape[0], dtype=rows.dtype, device=device(rows))
    belongs = place[:, None] == rows[None, :]  # [batch, n]
    moved = xp.take(new, xp.argmax(xp.astype(belongs, rows.dtype), axis=1), axis=0)
    return xp.where(xp.reshape(xp.any(belongs, axis=1), (-1,) + (1,) * (len(old.shape) - 1)), moved, old)


def top_k(x: Array, k: int) -> tuple[Array, Array]:
    """The `k` largest of each row of `x` [..., n], descending, and their places; of equals the lowest place first."""
    xp = array_namespace(x)
    places = xp.argsort(x, axis=-1, descending=True, stable=True)[..., :k]
    return xp.take_along_axis(x, places, axis=-1), places


@dataclass(frozen=True)
class Ops:
    """What the graph calls. A backend puts in what it has faster, a config what it has different.

    Each function has the arguments and the meaning of the one it replaces, and may consume (overwrite):
    `activation` its x; `write` and `put_rows` their old. `attention` takes `scale`, `upcast` and `tap` too.
    """

    activation: Callable[..., Array] = gelu
    attention: Callable[..., Array] = causal_attention
    embed: Callable[..., Array] = embed
    layer_norm: Callable[..., Array] = layer_norm
    linear: Callable[..., Array] = linear
    unembed: Callable[..., Array] = unembed
    write: Callable[..., Array] = write
    put_rows: Callable[..., Array] = put_rows
    top_k: Callable[..., tuple[Array, Array]] = top_k


PLAIN = Ops()
