"""Level 3: texts read in pieces behind a cache: of any length, to the last slot, ragged."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayformer.conformance.cases.level_2_graph import other_dtype
from arrayformer.conformance.criterion.architectures import GPT2, fewest
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.criterion.probes import Probe, probe
from arrayformer.conformance.run.case import architecture_case, case
from arrayformer.conformance.run.result import NotApplicable, Problem
from arrayformer.conformance.run.subject import Subject
from arrayformer.core.engine import Context
from arrayformer.core.errors import InputError

Rows = Sequence[Sequence[int]]


def read(
    subject: Subject, judge: Judge, name: str, context: Context, texts: list[list[int]], rows: Rows, where: str
) -> Any:
    """Read `rows` and judge the logits after each row that got something. `texts` grows by what was read."""
    logits = context.read(rows)
    judge.array(subject, logits, "logits", subject.result_dtype)
    host = subject.get(logits)
    for row, ids in enumerate(rows):
        texts[row] += ids
        if ids:
            ref = subject.models.reference(name)
            r = ref.oracle(texts[row])[-1:]
            judge.row(host[row][None], r, ref, name, texts[row], f"{where}, row {row} at length {len(texts[row])}, ")
    lengths = [len(text) for text in texts]
    judge.require(context.lengths == lengths, f"{where}: the context counts {context.lengths}, read were {lengths}")
    return host


def ids_of(model: Probe, n: int, order: int = 2) -> list[list[int]]:
    """n rows of n_ctx ids."""
    rows = [row for i in range(n) for row in model.rows(order + i)]
    return [list(row) for row in rows[:n]]


def nothing(n: int) -> list[list[int]]:
    """n texts of which nothing was read."""
    return [[] for _ in range(n)]


@case(3, "cached", over=("p2", "p3", "untied", "silu"), architecture=GPT2)
@architecture_case(3, "cached", fewest)
def cached(subject: Subject, judge: Judge, name: str) -> None:
    """Reading one id after the other, to the last place of the context, gives what reading at once gives."""
    if subject.backend.compiles and probe(name).architecture != GPT2:
        raise NotApplicable("a batch of one costs compilations of its own: L3-ragged reads id by id too")
    [ids] = ids_of(probe(name), 1)
    context, texts = subject.models.engine(name).context(1), [list[int]()]
    # Of the smallest models one id first where each length is compiled.
    first = 1 if subject.backend.compiles and len(ids) == 16 else 3
    read(subject, judge, name, context, texts, [ids[:first]], f"{first} ids at once")
    for id in ids[first:]:
        read(subject, judge, name, context, texts, [[id]], "then one by one")


@case(3, "chunks")
def chunks(subject: Subject, judge: Judge) -> None:
    """A text read in pieces of any lengths gives what reading at once gives, in the third long piece too."""
    rng = np.random.Generator(np.random.PCG64(5))
    for name, times, most in (("p3", 12, 17), ("p2", 4, 16)):
        [ids] = ids_of(probe(name), 1)
        for _ in range(times):
            context, texts = subject.models.engine(name).context(1), [list[int]()]
            while len(texts[0]) < len(ids):
                n = int(rng.integers(1, 1 + min(most, len(ids) - len(texts[0]))))
                start = len(texts[0])
                read(subject, judge, name, context, texts, [ids[start : start + n]], f"a piece of {n}")
    [ids] = ids_of(probe("long"), 1)
    context, texts = subject.models.engine("long").context(1), [list[int]()]
    for n in (120, 100, 80):
        start = len(texts[0])
        read(subject, judge, "long", context, texts, [ids[start : start + n]], f"a piece of {n}")


@case(3, "every-position")
def every_position(subject: Subject, judge: Judge) -> None:
    """A piece read behind a cache gives the right logits at each of its places, not only at its last."""
    [ids] = ids_of(probe("p3"), 1)
    for first in (20, 28) if subject.backend.compiles else (1, 7, 16, 20):
        context = subject.models.engine("p3").context(1)
        context.read([ids[:first]])
        rest = ids[first:]
        logits = subject.get(context.read([rest], every=True))[:, : len(rest)]
        ref = subject.models.reference("p3")
        judge.row(logits[0], ref.oracle(ids)[first:], ref, "p3", ids, f"{len(rest)} ids behind {first}, ")


@case(3, "edges", over=("p3", "long"))
def edges(subject: Subject, judge: Judge, name: str) -> None:
    """First pieces of every length, on both sides of each bucket, then one id more; the last one fills the context."""
    [ids] = ids_of(probe(name), 1)
    n_ctx = len(ids)
    lengths: Sequence[int] = range(1, n_ctx + 1)
    if n_ctx > 100:
        short = () if subject.backend.compiles else (63, 64, 65)
        lengths = (1, *short, 127, 128, 129, 255, 256, 257, n_ctx - 1, n_ctx)
    for n in lengths:
        context, texts = subject.models.engine(name).context(1), [list[int]()]
        read(subject, judge, name, context, texts, [ids[:n]], f"{n} ids at once")
        if n < n_ctx:
            read(subject, judge, name, context, texts, [ids[n : n + 1]], f"one more behind {n}")


@case(3, "capacity")
def capacity(subject: Subject, judge: Judge) -> None:
    """Contexts of every capacity can be filled to the last slot."""
    [ids] = ids_of(probe("p1"), 1)
    for size in range(1, len(ids) + 1):
        context, texts = subject.models.engine("p1").context(1, size), [list[int]()]
        if size > 1:
            read(subject, judge, "p1", context, texts, [ids[: size - 1]], f"capacity {size}")
        read(subject, judge, "p1", context, texts, [ids[size - 1 : size]], f"capacity {size}, the last slot")


@case(3, "ragged", over=(5,))
def ragged(subject: Subject, judge: Judge, batch: int) -> None:
    """Rows of different lengths, some idle, some at the end of the context while others begin: each as if alone.

    The padding of a row that is nearly full reaches past the end of the cache: it must be dropped.
    """
    in_steps(subject, judge, "p3", batch)


@architecture_case(3, "ragged", fewest)
def ragged_rows(subject: Subject, judge: Judge, name: str) -> None:
    """Rows of different lengths, some idle, some at the end of the context while others begin: each as if alone.

    Each row is turned by its own positions, and looks back through a window of its own.
    """
    in_steps(subject, judge, name, 3)


def in_steps(subject: Subject, judge: Judge, name: str, batch: int) -> None:
    """The body of the two cases above."""
    ids = ids_of(probe(name), batch)
    n_ctx = len(ids[0])
    context, texts = subject.models.engine(name).context(batch), [list[int]() for _ in range(batch)]
    targets = [[1 + (5 * row) % 16 for row in range(batch)]]
    targets += [
        [min(n_ctx, t + (0 if (row + step) % 3 == 0 else 1)) for row, t in enumerate(targets[0])] for step in range(2)
    ]
    # In steps of 16 at most: each longer one costs a compilation.
    far = [n_ctx - 1 if row % 2 else n_ctx - 14 for row in range(batch)]
    for _ in range(n_ctx // 14):
        targets.append([min(t + 14, n) for t, n in zip(targets[-1], far, strict=True)])
    targets += [[n_ctx if row % 2 else n_ctx - 6 for row in range(batch)], [n_ctx] * batch]
    for step, lengths in enumerate(targets):
        rows = [ids[row][len(texts[row]) : max(len(texts[row]), n)] for row, n in enumerate(lengths)]
        if any(rows):
            read(subject, judge, name, context, texts, rows, f"batch of {batch}, step {step}")


@case(3, "dtype", over=("float16", "bfloat16", "float64"))
def dtype(subject: Subject, judge: Judge, name: str) -> None:
    """In each dtype the backend offers a text read behind a cache of that dtype gives logits as good as it allows."""
    low, where = other_dtype(subject, name), f"{name}, "
    context, texts = low.models.engine("p3").context(1), [list[int]()]
    [ids] = ids_of(probe("p3"), 1)
    # One id first where each length is compiled.
    half = 1 if low.backend.compiles else 12
    read(low, judge, "p3", context, texts, [ids[:half]], f"{where}{half} ids at once")
    for id in ids[half:24]:
        read(low, judge, "p3", context, texts, [[id]], f"{where}then one by one")


@case(3, "overflow")
def overflow(subject: Subject, judge: Judge) -> None:
    """What does not fit is refused before anything is written, and the context stays usable."""
    [ids] = ids_of(probe("p1"), 1)
    engine, n_ctx = subject.models.engine("p1"), len(ids)
    context = engine.context(1)
    context.read([ids[:-1]])
    for extra in (2, n_ctx, 3 * n_ctx):
        try:
            context.read([[1] * extra])
        except InputError:
            continue
        raise Problem(f"{extra} ids were read into a context with one free slot")
    judge.require(context.lengths == [n_ctx - 1], "a refused read changed the length")
    logits = context.read([ids[-1:]])
    judge.logits(subject, logits[:, None, :], "p1", [ids], last=1, where="after a refused read, ")
