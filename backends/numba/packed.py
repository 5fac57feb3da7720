"""Products with weights that stay packed: codes of 8 or 4 bits, and a scale (and an offset) for each 32 of a row.

The outputs stand side by side in panels of 64: one input's codes for 64 outputs are one line of the processor's cache,
and a vector holds 16 outputs, so that no sum has to be taken across a vector. Row by row, as the files have them, a
block's sum of 32 would be taken across a vector each time: five times as slow.

codes    [panel, n_in, 64] int8, or [panel, n_in / 2, 64] int8: of each 32 inputs the first 16 in the low halves
scales   [panel, n_in / 32, 64] bits of float16
offsets  as scales, or [0, 0, 0]: then a code of 4 bits stands for itself less 8
"""

from typing import NamedTuple

import numpy as np

from arrayformer.backends.numba.compiled import kernel
from arrayformer.backends.numba.parallel import job, spread, threads
from arrayformer.backends.numba.widen import half
from arrayformer.core.packed import Packed

F32 = np.float32
PANEL = 64
BLOCK = 32


class Panels(NamedTuple):
    """A `core.packed.Packed` of `n_row` rows as the products here want it; the last panel is filled up with zeros."""

    codes: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray
    n_row: int

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the kernels take."""
        return self.codes, self.scales, self.offsets

    def part(self, first: int, last: int) -> "Panels":
        """Only the panels from `first` to `last`."""
        n_row = min(self.n_row, last * PANEL) - first * PANEL
        return Panels(self.codes[first:last], self.scales[first:last], self.offsets[first:last], n_row)


def panels(packed: Packed) -> Panels:
    """The same numbers, 64 rows side by side."""
    n_row = len(packed.codes)
    codes = side_by_side(packed.codes.reshape(n_row, -1).view(np.int8))
    scales = side_by_side(_bits(packed.scales))
    offsets = np.zeros((0, 0, 0), np.uint16) if packed.offsets is None else side_by_side(_bits(packed.offsets))
    return Panels(codes, scales, offsets, n_row)


def _bits(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, dtype=np.float16).view(np.uint16)


def side_by_side(x: np.ndarray) -> np.ndarray:
    """[n_row, n] -> [n_row / 64, n, 64]"""
    out = np.zeros((-(-len(x) // PANEL), x.shape[1], PANEL), dtype=x.dtype)
    _turn(threads(), x, out)
    return out


@kernel(inline=True)
def _whole(codes, scales):
    """Whether each code has a byte of its own."""
    return codes.shape[1] == BLOCK * scales.shape[1]


@kernel(inline=True)
def _take_apart(codes, offsets, p, b, apart):
    """Block b of panel p, codes of 4 bits, as whole numbers into apart [1, 32, PANEL] int8."""
    less = np.int8(0) if offsets.shape[0] else np.int8(8)
    for i in range(BLOCK // 2):
        for j in range(PANEL):
            pair = np.uint8(codes[p, b * (BLOCK // 2) + i, j])
            apart[0, i, j] = np.int8(pair & np.uint8(15)) - less
            apart[0, i + BLOCK // 2, j] = np.int8(pair >> np.uint8(4)) - less


@kernel(inline=True)
def _widened(scales, p, b, line):
    """Block b's scales or offsets of panel p into line [PANEL]."""
    for j in range(PANEL):
        line[j] = half(scales[p, b, j])


@kernel(inline=True)
def _put(sums, r, p, bias, out):
    for j in range(min(PANEL, out.shape[1] - p * PANEL)):
        out[r, p * PANEL + j] = sums[r, j] + (bias[p * PANEL + j] if len(bias) else F32(0))


@kernel(inline=True)
def _add_block(x, k, codes, p, first, line, sums):
    """x[0, k : k + 32] times the whole numbers codes[p, first : first + 32], each output's sum times its scale."""
    for j in range(PANEL):
        total = F32(0)
        for i in range(BLOCK):  # a loop of fixed length, which is unrolled: the vector runs over j
            total += x[0, k + i] * F32(codes[p, first + i, j])
        sums[0, j] += total * line[j]


@kernel()
def _one_row(x, codes, scales, offsets, bias, out, first, last):
    sums, line = np.empty((1, PANEL), dtype=F32), np.empty(PANEL, dtype=F32)
    apart = np.empty((1, BLOCK, PANEL), dtype=np.int8)
    for p in range(first, last):
        sums[:] = F32(0)
        for b in range(scales.shape[1]):
            _widened(scales, p, b, line)
            if _whole(codes, scales):
                _add_block(x, b * BLOCK, codes, p, b * BLOCK, line, sums)
            else:
                _take_apart(codes, offsets, p, b, apart)
                _add_block(x, b * BLOCK, apart, 0, 0, line, sums)
            if offsets.shape[0]:
                inputs = F32(0)
                for i in range(BLOCK):
                    inputs += x[0, b * BLOCK + i]
                for j in range(PANEL):
                    sums[0, j] += inputs * half(offsets[p, b, j])
        _put(sums, 0, p, bias, out)


@kernel(inline=True)
def _scaled(codes, p, first, line, out):
    for i in range(BLOCK):
        for j in range(PANEL):
            out[i, j] = F32(codes[p, first + i, j]) * line[j]


@kernel(inline=True)
def _numbers(codes, scales, offsets, p, b, apart, line, out):
    """The numbers that block b of panel p stands for, into out [32, PANEL] float32."""
    _widened(scales, p, b, line)
    if _whole(codes, scales):
        _scaled(codes, p, b * BLOCK, line, out)
    else:
        _take_apart(codes, offsets, p, b, apart)
        _scaled(apart, 0, 0, line, out)
    if offsets.shape[0]:
        _widened(offsets, p, b, line)
        for i in range(BLOCK):
            for j in range(PANEL):
                out[i, j] += line[j]


@kernel()
def _few_rows(x, codes, scales, offsets, bias, out, first, last):
    """A block is unpacked once for all rows."""
    rows = x.shape[0]
    apart, tile = np.empty((1, BLOCK, PANEL), dtype=np.int8), np.empty((BLOCK, PANEL), dtype=F32)
    sums, line = np.empty((rows, PANEL), dtype=F32), np.empty(PANEL, dtype=F32)
    for p in range(first, last):
        sums[:] = F32(0)
        for b in range(scales.shape[1]):
            _numbers(codes, scales, offsets, p, b, apart, line, tile)
            for r in range(rows):
                for j in range(PANEL):
                    total = F32(0)
                    for i in range(BLOCK):
                        total += x[r, b * BLOCK + i] * tile[i, j]
                    sums[r, j] += total
        for r in range(rows):
            _put(sums, r, p, bias, out)


@kernel()
def _turn_some(x, out, first, last):
    for p in range(first, last):
        for k in range(x.shape[1]):
            for j in range(min(PANEL, x.shape[0] - p * PANEL)):
                out[p, k, j] = x[p * PANEL + j, k]


_turned = job(_turn_some)


@kernel()
def _turn(words, x, out):
    spread(words, _turned((x, out)), out.shape[0], 1)


_row, _rows = job(_one_row), job(_few_rows)


@kernel()
def multiply(words, x, codes, scales, offsets, bias, out):
    """x [rows, n_in] float32 times the packed weights, plus a bias (none where empty), into out [rows, n_out]."""
    step = max(1, 2048 // x.shape[1])
    if x.shape[0] == 1:
        spread(words, _row((x, codes, scales, offsets, bias, out)), codes.shape[0], step)
    else:
        spread(words, _rows((x, codes, scales, offsets, bias, out)), codes.shape[0], step)


@kernel()
def _unpack_some(codes, scales, offsets, out, first, last):
    apart, tile = np.empty((1, BLOCK, PANEL), dtype=np.int8), np.empty((BLOCK, PANEL), dtype=F32)
    line = np.empty(PANEL, dtype=F32)
    for p in range(first, last):
        here = min(PANEL, out.shape[1] - p * PANEL)
        for b in range(scales.shape[1]):
            _numbers(codes, scales, offsets, p, b, apart, line, tile)
            for i in range(BLOCK):
                out[b * BLOCK + i, p * PANEL : p * PANEL + here] = tile[i, :here]


_unpacked = job(_unpack_some)


@kernel()
def unpack(words, codes, scales, offsets, out):
    """All that the codes stand for, into out [n_in, n_out] float32."""
    spread(words, _unpacked((codes, scales, offsets, out)), codes.shape[0], 1)


@kernel()
def take(codes, scales, offsets, ids, out):
    """Rows `ids` [n] of what the codes stand for, into out [n, n_in] float32."""
    for i in range(ids.shape[0]):
        p, j = ids[i] // PANEL, ids[i] % PANEL
        for k in range(out.shape[1]):
            b, place = k // BLOCK, k % BLOCK
            if _whole(codes, scales):
                code = F32(codes[p, k, j])
            else:
                pair = np.uint8(codes[p, b * (BLOCK // 2) + place % (BLOCK // 2), j])
                code = F32(pair & np.uint8(15)) if place < BLOCK // 2 else F32(pair >> np.uint8(4))
            if offsets.shape[0]:
                out[i, k] = code * half(scales[p, b, j]) + half(offsets[p, b, j])
            elif _whole(codes, scales):
                out[i, k] = code * half(scales[p, b, j])
            else:
                out[i, k] = (code - F32(8)) * half(scales[p, b, j])
