"""Level 1 in each narrower dtype the backend offers: a class says how operands are rounded, not that sums may be."""

from typing import Any

import numpy as np

from arrayformer.conformance.cases.bounds import normal
from arrayformer.conformance.cases.level_1_indexing import write as written
from arrayformer.conformance.cases.level_1_real_attention import Sizes, attend
from arrayformer.conformance.cases.level_1_real_rows import rms_norm
from arrayformer.conformance.cases.level_1_rows import activation, norm
from arrayformer.conformance.cases.level_2_graph import other_dtype
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.calls import Calls, whose
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.result import Problem
from arrayformer.conformance.run.subject import Host, Subject

NARROW = ("float16", "bfloat16")


@case(1, "narrow-sums", over=NARROW)
def narrow_sums(subject: Subject, judge: Judge, dtype: str) -> None:
    """Products of float16 and bfloat16 are added up in float32.

    16384 and then many quarters, and 16384 taken away again: a sum kept in 16 bits loses the quarters.
    """
    low = other_dtype(subject, dtype)
    for n in (34, 258, 1026, 4098):
        x = np.ones((1, 3, n), dtype=np.float32)
        w = np.full((n, 5), 0.25, dtype=np.float32)
        w[0], w[-1] = 16384, -16384
        want = 0.25 * (n - 2)
        for name, weights in (("linear", (w, np.zeros(5, dtype=np.float32))), ("unembed", (w.T.copy(),))):
            args = [low.put(x), *(low.put(a, low.backend.dtype) for a in weights)]
            for way, got in low.call(low.function(name), *args).items():
                far = np.abs(low.get(got) - want).max()
                judge.require(
                    bool(far <= want / 64),
                    f"{whose(low, name)}, {way}, in {dtype}: {n} products are {low.get(got)[0, 0, 0]}, not {want}: "
                    "the sum was kept in fewer than 32 bits",
                )


@case(1, "real-dtype", over=NARROW, real=True)
def real_dtype(subject: Subject, judge: Judge, dtype: str) -> None:
    """With narrow weights what lies between them is computed as in float32, and the cache holds what is written.

    Activations of large numbers, norms of wide rows and of offsets, attention behind a cache, writes.
    """
    low = other_dtype(subject, dtype)
    for name in ("gelu", "gelu_erf", "silu", "relu"):
        activation(low, judge, name)
    with Calls(low, judge) as calls:
        for n in (64, 768, 2048):
            x, g, b = 5 * normal(n, 3, n), 1 + normal(n + 1, n) / 3, normal(n + 2, n)
            for kind, host in (("normal", x), ("large", 300 * x), ("around 3e4", x + np.float32(3e4))):
                norm(calls, host, g, b, 1e-5, f"in {dtype}, {n} wide, {kind}")
            rms_norm(calls, 300 * x, g, f"in {dtype}, {n} wide, large")
    written(low, judge)
    with Calls(low, judge) as calls:
        for sizes in (Sizes(2, 4, 2, 1, 300, 64), Sizes(1, 3, 3, 70, 70, 64, "whole"), Sizes(2, 2, 1, 5, 600, 128)):
            attend(calls, sizes)


@case(1, "subnormals")
def subnormals(subject: Subject, judge: Judge) -> None:
    """Numbers below the smallest normal one: whether they are kept is reported, that they are not garbage is judged."""
    x = np.array([1e-38, 2e-39, 1e-40, -3e-41, 1.4e-45], dtype=np.float32)

    def several(a: Any) -> list[Any]:
        return [a * 0.5, a + a, a * 1.0]

    want = [x * np.float32(0.5), x + x, x]
    kept = True
    for way, results in subject.call(several, subject.put(x)).items():
        for i, (got, true) in enumerate(zip(results, want, strict=True)):
            y: Host = subject.get(got)
            same = (y == true) | (y == 0)
            if not same.all():
                raise Problem(f"expression {i} of {x.tolist()}, {way}: got {y.tolist()}, neither {true.tolist()} nor 0")
            kept &= bool(np.array_equal(y, true))
    judge.metric("subnormals kept", float(kept))
