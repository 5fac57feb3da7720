"""Step 6, the loop: prompts in, ids out, one at a time."""

from collections import deque
from collections.abc import Iterator, Sequence

from arrayformer.core.checks import check_whole
from arrayformer.core.engine import Engine
from arrayformer.core.errors import InputError
from arrayformer.core.generate.batch import Batch, Drawn
from arrayformer.core.generate.text import Row

LOOKAHEAD = 7
"""How many ids are guessed ahead, or more where a compiler pads the step to a longer one anyway."""

READ_TOGETHER = 4096
"""How many ids, padding included, rows that enter together may have."""


def generate(engine: Engine, rows: Sequence[Row], *, batch_size: int = 16, speculate: bool = False) -> Iterator[Drawn]:
    """Yield each row with what it drew, as soon as it is drawn, until all rows have ended.

    Up to `batch_size` rows are read together. A row that ends makes room for the next one at once. With `speculate`
    ids are guessed ahead from the text itself, which changes nothing but the speed.

    Raises InputError for options that exclude each other, NumericError for logits that are not finite.
    """
    check_whole("batch_size", batch_size, 1, 65536)
    if speculate and any(row.sampling.repetition_penalty != 1.0 for row in rows):
        raise InputError("speculation and a repetition penalty exclude each other: leave one of them out")
    waiting = deque(row for row in rows if row.finish_reason is None)
    if not waiting:
        return
    capacity = max(row.capacity for row in waiting)
    lookahead = engine.backend.bucket(min(1 + LOOKAHEAD, capacity), capacity) - 1 if speculate else 0
    batch = Batch(engine, min(batch_size, len(waiting)), capacity, lookahead)
    while waiting or batch.active:
        while waiting and batch.active < batch.size:
            yield from batch.enter(group(waiting, batch.size - batch.active, engine.backend.compiles))
        if full := batch.full():
            waiting.extendleft(reversed(full))
            continue
        if not waiting:
            batch.shrink()
        if batch.active:
            yield from batch.step()


def group(waiting: deque[Row], room: int, alone: bool) -> list[Row]:
    """Take the next rows that are read together: as many as there is room for, unless padding would be most of it.

    alone  whether each enters by itself, because another number of rows would have to be compiled
    """
    rows = [waiting.popleft()]
    longest = total = len(rows[0].window())
    while waiting and len(rows) < room and not alone:
        n = len(waiting[0].window())
        padded = (len(rows) + 1) * max(longest, n)
        if padded > min(2 * (total + n), READ_TOGETHER):
            break
        rows.append(waiting.popleft())
        longest, total = max(longest, n), total + n
    return rows
