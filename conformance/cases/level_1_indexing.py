"""Level 1: the functions that move numbers and change none: embedding, cache, rows of a batch, ranking."""

from collections.abc import Callable
from typing import Any

import numpy as np

from arrayformer.conformance.cases.bounds import Host, kept, normal, whose
from arrayformer.conformance.cases.level_1_products import attention_inputs
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.result import Problem
from arrayformer.conformance.run.subject import Lab, Trial


@case(1, "embed")
def embed(lab: Lab) -> None:
    """Each row of a table of 50,257, exactly, for ids on one axis and on two.

    Told from ids that are clamped or wrapped.
    """
    trials = []
    for n_vocab, width in ((31, 4), (1, 3), (50257, 3)):
        table = kept(lab, normal(n_vocab, n_vocab, width))
        placed = lab.put(table, lab.backend.dtype)
        ids = np.random.Generator(np.random.PCG64(1)).permutation(n_vocab)
        for shaped in (ids, np.stack([ids, ids[::-1]]), ids[:1], ids[None, -1:]):
            check = right_rows(lab, table, shaped)
            trials.append(Trial(lab.function("embed"), [placed, lab.put(shaped)], check))
    lab.try_all(trials)


def right_rows(lab: Lab, table: Host, ids: Host) -> Callable[[str, Any], None]:
    """A check that raises Problem unless the rows `ids` of `table` come out."""

    def check(way: str, got: Any) -> None:
        y, n_vocab = lab.get(got), len(table)
        title = f"{whose(lab, 'embed')}, {way}"
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
def write(lab: Lab) -> None:
    """A cache write at every place, over the end too: what lands past the end is dropped, nothing else changes.

    A write that clamps moves back from the end and spoils what was read before.
    """
    trials = []
    for capacity, seq in ((5, 5), (1, 1), (16, 1), (16, 8), (33, 16)):
        start = np.arange(capacity + 3)
        old, new = normal(1, len(start), 2, capacity, 3), normal(2, len(start), 2, seq, 3)
        old, new = kept(lab, old), kept(lab, new)
        position, slot = lab.put(start[:, None] + np.arange(seq)), lab.put(np.arange(capacity))
        args = (lambda old=old: lab.put(old, lab.backend.dtype), lambda new=new: lab.put(new), position, slot)
        trials.append(Trial(lab.function("write"), args, right_slots(lab, by_loops(old, new, start), start, seq)))
    lab.try_all(trials)


def right_slots(lab: Lab, want: Host, start: Host, seq: int) -> Callable[[str, Any], None]:
    """A check that raises Problem unless the cache holds `want`."""

    def check(way: str, got: Any) -> None:
        wrong = np.argwhere(lab.get(got) != want)
        if len(wrong):
            row, _, slot, _ = wrong[0]
            past = ", which runs past the end" if start[row] + seq > want.shape[2] else ""
            clamped = "; it looks clamped to the end" if past and slot < start[row] else ""
            raise Problem(
                f"{whose(lab, 'write')}, {way}: {seq} ids written at {start[row]} of {want.shape[2]}{past}: "
                f"slot {slot} is wrong{clamped}"
            )

    return check


@case(1, "put_rows")
def put_rows(lab: Lab) -> None:
    """Rows put into a batch, in any order; the others keep what they had."""
    trials, dtype = [], lab.backend.dtype
    for batch, rows in ((5, [4, 0, 2]), (1, [0]), (5, [3]), (7, [6, 5, 4, 3, 2, 1, 0])):
        old, new = kept(lab, normal(1, batch, 2, 4, 3)), kept(lab, normal(2, len(rows), 2, 4, 3))
        want = old.copy()
        want[rows] = new

        def check(way: str, got: Any, want: Host = want, rows: list[int] = rows) -> None:
            wrong = np.argwhere(lab.get(got) != want)
            if len(wrong):
                raise Problem(
                    f"{whose(lab, 'put_rows')}, {way}: rows {rows} of {len(want)}: row {wrong[0][0]} is wrong"
                )

        args = (lambda old=old: lab.put(old, dtype), lambda new=new: lab.put(new, dtype), lab.put(np.array(rows)))
        trials.append(Trial(lab.function("put_rows"), args, check))
    lab.try_all(trials)


@case(1, "top_k")
def top_k(lab: Lab) -> None:
    """The k largest, descending, of equals the lowest place first; for a vocabulary of 50,257 too.

    Sampling draws the same id on every backend only if ties fall the same way.
    """
    hidden = few(40)
    hidden[..., ::3] = -np.inf
    cases = ((few(9), 9), (few(1), 1), (hidden, 20), (normal(3, 2, 1, 257), 50), (few(50257), 40), (-few(31)[0], 1))
    lab.try_all([Trial(lambda x, k=k: lab.function("top_k")(x, k), [lab.put(x)], ranked(lab, x, k)) for x, k in cases])


def few(n: int) -> Host:
    """[2, 3, n], six values many times each"""
    return np.random.Generator(np.random.PCG64(n)).integers(-3, 3, (2, 3, n)).astype(np.float32)


def ranked(lab: Lab, x: Host, k: int) -> Callable[[str, Any], None]:
    """A check that raises Problem unless the k largest of `x` come out in their order."""
    places = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    values = np.take_along_axis(x, places, axis=-1)

    def check(way: str, got: Any) -> None:
        what = f"{whose(lab, 'top_k')}, {way}, {k} of {x.shape[-1]}"
        lab.require(np.array_equal(lab.get(got[0]), values), f"{what}: not the largest, or not in descending order")
        first = np.array_equal(lab.get(got[1]), places)
        lab.require(first, f"{what}: among equals another place than the lowest comes first")

    return check


@case(1, "in-place")
def in_place(lab: Lab) -> None:
    """No function changes an argument that it is not allowed to consume.

    A residual connection reads again what a layer norm was given.
    """
    x, w, b = normal(1, 2, 3, 8), normal(2, 8, 8), normal(3, 8)
    q, k, v = attention_inputs(3, (1, 2, 4, 4, 4))
    calls: dict[str, tuple[Host, ...]] = {
        "layer_norm": (x, b, b + 1), "linear": (x, w, b), "unembed": (x, w),
        "causal_attention": (q, k, v, np.arange(4), np.arange(4)), "embed": (w, np.array([[3, 1]])), "top_k": (x,),
    }  # fmt: skip
    arrays = {name: [lab.put(h) for h in hosts] for name, hosts in calls.items()}

    def whole(arrays: Any) -> list[Any]:
        return [lab.function(n)(*a, *((2,) if n == "top_k" else ())) for n, a in arrays.items()]

    lab.backend.compile(whole)(arrays)
    for name, hosts in calls.items():
        for i, (host, array) in enumerate(zip(hosts, arrays[name], strict=True)):
            lab.require(np.array_equal(lab.get(array), host), f"{whose(lab, name)} changed its argument {i}")
