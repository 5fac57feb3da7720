"""How far logits are from the truth, in numbers that hold on any model.

r is the float64 oracle, y what was computed, both [..., n_vocab]. Softmax does not see a constant added to a
row, so rows are centred; logits have no natural unit, so errors are in standard deviations of the oracle's row;
nothing is averaged, because an average hides the one wrong row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arrayformer.core.ops import log_softmax

Array = Any  # NumPy arrays, whose functions have types only in part

# Unit roundoff: half the distance from 1 to the next number.
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "tf32": 2.0**-11, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True)
class Worst:
    """Where an error is largest.

    size   the error, in the unit of whoever measured it
    index  where, in the array's own axes
    got, expected  the two values there
    """

    size: float
    index: tuple[int, ...]
    got: float
    expected: float


def worst(error: Array, got: Array, expected: Array) -> Worst:
    """The largest of `error`, and what stands there. An error that is no number counts as infinite."""
    if error.size == 0:
        return Worst(0.0, (), 0.0, 0.0)
    sizes = np.where(np.isnan(error), np.inf, error)
    index = np.unravel_index(int(np.argmax(sizes)), sizes.shape)
    return Worst(float(sizes[index]), tuple(map(int, index)), float(got[index]), float(expected[index]))


def spread(r: Array) -> Array:
    """[..., n_vocab] -> [..., 1], the standard deviation of each row; what errors in logits are counted in."""
    deviation = np.std(r, axis=-1, keepdims=True)
    return np.where(deviation > 0, deviation, 1.0)


def centred(z: Array) -> Array:
    """Each row without its mean."""
    with np.errstate(invalid="ignore"):
        return z - np.mean(z, axis=-1, keepdims=True)


def divergence(y: Array, r: Array) -> Worst:
    """D(y): the largest |c(y) - c(r)| in units of the oracle's spread."""
    y = y.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return worst(np.abs(centred(y) - centred(r)) / spread(r), y, r)


def offset(y: Array, r: Array) -> float:
    """O(y): the largest shift of a row's mean, relative to that mean: what centring hides."""
    ours, theirs = np.mean(y.astype(np.float64), axis=-1), np.mean(r, axis=-1)
    size = np.maximum(np.maximum(1.0, np.abs(theirs)), spread(r)[..., 0])
    return float(np.max(np.abs(ours - theirs) / size))


def tensor_error(y: Array, r: Array) -> Worst:
    """The largest |y - r| in units of the root mean square of `r`: for tensors inside the graph."""
    size = float(np.sqrt(np.mean(np.square(r)))) if r.size else 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        return worst(np.abs(y.astype(np.float64) - r) / (size or 1.0), y, r)


def kl(r: Array, y: Array) -> Array:
    """Kullback-Leibler divergence of softmax(y) from softmax(r), per row, in nats. Reported, never judged."""
    log_r, log_y = log_softmax(r), log_softmax(y.astype(np.float64))
    return np.asarray(np.sum(np.exp(log_r) * (log_r - log_y), axis=-1))


def may_win(r: Array, limit: float) -> Array:
    """The tie rule: which ids an argmax may return when each logit may be off by `limit` spreads, [..., n_vocab] bool.

    An error of at most B moves two logits towards each other by 2 B at most.
    """
    return np.asarray(r >= np.max(r, axis=-1, keepdims=True) - 2 * limit * spread(r))


def same_specials(y: Array, r: Array) -> bool:
    """Whether NaN, +inf and -inf stand in the same places: these are never compared by value."""
    return all(np.array_equal(test(y), test(r)) for test in (np.isnan, np.isposinf, np.isneginf))


def round_mantissa(x: Array, bits: int) -> Array:
    """float32 `x` rounded to `bits` stored bits of mantissa, halves to even: 10 is TF32, 7 is bfloat16.

    float64 is rounded through float32. What is not finite stays as it is.
    """
    narrow = np.asarray(x, dtype=np.float32)
    whole = np.ascontiguousarray(narrow).view(np.uint32)
    drop = 23 - bits
    half = np.uint32((1 << (drop - 1)) - 1)
    odd = (whole >> np.uint32(drop)) & np.uint32(1)
    rounded = ((whole + half + odd) >> np.uint32(drop)) << np.uint32(drop)
    return np.where(np.isfinite(narrow), rounded.view(np.float32), narrow).astype(x.dtype)


def rounded(x: Array, precision: str) -> Array:
    """`x` rounded to a precision class, in its own dtype."""
    if precision == "float16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(x.dtype)
    bits = {"tf32": 10, "bfloat16": 7}.get(precision)
    return x if bits is None else round_mantissa(x, bits)
