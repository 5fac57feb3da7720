"""The functions of the graph as NumPy does them fastest: in place, in pieces that stay in the cache, on all cores.

Each computes what the function of the same name in `core/ops.py` computes, up to the order of its sums.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from arrayformer.backends.numpy.threads import n_threads, spread
from arrayformer.core import ops

PIECE = 1 << 15 if n_threads() == 1 else 1 << 18
"""Elements that one pass of an elementwise function takes. A thread alone is fastest where they and a temporary fit
into its own cache; several lose more by handing the interpreter's lock to and fro than by the shared cache."""

SLOPE = -2.0 * math.sqrt(2.0 / math.pi)
FEW = 64  # rows of a product whose cost is to read the weights
AT_ONCE = 1 << 19  # scores that are computed in one go
QUERIES = 128  # queries whose scores are computed together otherwise


def pieces(n: int, size: int) -> list[slice]:
    """0 to `n` in slices of `size`"""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def gelu(x: np.ndarray) -> np.ndarray:
    """`ops.gelu`, into `x` itself where `x` is contiguous."""
    x = np.ascontiguousarray(x)
    if x.size <= PIECE:
        gate(x)
        return x
    flat = x.reshape(-1)
    spread(lambda part: gate(flat[part]), pieces(flat.size, PIECE))
    return x


def gate(x: np.ndarray) -> None:
    """GELU of `x` into `x`.

    (1 + tanh(z)) / 2 is 1 / (1 + exp(-2 z)): fewer passes, and exact where the first form cancels.
    """
    with np.errstate(over="ignore"):  # exp() is infinite where gelu is -0
        z = x * x
        z *= 0.044715 * SLOPE
        z += SLOPE
        z *= x
        np.exp(z, out=z)
    z += 1.0
    x /= z


def gelu_erf(x: np.ndarray) -> np.ndarray:
    """`ops.gelu_erf`, into `x` itself where `x` is contiguous."""
    x = np.ascontiguousarray(x)
    flat = x.reshape(-1)

    def some(part: slice) -> None:
        with np.errstate(over="ignore"):
            flat[part] = ops.gelu_erf(flat[part])

    spread(some, pieces(flat.size, PIECE // 4))  # the plain function has more temporaries
    return x


def silu(x: np.ndarray) -> np.ndarray:
    """`ops.silu`, into `x` itself where `x` is contiguous."""
    x = np.ascontiguousarray(x)
    flat = x.reshape(-1)

    def some(part: slice) -> None:
        z = np.negative(flat[part])
        with np.errstate(over="ignore"):  # exp() is infinite where silu is -0
            np.exp(z, out=z)
        z += 1.0
        flat[part] /= z

    spread(some, pieces(flat.size, PIECE))
    return x


def gated(gate: np.ndarray, up: np.ndarray, activation: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`ops.gated`, into what the activation gave."""
    x = activation(gate)
    x *= up
    return x


def layer_norm(x: np.ndarray, g: np.ndarray, b: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """`ops.layer_norm`, in one buffer."""
    n = x.shape[-1]
    out = np.empty(x.shape, dtype=x.dtype)
    if x.size == n:
        normalise_one(x, g, b, eps, out)
    else:
        rows, normed = x.reshape(-1, n), out.reshape(-1, n)
        spread(lambda part: normalise(rows[part], g, b, eps, normed[part]), in_rows(rows))
    return out


def normalise(x: np.ndarray, g: np.ndarray, b: np.ndarray, eps: float, out: np.ndarray) -> None:
    """`layer_norm` of `x` into `out`."""
    n = x.shape[-1]
    mean = np.add.reduce(x, axis=-1, keepdims=True)
    mean /= n
    np.subtract(x, mean, out=out)
    deviation = np.vecdot(out, out)[..., None]
    deviation /= n
    deviation += eps
    np.sqrt(deviation, out=deviation)
    out /= deviation
    out *= g
    out += b


def normalise_one(x: np.ndarray, g: np.ndarray, b: np.ndarray, eps: float, out: np.ndarray) -> None:
    """`normalise` of a single row. Mean and deviation are Python's floats: half as many calls."""
    n = x.shape[-1]
    np.subtract(x, float(np.add.reduce(x, axis=None)) / n, out=out)
    out /= math.sqrt(float(np.vdot(out, out)) / n + eps)
    out *= g
    out += b


def rms_norm(x: np.ndarray, g: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """`ops.rms_norm`, in one buffer."""
    n = x.shape[-1]
    if x.size == n:  # a single row: Python's floats, half as many calls
        alone: np.ndarray = x / math.sqrt(float(np.vdot(x, x)) / n + eps)
        alone *= g
        return alone
    out = np.empty(x.shape, dtype=x.dtype)
    rows, normed = x.reshape(-1, n), out.reshape(-1, n)

    def some(part: slice) -> None:
        deviation = np.vecdot(rows[part], rows[part])[..., None]
        deviation /= n
        deviation += eps
        np.sqrt(deviation, out=deviation)
        np.divide(rows[part], deviation, out=normed[part])
        normed[part] *= g

    spread(some, in_rows(rows))
    return out


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """`ops.rotate`, in one buffer."""
    half = cos.shape[-1]
    cos, sin = ops.like(cos, x)[..., None, :, :], ops.like(sin, x)[..., None, :, :]
    out = np.empty(x.shape, dtype=x.dtype)
    left, right = x[..., :half], x[..., half : 2 * half]
    np.multiply(left, cos, out=out[..., :half])
    out[..., :half] -= right * sin
    np.multiply(right, cos, out=out[..., half : 2 * half])
    out[..., half : 2 * half] += left * sin
    out[..., 2 * half :] = x[..., 2 * half :]
    return out


def in_rows(x: np.ndarray) -> list[slice]:
    """The rows of `x` [rows, n] in pieces."""
    return pieces(len(x), max(1, PIECE // x.shape[1]))


def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """`ops.linear` as one matrix product, whatever the shape of `x`."""
    if x.size == x.shape[-1]:
        y: np.ndarray = x @ w
        if b is not None:
            y += b
    else:
        rows = product(x.reshape(-1, x.shape[-1]), w)
        if b is not None:
            spread(lambda part: np.add(rows[part], b, out=rows[part]), in_rows(rows))
        y = rows.reshape((*x.shape[:-1], w.shape[1]))
    result: np.ndarray = ops.like(y, x)
    return result


def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x [rows, n_in] @ w [n_in, n_out], each in the order of the weights' memory where there are few rows.

    For 16 rows of 124M that takes `mlp.c_proj` from 1.2 to 0.8 ms, on two cores of an EPYC 9004.
    """
    if len(x) <= FEW and w.flags.f_contiguous:
        return np.ascontiguousarray((w.T @ x.T).T)
    y: np.ndarray = x @ w
    return y


def unembed(x: np.ndarray, wte: np.ndarray) -> np.ndarray:
    """`ops.unembed` as one matrix product, whatever the shape of `x`."""
    y = product(x.reshape(-1, x.shape[-1]), wte.T)
    result: np.ndarray = ops.like(y.reshape((*x.shape[:-1], wte.shape[0])), x)
    return result


def embed(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """`ops.embed`, on a table of either order without a copy of it."""
    if table.flags.c_contiguous:
        rows: np.ndarray = table[ids]
        return rows
    columns = table.T.take(ids.reshape(-1), axis=1)  # [n_embd, n]
    return np.ascontiguousarray(columns.T).reshape(*ids.shape, table.shape[1])


def causal_attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, position: np.ndarray, *,
    window: int | None = None, scale: float | None = None, upcast: bool = False, cap: float | None = None,
    tap: ops.Tap = ops.untouched,
) -> np.ndarray:  # fmt: skip
    """`ops.causal_attention` without the keys that no query sees: those past the last position, those before every
    window, and the masked half. Keys and values that heads share are not repeated.

    Scores and probabilities exist only in pieces, so a `tap` that looks gets the plain function.
    """
    if tap is not ops.untouched or (upcast and q.dtype.itemsize < 4):
        how: dict[str, Any] = {"window": window, "scale": scale, "upcast": upcast, "cap": cap, "tap": tap}
        plain: np.ndarray = ops.causal_attention(q, k, v, position, **how)
        return plain
    q = q * (1.0 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if q.size // q.shape[-1] * k.shape[-2] <= AT_ONCE:
        return attend(q, k, v, position, window, cap)
    out = np.empty(q.shape, dtype=q.dtype)
    where = np.broadcast_to(position, (*q.shape[:-3], q.shape[-2]))
    for row in np.ndindex(q.shape[:-3]):
        for block in pieces(q.shape[-2], QUERIES):
            out[row][:, block] = attend(q[row][:, block], k[row], v[row], where[row][block], window, cap)
    return out


def attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, position: np.ndarray, window: int | None, cap: float | None
) -> np.ndarray:
    """Attention of scaled queries [..., head, query, head_dim] to the keys that some of them sees.

    k, v      [..., kv_head, key, head_dim], key i at position i
    position  [..., query]
    """
    first, last = seen(position)
    start = 0 if window is None else max(0, first - window)
    k, v = k[..., start:last, :], v[..., start:last, :]
    shared = q.shape[-3] // k.shape[-3]
    stacked = (*q.shape[:-3], k.shape[-3], shared * q.shape[-2], q.shape[-1])
    scores = (q if shared == 1 else q.reshape(stacked)) @ k.swapaxes(-1, -2)
    if cap is not None:
        scores /= cap
        np.tanh(scores, out=scores)
        scores *= cap
    by_head = scores if shared == 1 else scores.reshape((*q.shape[:-1], k.shape[-2]))
    hide(by_head, position, first, start, window)
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    total = np.add.reduce(scores, axis=-1, keepdims=True)
    out: np.ndarray = scores @ v
    out /= total
    return out.reshape(q.shape)


def hide(scores: np.ndarray, position: np.ndarray, first: int, start: int, window: int | None) -> None:
    """Minus infinity into `scores` [..., head, query, key] wherever a query may not look.

    first  how many keys, counted from 0, the first query sees
    start  the position of the first key there is
    """
    last = start + scores.shape[-1]
    low = first if window is None or start + window >= last else start  # every query sees the keys from start to low
    if low < last:
        where, key = position[..., None, :, None], np.arange(low, last)
        hidden = where < key if window is None else (where < key) | (where >= key + window)
        np.copyto(scores[..., low - start :], -math.inf, where=hidden)


def seen(position: np.ndarray) -> tuple[int, int]:
    """How many keys every query sees, and how many some query sees."""
    if position.size == 1:
        return (n := 1 + int(position.item()), n)
    return 1 + int(position.min()), 1 + int(position.max())


def write(old: np.ndarray, new: np.ndarray, position: np.ndarray) -> np.ndarray:
    """`ops.write`, in place."""
    capacity = old.shape[2]
    for row, start in enumerate(position[:, 0].tolist()):
        n = max(0, min(new.shape[2], capacity - start))
        old[row, :, start : start + n] = new[row, :, :n]
    return old


def put_rows(old: np.ndarray, new: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`ops.put_rows`, in place."""
    old[rows] = new
    return old


def top_k(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """`ops.top_k` without sorting what is not among the `k`."""
    rows = x.reshape(-1, x.shape[-1])
    places = np.empty((len(rows), k), dtype=np.intp)
    for row, out in zip(rows, places, strict=True):
        lowest = np.partition(row, -k)[-k]
        among = np.flatnonzero(~(row < lowest))
        out[:] = among[np.argsort(-row[among], kind="stable")[:k]]
    places = places.reshape(*x.shape[:-1], k)
    return np.take_along_axis(x, places, axis=-1), places
