"""The functions transformers are made of, on any array library that follows the array API standard.

Arrays are never written in place here. `Ops` lists the functions that a backend may replace by its own.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from arrayformer.core.array_api import Array, array_namespace, device
from arrayformer.core.erf import erfc
from arrayformer.core.errors import InputError
from arrayformer.core.packed import Packed, dequantized

Tap = Callable[[str, Array], Array]


def untouched(name: str, x: Array) -> Array:
    """The tap that is there when nobody looks."""
    return x


# The name in Hugging Face's configs -> the function here.
ACTIVATIONS = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu": "gelu_erf", "relu": "relu", "silu": "silu"}


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


def softmax(x: Array) -> Array:
    """[..., n] -> [..., n], each row positive and of sum 1"""
    xp = array_namespace(x)
    # Subtracting the maximum leaves the result the same and keeps exp() finite.
    exps = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return exps / xp.sum(exps, axis=-1, keepdims=True)


def logsumexp(x: Array) -> Array:
    """[..., n] -> [..., 1], the logarithm of the sum of exp(x)"""
    xp = array_namespace(x)
    highest = xp.max(x, axis=-1, keepdims=True)
    return highest + xp.log(xp.sum(xp.exp(x - highest), axis=-1, keepdims=True))


def log_softmax(x: Array) -> Array:
    """[..., n] -> [..., n], the logarithm of `softmax`"""
    return x - logsumexp(x)


def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
    """Each row of `x` [..., n] to mean 0 and variance 1, then times `g` [n] plus `b` [n].

    https://arxiv.org/abs/1607.06450
    """
    xp = array_namespace(x)
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    variance = xp.mean(centred * centred, axis=-1, keepdims=True)
    return centred / xp.sqrt(variance + eps) * like(g, x) + like(b, x)


def rms_norm(x: Array, g: Array, eps: float = 1e-6) -> Array:
    """Each row of `x` [..., n] to a mean square of 1, then times `g` [n]. https://arxiv.org/abs/1910.07467"""
    xp = array_namespace(x)
    return x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + eps) * like(g, x)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotary positions: each pair (x[i], x[i + n / 2]) of the first `n` channels turned by its angle.

    x         [..., head, seq, head_dim]
    cos, sin  [..., seq, n / 2] of the angles; channels from `n` on stay as they are

    https://arxiv.org/abs/2104.09864, with the pairs laid out as in Llama's published weights.
    """
    xp = array_namespace(x)
    half = cos.shape[-1]
    cos, sin = like(cos, x)[..., None, :, :], like(sin, x)[..., None, :, :]  # the same for every head
    left, right, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    turned = [left * cos - right * sin, right * cos + left * sin]
    return xp.concat([*turned, rest] if rest.shape[-1] else turned, axis=-1)


def soft_cap(x: Array, cap: float | None) -> Array:
    """`x` bent into -cap to cap, https://arxiv.org/abs/2408.00118 section 2; None leaves it as it is."""
    return x if cap is None else cap * array_namespace(x).tanh(x / cap)


def gated(gate: Array, up: Array, activation: Callable[[Array], Array]) -> Array:
    """The middle of a gated feed-forward network, activation(gate) * up. https://arxiv.org/abs/2002.05202"""
    return activation(gate) * up


def like(x: Array, other: Array) -> Array:
    """`x` in the dtype of `other`"""
    return x if x.dtype == other.dtype else array_namespace(x).astype(x, other.dtype)


def product(x: Array, w: Array) -> Array:
    """x @ w in the dtype of `w`, given back in the dtype of `x`.

    Weights and cache may be float16 or bfloat16 while everything between them stays float32.
    """
    return like(like(x, w) @ w, x)


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """[..., n_in] @ [n_in, n_out] + [n_out] -> [..., n_out]"""
    return product(x, w) if b is None else product(x, w) + like(b, x)


def unembed(x: Array, wte: Array) -> Array:
    """x [..., n_embd], wte [n_vocab, n_embd] -> how well each id fits, [..., n_vocab]"""
    return product(x, array_namespace(wte).matrix_transpose(wte))


def attention(
    q: Array, k: Array, v: Array, mask: Array, *,
    scale: float | None = None, upcast: bool = False, cap: float | None = None, tap: Tap = untouched,
) -> Array:  # fmt: skip
    """Scaled dot-product attention, https://arxiv.org/abs/1706.03762 section 3.2.1.

    q        [..., query, head_dim]
    k, v     [..., key, head_dim]
    mask     [..., query, key] bool, True where a query may look; each query needs one key at least
    scale    what multiplies q @ k.T (1 / sqrt(head_dim))
    upcast   whether the scores are computed in float32 where `q` and `k` are narrower
    cap      what scores are bent into before they are masked (`soft_cap`)
    returns  [..., query, head_dim] in the dtype of `q`
    """
    xp = array_namespace(q)
    if not xp.isdtype(mask.dtype, "bool"):
        raise InputError(f"attention: the mask has dtype {mask.dtype}; pass booleans, True where a query may look")
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    query, key = (xp.astype(q, xp.float32), xp.astype(k, xp.float32)) if upcast and q.dtype != xp.float64 else (q, k)
    scores = tap("scores", soft_cap(product(query * scale, xp.matrix_transpose(key)), cap))
    probs = tap("probs", softmax(xp.where(mask, scores, -math.inf)))
    return product(like(probs, q), v)


def causal_mask(position: Array, n_key: int, window: int | None = None) -> Array:
    """position [..., query] -> [..., query, key] bool, True where a query may look.

    A query at position p sees the keys up to p, or with a window the last `window` of them, its own among them.
    """
    query, key = (
        position[..., :, None],
        array_namespace(position).arange(n_key, dtype=position.dtype, device=device(position)),
    )
    mask = query >= key
    return mask if window is None else mask & (query < key + window)


def causal_attention(
    q: Array, k: Array, v: Array, position: Array, *,
    window: int | None = None, scale: float | None = None, upcast: bool = False, cap: float | None = None,
    tap: Tap = untouched,
) -> Array:  # fmt: skip
    """`attention` in which each query sees the keys up to its own position, as in `causal_mask`.

    q         [..., head, query, head_dim]
    k, v      [..., kv_head, key, head_dim], key i at position i. Where there are fewer heads of keys than of queries,
              consecutive heads share one (grouped-query attention, https://arxiv.org/abs/2305.13245)
    position  [query] or [batch, query] int, where each query stands in its text
    window, scale, upcast, cap  as `causal_mask` and `attention` take them
    """
    n_head, n_kv_head = q.shape[-3], k.shape[-3]
    look = tap if n_head == n_kv_head or tap is untouched else _by_head(tap, n_head)
    mask = causal_mask(position, k.shape[-2], window)
    if n_head != n_kv_head:
        q = group(q, n_kv_head)
        mask = array_namespace(mask).concat([mask] * (n_head // n_kv_head), axis=-2)
    out = attention(q, k, v, mask[..., None, :, :], scale=scale, upcast=upcast, cap=cap, tap=look)
    return out if n_head == n_kv_head else ungroup(out, n_head)


def group(x: Array, n: int) -> Array:
    """[..., head, query, m] -> [..., n, head / n * query, m]: queries that look at the same keys stand together."""
    xp, (*rest, n_head, n_query, m) = array_namespace(x), x.shape
    x = xp.reshape(x, (*rest, n, n_head // n, n_query, m))  # in two steps: Dask cannot split and join in one
    return xp.reshape(x, (*rest, n, n_head // n * n_query, m))


def ungroup(x: Array, n_head: int) -> Array:
    """[..., n, head / n * query, m] -> [..., head, query, m]: `group` undone."""
    xp, (*rest, n, n_rows, m) = array_namespace(x), x.shape
    n_query = n_rows * n // n_head
    x = xp.reshape(x, (*rest, n, n_head // n, n_query, m))
    return xp.reshape(x, (*rest, n_head, n_query, m))


def _by_head(tap: Tap, n_head: int) -> Tap:
    """The same tap, shown grouped scores head by head."""
    return lambda name, x: group(tap(name, ungroup(x, n_head)), x.shape[-3])


def split_heads(x: Array, n_head: int) -> Array:
    """[batch, seq, n_head * head_dim] -> [batch, head, seq, head_dim]"""
    return _swapped(array_namespace(x).reshape(x, (*x.shape[:-1], n_head, x.shape[-1] // n_head)))


def merge_heads(x: Array) -> Array:
    """[batch, head, seq, head_dim] -> [batch, seq, n_head * head_dim]"""
    x = _swapped(x)
    return array_namespace(x).reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))


def _swapped(x: Array) -> Array:
    """[..., a, b, head_dim] -> [..., b, a, head_dim]"""
    n = len(x.shape)
    return array_namespace(x).permute_dims(x, (*range(n - 3), n - 2, n - 3, n - 1))


def embed(table: Array, ids: Array) -> Array:
    """table [n, n_embd], ids [...] int -> [..., n_embd]"""
    xp = array_namespace(table)
    rows = xp.take(table, xp.reshape(ids, (-1,)), axis=0)  # the standard takes with 1-d indices only
    return xp.reshape(rows, (*ids.shape, table.shape[-1]))


def write(old: Array, new: Array, position: Array) -> Array:
    """`old` with `new` at the places `position` of the third axis; what would land past the end is dropped.

    old       [batch, head, capacity, head_dim]
    new       [batch, head, seq, head_dim]
    position  [batch, seq] int, consecutive in each row
    """
    xp = array_namespace(old)
    place = xp.arange(old.shape[2], dtype=position.dtype, device=device(position))
    source = (place - position[:, :1])[:, None, :, None]  # which of `new` belongs there
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
    """What the graph calls, under the names the functions have here. A backend puts in what it has faster.

    Each function has the arguments and the meaning of the one it replaces, and may consume (overwrite): the
    activations their x; `gated` both its arrays; `write` and `put_rows` their old.
    """

    gelu: Callable[[Array], Array] = gelu
    gelu_erf: Callable[[Array], Array] = gelu_erf
    relu: Callable[[Array], Array] = relu
    silu: Callable[[Array], Array] = silu
    gated: Callable[..., Array] = gated
    layer_norm: Callable[..., Array] = layer_norm
    rms_norm: Callable[..., Array] = rms_norm
    rotate: Callable[..., Array] = rotate
    linear: Callable[..., Array] = linear
    causal_attention: Callable[..., Array] = causal_attention
    embed: Callable[..., Array] = embed
    unembed: Callable[..., Array] = unembed
    write: Callable[..., Array] = write
    put_rows: Callable[..., Array] = put_rows
    top_k: Callable[..., tuple[Array, Array]] = top_k

    def activation(self, name: str) -> Callable[[Array], Array]:
        """The function that Hugging Face's configs call `name`."""
        function: Callable[[Array], Array] = getattr(self, ACTIVATIONS[name])
        return function

    def replaced(self, functions: Mapping[str, Callable[..., Any]]) -> "Ops":
        """The table with `functions` in the place of those of their names, for weights of any dtype.

        What `embed` finds is float32 where the table is float16 or bfloat16: between the weights nothing is rounded.
        A packed weight (`core/packed.py`) is given to them as the numbers it stands for.
        Raises KeyError for an unknown name.
        """
        if unknown := functions.keys() - OPS:
            raise KeyError(f"no such function to override: {', '.join(sorted(unknown))}")
        table = replace(self, **functions)
        return replace(
            table,
            embed=partial(_embed_any, table.embed),
            linear=partial(_linear_any, table.linear),
            unembed=partial(_unembed_any, table.unembed),
        )


def _embed_any(embed: Callable[[Array, Array], Array], table: Array | Packed, ids: Array) -> Array:
    if isinstance(table, Packed):
        rows = dequantized(table.rows(array_namespace(ids).reshape(ids, (-1,))))
        return array_namespace(ids).reshape(rows, (*ids.shape, rows.shape[-1]))
    rows = embed(table, ids)
    xp = array_namespace(rows)
    return rows if rows.dtype == xp.float32 or rows.dtype == xp.float64 else xp.astype(rows, xp.float32)


def _linear_any(
    linear: Callable[[Array, Array, Array | None], Array], x: Array, w: Array | Packed, b: Array | None = None
) -> Array:
    if isinstance(w, Packed):
        w = dequantized(w)
        w = array_namespace(w).matrix_transpose(w)
    return linear(x, w, b)


def _unembed_any(unembed: Callable[[Array, Array], Array], x: Array, wte: Array | Packed) -> Array:
    return unembed(x, dequantized(wte) if isinstance(wte, Packed) else wte)


PLAIN = Ops()
OPS = frozenset(field.name for field in fields(Ops))
"""The functions that can be replaced."""
