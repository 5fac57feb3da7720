"""Level 1 at the sizes of real models: norms, activations, softmax and the standard's functions of long rows."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from arrayformer.conformance.cases.at_size import around, rows
from arrayformer.conformance.cases.bounds import U, normal
from arrayformer.conformance.cases.level_1_functions import Check, compare
from arrayformer.conformance.cases.level_1_real_products import laid, layouts
from arrayformer.conformance.cases.level_1_rows import ACTIVATIONS, norm, probabilities
from arrayformer.conformance.coverage.models import norm_widths, vocabularies
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.calls import Calls, Views, as_given
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.subject import Host, Subject
from arrayformer.core import array_api, ops


def norm_sizes() -> Iterator[tuple[int, int]]:
    """(rows, width): each width of a real model, and counts of rows up to a batch of real prompts."""
    for width in (*norm_widths(), 64, 80, 96, 2560, 4096):
        yield 3, width
    for n in (*range(1, 18), *around(32, 64, 128, 256), 384, *around(512, 1024, 2048), 3000, *around(4096)):
        yield n, 48
    for n in (1030, 8192, 8193, 16384, 20000, 32768, 32769, 65535, 65536, 65537, 131_072):
        yield n, 24
    yield 1040, 768


@case(1, "real-layer_norm", real=True, needs="layer_norm")
def real_layer_norm(subject: Subject, judge: Judge) -> None:
    """Layer norms as wide as those of real models, and of as many rows as a batch of prompts has: to 2^17."""
    with Calls(subject, judge) as calls:
        for n, width in norm_sizes():
            x, _, _ = rows(n, width, width)
            g, b = 1 + normal(n, width) / 3, normal(n + 1, width)
            norm(calls, x, g, b, 1e-5, f"{n} rows, {width} wide")


@case(1, "real-rms_norm", real=True, needs="rms_norm")
def real_rms_norm(subject: Subject, judge: Judge) -> None:
    """RMS norms likewise."""
    with Calls(subject, judge) as calls:
        for n, width in norm_sizes():
            rms_norm(calls, rows(n, width, width)[0], 1 + normal(n, width) / 3, f"{n} rows, {width} wide")


def rms_norm(
    calls: Calls, x: Host, g: Host, what: str, *, host: Host | None = None, views: Views = as_given
) -> None:  # fmt: skip
    """One RMS norm of `x`, of which `views` are made on the device from `host`."""
    exact = np.asarray(ops.rms_norm(x.astype(np.float64), g.astype(np.float64), 1e-6))
    hosts, bound = (x if host is None else host, g), 2 * U * np.abs(exact) + 1e-30
    calls.expect("rms_norm", *hosts, exact=exact, bound=bound, limit="layer_norm", what=what, views=views, eps=1e-6)


@case(1, "real-row-views", real=True)
def real_row_views(subject: Subject, judge: Judge) -> None:
    """A layer norm, an activation and a softmax read a view, turned, stepped or cut out, as what it stands for."""
    n, width = 33, 64
    x = normal(5, n, width)
    g, b = 1 + normal(6, width) / 3, normal(7, width)
    with Calls(subject, judge) as calls:
        for kind, (shape, views) in layouts(n, width).items():
            norm(calls, x, g, b, 1e-5, f"{n} rows, {width} wide, {kind}", host=laid(x, shape), views=views)
            rms_norm(calls, x, g, f"{n} rows, {width} wide, {kind}", host=laid(x, shape), views=views)
            for name in ("gelu", "silu"):
                exact, bound = np.asarray(ACTIVATIONS[name](x.astype(np.float64))), U * np.maximum(np.abs(x), 1e-3)
                calls.expect(name, laid(x, shape), exact=exact, bound=bound, limit="activation", what=kind, views=views)
            probabilities(calls, x, f"{width} numbers, {kind}", host=laid(x, shape), views=views)


@case(1, "real-activation", over=sorted(ACTIVATIONS), real=True)
def real_activation(subject: Subject, judge: Judge, name: str) -> None:
    """An activation of as many numbers as a feed-forward network has in a batch of prompts, beyond 2^20 and 2^24.

    1,009 different numbers follow one another, so that each of the others is judged too.
    """
    few, exact = some_numbers(name)
    for shape in shapes_of(name == "gelu")[:: 3 if subject.backend.compiles else 1]:
        at = np.arange(int(np.prod(shape))).reshape(shape) % len(few)
        bound = (U * np.maximum(np.abs(few), 1e-3))[at]
        what = f"{at.size} numbers, {shape[1]} rows of {shape[2]}"
        with Calls(subject, judge) as calls:
            calls.expect(name, few[at], exact=exact[at], bound=bound, limit="activation", what=what)


@case(1, "real-gated", real=True, needs="gated")
def real_gated(subject: Subject, judge: Judge) -> None:
    """The middle of a gated network, likewise: gate and up are not exchanged."""
    few, exact = some_numbers("silu")
    silu = subject.function("silu")
    for shape in shapes_of(True)[:: 3 if subject.backend.compiles else 1]:
        at = np.arange(int(np.prod(shape))).reshape(shape) % len(few)
        other = few[(7 * np.arange(len(few)) + 3) % len(few)]
        bound = (U * np.maximum(np.abs(few), 1e-3) * np.maximum(np.abs(other), 1e-3))[at]
        what = f"{at.size} numbers, {shape[1]} rows of {shape[2]}"
        with Calls(subject, judge) as calls:
            calls.expect(
                "gated", few[at], other[at], exact=(exact * other)[at], bound=bound, limit="activation", what=what,
                activation=silu,
            )  # fmt: skip


def some_numbers(name: str) -> tuple[Host, Host]:
    """1,009 numbers, and what the activation `name` makes of them."""
    few = np.concatenate([np.linspace(-12, 12, 1000), np.logspace(-6, 3, 9)]).astype(np.float32)
    with np.errstate(all="ignore"):
        return few, np.asarray(ACTIVATIONS[name](few.astype(np.float64)))


def shapes_of(every: bool) -> list[tuple[int, int, int]]:
    """[batch, seq, width] of some and, if asked to, of each power of two and beyond it up to 2^24."""
    shapes = [(1, 1, 3072), (2, 16, 8192), (1, 257, 4099), (1, 1025, 3072)]
    if every:
        shapes += [(1, 1 << i // 2, 1 << (i + 1) // 2) for i in range(10, 24)]
        shapes += [(1, 1 << i // 2, 3 * (1 << (i + 1) // 2) // 2 + 1) for i in range(10, 24)]
        shapes.append((1, 2049, 8192))
    return shapes


@case(1, "real-softmax", real=True)
def real_softmax(subject: Subject, judge: Judge) -> None:
    """Softmax of as many scores as a context has, and of a whole vocabulary: sums of many small numbers."""
    with Calls(subject, judge) as calls:
        for width in (*around(64, 128, 256, 512, 1024, 2048), 4096, 8192, 8193):
            probabilities(calls, 3 * normal(width, 5, width), f"{width} scores")
        for n_vocab in vocabularies():
            probabilities(calls, 3 * normal(n_vocab, 2, n_vocab), f"{n_vocab} scores")
        for n in (1025, 4097, 66_000):
            probabilities(calls, 3 * rows(n, 40, 1)[0], f"40 scores, {n} rows")


LENGTHS = (*around(64, 128, 256, 512, 1024, 2048), *around(4096, 8192, 16384), 40960, *around(32768, 65536), 131_072)


@case(1, "real-arange", real=True)
def real_arange(subject: Subject, judge: Judge) -> None:
    """Counting to the length of any context, and past 2^17: a counter in a narrow float loses every other number."""
    for n in (*LENGTHS, 131_073, 151_936):
        [(way, got)] = subject.call(lambda x, n=n: _arange(x, n), subject.put(np.zeros(1, dtype=np.float32))).items()
        host = subject.get(got)
        wrong = np.flatnonzero(host != np.arange(n)) if host.shape == (n,) else [0]
        judge.require(not len(wrong), f"arange({n}), {way}: number {wrong[:1]} is {host[wrong[:1]]}")


def _arange(x: Any, n: int) -> Any:
    return array_api.array_namespace(x).arange(n, device=array_api.device(x))


def near(n: int) -> tuple[Host, ...]:
    """Numbers that are all different and hard to tell apart in 16 bits."""
    return (np.random.Generator(np.random.PCG64(n)).permutation(2 * n).reshape(2, n).astype(np.float32) + 2.0**20,)


def counts(n: int) -> tuple[Host, ...]:
    """Small whole numbers of both signs: sums are exact in any order."""
    return (np.random.Generator(np.random.PCG64(n)).integers(-2, 4, (2, n)).astype(np.float32),)


def between(low: float, high: float) -> Callable[[int], tuple[Host, ...]]:
    """Numbers of all sizes between two positive ones."""

    def make(n: int) -> tuple[Host, ...]:
        return (np.geomspace(low, high, 2 * n).astype(np.float32).reshape(2, n),)

    return make


# Each over the lengths of real rows, and with as many numbers as a real tensor has.
LONG: dict[str, list[Check]] = {
    "cumulative_sum": [
        Check(lambda xp, x: xp.cumulative_sum(x, axis=-1), counts, lambda x: np.cumsum(x, axis=-1)),
        Check(lambda xp, x: xp.cumulative_sum(xp.astype(x, xp.int32), axis=-1), counts,
              lambda x: np.cumsum(x, axis=-1))],
    "sum": [Check(lambda xp, x: xp.sum(x, axis=-1), counts, lambda x: np.sum(x, axis=-1))],
    "mean": [Check(lambda xp, x: xp.mean(x * 0.0 + 3.0, axis=-1, keepdims=True), counts,
                   lambda x: np.full((2, 1), 3.0), 4)],
    "max": [Check(lambda xp, x: xp.max(x, axis=-1), near, lambda x: np.max(x, axis=-1))],
    "argmax": [Check(lambda xp, x: xp.argmax(x, axis=-1), near, lambda x: np.argmax(x, axis=-1)),
               Check(lambda xp, x: xp.argmax(x * 0.0 + 1.0, axis=-1), near, lambda x: np.zeros(2))],
    "argsort": [Check(lambda xp, x: xp.argsort(x, axis=-1, descending=True, stable=True), near,
                      lambda x: np.argsort(-x, axis=-1, kind="stable")),
                Check(lambda xp, x: xp.argsort(x, axis=-1, descending=True, stable=True), counts,
                      lambda x: np.argsort(-x, axis=-1, kind="stable"))],
    "any": [Check(lambda xp, x: xp.any(x > 3.0 * x.shape[-1], axis=-1), lambda n: (_one_at_end(n),),
                  lambda x: np.array([True, True]))],
    "all": [Check(lambda xp, x: xp.all(x < 3.0 * x.shape[-1], axis=-1), lambda n: (_one_at_end(n),),
                  lambda x: np.array([False, False]))],
    "take_along_axis": [
        Check(lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=-1, descending=True, stable=True), axis=-1), near,
              lambda x: -np.sort(-x, axis=-1))],
    "where": [Check(lambda xp, x: xp.where(x > 0.0, x, -1.0), counts, lambda x: np.where(x > 0, x, -1.0))],
    "log": [Check(lambda xp, x: xp.log(x), between(1e-3, 1e6), np.log, 8),
            Check(lambda xp, x: xp.log(x), between(1.2e-38, 1e-3), np.log, 8),
            Check(lambda xp, x: xp.log(x), between(1e6, 3e38), np.log, 8)],
    "exp": [Check(lambda xp, x: xp.exp(-x), between(1e-6, 80), lambda x: np.exp(-x), 8),
            Check(lambda xp, x: xp.exp(x), between(1e-6, 80), np.exp, 8)],
    "tanh": [Check(lambda xp, x: xp.tanh(x), between(1e-6, 20), np.tanh, 16)],
    "sqrt": [Check(lambda xp, x: xp.sqrt(x), between(1e-30, 1e30), np.sqrt, 2)],
}  # fmt: skip


def _one_at_end(n: int) -> Host:
    """The largest number stands last."""
    x = np.tile(np.arange(n, dtype=np.float32), (2, 1))
    x[:, -1] = 4.0 * n
    return x


@case(1, "real-function", over=sorted(LONG), real=True)
def real_function(subject: Subject, judge: Judge, name: str) -> None:
    """A function of the standard on rows as long as a context or a vocabulary, and on more than 2^20 numbers.

    At each power of two and beside it: there libraries change the way in which they compute.
    """
    lengths = (*LENGTHS[::4], *vocabularies()) if subject.backend.compiles else (*LENGTHS, *vocabularies())
    numbers = [] if "arg" in name or "along" in name else [1 << 18, 1 << 19, 1 << 20]
    for n in (*lengths, *(size + more for size in numbers for more in (0, 3))):
        with Calls(subject, judge) as calls:
            for check in LONG[name]:
                _long(calls, name, check, n)


def _long(calls: Calls, name: str, check: Check, n: int) -> None:
    [x] = check.inputs(n)
    expected = np.asarray(check.expected(x.astype(np.float64)))

    def judged(way: str, got: Any) -> None:
        what = f"{name} of {n} values, {way}"
        calls.judge.array(calls.subject, got, what)
        compare(calls.judge, calls.subject.get(got), expected, check.ulps, what)

    calls.check(lambda a: check.run(array_api.array_namespace(a), a), [calls.subject.put(x)], judged)
