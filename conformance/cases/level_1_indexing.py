"""Level 1: the functions that move numbers and change none: embedding, cache, rows of a batch, ranking."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from arrayformer.conformance.cases.bounds import kept, normal
from arrayformer.conformance.cases.level_1_products import attention_inputs
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.calls import Calls, whose
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.result import Problem
from arrayformer.conformance.run.subject import Host, Subject


@case(1, "embed")
def embed(subject: Subject, judge: Judge) -> None:
    """Each row of a table of 50,257, exactly, for ids on one axis and on two.

    Told from ids that are clamped or wrapped.
    """
    with Calls(subject, judge) as calls:
        for n_vocab, width in ((31, 4), (1, 3), (50257, 3)):
            table = kept(subject, normal(n_vocab, n_vocab, width))
            placed = subject.put(table, subject.backend.dtype)
            ids = np.random.Generator(np.random.PCG64(1)).permutation(n_vocab)
            for shaped in (ids, np.stack([ids, ids[::-1]]), ids[:1], ids[None, -1:]):
                args = [placed, subject.put(shaped)]
                calls.check(subject.function("embed"), args, right_rows(subject, table, shaped))


def right_rows(subject: Subject, table: Host, ids: Host) -> Callable[[str, Any], None]:
    """A check that raises Problem unless the rows `ids` of `table` come out."""

    def check(way: str, got: Any) -> None:
        y, n_vocab = subject.get(got), len(table)
        title = f"{whose(subject, 'embed')}, {way}"
        if y.shape != table[ids].shape:
            raise Problem(f"{title}: the shape is {y.shape}, not {table[ids].shape}")
        wrong = np.argwhere(y != table[ids])
        if len(wrong):
            id = int(ids[tuple(wrong[0][:-1])])
            last = " (the last id)" if id == n_vocab - 1 else ""
            raise Problem(f"{title}: the row of id {id}{last} of {n_vocab} is wrong", id=id)

    return check


def by_loops(old: Host, new: Host, start: Host) -> Host:
    """What `write` must give, one slot at a time."""
    want = old.copy()
    for row, first in enumerate(start):
        for i in range(new.shape[2]):
            if first + i < old.shape[2]:
                want[row, :, first + i] = new[row, :, i]
    return want


@case(1, "write")
def write(subject: Subject, judge: Judge) -> None:
    """A cache write at every place, over the end too: what lands past the end is dropped, nothing else changes.

    A write that clamps moves back from the end and spoils what was read before.
    """
    with Calls(subject, judge) as calls:
        for capacity, seq in ((5, 5), (1, 1), (16, 1), (16, 8), (33, 16)):
            start = np.arange(capacity + 3)
            old, new = normal(1, len(start), 2, capacity, 3), normal(2, len(start), 2, seq, 3)
            old, new = kept(subject, old), kept(subject, new)
            position = subject.put(start[:, None] + np.arange(seq))
            args = [subject.put(old, subject.backend.dtype), subject.put(new), position]
            calls.check(subject.function("write"), args, right_slots(subject, by_loops(old, new, start), start, seq))


def right_slots(subject: Subject, want: Host, start: Host, seq: int) -> Callable[[str, Any], None]:
    """A check that raises Problem unless the cache holds `want`."""

    def check(way: str, got: Any) -> None:
        wrong = np.argwhere(subject.get(got) != want)
        if len(wrong):
            row, _, slot, _ = wrong[0]
            past = ", which runs past the end" if start[row] + seq > want.shape[2] else ""
            clamped = "; it looks clamped to the end" if past and slot < start[row] else ""
            raise Problem(
                f"{whose(subject, 'write')}, {way}: {seq} ids written at {start[row]} of {want.shape[2]}{past}: "
                f"slot {slot} is wrong{clamped}"
            )

    return check


@case(1, "put_rows")
def put_rows(subject: Subject, judge: Judge) -> None:
    """Rows put into a batch, in any order; the others keep what they had."""
    with Calls(subject, judge) as calls:
        for batch, rows in ((5, [4, 0, 2]), (1, [0]), (5, [3]), (7, [6, 5, 4, 3, 2, 1, 0])):
            put_into(calls, batch, rows)


def put_into(calls: Calls, batch: int, rows: Sequence[int]) -> None:
    """Put new rows at the places `rows` of a batch."""
    subject, dtype = calls.subject, calls.subject.backend.dtype
    old, new = kept(subject, normal(1, batch, 2, 4, 3)), kept(subject, normal(2, len(rows), 2, 4, 3))
    want = old.copy()
    want[list(rows)] = new

    def check(way: str, got: Any) -> None:
        wrong = np.argwhere(subject.get(got) != want)
        if len(wrong):
            which = f"rows {list(rows)}" if len(rows) < 9 else f"{len(rows)} rows"
            raise Problem(f"{whose(subject, 'put_rows')}, {way}: {which} of {batch}: row {wrong[0][0]} is wrong")

    args = [subject.put(old, dtype), subject.put(new, dtype), subject.put(np.array(rows))]
    calls.check(subject.function("put_rows"), args, check)


@case(1, "top_k")
def top_k(subject: Subject, judge: Judge) -> None:
    """The k largest, descending, of equals the lowest place first; for a vocabulary of 50,257 too.

    Sampling draws the same id on every backend only if ties fall the same way.
    """
    hidden = few(40)
    hidden[..., ::3] = -np.inf
    cases = ((few(9), 9), (few(1), 1), (hidden, 20), (normal(3, 2, 1, 257), 50), (few(50257), 40), (-few(31)[0], 1))
    with Calls(subject, judge) as calls:
        for x, k in cases:
            rank(calls, x, k)


def few(n: int) -> Host:
    """[2, 3, n], six values many times each"""
    return np.random.Generator(np.random.PCG64(n)).integers(-3, 3, (2, 3, n)).astype(np.float32)


def rank(calls: Calls, x: Host, k: int) -> None:
    """The k largest of `x` come out in their order."""
    subject, judge = calls.subject, calls.judge
    places = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    values = np.take_along_axis(x, places, axis=-1)

    def check(way: str, got: Any) -> None:
        what = f"{whose(subject, 'top_k')}, {way}, {k} of {x.shape[-1]}"
        judge.require(
            np.array_equal(subject.get(got[0]), values), f"{what}: not the largest, or not in descending order"
        )
        first = np.array_equal(subject.get(got[1]), places)
        judge.require(first, f"{what}: among equals another place than the lowest comes first")

    calls.check(lambda x: subject.function("top_k")(x, k), [subject.put(x)], check)


@case(1, "in-place")
def in_place(subject: Subject, judge: Judge) -> None:
    """No function changes an argument that it is not allowed to consume.

    A residual connection reads again what a layer norm was given.
    """
    x, w, b = normal(1, 2, 3, 8), normal(2, 8, 8), normal(3, 8)
    q, k, v = attention_inputs(3, (1, 2, 4, 4, 4))
    calls: dict[str, tuple[Host, ...]] = {
        "layer_norm": (x, b, b + 1), "rms_norm": (x, b), "linear": (x, w, b), "unembed": (x, w),
        "rotate": (q, *np.split(q[0, 0], 2, axis=-1)), "causal_attention": (q, k, v, np.arange(4)),
        "embed": (w, np.array([[3, 1]])), "top_k": (x,),
    }  # fmt: skip
    arrays = {name: [subject.put(h) for h in hosts] for name, hosts in calls.items()}

    def whole(arrays: Any) -> list[Any]:
        return [subject.function(n)(*a, *((2,) if n == "top_k" else ())) for n, a in arrays.items()]

    subject.backend.compile(whole)(arrays)
    for name, hosts in calls.items():
        for i, (host, array) in enumerate(zip(hosts, arrays[name], strict=True)):
            judge.require(np.array_equal(subject.get(array), host), f"{whose(subject, name)} changed its argument {i}")
