"""NumPy's functions on the arrays of this backend, for NUMBA_DISABLE_JIT=1: a kernel that Python runs number by number
would take minutes for what takes a millisecond compiled."""

from collections.abc import Callable
from typing import Any

import numpy as np

from arrayformer.backends.numba.ops import wide
from arrayformer.backends.numpy import ops
from arrayformer.backends.numpy.backend import OVERRIDES as NUMPY_OVERRIDES


def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """`ops.linear`, summed in float32."""
    return ops.linear(x, wide(w), None if b is None else wide(b))


def unembed(x: np.ndarray, wte: np.ndarray) -> np.ndarray:
    """`ops.unembed`, summed in float32."""
    return ops.unembed(x, wide(wte))


def layer_norm(x: np.ndarray, g: np.ndarray, b: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """`ops.layer_norm`"""
    return ops.layer_norm(x, wide(g), wide(b), eps)


def rms_norm(x: np.ndarray, g: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """`ops.rms_norm`"""
    return ops.rms_norm(x, wide(g), eps)


def causal_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, position: np.ndarray, **how: Any) -> np.ndarray:
    """`ops.causal_attention`, summed in float32."""
    return ops.causal_attention(q, wide(k), wide(v), position, **how)


OVERRIDES: dict[str, Callable[..., Any]] = NUMPY_OVERRIDES | {
    f.__name__: f for f in (linear, unembed, layer_norm, rms_norm, causal_attention)
}
