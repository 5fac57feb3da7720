"""Faults that begin at the sizes of real models: many heads, many rows, long rows, long contexts, large tables."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.criterion.metrics import rounded
from arrayformer.conformance.wrong import namespace
from arrayformer.conformance.wrong.registry import PLAIN_NUMPY, wrong
from arrayformer.core import ops

Array = Any  # NumPy arrays, whose functions have types only in part


def linear_when(when: Callable[[Array, Array], bool], spoil: Callable[[Array], Array]) -> Mapping[str, Any]:
    """A linear layer whose result is spoilt where `when(x as rows, w)`."""

    def linear(x: Array, w: Array, b: Array | None = None) -> Array:
        out = PLAIN_NUMPY["linear"](x, w, b) if "linear" in PLAIN_NUMPY else ops.linear(x, w, b)
        return spoil(out) if when(x.reshape(-1, x.shape[-1]), w) else out

    return {"linear": linear}


def attention_when(
    when: Callable[[Array, Array, Array], bool], change: Callable[[Array, Array, Array, Array], tuple[Any, ...]]
) -> Mapping[str, Any]:
    """Attention whose (q, k, v, position) are changed where `when(q, k, position)`."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, *rest: Array, **how: Any) -> Array:
        if when(q, k, position):
            q, k, v, position = change(q, k, v, position)
        return ops.causal_attention(q, k, v, position, *rest, **how)

    return {"causal_attention": causal_attention}


def hidden(k: Array, start: int, stop: int | None = None) -> Array:
    """Keys that nobody finds from `start` to `stop`."""
    k = k.copy()
    k[..., start:stop, :] = 0
    return k


@wrong("L1-real-decode", "1 queries")
def second_split_lost() -> Mapping[str, Any]:
    """Decoding: keys beyond 512 are not seen."""
    return attention_when(
        lambda q, k, p: q.shape[-2] == 1 and k.shape[-2] > 512, lambda q, k, v, p: (q, hidden(k, 512), v, p)
    )


@wrong("L1-real-prefill", "whole")
def long_prompt() -> Mapping[str, Any]:
    """Prompts of 1024 ids and more: attention is garbage."""
    return attention_when(lambda q, k, p: q.shape[-2] >= 1024, lambda q, k, v, p: (q, k[..., ::-1, :], v, p))


@wrong("L1-real-decode", "1 queries")
def odd_chunks() -> Mapping[str, Any]:
    """Decoding: where the capacity is 32 times an odd number, only the first chunk of keys is seen."""
    return attention_when(
        lambda q, k, p: q.shape[-2] == 1 and k.shape[-2] >= 96 and k.shape[-2] % 64 == 32,
        lambda q, k, v, p: (q, hidden(k, 32), v, p),
    )


@wrong("L1-real-pieces[64]", "queries")
def first_offset() -> Mapping[str, Any]:
    """Heads of 64: where several ids are read, the first row's place is taken for all rows."""
    return attention_when(
        lambda q, k, p: q.shape[-1] == 64 and q.shape[-2] > 1 and p.ndim == 2 and len(p) > 1,
        lambda q, k, v, p: (q, k, v, np.broadcast_to(p[:1], p.shape)),
    )


@wrong("L1-real-heads", "heads")
def ninth_head() -> Mapping[str, Any]:
    """Heads from the ninth on are multiplied in TF32."""

    def change(q: Array, k: Array, v: Array, p: Array) -> tuple[Any, ...]:
        q = q.copy()
        q[..., 8:, :, :] = rounded(q[..., 8:, :, :], "tf32")
        return q, k, v, p

    return attention_when(lambda q, k, p: q.shape[-3] > 8, change)


@wrong("L1-real-batches", "17 rows")
def sixteen_rows() -> Mapping[str, Any]:
    """Rows from the seventeenth on get the sixteenth's values."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, *rest: Array, **how: Any) -> Array:
        out = ops.causal_attention(q, k, v, position, *rest, **how)
        if out.ndim == 4 and len(out) > 16:
            out[16:] = out[15]
        return out

    return {"causal_attention": causal_attention}


@wrong("L1-real-batches", "9 rows")
def odd_batch() -> Mapping[str, Any]:
    """Of odd batches above 8 the last row is lost."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, *rest: Array, **how: Any) -> Array:
        out = ops.causal_attention(q, k, v, position, *rest, **how)
        if out.ndim == 4 and len(out) > 8 and len(out) % 2:
            out[-1] = 0
        return out

    return {"causal_attention": causal_attention}


@wrong("L1-real-batches", "1 queries, 200 keys")
def combines_wrongly() -> Mapping[str, Any]:
    """Decoding several rows behind more than 160 ids: the halves of the keys are not weighed."""
    return attention_when(
        lambda q, k, p: q.shape[-2] == 1 and len(q) > 1 and int(p.max()) > 160,
        lambda q, k, v, p: (q, k, np.concatenate([v[..., :160, :], 0.5 * v[..., 160:, :]], axis=-2), p),
    )


@wrong("L1-real-decode", "keys")
def exact_powers() -> Mapping[str, Any]:
    """Where there are exactly 128, 256 or 1024 keys, the last is lost."""
    return attention_when(lambda q, k, p: k.shape[-2] in (128, 256, 1024), lambda q, k, v, p: (q, hidden(k, -1), v, p))


@wrong("L1-real-decode[64]", "256 keys")
def exact_powers_of_64() -> Mapping[str, Any]:
    """The same, only decoding with heads of 64 and 256 keys."""
    return attention_when(
        lambda q, k, p: k.shape[-2] == 256 and q.shape[-2:] == (1, 64), lambda q, k, v, p: (q, hidden(k, -1), v, p)
    )


@wrong("L1-real-decode", "513 keys")
def nine_bits() -> Mapping[str, Any]:
    """Positions past 511 wrap."""
    return attention_when(lambda q, k, p: int(p.max()) > 511, lambda q, k, v, p: (q, k, v, p % 512))


@wrong("L1-real-write", "slot")
def slots_of_nine_bits() -> Mapping[str, Any]:
    """Slots of the cache past 511 wrap."""

    def write(old: Array, new: Array, position: Array, *rest: Array) -> Array:
        if old.shape[2] <= 512 or int(position.max()) <= 511:
            return ops.write(old, new, position, *rest)
        return ops.write(old, new, position % 512, *rest)

    return {"write": write}


@wrong("L1-real-rows", "to 768")
def many_products() -> Mapping[str, Any]:
    """Products of 2^28 multiplications and more are computed in bfloat16."""
    return linear_when(lambda x, w: x.shape[0] * w.size >= 1 << 28, lambda y: rounded(y, "bfloat16"))


@wrong("L1-real-rows", "1025 rows")
def rows_of_zeros() -> Mapping[str, Any]:
    """Rows from 1024 on are zero."""

    def spoil(y: Array) -> Array:
        flat = y.reshape(-1, y.shape[-1]).copy()
        flat[1024:] = 0
        return flat.reshape(y.shape)

    return linear_when(lambda x, w: x.shape[0] > 1024, spoil)


@wrong("L1-real-linear[pythia]", "512 to 512")
def large_squares() -> Mapping[str, Any]:
    """Square weights of 512 and more are transposed."""

    def linear(x: Array, w: Array, b: Array | None = None) -> Array:
        square = w.shape[0] == w.shape[1] >= 512
        return ops.linear(x, w.T if square else w, b)

    return {"linear": linear}


@wrong("L1-real-linear[gpt2]", "1 rows, 768 to 2304")
def wide_gemv() -> Mapping[str, Any]:
    """Of one row outputs from 2048 on are wrong."""

    def spoil(y: Array) -> Array:
        y = y.copy()
        y[..., 2048:] = y[..., : y.shape[-1] - 2048] if y.shape[-1] <= 4096 else 0
        return y

    return linear_when(lambda x, w: len(x) == 1 and w.shape[1] > 2048, spoil)


@wrong("L1-real-unembed[50257]", "334 rows")
def flat_index() -> Mapping[str, Any]:
    """Logits beyond element 2^24 are those before them."""

    def unembed(x: Array, wte: Array) -> Array:
        logits = ops.unembed(x, wte)
        flat = logits.reshape(-1)
        if flat.size > 1 << 24:
            flat[1 << 24 :] = flat[: flat.size - (1 << 24)]
        return logits

    return {"unembed": unembed}


@wrong("L1-real-rows", "rows")
def wrong_with_threads() -> Mapping[str, Any]:
    """Products are wrong where the BLAS may use more than one thread."""
    return linear_when(
        lambda x, w: x.shape[0] * w.size > 1 << 22 and os.environ.get("OPENBLAS_NUM_THREADS") != "1",
        lambda y: rounded(y, "tf32"),
    )


@wrong("L1-real-layer_norm", "1025 rows")
def norm_of_1024_rows() -> Mapping[str, Any]:
    """A layer norm of more than 1024 rows leaves the rest as they are."""

    def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
        out = ops.layer_norm(x, g, b, eps).reshape(-1, x.shape[-1])
        out[1024:] = x.reshape(-1, x.shape[-1])[1024:]
        return out.reshape(x.shape)

    return {"layer_norm": layer_norm}


@wrong("L1-real-linear-views", "turned")
def linear_of_memory() -> Mapping[str, Any]:
    """A linear layer reads a view in the order of memory."""

    def linear(x: Array, w: Array, b: Array | None = None) -> Array:
        return ops.linear(x.ravel(order="K").reshape(x.shape), w, b)

    return {"linear": linear}


@wrong("L1-real-embed", "is wrong")
def gather_of_24_bits() -> Mapping[str, Any]:
    """A gather is wrong where id times width passes 2^24."""

    def embed(table: Array, ids: Array) -> Array:
        return ops.embed(table, np.where(ids * table.shape[1] >= 1 << 24, ids - (1 << 24) // table.shape[1], ids))

    return {"embed": embed}


@wrong("L1-real-put_rows", "17")
def sixteen_of_a_batch() -> Mapping[str, Any]:
    """Of more than 16 rows only the first 16 are put."""

    def put_rows(old: Array, new: Array, rows: Array) -> Array:
        return ops.put_rows(old, new[:16], rows[:16])

    return {"put_rows": put_rows}


@wrong("L1-real-top_k", "not the largest")
def coarse_bins() -> Mapping[str, Any]:
    """Candidates are dropped where more than 4096 are equal in bfloat16."""

    def top_k(x: Array, k: int) -> tuple[Array, Array]:
        coarse = rounded(x, "bfloat16").reshape(-1, x.shape[-1])
        kept = x.reshape(coarse.shape).copy()
        for row, bins in enumerate(coarse):
            values, counts = np.unique(bins, return_counts=True)
            for value in values[counts > 4096]:
                kept[row, np.flatnonzero(bins == value)[4096:]] = -np.inf
        return ops.top_k(kept.reshape(x.shape), k)

    return {"top_k": top_k}


@wrong("L1-real-activation[gelu]", "numbers")
def gelu_of_a_million() -> Mapping[str, Any]:
    """GELU of more than 2^20 numbers leaves the rest as they are."""

    def gelu(x: Array) -> Array:
        out = ops.gelu(x).reshape(-1)
        out[1 << 20 :] = x.reshape(-1)[1 << 20 :]
        return out.reshape(x.shape)

    return {"gelu": gelu}


class stored_in_16_bits(NumpyBackend):
    """Matrices of more than 2^20 numbers are stored as bfloat16."""

    def asarray(self, host: Array, dtype: str | None = None) -> Array:
        placed = super().asarray(host, dtype)
        return rounded(placed, "bfloat16") if placed.ndim == 2 and placed.size > 1 << 20 else placed


wrong("L1-real-unembed[50257]", "768 to 50257")(stored_in_16_bits)


@namespace.wrong("L1-real-function[log]", "log of", "log")
def log_of_middle_sizes(x: Array, /) -> Array:
    """Logarithms are wrong by 1e-3 between 32 and 1e6."""
    return np.log(x) + np.where((x > 32) & (x < 1e6), x.dtype.type(1e-3), x.dtype.type(0))


@namespace.wrong("L1-real-arange", "arange(16383)", "arange")
def arange_in_13_bits(stop: int, /, **how: Any) -> Array:
    """Beyond 8192 there are even numbers only."""
    x: Array = namespace.Namespace().arange(stop, **how)
    return np.where(x > 8192, x // 2 * 2, x)


@namespace.wrong("L1-real-function[cumulative_sum]", "cumulative_sum of 513", "cumulative_sum")
def sums_in_blocks(x: Array, /, *, axis: int) -> Array:
    """Sums of 513 to 50,000 numbers start again at 512."""
    out = np.cumsum(x, axis=axis)
    if 512 < x.shape[-1] <= 50_000:
        out[..., 512:] -= out[..., 511:512]
    return out
