"""Step 6, the loop: prompts in, ids out, one at a time."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from arrayformer.core.checks import check_whole
from arrayformer.core.engine import Context, Engine
from arrayformer.core.errors import InputError
from arrayformer.core.generate.batch import Batch
from arrayformer.core.generate.drawing import Drawer
from arrayformer.core.generate.text import Text

LOOKAHEAD = 7
"""How many ids are guessed ahead, or more where a compiler pads the step to a longer one anyway."""

READ_TOGETHER = 4096
"""How many ids, padding included, texts that enter together may have."""


def generate(engine: Engine, texts: Iterable[Text], *, batch_size: int = 16, speculate: bool = False) -> Iterator[Text]:
    """Yield each text as soon as it has grown, again and again until all have ended.

    texts       taken one by one, each no sooner than there is room for it
    batch_size  how many are read together; one that ends makes room for the next at once
    speculate   guess ids ahead from the text itself, which changes nothing but the speed

    Raises InputError for options that exclude each other, NumericError for logits that are not finite.
    """
    size = check_whole("batch_size", batch_size, 1, 65536)
    queue = _Queue(texts, speculate)
    # Of a list the longest text is known. Of others it is not: then a longer one waits for a larger context.
    known = texts if isinstance(texts, Sequence) else ()
    capacity = max((text.capacity for text in known if text.finish_reason is None), default=0)
    while True:
        yield from queue.fill(size)
        if not queue.waiting:
            return
        longest = max(text.capacity for text in queue.waiting)
        if longest > capacity:
            capacity = min(queue.waiting[0].n_ctx, max(longest, 2 * capacity))
        lookahead = engine.checked.bucket(min(1 + LOOKAHEAD, capacity), capacity) - 1 if speculate else 0
        yield from _write(Batch(engine, min(size, len(queue.waiting)), capacity, lookahead), queue)


def _write(batch: Batch, queue: "_Queue") -> Iterator[Text]:
    """Let one batch work until nobody is left who fits into it."""
    compiles = batch.engine.backend.compiles
    while True:
        yield from queue.fill(batch.size - batch.active)
        while batch.active < batch.size and queue.fits(batch.capacity):
            yield from batch.enter(group(queue.waiting, batch.size - batch.active, batch.capacity, compiles))
            yield from queue.fill(batch.size - batch.active)
        if not batch.active:
            return
        if full := batch.full():
            queue.waiting.extendleft(reversed(full))
            continue
        if not queue.waiting:
            batch.shrink()
        yield from batch.step()


class _Queue:
    """Texts that wait for room, taken from their source no sooner than that."""

    def __init__(self, source: Iterable[Text], speculate: bool) -> None:
        self.waiting: deque[Text] = deque()
        self._source = iter(source)
        self._speculate = speculate

    def fill(self, n: int) -> Iterator[Text]:
        """Let `n` texts wait, where there are so many. Yields those on the way that end without drawing."""
        while len(self.waiting) < n and (text := next(self._source, None)) is not None:
            if self._speculate and text.sampling.repetition_penalty != 1.0:
                raise InputError("speculation and a repetition penalty exclude each other: leave one of them out")
            if text.finish_reason:
                yield text
            else:
                self.waiting.append(text)

    def fits(self, capacity: int) -> bool:
        """Whether the next text is there and fits into a context of this capacity."""
        return bool(self.waiting) and self.waiting[0].capacity <= capacity


def group(waiting: deque[Text], room: int, capacity: int, alone: bool) -> list[Text]:
    """Take the next texts that are read together: as many as there is room for, unless padding would be most of it.

    capacity  what a row can hold; a text that needs more goes on waiting
    alone     whether each enters by itself, because another number of rows would have to be compiled
    """
    texts = [waiting.popleft()]
    longest = total = len(texts[0].window())
    while waiting and len(texts) < room and waiting[0].capacity <= capacity and not alone:
        n = len(waiting[0].window())
        padded = (len(texts) + 1) * max(longest, n)
        if padded > min(2 * (total + n), READ_TOGETHER):
            break
        texts.append(waiting.popleft())
        longest, total = max(longest, n), total + n
    return texts


def go_on(context: Context, text: Text) -> Iterator[Text]:
    """Yield `text` each time it has grown, until it has ended; `context`, of one row, has read a part of its beginning.

    Only what the context has not read is read. Raises as `generate` does.
    """
    drawer = Drawer(context.engine, [text])
    while text.finish_reason is None:
        unread = text.ids[context.lengths[0] :]
        picked = context.draw([unread], np.array([[len(unread) - 1]]), drawer.draw([text], 1), drawer.plan)
        drawer.learn(picked)
        text.take(picked, 0, 0)
        yield text
