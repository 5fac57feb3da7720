"""Weights in the layout and width that products read: copied once, on all cores, a tile at a time."""

import numpy as np

from arrayformer.backends.numba.compiled import kernel
from arrayformer.backends.numba.parallel import job, spread, threads
from arrayformer.backends.numba.widen import fitted

_TILE = 32  # rows and columns that fit into a core's first cache together, read and written


@kernel()
def _turn_some(x, out, first, last):
    n, m = x.shape
    for tile in range(first, last):
        begin, end = tile * _TILE, min((tile + 1) * _TILE, m)
        for above in range(0, n, _TILE):
            for j in range(begin, end):
                for i in range(above, min(above + _TILE, n)):
                    out[j, i] = fitted(x[i, j], out)


_turned = job(_turn_some)


@kernel()
def _turn(words, x, out):
    spread(words, _turned((x, out)), (x.shape[1] + _TILE - 1) // _TILE, 1)


def turned(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """x [n, m] float32 with each column in one run of memory, in `dtype`: float32 or bfloat16."""
    out = np.empty(x.shape[::-1], dtype=dtype)
    _turn(threads(), np.ascontiguousarray(x), out if dtype == np.float32 else out.view(np.uint16))
    return out.T


@kernel()
def _copy_some(x, out, first, last):
    source, target = x[first:last], out[first:last]
    for i in range(source.shape[0]):
        target[i] = fitted(source[i], target)


_copied = job(_copy_some)


@kernel()
def _copy(words, x, out):
    spread(words, _copied((x, out)), x.shape[0], 1 << 16)


def copied(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """x [...] float32, contiguous, in `dtype`: float32 or bfloat16."""
    out = np.empty(x.shape, dtype=dtype)
    _copy(threads(), x.reshape(-1), out.reshape(-1) if dtype == np.float32 else out.reshape(-1).view(np.uint16))
    return out
