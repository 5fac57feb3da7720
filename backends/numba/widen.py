"""What numbers of each kind in memory stand for, as float32 in a register."""

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from arrayformer.backends.numba.compiled import kernel


def widen(x: Any) -> Any:
    """A float32 as it is; the 16 bits of a bfloat16 are the upper half of a float32; whole numbers are converted."""
    if isinstance(x, np.uint16):
        return np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return np.float32(x)


@overload(widen, inline="always")
def _widen(x):
    if x == types.uint16:
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: np.float32(x)


@kernel(ordered=True)
def narrow(x):
    """The 16 bits of the bfloat16 nearest to a float32, of two equally near the even one. NaN stays NaN."""
    bits = np.uint32(np.float32(x).view(np.uint32))
    if x != x:
        return np.uint16((bits >> np.uint32(16)) | np.uint32(64))
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


def fitted(x: Any, out: Any) -> Any:
    """A float32 as `out` keeps it: itself, or the bits of a bfloat16."""
    return narrow(x) if out.dtype == np.uint16 else x


@overload(fitted, inline="always")
def _fitted(x, out):
    if out.dtype == types.uint16:
        return lambda x, out: narrow(x)
    return lambda x, out: x


@kernel(ordered=True)
def half(bits):
    """The float32 of a finite float16, given as 16 bits: its exponent counts from 2^-15, a float32's from 2^-127."""
    size = np.uint32((np.uint32(bits) & np.uint32(0x7FFF)) << np.uint32(13)).view(np.float32) * np.float32(2.0**112)
    return -size if np.uint32(bits) & np.uint32(0x8000) else size
