"""Level 1 at the sizes of real models: embedding, cache, rows of a batch, ranking."""

from collections.abc import Sequence

import numpy as np

from arrayformer.conformance.cases.at_size import around, matrix
from arrayformer.conformance.cases.bounds import kept, normal
from arrayformer.conformance.cases.level_1_indexing import put_into, rank, right_rows, right_slots
from arrayformer.conformance.coverage.models import vocabularies
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.calls import Calls
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.subject import Host, Subject

TABLES = (
    (1024, 64),
    (1024, 1024),
    (2048, 768),
    (2048, 1024),
    (3000, 1024),
    (4096, 1024),
    (5000, 1024),
    (8192, 1024),
    (9000, 1024),
    (50_304, 8),
    (50257, 768),
    (128_256, 160),
    (151_936, 128),
    (262_144, 72),
    (49_152, 576),
)


@case(1, "real-embed", over=[f"{n}x{width}" for n, width in TABLES], real=True)
def real_embed(subject: Subject, judge: Judge, which: str) -> None:
    """Rows of tables as large as those of real models, exactly: an id times the width passes 2^24 there.

    Ids from the whole table, the last and those beside each power of two among them; more than 2^16 of them at once.
    """
    n, width = map(int, which.split("x"))
    table = kept(subject, matrix(n, width, n))
    placed = subject.put(table, subject.backend.dtype)
    some = np.random.Generator(np.random.PCG64(n)).integers(0, n, 3000)
    edges = [i for i in around(*(1 << p for p in range(4, 18)), 2**24 // width, 2**23 // width) if i < n]
    ids = np.concatenate([some, edges, [n - 1, n - 2, 0]])
    many = np.arange(65_600) * 7919 % n
    counts = [p + more for p in (1 << i for i in range(5, 18)) for more in (0, p // 3)] if width == 64 else []
    with Calls(subject, judge) as calls:
        for count in counts[:: 3 if subject.backend.compiles else 1]:
            several = np.arange(count) * 7919 % n
            calls.check(subject.function("embed"), [placed, subject.put(several)], right_rows(subject, table, several))
        for shaped in (ids, ids[None, :33], ids[:1024].reshape(2, 512), ids[-1:], *([many] if width < 100 else [])):
            calls.check(subject.function("embed"), [placed, subject.put(shaped)], right_rows(subject, table, shaped))


@case(1, "real-put_rows", real=True)
def real_put_rows(subject: Subject, judge: Judge) -> None:
    """Rows put into batches of up to 130, some, all, in any order; the others keep what they had."""
    rng = np.random.Generator(np.random.PCG64(3))
    with Calls(subject, judge) as calls:
        for batch in (2, 3, 4, 6, 8, 9, 15, *around(16, 32, 64), 96, 128, 130):
            for n in {1, 2, batch // 2, batch - 1, batch}:
                put_into(calls, batch, [int(i) for i in rng.permutation(batch)[:n]])


# batch, heads, capacity, head_dim, and how many ids are written
CACHES = (
    (1, 12, 1024, 64, (1, 2, 5, 33, 512, 1024)), (3, 3, 512, 64, (1, 17)), (1, 8, 1056, 64, (1, 31)),
    (9, 2, 96, 80, (1, 3)), (17, 1, 160, 96, (1,)), (33, 4, 128, 64, (1, 9)), (65, 1, 256, 64, (1,)),
    (2, 1, 2048, 128, (1, 129)), (1, 4, 513, 256, (1, 257)), (2, 32, 65, 64, (1, 8)), (1, 1, 8200, 16, (1, 64)),
    (2, 25, 1023, 64, (1,)), (1, 1, 66_000, 4, (1, 7)), (5, 5, 32, 160, (1, 16)), (4, 16, 64, 64, (1, 32, 64)),
    (16, 2, 8, 64, (1, 2, 8)), (32, 1, 16, 128, (1, 16)),
    (64, 1, 4, 64, (1, 4)), (1, 20, 300, 64, (1, 100, 128, 256)),
    (1, 1, 3000, 64, (1,)), (2, 2, 4096, 64, (1, 600)), (1, 1, 5000, 64, (1,)),
    (1, 1, 8192, 32, (1,)), (1, 1, 16_384, 16, (1,)), (1, 1, 20_000, 16, (1,)), (1, 1, 32_768, 8, (1,)),
    (1, 1, 40_960, 8, (1,)), (1, 1, 65_536, 4, (1,)), (1, 1, 131_072, 4, (1,)),
    (3, 2, 1, 64, (1,)), (3, 2, 2, 64, (1, 2)),
    (3, 2, 3, 64, (1,)), (3, 2, 12, 64, (1, 5)), (1, 3, 384, 64, (1, 96)),
)  # fmt: skip


@case(1, "real-write", real=True)
def real_write(subject: Subject, judge: Judge) -> None:
    """Keys and values written into caches of real capacities, each row of a batch at its own place.

    At the front, on both sides of each power of two, over the end; nothing else changes.
    """
    for batch, n_head, capacity, width, counts in CACHES:
        for n in counts:
            with Calls(subject, judge) as calls:
                for start in _starts(batch, capacity, n):
                    _write(calls, n_head, capacity, width, n, start)


def _starts(batch: int, capacity: int, n: int) -> list[Host]:
    """Where each row's ids begin: three or more ways, each slot that matters in one of them."""
    edges = [p for p in around(*(1 << k for k in range(5, 17)), capacity - n) if p < capacity]
    edges = sorted({0, 1, capacity - 1, capacity - n // 2, *edges} - set(range(capacity, capacity + n)))
    edges = [p for p in edges if p < capacity]
    edges = sorted({*edges[:2], *edges[-8:]})
    rows = max(1, -(-len(edges) // batch))
    return [np.array([edges[(i + row) % len(edges)] for row in range(batch)]) for i in range(0, rows * batch, batch)]


def _write(calls: Calls, n_head: int, capacity: int, width: int, n: int, start: Host) -> None:
    subject, batch = calls.subject, len(start)
    old = kept(subject, matrix(batch * n_head * capacity, width).reshape(batch, n_head, capacity, width))
    new = kept(subject, matrix(batch * n_head * n, width, 1).reshape(batch, n_head, n, width))
    want = old.copy()
    for row, first in enumerate(start):
        end = min(capacity, first + n)
        want[row, :, first:end] = new[row, :, : end - first]
    args = [subject.put(old, subject.backend.dtype), subject.put(new)]
    args.append(subject.put(start[:, None] + np.arange(n)))
    calls.check(subject.function("write"), args, right_slots(subject, want, start, n))


def crowd(n: int, rows: int = 2) -> Host:
    """[rows, n]: thousands of numbers that differ by less than a bfloat16 can hold, and the largest among them."""
    rng = np.random.Generator(np.random.PCG64(n))
    x = rng.standard_normal((rows, n)).astype(np.float32)
    close = (4 + rng.permutation(6000).astype(np.float32) * 2.0**-21)[None] + np.zeros((rows, 1), dtype=np.float32)
    for row, places in enumerate(rng.permuted(np.tile(np.arange(n), (rows, 1)), axis=1)[:, :6000]):
        x[row, places] = close[row]
    return x


def few_values(n: int, rows: int = 2) -> Host:
    """[rows, n] of whole numbers, each many times."""
    return np.random.Generator(np.random.PCG64(n)).integers(-40, 3, (rows, n)).astype(np.float32)


@case(1, "real-top_k", over=(8193, 32_000, *vocabularies()), real=True)
def real_top_k(subject: Subject, judge: Judge, n: int) -> None:
    """The k largest of a real vocabulary, descending, of equals the lowest place first.

    Among them thousands that are equal in 16 bits: a first pass over coarse bins drops some of those.
    """
    counts: Sequence[int] = (1, 40, 65, 257, 1025)
    if n == 8193:
        counts = (1, 2, 3, 7, 8, 16, 17, 31, 32, 33, 64, 65, 127, 128, 129, 192, 256, 300, 512, 700, 1024, 1025)
    with Calls(subject, judge) as calls:
        for k in counts:
            rank(calls, crowd(n), k)
        rank(calls, few_values(n), 300)
        rank(calls, normal(n, 1, n), 50)
        rank(calls, normal(n, 9, n) if n < 60_000 else normal(n, 3, n), 5)
        last = np.zeros((1, n), dtype=np.float32)
        last[0, -3:] = 1.0, 3.0, 2.0
        rank(calls, last, 4)
