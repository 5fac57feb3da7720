"""Level 1: what holds for every function of the standard: names, dtypes, special values, sums, casts."""

from typing import Any

import numpy as np

from arrayformer.conformance.criterion import metrics
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.subject import Subject
from arrayformer.core import array_api


@case(1, "namespace")
def namespace(subject: Subject, judge: Judge) -> None:
    """The namespace has every function the graph calls.

    What is missing is named; a backend can supply it with `register_namespace`.
    """
    xp: Any = array_api.array_namespace(subject.put(np.zeros(1, dtype=np.float32)))
    missing = [name for name in array_api.functions() if not hasattr(xp, name)]
    judge.metric("functions missing", len(missing), 0)
    total = len(array_api.functions())
    judge.require(not missing, f"the namespace lacks {len(missing)} of {total} names: {', '.join(missing)}")


@case(1, "scalars")
def scalars(subject: Subject, judge: Judge) -> None:
    """A Python number next to a float32 array leaves it float32.

    NumPy's own float64 scalars would not: a graph that is float64 somewhere is slower and no longer the same graph.
    """

    def several(x: Any) -> tuple[Any, ...]:
        return x * 0.5, 1 + x, x / 8.0, 2.0 - x, -x, x * x, (x + 1e-5) / 3.0

    for way, results in subject.call(several, subject.put(np.ones(3, dtype=np.float32))).items():
        for i, x in enumerate(results):
            judge.array(subject, x, f"expression {i} of a float32 array and a Python number, {way},", "float32")


@case(1, "specials")
def specials(subject: Subject, judge: Judge) -> None:
    """NaN, infinities and overflow come out where they come out of NumPy.

    A library that assumes there are no NaN (fast-math) loses the one sign that something went wrong.
    """
    x = np.array([0.0, np.nan, np.inf, -np.inf, 3e38, -3e38, 1.0], dtype=np.float32)

    def several(a: Any) -> list[Any]:
        xp = array_api.array_namespace(a)
        return [a - a, a * 0.0, a + a, xp.exp(a), xp.tanh(a), a / (a * 0.0 + 1.0), xp.isfinite(a), xp.abs(a)]

    with np.errstate(all="ignore"):
        want = [x - x, x * 0, x + x, np.exp(x), np.tanh(x), x / (x * 0 + 1), np.isfinite(x), np.abs(x)]
    for way, results in subject.call(several, subject.put(x)).items():
        for i, (got, true) in enumerate(zip(results, want, strict=True)):
            host = subject.get(got)
            same = metrics.same_specials(host, true) if true.dtype.kind == "f" else np.array_equal(host, true)
            judge.require(
                same, f"expression {i} of {x.tolist()}, {way}: got {host.tolist()}, NumPy has {true.tolist()}"
            )


@case(1, "long-sums")
def long_sums(subject: Subject, judge: Judge) -> None:
    """Sums of many numbers lose nothing to a narrow accumulator.

    Ones add up exactly in float32 up to 2^24; a float16 accumulator stalls at 2048.
    """
    for n in (2048, 4096, 65536):
        ones = subject.put(np.ones((2, n), dtype=np.float32))
        for way, got in subject.call(lambda x: x @ array_api.array_namespace(x).matrix_transpose(x), ones).items():
            host = subject.get(got)
            judge.require(
                bool(np.all(host == n)), f"{n} ones times {n} ones, {way}, is {host[0, 0]}: a narrow accumulator"
            )
        for way, got in subject.call(lambda x: array_api.array_namespace(x).sum(x, axis=-1), ones).items():
            judge.require(bool(np.all(subject.get(got) == n)), f"the sum of {n} ones, {way}, is {subject.get(got)[0]}")


@case(1, "long-rows")
def long_rows(subject: Subject, judge: Judge) -> None:
    """Functions of a row of 50,257 numbers see all of it, to the last: maximum, its place, sums, rows taken.

    A place kept in 16 bits, or a last block that is left out, shows only here.
    """
    n = 50257
    rng = np.random.Generator(np.random.PCG64(n))
    x = rng.integers(-1000, 1000, (3, n)).astype(np.float32)
    x[0, -1], x[1, 40000], x[2, 32768] = 5000, 5000, 5000
    ids = np.array([n - 1, 40000, 32768, 0])

    def several(a: Any, i: Any) -> list[Any]:
        xp = array_api.array_namespace(a)
        counted = xp.cumulative_sum(xp.astype(a > 0.0, xp.int32), axis=-1)
        return [xp.max(a, axis=-1), xp.argmax(a, axis=-1), xp.sum(a, axis=-1), counted[..., -1:],
                xp.take(xp.matrix_transpose(a), i, axis=0)]  # fmt: skip

    want = [x.max(axis=-1), x.argmax(axis=-1), x.sum(axis=-1, dtype=np.float64), (x > 0).sum(axis=-1, keepdims=True),
            x.T[ids]]  # fmt: skip
    names = ("max", "argmax", "sum", "cumulative_sum", "take")
    for way, results in subject.call(several, subject.put(x), subject.put(ids)).items():
        for name, got, true in zip(names, results, want, strict=True):
            host = subject.get(got)
            # Whole numbers below 2^24: sums are exact in any order.
            judge.require(
                np.array_equal(host, true), f"{name} of {n} numbers, {way}: {host.tolist()}, not {true.tolist()}"
            )


@case(1, "casts", over=("float16", "bfloat16"))
def casts(subject: Subject, judge: Judge, dtype: str) -> None:
    """Every float16 or bfloat16 goes to float32 and back unchanged; float32 is rounded to the nearest, halves to even.

    Weights and cache have that dtype while everything between them is float32.
    """
    low = subject.in_dtype(dtype)
    patterns = np.arange(65536, dtype=np.uint16)
    wide = (
        patterns.view(np.float16).astype(np.float32)
        if dtype == "float16"
        else (patterns.astype(np.uint32) << 16).view(np.float32)
    )
    tiny = float(np.finfo(np.float16).tiny if dtype == "float16" else np.finfo(np.float32).tiny)
    wide = wide[np.isfinite(wide) & ((np.abs(wide) >= tiny) | (wide == 0))]
    x = low.put(wide)

    def there_and_back(a: Any) -> Any:
        xp = array_api.array_namespace(a)
        return xp.astype(xp.astype(a, low.backend.native(dtype)), xp.float32)

    halfway = (wide[:-1].astype(np.float64) + wide[1:].astype(np.float64)) / 2
    halfway = halfway.astype(np.float32)
    halfway = halfway[np.abs(halfway) >= tiny]
    for way, got in low.call(there_and_back, x).items():
        judge.require(np.array_equal(low.get(got), wide), f"a {dtype} changes on the way to float32 and back, {way}")
    for way, got in low.call(there_and_back, low.put(halfway)).items():
        want = metrics.rounded(halfway, dtype)
        judge.require(
            np.array_equal(low.get(got), want), f"float32 to {dtype}, {way}: not rounded to nearest, halves to even"
        )
