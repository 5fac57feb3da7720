"""The functions of the graph, compiled: which kernel takes what, and where NumPy's own are as fast or have to help.

Each computes what the function of the same name in `core/ops.py` computes, up to the order of its sums.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

from arrayformer.backends.numba import attention, elementwise, packed, products
from arrayformer.backends.numba.packed import Panels
from arrayformer.backends.numba.parallel import threads
from arrayformer.backends.numpy import ops as numpy_ops
from arrayformer.core import ops

F32 = np.dtype(np.float32)
BF16 = np.dtype(ml_dtypes.bfloat16)
FEW = 24  # rows of a product whose cost is to read the weights; more are multiplied by NumPy's BLAS
FEW_QUERIES = 8  # per head and row of a batch: more have their scores computed by NumPy's BLAS
AT_ONCE = 1 << 21  # numbers of a weight that are widened together for NumPy's BLAS
QUERIES = 128  # queries whose scores are computed together otherwise
_NONE = np.empty(0, dtype=F32)


def in_memory(x: np.ndarray) -> np.ndarray:
    """`x` for a kernel: contiguous, bfloat16 as its bits."""
    x = np.ascontiguousarray(x)
    return x.view(np.uint16) if x.dtype == BF16 else x


def wide(x: np.ndarray) -> np.ndarray:
    """`x` as float32 where it is narrower."""
    return x.astype(F32) if x.dtype == BF16 else x


def in_place(x: np.ndarray) -> bool:
    """Whether a kernel may write into `x` and its owner sees it."""
    return x.dtype == F32 and x.flags.c_contiguous and x.flags.writeable


def activation(kind: int) -> Callable[[np.ndarray], np.ndarray]:
    """The function elementwise.KINDS[kind] of `ops`, into `x` itself where it can be."""
    name = elementwise.KINDS[kind]
    plain: Callable[[np.ndarray], np.ndarray] = getattr(ops, name)

    def function(x: np.ndarray) -> np.ndarray:
        if not in_place(x):
            if x.dtype != F32:
                return plain(x)
            x = np.array(x, order="C")
        elementwise.activate(threads(), x.reshape(-1), kind)
        return x

    function.__name__ = function.__qualname__ = name
    return function


gelu, gelu_erf, silu, relu = (activation(kind) for kind in range(4))
_KIND: dict[Any, int] = {gelu: 0, gelu_erf: 1, silu: 2, relu: 3}


def gated(gate: np.ndarray, up: np.ndarray, activation: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`ops.gated`, into `gate` where that can be."""
    kind = _KIND.get(activation)
    if kind is None or up.dtype != F32 or not in_place(gate) or gate.shape != up.shape:
        plain: np.ndarray = ops.gated(gate, up, activation)
        return plain
    elementwise.gated(threads(), gate.reshape(-1), np.ascontiguousarray(up).reshape(-1), kind)
    return gate


def layer_norm(x: np.ndarray, g: np.ndarray, b: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """`ops.layer_norm`"""
    if x.dtype != F32:
        plain: np.ndarray = ops.layer_norm(x, g, b, eps)
        return plain
    rows, out = as_rows(x), np.empty(x.shape, dtype=F32)
    elementwise.layer_norm(threads(), rows, wide(g), wide(b), eps, out.reshape(rows.shape))
    return out


def rms_norm(x: np.ndarray, g: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """`ops.rms_norm`"""
    if x.dtype != F32:
        plain: np.ndarray = ops.rms_norm(x, g, eps)
        return plain
    rows, out = as_rows(x), np.empty(x.shape, dtype=F32)
    elementwise.rms_norm(threads(), rows, wide(g), eps, out.reshape(rows.shape))
    return out


def as_rows(x: np.ndarray) -> np.ndarray:
    """[..., n] -> [rows, n] contiguous"""
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """`ops.rotate`"""
    if x.dtype != F32 or x.ndim != 4 or cos.ndim > 3:
        return numpy_ops.rotate(x, cos, sin)
    out = np.empty(x.shape, dtype=F32)
    cos, sin = (np.ascontiguousarray(t, dtype=F32).reshape(-1, *t.shape[-2:]) for t in (cos, sin))
    elementwise.rotate(threads(), np.ascontiguousarray(x), cos, sin, out)
    return out


def linear(x: np.ndarray, w: np.ndarray | Panels, b: np.ndarray | None = None) -> np.ndarray:
    """`ops.linear`: by a kernel where there are few rows, else by NumPy's BLAS on float32."""
    if x.dtype != F32 or not readable(w):
        plain: np.ndarray = ops.linear(x, w, b)
        return plain
    y = multiplied(as_rows(x), w if isinstance(w, Panels) else w.T, _NONE if b is None else wide(b))
    return y.reshape(*x.shape[:-1], y.shape[1])


def unembed(x: np.ndarray, wte: np.ndarray | Panels) -> np.ndarray:
    """`ops.unembed`, as `linear`."""
    if x.dtype != F32 or not readable(wte):
        plain: np.ndarray = ops.unembed(x, wte)
        return plain
    y = multiplied(as_rows(x), wte, _NONE)
    return y.reshape(*x.shape[:-1], y.shape[1])


def embed(table: np.ndarray | Panels, ids: np.ndarray) -> np.ndarray:
    """`ops.embed`, in float32."""
    if not isinstance(table, Panels):
        return wide(numpy_ops.embed(table, ids))
    out = np.empty((ids.size, table.scales.shape[1] * packed.BLOCK), dtype=F32)
    packed.take(*table.arrays, ids.reshape(-1), out)
    return out.reshape(*ids.shape, -1)


def readable(w: np.ndarray | Panels) -> bool:
    """Whether there are products with such weights here."""
    return isinstance(w, Panels) or w.dtype in (F32, BF16)


def multiplied(x: np.ndarray, w: np.ndarray | Panels, bias: np.ndarray) -> np.ndarray:
    """x [rows, n_in] float32 @ w.T + bias -> [rows, n_out]; w stands for [n_out, n_in], an empty bias is none."""
    out = np.empty((len(x), w.n_row if isinstance(w, Panels) else len(w)), dtype=F32)
    if len(x) <= FEW:
        if isinstance(w, Panels):
            packed.multiply(threads(), x, *w.arrays, bias, out)
            return out
        if w.flags.c_contiguous:
            products.multiply(threads(), x, in_memory(w), bias, out)
            return out
    for first, part in widened(w):
        np.matmul(x, part, out=out[:, first : first + part.shape[1]])
    if len(bias):
        products.add_bias(threads(), out, bias)
    return out


def widened(w: np.ndarray | Panels) -> Iterator[tuple[int, np.ndarray]]:
    """w [n_out, n_in] in parts [n_in, n] float32, small enough for the processor's cache, each with its first output.

    What is float32 already is one part.
    """
    if isinstance(w, Panels):
        n_in = w.scales.shape[1] * packed.BLOCK
        step = max(1, AT_ONCE // (n_in * packed.PANEL))
        for first in range(0, len(w.codes), step):
            some = w.part(first, first + step)
            out = np.empty((n_in, some.n_row), dtype=F32)
            packed.unpack(threads(), *some.arrays, out)
            yield first * packed.PANEL, out
    elif w.dtype == F32:
        yield 0, w.T
    else:
        step = max(1, AT_ONCE // w.shape[1])
        for first in range(0, len(w), step):
            rows = w[first : first + step]
            out = np.empty(rows.shape, dtype=F32)
            products.widen_all(threads(), in_memory(rows), out)
            yield first, out.T


def causal_attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, position: np.ndarray, *,
    window: int | None = None, scale: float | None = None, upcast: bool = False, cap: float | None = None,
    tap: ops.Tap = ops.untouched,
) -> np.ndarray:  # fmt: skip
    """`ops.causal_attention`: by one pass over the keys where there are few queries, else by NumPy's BLAS.

    Scores are float32 whatever the cache holds. They exist only in pieces, so a `tap` that looks gets the plain
    function.
    """
    if tap is not ops.untouched or q.dtype != F32 or q.ndim not in (3, 4) or k.shape[-1] != v.shape[-1]:
        how: dict[str, Any] = {"window": window, "scale": scale, "upcast": upcast, "cap": cap, "tap": tap}
        plain: np.ndarray = ops.causal_attention(q, wide(k), wide(v), position, **how)
        return plain
    if q.ndim == 3:
        found = causal_attention(q[None], k[None], v[None], position, window=window, scale=scale, cap=cap)
        alone: np.ndarray = found[0]
        return alone
    batch, head, query, head_dim = q.shape
    where = np.ascontiguousarray(np.broadcast_to(position, (batch, query)))
    how = {"scale": 1.0 / math.sqrt(head_dim) if scale is None else scale, "window": window or 0, "cap": cap or 0.0}
    out = np.empty((batch, query, head, head_dim), dtype=F32)  # as `merge_heads` wants it
    if query <= FEW_QUERIES:
        one_pass(q, k, v, where, out, **how)
    else:
        for row in range(batch):
            in_blocks(q[row], k[row], v[row], where[row], out[row], **how)
    return out.transpose(0, 2, 1, 3)


def one_pass(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, position: np.ndarray, out: np.ndarray, *,
    scale: float, window: int, cap: float,
) -> None:  # fmt: skip
    """Attention of few queries into out [batch, query, head, head_dim]."""
    q = np.ascontiguousarray(q)
    attention.attend(threads(), q, in_memory(k), in_memory(v), position, scale, window, cap, out)


def in_blocks(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, position: np.ndarray, out: np.ndarray, *,
    scale: float, window: int, cap: float,
) -> None:  # fmt: skip
    """Attention of one row's queries [head, query, head_dim] into out [query, head, head_dim], some at a time.

    Of the keys [kv_head, key, head_dim] only those are multiplied that some query of a block sees.
    """
    n_kv_head, shared = k.shape[0], q.shape[0] // k.shape[0]
    for first in range(0, q.shape[1], QUERIES):
        where = position[first : first + QUERIES]
        stop = int(where.max()) + 1
        start = max(0, int(where.min()) + 1 - window) if window else 0
        keys, values = wide(k[:, start:stop]), wide(v[:, start:stop])
        block = q[:, first : first + QUERIES].reshape(n_kv_head, -1, q.shape[-1])
        scores = block @ keys.swapaxes(-1, -2)  # [kv_head, shared * query, key]
        flat = scores.reshape(-1, scores.shape[-1])
        attention.masked_softmax(threads(), flat, where, start, scale, window, cap)
        found = (scores @ values).reshape(n_kv_head * shared, len(where), -1)
        out[first : first + QUERIES] = found.swapaxes(0, 1)
