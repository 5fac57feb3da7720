"""Level 1: attention with shared heads, windows and capped scores, on both sides of each number that matters."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayformer.conformance.cases.bounds import U, class_unit, normal
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.calls import Calls
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.subject import Host, Subject

Shape = tuple[int, int, int, int, int, int]  # batch, heads, heads of keys, queries, keys, head_dim


def affordable(subject: Subject, shapes: Sequence[Any]) -> Sequence[Any]:
    """The first few where each is compiled: those that tell most come first."""
    return shapes[:4] if subject.backend.compiles else shapes


def attend(calls: Calls, seed: int, shape: Shape, start: tuple[int, ...], what: str, **how: Any) -> None:
    """One attention whose queries stand from `start` on in each row, against one written out head by head.

    What lies behind the last position of a row is poisoned: no query may look there.
    """
    batch, head, kv_head, query, key, width = shape
    q, v = 2 * normal(seed, batch, head, query, width), normal(seed + 2, batch, kv_head, key, width)
    k = 2 * normal(seed + 1, batch, kv_head, key, width)
    position = np.array(start)[:, None] + np.arange(query)
    exact, honest = (written_out(q.astype(d), k.astype(d), v.astype(d), position, **how) for d in ("f8", "f4"))
    size = np.abs(exact).max()
    unit = max(float(np.abs(honest - exact).max()), 4 * U * size, class_unit(calls.subject) * size * 4)
    unseen = (np.arange(key) > position[:, -1:])[:, None, :, None]
    dirty = [np.where(unseen, np.float32(1e30), x).astype(np.float32) for x in (k, v)]
    said = f"{what}: {head} heads, {kv_head} of keys, {query} queries from {start}, {key} keys, {width} wide"
    calls.expect("causal_attention", q, *dirty, position, exact=exact, bound=unit, limit="attention", what=said, **how)


def written_out(
    q: Host, k: Host, v: Host, position: Host, *, window: int | None = None, cap: float | None = None,
    scale: float | None = None,
) -> Host:  # fmt: skip
    """Attention, one row, one head and one query at a time."""
    out = np.zeros_like(q)
    shared = q.shape[1] // k.shape[1]
    for row, head, i in np.ndindex(q.shape[:3]):
        last = int(position[row, i])
        seen = slice(0 if window is None else max(0, last - window + 1), last + 1)
        keys, values = k[row, head // shared, seen], v[row, head // shared, seen]
        scores = keys @ q[row, head, i] * q.dtype.type(q.shape[-1] ** -0.5 if scale is None else scale)
        scores = scores if cap is None else cap * np.tanh(scores / q.dtype.type(cap))
        exps = np.exp(scores - scores.max())
        out[row, head, i] = exps @ values / exps.sum()
    return out


GROUPED = (
    ((1, 6, 3, 9, 9, 8), (0,)), ((2, 6, 3, 1, 12, 10), (4, 11)), ((3, 9, 3, 4, 16, 14), (0, 5, 12)),
    ((1, 6, 1, 5, 20, 6), (15,)), ((1, 8, 2, 1, 33, 16), (32,)), ((1, 4, 4, 3, 7, 8), (4,)),
    ((2, 15, 5, 17, 17, 8), (0, 0)),
)  # fmt: skip
WINDOWS = (
    ((1, 4, 2, 20, 20, 8), (0,), 7), ((3, 2, 2, 5, 40, 8), (0, 6, 33), 8), ((2, 4, 2, 1, 30, 10), (29, 3), 7),
    ((1, 2, 1, 12, 12, 8), (0,), 11), ((1, 2, 1, 12, 12, 8), (0,), 12), ((1, 2, 1, 12, 12, 8), (0,), 40),
    ((1, 2, 2, 9, 9, 6), (0,), 1), ((1, 6, 3, 3, 130, 16), (127,), 64), ((1, 1, 1, 2, 16, 4), (7,), 2),
)  # fmt: skip
CAPS = (
    ((1, 4, 2, 9, 9, 8), (0,), {"cap": 5.0}), ((2, 2, 2, 1, 12, 10), (11, 2), {"cap": 3.0, "scale": 0.2}),
    ((1, 2, 1, 20, 20, 6), (0,), {"cap": 5.0, "window": 7}), ((1, 2, 1, 4, 20, 6), (16,), {"cap": 50.0}),
)  # fmt: skip


@case(1, "grouped", needs="grouped")
def grouped(subject: Subject, judge: Judge) -> None:
    """Consecutive heads share keys and values: one for all, one for some, in prefill, in decode, in ragged rows.

    Told from heads in turns, in reverse, one off, and from a mask that belongs to another head's query.
    """
    with Calls(subject, judge) as calls:
        for seed, (shape, start) in enumerate(affordable(subject, GROUPED)):
            attend(calls, seed, shape, start, "grouped")


@case(1, "window", needs="window")
def window(subject: Subject, judge: Judge) -> None:
    """A query sees the last `window` keys up to itself and no other, in prefill, in decode, in each row of its own.

    Windows of one key, shorter than the text, just as long, one less, longer. Told from one key more or less.
    """
    with Calls(subject, judge) as calls:
        for seed, (shape, start, width) in enumerate(affordable(subject, WINDOWS)):
            attend(calls, seed, shape, start, f"a window of {width}", window=width)


@case(1, "cap", needs="cap")
def cap(subject: Subject, judge: Judge) -> None:
    """Scores are bent by cap * tanh(score / cap) after they are scaled and before they are masked.

    Told from a cap that is dropped, cut off sharply, of another size, or put on what was masked.
    """
    with Calls(subject, judge) as calls:
        for seed, (shape, start, how) in enumerate(CAPS[:3] if subject.backend.compiles else CAPS):
            attend(calls, seed, shape, start, "capped", **how)
