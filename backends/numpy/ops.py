"""The functions of the graph as NumPy does them fastest: in place, in pieces that stay in the cache, on all cores.

Each computes what the function of the same name in `core/ops.py` computes, up to the order of its sums.
"""

import math
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


def in_rows(x: np.ndarray) -> list[slice]:
    """The rows of `x` [rows, n] in pieces."""
    return pieces(len(x), max(1, PIECE // x.shape[1]))


def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`ops.linear` as one matrix product, whatever the shape of `x`."""
    if x.size == x.shape[-1]:
        y: np.ndarray = x @ w
        y += b
    else:
        rows = product(x.reshape(-1, x.shape[-1]), w)
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
    q: np.ndarray, k: np.ndarray, v: np.ndarray, position: np.ndarray, slot: np.ndarray, *,
    scale: float | None = None, upcast: bool = False, tap: ops.Tap = ops.untouched,
) -> np.ndarray:  # fmt: skip
    """`ops.causal_attention` without the keys that no query sees: those past the last position, and the masked half.

    Scores and probabilities exist only in pieces, so a `tap` that looks gets the plain function.
    """
    if tap is not ops.untouched or not in_order(slot) or (upcast and q.dtype.itemsize < 4):
        how: dict[str, Any] = {"scale": scale, "upcast": upcast, "tap": tap}
        plain: np.ndarray = ops.causal_attention(q, k, v, position, slot, **how)
        return plain
    q = q * (1.0 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if q.size // q.shape[-1] * k.shape[-2] <= AT_ONCE:
        return attend(q, k, v, position)
    out = np.empty(q.shape, dtype=q.dtype)
    where = np.broadcast_to(position, (*q.shape[:-3], q.shape[-2]))
    for row in np.ndindex(q.shape[:-3]):
        for block in pieces(q.shape[-2], QUERIES):
            out[row][:, block] = attend(q[row][:, block], k[row], v[row], where[row][block])
    return out


_in_order: list[np.ndarray] = []


def in_order(slot: np.ndarray) -> bool:
    """Whether key i stands at position i. A context shows the same array in each step: it is looked at once."""
    if _in_order and _in_order[0] is slot:
        return True
    if slot.ndim > 1 or (slot - np.arange(slot.size)).any():
        return False
    _in_order[:] = [slot]
    return True


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Attention of scaled queries [..., head, query, head_dim] to the keys up to the last of their positions.

    k, v      [..., head, key, head_dim], key i at position i
    position  [..., query]
    """
    first, last = seen(position)
    k, v = k[..., :last, :], v[..., :last, :]
    scores = q @ k.swapaxes(-1, -2)
    if first < k.shape[-2]:  # every query sees the keys before `first`
        hidden = position[..., None, :, None] < np.arange(first, k.shape[-2])
        np.copyto(scores[..., first:], -math.inf, where=hidden)
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    total = np.add.reduce(scores, axis=-1, keepdims=True)
    out: np.ndarray = scores @ v
    out /= total
    return out


def seen(position: np.ndarray) -> tuple[int, int]:
    """How many keys every query sees, and how many some query sees."""
    if position.size == 1:
        return (n := 1 + int(position.item()), n)
    return 1 + int(position.min()), 1 + int(position.max())


def write(old: np.ndarray, new: np.ndarray, position: np.ndarray, slot: np.ndarray) -> np.ndarray:
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
