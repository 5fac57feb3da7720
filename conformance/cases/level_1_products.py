"""Level 1: the graph's matrix products: linear layers, the head, attention; as this backend has them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from arrayformer.conformance.cases.bounds import U, class_unit, kept, normal, product_bound
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.calls import Calls
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.result import Problem
from arrayformer.conformance.run.subject import Host, Subject
from arrayformer.core import ops
from arrayformer.core.array_api import array_namespace

WIDTHS = ((1, 1), (3, 5), (16, 48), (33, 31), (64, 192), (129, 65), (768, 64), (3072, 8))


@case(1, "linear")
def linear(subject: Subject, judge: Judge) -> None:
    """Linear layers of many shapes, within a bound on each element.

    Told from products in TF32 or bfloat16, and from a forgotten bias.
    """
    dtype = subject.backend.dtype
    shapes = [*((2, 3, *width) for width in WIDTHS), (1, 1, 3072, 8)]  # one row: its products are a decoder's own
    with Calls(subject, judge) as calls:
        for i, (batch, seq, n_in, n_out) in enumerate(shapes):
            x, w, b = normal(i, batch, seq, n_in), normal(i + 50, n_in, n_out), normal(i + 99, n_out)
            w, b = kept(subject, w), kept(subject, b)
            exact = x.astype(np.float64) @ w + b
            bound = product_bound(subject, np.abs(x).astype(np.float64) @ np.abs(w) + np.abs(b), n_in)
            what = f"{batch * seq} rows, {n_in} to {n_out}"
            calls.expect(
                "linear", x, w, b, exact=exact, bound=bound, limit="product", what=what, dtypes=[None, dtype, dtype]
            )


@case(1, "unembed")
def unembed(subject: Subject, judge: Judge) -> None:
    """The product with the embedding, for a whole vocabulary of 50,257 and for small ones.

    The last product is the one libraries most like to shorten.
    """
    shapes = ((2, 3, 1, 1), (2, 3, 16, 31), (2, 3, 48, 257), (2, 3, 64, 512), (2, 3, 20, 50257), (1, 1, 20, 50257))
    with Calls(subject, judge) as calls:
        for i, (batch, seq, n_embd, n_vocab) in enumerate(shapes):
            x, wte = normal(i, batch, seq, n_embd), kept(subject, normal(i + 50, n_vocab, n_embd))
            exact = x.astype(np.float64) @ wte.T.astype(np.float64)
            bound = product_bound(subject, np.abs(x).astype(np.float64) @ np.abs(wte).T, n_embd)
            what, dtypes = f"{batch * seq} rows, {n_embd} to {n_vocab}", [None, subject.backend.dtype]
            calls.expect("unembed", x, wte, exact=exact, bound=bound, limit="product", what=what, dtypes=dtypes)


@case(1, "identity")
def identity(subject: Subject, judge: Judge) -> None:
    """A matrix times the identity is that matrix, bit for bit.

    The exact detector of reduced precision: TF32 and float16 change the 11th bit, bfloat16 the 8th.
    """
    if class_unit(subject):
        reduced_identity(subject, judge)
        return
    with Calls(subject, judge) as calls:
        for n in (16, 64, 257):
            for name, function, hosts, want in identities(subject, n):
                check = exactly(subject, judge, want, f"{name} of width {n}")
                calls.check(function, [subject.put(h) for h in hosts], check)


def identities(subject: Subject, n: int) -> list[tuple[str, Callable[..., Any], tuple[Host, ...], Host]]:
    """Products with the identity of width `n`: name, function, arguments, and what they give."""
    a, eye = normal(n, 5, n), np.eye(n, dtype=np.float32)
    square, zero = normal(n + 1, n, n), np.zeros(n, dtype=np.float32)
    linear, unembed = subject.function("linear"), subject.function("unembed")
    return [
        ("A @ I", lambda x, y: x @ y, (a, eye), a),
        ("I @ A", lambda x, y: x @ y, (eye, square), square),
        ("linear(A, I)", linear, (a, eye, zero), a),
        ("linear(I, A)", linear, (eye, square, zero), square),
        ("unembed(A, I)", unembed, (a, eye), a),
        ("unembed(I, A)", unembed, (eye, square), square.T),
    ]


def reduced_identity(subject: Subject, judge: Judge) -> None:
    """The same for a declared class: what comes out is the matrix rounded to the class, no further."""
    a, eye = normal(3, 5, 64), np.eye(64, dtype=np.float32)
    dtype = subject.backend.dtype
    for way, got in subject.call(subject.function("unembed"), subject.put(a), subject.put(eye, dtype)).items():
        error = np.max(np.abs(subject.get(got) - a) / np.abs(a))
        limit = 1.01 * class_unit(subject)
        fine = judge.metric("identity", float(error), limit)
        judge.require(
            fine,
            f"unembed(A, I), {way}: off by {error:.3g}, more than {subject.backend.precision} explains ({limit:.3g})",
        )


def exactly(subject: Subject, judge: Judge, want: Host, what: str) -> Callable[[str, Any], None]:
    """A check that raises Problem, naming the precision, unless what comes out is `want`."""

    def check(way: str, got: Any) -> None:
        y = subject.get(got)
        if np.array_equal(y, want):
            return
        if y.shape != want.shape:
            raise Problem(f"{what}, {way}: the shape is {y.shape}, not {want.shape}")
        error = float(np.max(np.abs(y.astype(np.float64) - want) / np.maximum(np.abs(want), 1e-6)))
        judge.metric("identity", error, 0.0)
        bands = (("TF32 or float16", 2e-4, 1e-3), ("bfloat16", 2e-3, 1e-2))
        seen = next((name for name, low, high in bands if low <= error <= high), "")
        raise Problem(
            f"{what}, {way}, is not A: off by {error:.3g}" + (f"; looks like {seen} products" if seen else "")
        )

    return check


def attention_inputs(seed: int, shape: tuple[int, int, int, int, int]) -> tuple[Host, Host, Host]:
    """q [batch, head, query, head_dim], k and v [batch, head, key, head_dim], with scores of about 4."""
    batch, head, query, key, width = shape
    q = 2 * normal(seed, batch, head, query, width)
    return q, 2 * normal(seed + 1, batch, head, key, width), normal(seed + 2, batch, head, key, width)


def places(kind: str, batch: int, query: int, key: int) -> Host:
    """Positions: the whole text at once, the end of it, or rows of different lengths in a cache."""
    if kind in ("whole", "large"):
        return np.arange(query)
    if kind == "end":
        return np.arange(query) + key - query
    start = np.arange(batch)[:, None] * ((key - query) // max(1, batch - 1))
    return start + np.arange(query)


SHAPES = (
    ("whole", (1, 2, 1, 1, 8)), ("whole", (2, 3, 33, 33, 16)), ("whole", (1, 1, 130, 130, 64)),
    ("large", (1, 2, 9, 9, 16)), ("end", (2, 2, 5, 40, 12)), ("end", (1, 2, 1, 64, 16)), ("end", (1, 1, 3, 1100, 16)),
    ("ragged", (5, 2, 1, 33, 16)), ("ragged", (4, 3, 7, 48, 20)),
)  # fmt: skip


@case(1, "attention")
def attention(subject: Subject, judge: Judge) -> None:
    """Causal attention of whole texts, of their ends, and of ragged rows in a cache.

    Against float64, in units of a NumPy float32 run. What lies behind the last position is poisoned.
    """
    special = {"scale": 0.1, "upcast": True}
    with Calls(subject, judge) as calls:
        for seed, (kind, shape) in enumerate(SHAPES):
            choices: tuple[dict[str, Any], ...] = ({}, special) if seed in (1, 7) else ({},)
            for how in choices[-1:] if subject.backend.compiles else choices:
                attend(calls, seed, kind, shape, how)


def attend(calls: Calls, seed: int, kind: str, shape: tuple[int, int, int, int, int], how: dict[str, Any]) -> None:
    """One attention."""
    batch, _, query, key, _ = shape
    q, k, v = attention_inputs(seed, shape)
    if kind == "large":  # scores up to 262144 that float32 holds exactly, and float16 not at all
        q, k = 256 * np.sign(q), 256 * np.sign(k)
    position = places(kind, batch, query, key)
    last = position.max(axis=-1, keepdims=True) if kind == "ragged" else np.array([[key]])
    unseen = np.arange(key) > last
    unseen = np.broadcast_to(unseen, (batch, key))
    clean: list[Any] = [np.where(unseen[:, None, :, None], np.float32(0), x).astype(np.float32) for x in (k, v)]
    dirty = [np.where(unseen[:, None, :, None], np.float32(1e30), x).astype(np.float32) for x in (k, v)]
    k, v = clean
    double = [x.astype(np.float64) for x in (q, k, v)]
    exact = ops.causal_attention(double[0], double[1], double[2], position, **how)
    honest = ops.causal_attention(q, k, v, position, **how)
    size = np.abs(exact).max()
    unit = max(float(np.abs(honest - exact).max()), 4 * U * size, class_unit(calls.subject) * size * 4)
    what = f"{kind}, {shape[2]} queries, {shape[3]} keys, {shape[4]} wide" + (f", {how}" if how else "")
    hosts = [q, *dirty, position]
    calls.expect("causal_attention", *hosts, exact=exact, bound=unit, limit="attention", what=what, **how)


@case(1, "views")
def views(subject: Subject, judge: Judge) -> None:
    """Products, norms and sums of transposed and sliced arrays equal those of copies.

    A library that forgets the strides of a view computes something else.
    """
    x = normal(9, 6, 10)

    def of_views(a: Any) -> list[Any]:
        xp = array_namespace(a)
        turned = xp.matrix_transpose(a)
        return [a @ turned, turned @ a, xp.matrix_transpose(a[:, 2:7]) @ a,
                xp.sum(turned, axis=-1), xp.max(a[1:, ::2], axis=-1), xp.reshape(turned, (-1,)),
                a[..., 3:5] * 1.0]  # fmt: skip

    want = [x @ x.T, x.T @ x, x[:, 2:7].T @ x, x.sum(axis=0), x[1:, ::2].max(axis=-1), x.T.reshape(-1), x[..., 3:5]]
    for way, results in subject.call(of_views, subject.put(x)).items():
        for i, (got, true) in enumerate(zip(results, want, strict=True)):
            host = subject.get(got)
            close = host.shape == true.shape and bool(np.all(np.abs(host - true) <= 64 * U * np.abs(true).max()))
            judge.require(close or class_unit(subject) > 0, f"expression {i} of views of an array, {way}, is wrong")
