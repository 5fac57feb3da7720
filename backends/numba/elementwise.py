"""Norms, activations and rotations: one pass over each row, which stays in the core's own cache.

`core/ops.py` says what each computes. exp() is here because numba calls the system's for one number at a time.
"""

import math

import numpy as np

from arrayformer.backends.numba.compiled import kernel
from arrayformer.backends.numba.parallel import job, spread

F32 = np.float32
_PART = 1 << 14  # numbers in one part of a job

_PER_LN2 = F32(1 / math.log(2))
_LN2 = F32(0.693359375)  # few bits, so that a multiple of it is exact
_LN2_REST = F32(math.log(2) - 0.693359375)
_ROUND = F32(3 << 22)  # a float32 of this size has no place for a fraction: adding it rounds


@kernel(ordered=True)
def exp(x):
    """e to the power of x, a float32; 0 below -87, and 1.6e38 above 88. NaN stays NaN.

    x = n ln 2 + r with |r| < 0.35: 2^n is an exponent's bits, and exp(r) a polynomial that is right to 1e-7 of itself.
    """
    x = F32(88.0) if x > F32(88.0) else x
    shifted = max(x, F32(-88.0)) * _PER_LN2 + _ROUND
    n = shifted - _ROUND
    r = x - n * _LN2 - n * _LN2_REST
    p = F32(1 / 5040)
    p = p * r + F32(1 / 720)
    p = p * r + F32(1 / 120)
    p = p * r + F32(1 / 24)
    p = p * r + F32(1 / 6)
    p = p * r + F32(0.5)
    p = p * r * r + r + F32(1.0)
    power = np.uint32((np.int32(n) + np.int32(127)) << np.int32(23)).view(F32)
    return p * power if not x < F32(-87.0) else F32(0.0)


@kernel(ordered=True)
def gelu(x):
    """x (1 + tanh(z)) / 2 = x / (1 + exp(-2z))"""
    slope = F32(-2.0 * math.sqrt(2.0 / math.pi))
    return x / (F32(1.0) + exp(slope * (x + F32(0.044715) * x * x * x)))


@kernel(ordered=True)
def gelu_erf(x):
    """x times the normal distribution function."""
    return F32(0.5) * x * F32(math.erfc(x * F32(-math.sqrt(0.5))))


@kernel(ordered=True)
def silu(x):
    """x times its logistic function."""
    return x / (F32(1.0) + exp(-x))


@kernel(ordered=True)
def relu(x):
    """max(x, 0); NaN stays NaN."""
    return F32(0.0) if x < F32(0.0) else x


KINDS = ("gelu", "gelu_erf", "silu", "relu")


@kernel()
def _activate_all(x, kind):
    """x [n] in place. A loop from 0 is made of vectors; one from a number that might be negative is not."""
    if kind == 0:
        for i in range(x.shape[0]):
            x[i] = gelu(x[i])
    elif kind == 1:
        for i in range(x.shape[0]):
            x[i] = gelu_erf(x[i])
    elif kind == 2:
        for i in range(x.shape[0]):
            x[i] = silu(x[i])
    else:
        for i in range(x.shape[0]):
            x[i] = relu(x[i])


@kernel()
def _activate_some(x, kind, first, last):
    _activate_all(x[first:last], kind)


_activated = job(_activate_some)


@kernel()
def activate(words, x, kind):
    """x [n] by the function KINDS[kind], into x."""
    spread(words, _activated((x, kind)), x.shape[0], _PART)


@kernel()
def _gate_some(gate, up, kind, first, last):
    some, factors = gate[first:last], up[first:last]
    _activate_all(some, kind)
    for i in range(some.shape[0]):
        some[i] *= factors[i]


_gated = job(_gate_some)


@kernel()
def gated(words, gate, up, kind):
    """gate [n] by the function KINDS[kind], times up [n], into gate."""
    spread(words, _gated((gate, up, kind)), gate.shape[0], _PART)


@kernel()
def _layer_norm_some(x, g, b, eps, out, first, last):
    n, eps = x.shape[1], F32(eps)
    for i in range(first, last):
        total = F32(0)
        for k in range(n):
            total += x[i, k]
        mean = total / F32(n)
        squares = F32(0)
        for k in range(n):
            centred = x[i, k] - mean
            squares += centred * centred
        scale = F32(1) / math.sqrt(squares / F32(n) + eps)
        for k in range(n):
            out[i, k] = (x[i, k] - mean) * scale * g[k] + b[k]


_layer_normed = job(_layer_norm_some)


@kernel()
def layer_norm(words, x, g, b, eps, out):
    """x [rows, n] into out; g, b [n]"""
    spread(words, _layer_normed((x, g, b, eps, out)), x.shape[0], max(1, _PART // x.shape[1]))


@kernel()
def _rms_norm_some(x, g, eps, out, first, last):
    n, eps = x.shape[1], F32(eps)
    for i in range(first, last):
        squares = F32(0)
        for k in range(n):
            squares += x[i, k] * x[i, k]
        scale = F32(1) / math.sqrt(squares / F32(n) + eps)
        for k in range(n):
            out[i, k] = x[i, k] * scale * g[k]


_rms_normed = job(_rms_norm_some)


@kernel()
def rms_norm(words, x, g, eps, out):
    """x [rows, n] into out; g [n]"""
    spread(words, _rms_normed((x, g, eps, out)), x.shape[0], max(1, _PART // x.shape[1]))


@kernel()
def _rotate_some(x, cos, sin, out, first, last):
    _, head, seq, n = x.shape
    half = cos.shape[2]
    for i in range(first, last):
        a, h, s = i // (head * seq), i // seq % head, i % seq
        table = min(a, cos.shape[0] - 1)
        for j in range(half):
            left, right = x[a, h, s, j], x[a, h, s, j + half]
            c, t = cos[table, s, j], sin[table, s, j]
            out[a, h, s, j] = left * c - right * t
            out[a, h, s, j + half] = right * c + left * t
        for j in range(2 * half, n):
            out[a, h, s, j] = x[a, h, s, j]


_rotated = job(_rotate_some)


@kernel()
def rotate(words, x, cos, sin, out):
    """x [batch, head, seq, n] with cos, sin [batch or 1, seq, n_rot / 2] into out; channels past n_rot are copied."""
    n = x.shape[0] * x.shape[1] * x.shape[2]
    spread(words, _rotated((x, cos, sin, out)), n, max(1, _PART // x.shape[3]))
