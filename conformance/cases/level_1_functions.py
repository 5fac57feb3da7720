"""Level 1: each function of the standard the graph calls, on its own, against NumPy in float64.

Arrays are float32 unless the case says otherwise, whatever dtype the weights have: that is what lies between them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from arrayformer.conformance.criterion import metrics
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.result import Problem
from arrayformer.conformance.run.subject import Subject
from arrayformer.core import array_api

U = metrics.UNIT["float32"]
TINY = float(np.finfo(np.float32).tiny)
SIZES = (1, 7, 33, 257)  # not one a multiple of what a processor does at once


@dataclass(frozen=True)
class Check:
    """One function on one kind of input.

    run       (namespace, *arrays) -> array, in the library
    inputs    host arrays, made anew for each size
    expected  the same in NumPy, on float64
    ulps      how many unit roundoffs of the true value it may be off; 0 is exact
    """

    run: Callable[..., Any]
    inputs: Callable[[int], tuple[np.ndarray, ...]]
    expected: Callable[..., Any]
    ulps: float = 0.0


def rng(size: int) -> np.random.Generator:
    """The same numbers on each machine."""
    return np.random.Generator(np.random.PCG64(size))


def floats(low: float, high: float) -> Callable[[int], tuple[np.ndarray, ...]]:
    """float32 in a range, its ends and zero of both signs among them."""

    def make(n: int) -> tuple[np.ndarray, ...]:
        x = rng(n).uniform(low, high, (3, n)).astype(np.float32)
        ends = np.array([low, high, -0.0, 0.0, 1.0, -1.0, low / 2, high / 2], dtype=np.float32)
        ends = ends[(ends >= low) & (ends <= high)]
        x.reshape(-1)[: len(ends)] = ends[: x.size]
        return (x,)

    return make


def scaled(n: int) -> tuple[np.ndarray, ...]:
    """float32 of all sizes, both signs."""
    g = rng(n)
    return ((g.standard_normal((3, n)) * 10.0 ** g.integers(-15, 15, (3, n))).astype(np.float32),)


def two(make: Callable[[int], tuple[np.ndarray, ...]]) -> Callable[[int], tuple[np.ndarray, ...]]:
    """Two arrays of a kind, the second in another order."""
    return lambda n: (make(n)[0], make(n)[0][::-1, ::-1].copy())


def with_specials(make: Callable[[int], tuple[np.ndarray, ...]]) -> Callable[[int], tuple[np.ndarray, ...]]:
    """The same with NaN and infinities in it."""

    def made(n: int) -> tuple[np.ndarray, ...]:
        arrays = tuple(a.copy() for a in make(n))
        for a in arrays:
            special = np.array([np.nan, np.inf, -np.inf], dtype=np.float32)[: a.size]
            a.reshape(-1)[-len(special) :] = special
        return arrays

    return made


def ids(n: int) -> tuple[np.ndarray, ...]:
    """A table, and places in it."""
    return rng(n).standard_normal((n, 5)).astype(np.float32), rng(n).integers(0, n, 2 * n + 1)


def tied(n: int) -> tuple[np.ndarray, ...]:
    """Few values, many times each: the lowest place wins."""
    return (rng(n).integers(-2, 3, (3, n)).astype(np.float32),)


def words(n: int) -> tuple[np.ndarray, ...]:
    """int32 of all sizes."""
    return (rng(n).integers(-(2**31), 2**31, (3, n)).astype(np.int32),)


def stable_descending(x: np.ndarray) -> np.ndarray:
    """argsort, the largest first, equals in their order."""
    return np.argsort(-x, axis=-1, kind="stable")


def wrapped(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """int32 arithmetic that wraps, through int64."""
    return lambda x: ((function(x.astype(np.int64)) + 2**31) % 2**32 - 2**31).astype(np.int32)


UNIT_ROW = floats(-3, 3)
CHECKS: dict[str, list[Check]] = {
    "abs": [Check(lambda xp, x: xp.abs(x), with_specials(scaled), np.abs)],
    "all": [Check(lambda xp, x: xp.all(x > 0.0, axis=-1), floats(0, 1), lambda x: np.all(x > 0, axis=-1)),
            Check(lambda xp, x: xp.all(x > -9.0, axis=-1), floats(0, 1), lambda x: np.all(x > -9, axis=-1))],
    "any": [Check(lambda xp, x: xp.any(x > 0.9, axis=-1), floats(0, 1), lambda x: np.any(x > np.float32(0.9), axis=-1)),
            Check(lambda xp, x: xp.any(x > 9.0, axis=-1), floats(0, 1), lambda x: np.any(x > 9, axis=-1))],
    "arange": [Check(lambda xp, x: xp.arange(x.shape[-1], device=array_api.device(x))
                     + 0 * xp.astype(x[0, ...], xp.int32),
                     tied, lambda x: np.arange(x.shape[-1]))],
    "argmax": [Check(lambda xp, x: xp.argmax(x, axis=-1), tied, lambda x: np.argmax(x, axis=-1)),
               Check(lambda xp, x: xp.argmax(x, axis=-1), scaled, lambda x: np.argmax(x, axis=-1))],
    "argsort": [Check(lambda xp, x: xp.argsort(x, axis=-1, descending=True, stable=True), tied, stable_descending)],
    "astype": [Check(lambda xp, x: xp.astype(x, xp.int32), floats(-1e6, 1e6), lambda x: np.trunc(x)),
               Check(lambda xp, x: xp.astype(x > 0.0, xp.float32), UNIT_ROW, lambda x: x > 0),
               Check(lambda xp, x: xp.astype(x, xp.float32), words, lambda x: x.astype(np.float32))],
    "clip": [Check(lambda xp, x: xp.clip(x, -1.0, 2.0), UNIT_ROW, lambda x: np.clip(x, -1, 2)),
             Check(lambda xp, x: xp.clip(x, -5, 7), words, lambda x: np.clip(x, -5, 7))],
    "cumulative_sum": [
        Check(lambda xp, x: xp.cumulative_sum(x, axis=-1), tied, lambda x: np.cumsum(x, axis=-1)),
        Check(lambda xp, x: xp.cumulative_sum(xp.ones_like(xp.astype(x, xp.int32)), axis=-1), tied,
              lambda x: np.cumsum(np.ones_like(x), axis=-1))],
    "exp": [Check(lambda xp, x: xp.exp(x), floats(-80, 80), np.exp, 8),
            Check(lambda xp, x: xp.exp(x), floats(-1e-3, 1e-3), np.exp, 8),
            Check(lambda xp, x: xp.exp(x), with_specials(floats(-120, -104)),
                  lambda x: np.where(np.isfinite(x), 0, np.exp(x)), 8)],
    "isfinite": [Check(lambda xp, x: xp.isfinite(x), with_specials(scaled), np.isfinite),
                 Check(lambda xp, x: xp.isfinite(x[None, ...]), with_specials(scaled), lambda x: np.isfinite(x[None]))],
    "log": [Check(lambda xp, x: xp.log(x), floats(1e-30, 1e30), np.log, 8),
            Check(lambda xp, x: xp.log(x), floats(1e-3, 0.7), np.log, 8),
            Check(lambda xp, x: xp.log(x), floats(0.999, 1.001), np.log, 8)],
    "matrix_transpose": [Check(lambda xp, x: xp.matrix_transpose(x), scaled, lambda x: x.T)],
    "max": [Check(lambda xp, x: xp.max(x, axis=-1, keepdims=True), scaled, lambda x: np.max(x, axis=-1, keepdims=True)),
            Check(lambda xp, x: xp.max(x, axis=-1), with_specials(scaled), lambda x: np.max(x, axis=-1))],
    "maximum": [Check(lambda xp, x: xp.maximum(x, 0.0), with_specials(scaled), lambda x: np.maximum(x, 0))],
    "mean": [Check(lambda xp, x: xp.mean(x, axis=-1, keepdims=True), floats(1, 2),
                   lambda x: np.mean(x, axis=-1, keepdims=True), 64)],
    "ones_like": [Check(lambda xp, x: xp.ones_like(x), with_specials(scaled), np.ones_like)],
    "permute_dims": [Check(lambda xp, x: xp.permute_dims(xp.reshape(x, (*x.shape[:-1], 1, x.shape[-1])), (1, 0, 2)),
                           scaled, lambda x: x.reshape((*x.shape[:-1], 1, x.shape[-1])).transpose(1, 0, 2)),
                     Check(lambda xp, x: xp.permute_dims(xp.reshape(x, (3, x.shape[1], 1)), (1, 2, 0)), scaled,
                           lambda x: x.reshape((3, x.shape[1], 1)).transpose(1, 2, 0))],
    "reshape": [Check(lambda xp, x: xp.reshape(x, (x.shape[1], 3)), scaled, lambda x: x.reshape((x.shape[1], 3))),
                Check(lambda xp, x: xp.reshape(xp.matrix_transpose(x), (-1,)), scaled, lambda x: x.T.reshape(-1))],
    "sqrt": [Check(lambda xp, x: xp.sqrt(x), floats(0, 1e30), np.sqrt, 2),
             Check(lambda xp, x: xp.sqrt(x), floats(1e-12, 2e-5), np.sqrt, 2)],
    "sum": [Check(lambda xp, x: xp.sum(x, axis=-1, keepdims=True), floats(0, 1),
                  lambda x: np.sum(x, axis=-1, keepdims=True), 64),
            Check(lambda xp, x: xp.sum(xp.astype(x, xp.int32), axis=-1), tied, lambda x: np.sum(x, axis=-1))],
    "take": [Check(lambda xp, x, i: xp.take(x, i, axis=0), ids, lambda x, i: x[i])],
    "take_along_axis": [
        Check(lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=-1, descending=True, stable=True), axis=-1),
              scaled,
              lambda x: np.take_along_axis(x, stable_descending(x), axis=-1))],
    "tanh": [Check(lambda xp, x: xp.tanh(x), floats(-20, 20), np.tanh, 16),
             Check(lambda xp, x: xp.tanh(x), floats(-1e-2, 1e-2), np.tanh, 16),
             Check(lambda xp, x: xp.tanh(x), with_specials(floats(20, 1e4)), np.tanh, 16)],
    "where": [Check(lambda xp, x: xp.where(x > 0.0, x, -np.inf), UNIT_ROW, lambda x: np.where(x > 0, x, -np.inf)),
              Check(lambda xp, x: xp.where(x[:1, ...] > 0.0, x, 0.0), UNIT_ROW, lambda x: np.where(x[:1] > 0, x, 0)),
              Check(lambda xp, x: xp.where(xp.isfinite(x), x, 1.0), with_specials(scaled),
                    lambda x: np.where(np.isfinite(x), x, 1))],
    "operators": [
        Check(lambda xp, a, b: a + b, two(scaled), lambda a, b: (a + b), 1.01),
        Check(lambda xp, a, b: a - b, two(scaled), lambda a, b: (a - b), 1.01),
        Check(lambda xp, a, b: a * b, two(floats(-3, 3)), lambda a, b: a * b, 1.01),
        Check(lambda xp, a, b: a / b, two(floats(1, 9)), lambda a, b: a / b, 2),
        Check(lambda xp, a: 2.0 - (1.0 + 0.5 * -a) / 4.0, floats(-3, 3), lambda a: 2 - (1 - 0.5 * a) / 4, 8),
        Check(lambda xp, a, b: (a >= b) & (b < 1.0), two(tied), lambda a, b: (a >= b) & (b < 1)),
        Check(lambda xp, a, b: (a == b) | (a > 1.0), two(tied), lambda a, b: (a == b) | (a > 1)),
        Check(lambda xp, a: a[..., None, :1] * 1.0, scaled, lambda a: a[..., None, :1]),
        Check(lambda xp, a: a * 0x7FEB352D, words, wrapped(lambda a: a * 0x7FEB352D)),
        Check(lambda xp, a: (a ^ (a >> 16 & 0xFFFF)) + 3, words, wrapped(lambda a: (a ^ (a >> 16 & 0xFFFF)) + 3))],
}  # fmt: skip


@case(1, "function", over=sorted(CHECKS))
def function(subject: Subject, judge: Judge, name: str) -> None:
    """A function of the standard gives the right values.

    Exact where it can be, else within a few unit roundoffs, for several lengths (one, where each is compiled); NaN and
    infinities stand where NumPy has them; the dtype is kept.
    """
    several(
        subject,
        judge,
        name,
        [
            (check, check.inputs(n), n)
            for check in CHECKS[name]
            for n in (SIZES[-1:] if subject.backend.compiles else SIZES)
        ],
    )


def several(subject: Subject, judge: Judge, name: str, runs: list[tuple[Check, tuple[np.ndarray, ...], int]]) -> None:
    """Several checks of one function, as one call."""
    placed = [tuple(subject.put(h, "int32" if h.dtype == np.int32 else None) for h in hosts) for _, hosts, _ in runs]

    def together(arrays: Any) -> list[Any]:
        pairs = zip(runs, arrays, strict=True)
        return [run[0].run(array_api.array_namespace(a[0]), *a) for run, a in pairs]

    [(way, results)] = subject.call(together, placed).items()
    for (check, hosts, size), arrays, got in zip(runs, placed, results, strict=True):
        wide = [h.astype(np.float64) if h.dtype.kind == "f" else h for h in hosts]
        what = f"{name} of {size} values, {way}"
        judge.array(subject, got, what)
        expected = np.asarray(check.expected(*wide))
        compare(judge, subject.get(got), expected, check.ulps, what, floating=hosts[0].dtype.kind == "f")
        for host, array in zip(hosts, arrays, strict=True):
            unchanged = np.array_equal(subject.get(array), host, equal_nan=host.dtype.kind == "f")
            judge.require(unchanged, f"{what}: it changed its argument")


def compare(judge: Judge, got: np.ndarray, expected: np.ndarray, ulps: float, what: str, floating: bool = True) -> None:
    """Raises Problem unless `got` is `expected`, to `ulps` unit roundoffs where it is a float."""
    if got.shape != expected.shape:
        raise Problem(f"{what}: the shape is {got.shape}, not {expected.shape}")
    if got.dtype.kind == "f" and got.dtype != np.float32 and floating:
        raise Problem(f"{what}: float32 went in, {got.dtype} came out")
    expected = expected.astype(np.float64)
    wide = got.astype(np.float64)
    if not metrics.same_specials(wide, expected):
        raise Problem(f"{what}: NaN or infinity where there is none in truth, or the other way round")
    finite = np.isfinite(expected)
    error = np.where(finite, np.abs(np.where(finite, wide - expected, 0.0)), 0.0)
    size = np.where(finite, np.abs(expected), 0.0) * U + (TINY if ulps else 0.0)
    far = metrics.worst(error / np.where(size > 0, size, U * TINY), wide, expected)
    if ulps:
        judge.metric(f"{what.split(' of ')[0]} ulps", far.size, ulps)
    if far.size > ulps:
        raise Problem(
            f"{what}: at {list(far.index)} got {far.got:.9g}, expected {far.expected:.9g}"
            + (f" ({far.size:.3g} unit roundoffs off, limit {ulps:g})" if ulps else ""),
            got=far.got, expected=far.expected,
        )  # fmt: skip
