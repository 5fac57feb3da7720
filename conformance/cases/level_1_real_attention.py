"""Level 1 at the sizes of real models: attention of as many heads, as wide, over as many keys.

Libraries choose their kernel by these sizes: by the width of a head, one query or several, the number of keys, rows,
heads that share keys. Each is varied beside the others, on both sides of the powers of two.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from arrayformer.conformance.cases.at_size import around, chosen, matrix
from arrayformer.conformance.cases.bounds import U, class_unit
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.calls import Calls
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.subject import Host, Subject
from arrayformer.core import ops

KEYS = (*around(32, 64), 96, *around(128), 160, 224, *around(256), 288, 352, *around(512), 600, 800, 992,
        *around(1024), 1056, 1500, *around(2048))  # fmt: skip
HEADS = (
    (1, 1),
    (2, 1),
    (3, 3),
    (4, 1),
    (5, 5),
    (7, 7),
    (8, 1),
    (8, 4),
    (8, 8),
    (9, 3),
    (9, 9),
    (10, 10),
    (12, 2),
    (12, 12),
    (14, 2),
    (15, 5),
    (16, 8),
    (16, 16),
    (24, 8),
    (20, 20),
    (25, 25),
    (32, 8),
    (32, 32),
    (33, 33),
    (40, 10),
)
BATCHES = (*range(1, 20), 24, 25, *around(32), 48, *around(64))
WIDTHS = (64, 80, 96, 128, 256, 32, 160)


class Sizes(NamedTuple):
    """Sizes of one attention. `kv` heads of keys are shared by `heads`; `at` says where the queries of a row stand."""

    batch: int
    heads: int
    kv: int
    queries: int
    keys: int
    width: int
    at: str = "ragged"

    @property
    def text(self) -> str:
        """For messages."""
        heads = f"{self.heads} heads" + (f" on {self.kv}" if self.kv != self.heads else "")
        return f"{self.batch} rows, {heads} of {self.width}, {self.queries} queries, {self.keys} keys, {self.at}"


def decode(width: int) -> Iterator[Sizes]:
    """One query a row, as each step has, behind a cache of each length."""
    for i, keys in enumerate((2, 3, 4, 6, 8, 12, 16, 20, *KEYS)):
        yield Sizes(1, 2, 2, 1, keys, width, "end")
        yield Sizes(3, 2, 1 + i % 2, 1, keys, width)


def pieces(width: int) -> Iterator[Sizes]:
    """Several queries behind a cache: a piece of a prompt, ids guessed ahead, rows at different places."""
    for queries, keys in (
        (2, 64), (3, 65), (5, 128), (8, 129), (16, 200), (17, 256), (33, 257), (64, 512), (65, 600), (100, 1000),
        (128, 1024), (129, 1100), (7, 2048), (4, 300), (31, 96), (9, 1056), (32, 40), (3, 32), (2, 16), (3, 4), (2, 8),
    ):  # fmt: skip
        yield Sizes(1, 2, 2, queries, keys, width, "end")
        yield Sizes(3, 2, 2 if queries % 2 else 1, queries, keys, width)


def prefill(width: int) -> Iterator[Sizes]:
    """A whole prompt at once, to the full context."""
    lengths = (2, 3, 4, 6, 8, 12, 16, 20, 31, 32, 33, 64, 65, 96, 127, 128, 129, 193, 256, 257, 321, 512, 513)
    for n in (
        lengths
        if width != 64
        else (2, 3, 4, 6, 8, 12, 16, 20, *around(32, 64, 96, 128), 193, *around(256), 321, *around(512), 769)
    ):
        yield Sizes(1, 2, 2, n, n, width, "whole")
    for n in (1023, 1024, 1025, 1500) if width == 64 else (1024, 1025):
        yield Sizes(1, 1, 1, n, n, width, "whole")
    if width == 64:  # scores of each power of two and beyond
        for heads, n in ((1, 32), (1, 64), (1, 128), (1, 256), (1, 512), (2, 1024), (4, 1024), (5, 1024), (8, 1024)):
            yield Sizes(1, heads, heads, n, n, width, "whole")
        yield Sizes(1, 9, 3, 1024, 1024, width, "whole")
    yield Sizes(3, 2, 1, 130, 130, width, "whole")


def run(subject: Subject, judge: Judge, sizes: Iterator[Sizes]) -> None:
    """Attention of each of `sizes`; where each costs a compilation of every fifth, or ninth for the rarer widths."""
    wanted = list(sizes)
    if subject.backend.compiles:
        every = 5 if wanted[0].width in (64, 128) else 9
        wanted = wanted[wanted[0].width // 16 % every :: every]
    for start in range(0, len(wanted), 12):
        with Calls(subject, judge) as calls:
            for one in wanted[start : start + 12]:
                attend(calls, one)


@case(1, "real-decode", over=WIDTHS, real=True)
def real_decode(subject: Subject, judge: Judge, width: int) -> None:
    """Attention of one query behind 31 to 2,048 keys, heads as wide as real ones, one row and rows of other lengths."""
    run(subject, judge, decode(width))


@case(1, "real-pieces", over=WIDTHS, real=True)
def real_pieces(subject: Subject, judge: Judge, width: int) -> None:
    """Attention of several queries behind a cache of up to 2,048 keys, each row from its own place on."""
    run(subject, judge, pieces(width))


@case(1, "real-prefill", over=WIDTHS, real=True)
def real_prefill(subject: Subject, judge: Judge, width: int) -> None:
    """Attention of whole prompts of up to 1,500 ids, on both sides of each block of keys."""
    run(subject, judge, prefill(width))


@case(1, "real-heads", over=(64, 80, 128), real=True)
def real_heads(subject: Subject, judge: Judge, width: int) -> None:
    """Attention of 1 to 40 heads, each on keys of its own or several on the same, of prompts, pieces and steps."""
    run(subject, judge, (
        Sizes(batch, heads, kv, queries, keys, width, at) for heads, kv in HEADS
        for batch, queries, keys, at in (
            (1, 40, 40, "whole"), (2, 1, 300, "ragged"), (1, 1, 70, "end"), (2, 4, 90, "ragged"),
        )
    ))  # fmt: skip


@case(1, "real-batches", over=(64, 128), real=True)
def real_batches(subject: Subject, judge: Judge, width: int) -> None:
    """Attention of 1 to 65 rows, each from its own place on: steps behind short and long caches, pieces, prompts."""
    run(subject, judge, (
        Sizes(batch, 2, kv, queries, keys, width, at) for batch in BATCHES
        for kv, queries, keys, at in (
            (2, 1, 200, "ragged"), (1, 1, 640 if width == 64 else 260, "ragged"), (2, 5, 170, "ragged"),
            (1, 33, 33, "whole"),
        )
    ))  # fmt: skip


@case(1, "real-contexts", real=True)
def real_contexts(subject: Subject, judge: Judge) -> None:
    """Attention over contexts of 4,096 and 8,192 ids, and more than 2^24 scores at once."""
    sizes = [Sizes(1, 1, 1, 1, n, 64, at) for n in (*around(4096), *around(8192), 12_000) for at in ("end", "middle")]
    sizes += [Sizes(2, 4, 1, 1, 5000, 128), Sizes(2, 2, 2, 1, 33_000, 16), Sizes(1, 1, 1, 200, 4300, 64, "end")]
    sizes += [Sizes(1, 1, 1, 3, n, 64, "end") for n in (2048, 3000, 4096, 8192)]
    sizes += [Sizes(1, 1, 1, n, n, 32, "whole") for n in (2048, 2500, 4096)]
    sizes += [Sizes(1, 1, 1, 1, n, 16, "end") for n in (16_384, 20_000, 32_768)]
    sizes += [Sizes(1, 1, 1, 4097, 4097, 64, "whole"), Sizes(65, 9, 3, 1, 70, 64), Sizes(1, 1, 1, 1, 66_000, 16, "end")]
    run(subject, judge, iter(sizes))


def places(sizes: Sizes) -> Host:
    """position [query] or [batch, query]: the whole text at once, the end of it, or each row somewhere."""
    query, room = np.arange(sizes.queries), sizes.keys - sizes.queries
    if sizes.at == "whole":
        return query
    if sizes.at in ("end", "middle"):
        return (query + (room if sizes.at == "end" else room // 2))[None]
    # The first row at the end of its cache, the second at its beginning, the others between.
    start = np.array([room, 0, *(room * (row * 7 % 11) // 11 for row in range(2, sizes.batch))])[: sizes.batch]
    return start[:, None] + query


def inputs(sizes: Sizes) -> tuple[Host, Host, Host]:
    """q, k and v with scores of about 4."""
    batch, n_head, n_kv, n_query, n_key, width, _ = sizes
    q = 2 * matrix(batch * n_head * n_query, width, 1).reshape(batch, n_head, n_query, width)
    k, v = (matrix(batch * n_kv * n_key, width, s).reshape(batch, n_kv, n_key, width) for s in (2, 3))
    return q * np.float32(8 / width**0.5), k * np.float32(2 * width**0.5 / 8), v


def attend(calls: Calls, sizes: Sizes, **how: Any) -> None:
    """One attention. What lies behind the last position of a row is poisoned; of the queries some are judged."""
    q, k, v = inputs(sizes)
    position = places(sizes)
    some = chosen(sizes.queries, 24 if sizes.keys < 4000 else 9)
    clean = _cut(k, v, position, 0.0)
    exact = truth(q, clean, position, some, np.float64, how)
    honest = truth(q, clean, position, some, np.float32, how)
    size = float(np.abs(exact).max())
    unit = max(float(np.abs(honest - exact).max()), 16 * U * size, class_unit(calls.subject) * size * 4)
    hosts = [q, *_cut(k, v, position, 1e30), position]
    what = sizes.text + (f", {how}" if how else "")
    calls.expect(
        "causal_attention", *hosts, exact=exact, bound=unit, limit="attention", what=what, at=np.s_[..., some, :],
        **how,
    )  # fmt: skip


def truth(q: Host, kv: tuple[Host, Host], position: Host, some: Host, dtype: Any, how: dict[str, Any]) -> Host:
    """Attention of the queries `some` in a dtype; heads that share keys get copies of them."""
    k, v = (np.repeat(x, q.shape[1] // x.shape[1], axis=1).astype(dtype) for x in kv)
    found: Host = ops.causal_attention(q[:, :, some].astype(dtype), k, v, position[..., some], **how)
    return found


def _cut(k: Host, v: Host, position: Host, value: float) -> tuple[Host, Host]:
    """k and v with `value` behind the last position of each row."""
    last = np.broadcast_to(position.max(axis=-1, keepdims=True), (len(k), 1))
    unseen = (np.arange(k.shape[2]) > last)[:, None, :, None]
    if not unseen.any():
        return k, v
    return np.where(unseen, np.float32(value), k), np.where(unseen, np.float32(value), v)
