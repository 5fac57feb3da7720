"""Weights packed on the host: what a GGUF file's blocks hold, and any weights rounded as llama.cpp rounds them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from arrayformer.core.errors import InputError
from arrayformer.core.packed import BLOCK, Packed
from arrayformer.core.params import Params, Weight, map_params


def from_blocks(name: str, blocks: np.ndarray, n_row: int) -> Packed:
    """The blocks of a GGUF tensor [n_row * n_block], records of `d`, `qs` and in Q4_1 `m`, without widening them.

    name  "Q8_0", "Q4_0" or "Q4_1"
    """
    codes = np.ascontiguousarray(blocks["qs"]).reshape(n_row, -1, blocks["qs"].shape[-1])
    scales = np.ascontiguousarray(blocks["d"]).reshape(n_row, -1)
    if name not in FROM_GGUF:
        raise InputError(f"blocks of {name} cannot stay packed; those of {', '.join(FROM_GGUF)} can")
    return Packed(codes, scales, np.ascontiguousarray(blocks["m"]).reshape(n_row, -1) if name == "Q4_1" else None)


FROM_GGUF = ("Q8_0", "Q4_0", "Q4_1")
"""The formats of GGUF that stay packed; others are widened when they are read."""


def q8_0(x: np.ndarray) -> Packed:
    """[n_row, n] float32 in 8 bits: the largest of 32 becomes 127 or -127. As llama.cpp's Q8_0."""
    blocks = _blocks(x)
    scales = np.abs(blocks).max(axis=-1) / np.float32(127)
    shares = blocks * _inverse(scales)[..., None]
    codes = np.trunc(shares + np.copysign(np.float32(0.5), shares))  # halves away from 0
    return Packed(codes.astype(np.int8), _half(scales))


def q4_0(x: np.ndarray) -> Packed:
    """[n_row, n] float32 in 4 bits: the one of 32 farthest from 0 becomes -8. As llama.cpp's Q4_0."""
    blocks = _blocks(x)
    farthest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=-1)[..., None], axis=-1)[..., 0]
    scales = farthest / np.float32(-8)
    shares = blocks.astype(np.float64) * _inverse(scales).astype(np.float64)[..., None]
    codes = np.minimum(np.trunc((shares + 8.5).astype(np.float32)), 15).astype(np.uint8)
    return Packed(codes[..., :16] | codes[..., 16:] << np.uint8(4), _half(scales))


PACKERS: dict[str, Callable[[np.ndarray], Packed]] = {"q8_0": q8_0, "q4_0": q4_0}
"""The formats any weights can be packed into."""


def pack_params(params: Params, weights: Params, name: str) -> Params:
    """`params` with its large matrices packed, whose numbers then are others: float32 keeps what it is rounded to.

    Tables stay in 8 bits whatever the name says, because the head is where 4 bits cost most: llama.cpp has six there.
    Vectors, positions and matrices whose rows are no multiple of 32 stay as they are.
    """
    if name not in PACKERS:
        raise InputError(f"no format {name!r} to pack weights into; there are {', '.join(PACKERS)}")

    def packed(x: Any, weight: Weight) -> Any:
        if isinstance(x, Packed) or len(weight.shape) != 2 or weight.role == "position":
            return x
        rows = x if weight.role == "table" else x.T
        if rows.shape[1] % BLOCK:
            return x
        return PACKERS["q8_0" if weight.role == "table" else name](rows)

    result: Params = map_params(packed, params, weights)
    return result


def _blocks(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, dtype=np.float32).reshape(len(x), -1, BLOCK)


def _inverse(scales: np.ndarray) -> np.ndarray:
    inverse: np.ndarray = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)
    return inverse


def _half(scales: np.ndarray) -> np.ndarray:
    """What a file keeps of a scale. Raises InputError for weights too large for any."""
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    if not np.isfinite(half).all():
        raise InputError("weights this large cannot be packed: their scale is no finite float16")
    return half
