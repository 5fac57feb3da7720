"""Weights in 8 or 4 bits with a scale for each 32 of them, as GGUF files have them.

A packed weight *is* an exact set of float32 numbers, so it is no class of precision: whoever computes with it is held
to those numbers as a float32 weight is held to its own. Every backend can: `dequantized` needs functions of the
standard alone, and `Ops.replaced` calls it for `linear`, `embed` and `unembed`. A backend may place a packed weight in
a form of its own instead, and multiply that.
"""

from collections.abc import Callable
from typing import NamedTuple

from arrayformer.core.array_api import Array, array_namespace

BLOCK = 32
"""How many neighbours in a row share a scale."""


class Packed(NamedTuple):
    """A matrix of `n_row` rows in blocks of 32. A tuple of arrays, which JAX knows as a pytree without being told.

    codes    [n_row, n_block, 32] int8; or [n_row, n_block, 16] uint8, the low halves of the bytes being the first 16
             numbers of a block and the high halves the last
    scales   [n_row, n_block] float32, or float16 on the host: what codes are multiplied by
    offsets  the same shape: what is added then. None: nothing is added to codes of 8 bits, and from those of 4 bits 8
             is subtracted before they are multiplied

    A table holds the row of an id in a row; the matrix [n_in, n_out] of a linear layer what makes output i in row i.
    """

    codes: Array
    scales: Array
    offsets: Array | None = None

    def each(self, function: Callable[[Array], Array]) -> "Packed":
        """The same with `function` of each array."""
        return Packed(*(None if part is None else function(part) for part in self))

    def rows(self, ids: Array) -> "Packed":
        """Only the rows `ids` [n]."""
        return self.each(lambda part: array_namespace(part).take(part, ids, axis=0))


def dequantized(packed: Packed) -> Array:
    """The numbers that a packed matrix stands for, [n_row, 32 * n_block] float32."""
    codes, scales = packed.codes, packed.scales
    xp = array_namespace(codes)
    if codes.shape[-1] != BLOCK:
        low, high = codes & 15, codes >> 4
        codes = xp.concat([low, high], axis=-1)
    numbers = xp.astype(codes, xp.float32)
    if packed.offsets is None and packed.codes.shape[-1] != BLOCK:
        numbers = numbers - 8.0
    numbers = numbers * xp.astype(scales, xp.float32)[..., None]
    if packed.offsets is not None:
        numbers = numbers + xp.astype(packed.offsets, xp.float32)[..., None]
    return xp.reshape(numbers, (codes.shape[0], codes.shape[1] * BLOCK))
