"""Faults of state and of claims that begin late: with many layers, long caches, many rows, narrow dtypes."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.criterion.metrics import rounded
from arrayformer.conformance.wrong.modes import Low
from arrayformer.conformance.wrong.registry import PLAIN_NUMPY, wrong
from arrayformer.core import ops
from arrayformer.core.params import Params

Array = Any  # NumPy arrays, whose functions have types only in part


@wrong("L3-real-ragged", "row")
def empty_rows() -> Mapping[str, Any]:
    """Heads of 64: a row that reads nothing makes the row behind it wrong."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, *rest: Array, **how: Any) -> Array:
        out = ops.causal_attention(q, k, v, position, *rest, **how)
        if q.shape[-1] == 64 and position.ndim == 2 and len(position) > 8 and q.shape[-2] > 1:
            empty = np.flatnonzero(position[:-1, 0] == 0)
            out[empty + 1] = out[empty]
        return out

    return {"causal_attention": causal_attention}


@wrong("L3-real-layers", "length")
class seventh_layer(NumpyBackend):
    """Of caches of more than 6 layers, layer i and i + 6 share memory."""

    def cache_arrays(self, n: int, shape: tuple[int, ...]) -> list[Array]:
        arrays = super().cache_arrays(min(n, 12), shape)
        return [arrays[i % 12] for i in range(n)]


@wrong("L3-real-layers", "position")
class thirteenth_layer(NumpyBackend):
    """From the thirteenth layer on the bias of c_proj is not placed."""

    def place(self, params: Params, *rest: Any, owned: bool = False) -> Params:
        placed = super().place(params, *rest, owned=owned)
        for block in placed.get("blocks", [])[12:]:
            block["attn"]["c_proj"]["b"] = block["attn"]["c_proj"]["b"] * 0
        return placed


@wrong("L3-cache-kept", "wrote into it")
class keeps_no_cache(NumpyBackend):
    """Says that a step leaves the cache it was given alone, and writes into it."""

    consumes_cache = False


@wrong("L3-owned", "weights given away")
class order_of_memory(NumpyBackend):
    """Weights that are given away are taken in the wrong order of memory."""

    def place(self, params: Params, *rest: Any, owned: bool = False) -> Params:
        if owned and "blocks" in params:
            for block in params["blocks"]:
                x = block["mlp"]["c_proj"]["w"]
                block["mlp"]["c_proj"]["w"] = np.asfortranarray(x.ravel(order="K").reshape(x.shape))
        return super().place(params, *rest, owned=owned)


@wrong("L3-real-claims", "declared deterministic")
class random_sums(NumpyBackend):
    """Adds up in a random order behind more than 256 keys."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        rng = np.random.default_rng()

        def causal_attention(q: Array, k: Array, v: Array, position: Array, *rest: Array, **how: Any) -> Array:
            out = PLAIN_NUMPY["causal_attention"](q, k, v, position, *rest, **how)
            return out * np.float32(1 + 2**-23 * rng.integers(0, 2)) if k.shape[-2] > 256 else out

        return {**super().overrides, "causal_attention": causal_attention}


@wrong("L3-real-claims", "declared batch_invariant")
class rows_together(NumpyBackend):
    """Declares that a row gives the same bits in any batch, and rounds otherwise where more than 2 rows are decoded."""

    batch_invariant = True

    @property
    def overrides(self) -> Mapping[str, Any]:
        def one_by_one(name: str) -> Any:
            def call(x: Array, *weights: Array, **more: Array) -> Array:
                parts = (x[i : i + 1, j : j + 1] for i in range(len(x)) for j in range(x.shape[1]))
                rows = [getattr(ops, name)(part, *weights, **more) for part in parts]
                return np.concatenate(rows).reshape(*x.shape[:2], -1)

            return call

        def causal_attention(q: Array, k: Array, v: Array, position: Array, *rest: Array, **how: Any) -> Array:
            out = ops.causal_attention(q, k, v, position, *rest, **how)
            return out * np.float32(1 + 2**-23) if q.shape[-2] == 1 and len(q) > 2 else out

        own = {name: one_by_one(name) for name in ("linear", "unembed")}
        return {**super().overrides, **own, "causal_attention": causal_attention}


@wrong("L1-own-results", "a later call changed its result")
class one_buffer_a_shape(NumpyBackend):
    """A layer norm writes into one buffer for each shape."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        buffers = vars(self).setdefault("buffers", {})

        def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
            out = buffers.setdefault(x.shape, np.empty_like(x))
            np.copyto(out, ops.layer_norm(x, g, b, eps))
            return out

        return {**super().overrides, "layer_norm": layer_norm}


@wrong("L3-real-kept-results", "a later step changed the logits")
class one_buffer_of_rows(NumpyBackend):
    """Logits of more than one row are written into one buffer for each shape."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        buffers = vars(self).setdefault("buffers", {})

        def unembed(x: Array, wte: Array) -> Array:
            logits = ops.unembed(x, wte)
            if logits.ndim != 3 or logits.shape[0] * logits.shape[1] == 1:
                return logits
            out = buffers.setdefault(logits.shape, np.empty_like(logits))
            np.copyto(out, logits)
            return out

        return {**super().overrides, "unembed": unembed}


@wrong("L3-real-many-steps", "step 9")
class thousandth_call(NumpyBackend):
    """From the 1,001st call on the head is computed in TF32."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        calls = vars(self).setdefault("calls", [])

        def unembed(x: Array, wte: Array) -> Array:
            calls.append(1)
            return ops.unembed(rounded(x, "tf32") if len(calls) > 1000 else x, wte)

        return {**super().overrides, "unembed": unembed}


@wrong("L0-device", "both times")
class one_device(NumpyBackend):
    """Offers two devices and uses one."""

    def devices(self) -> tuple[str, ...]:
        return ("cpu", "cpu2")


@wrong("L2-logits[p1]", "wrote on standard output: 'head")
def talks() -> Mapping[str, Any]:
    """Python prints a line in each step."""

    def unembed(x: Array, wte: Array) -> Array:
        print("head of", x.shape)
        return ops.unembed(x, wte)

    return {"unembed": unembed}


@wrong("L2-logits[p1]", "wrote on standard output: 'gemm")
def talks_from_below() -> Mapping[str, Any]:
    """The C library below prints a line in each step."""

    def unembed(x: Array, wte: Array) -> Array:
        os.write(1, b"gemm picked kernel 3\n")
        return ops.unembed(x, wte)

    return {"unembed": unembed}


class Narrow(Low):
    """NumPy that stores float16 as well, with some functions of its own there."""

    narrow: Mapping[str, Any]

    @property
    def overrides(self) -> Mapping[str, Any]:
        return {**super().overrides, **(self.narrow if self.dtype == "float16" else {})}


def half_product(x: Array, w: Array) -> Array:
    """x @ w added up in float16, 16 products at a time."""
    total = np.zeros((*x.shape[:-1], w.shape[1]), dtype=np.float16)
    for i in range(0, len(w), 16):
        total = (total + x[..., i : i + 16] @ w[i : i + 16].astype(x.dtype)).astype(np.float16)
    return total.astype(x.dtype)


@wrong("L1-narrow-sums[float16]", "fewer than 32 bits")
class half_sums(Narrow):
    """In float16 products are added up in float16."""

    narrow = {"linear": lambda x, w, b=None: half_product(x, w) + (0 if b is None else b.astype(x.dtype))}  # noqa: RUF012


def half_gelu(x: Array) -> Array:
    """GELU in float16: x * x * x overflows from 40 on."""
    with np.errstate(all="ignore"):
        return ops.gelu(x.astype(np.float16)).astype(x.dtype)


@wrong("L1-real-dtype[float16]", "gelu")
class half_activations(Narrow):
    """In float16 GELU is computed in float16."""

    narrow = {"gelu": half_gelu}  # noqa: RUF012


def in_bytes(old: Array, new: Array, position: Array, *rest: Array) -> Array:
    """The cache holds 8 bits a number, with a scale for each row."""
    scale = np.abs(new).max(axis=-1, keepdims=True) / 127 + 1e-9
    return ops.write(old, (np.round(new / scale) * scale).astype(new.dtype), position, *rest)


@wrong("L1-real-dtype[float16]", "slot")
class cache_of_bytes(Narrow):
    """In float16 the cache is kept in 8 bits."""

    narrow = {"write": in_bytes}  # noqa: RUF012
