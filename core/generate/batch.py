"""Texts that are read together: they enter, draw, and leave, each when it is its turn."""

from collections.abc import Sequence

import numpy as np

from arrayformer.core.engine import Engine
from arrayformer.core.generate.drawing import Drawer
from arrayformer.core.generate.lookup import Lookup
from arrayformer.core.generate.text import Text
from arrayformer.core.sampling import Picked


class Batch:
    """Up to `size` texts in the rows of one context.

    A text enters by being read in a context of its own, from which it is copied to its row here, so that no other text
    has to wait for more than that one step. Rows without a text read nothing.

    rows      the text of each row, or None
    capacity  how many ids a row can hold
    """

    def __init__(self, engine: Engine, size: int, capacity: int, lookahead: int = 0) -> None:
        """`lookahead` is how many ids may be guessed ahead (0: none)."""
        self.engine = engine
        self.size = size
        self.capacity = capacity
        self.lookahead = lookahead
        self.rows: list[Text | None] = [None] * size
        self._context = engine.context(size, capacity)
        self._drawer = Drawer(engine, self.rows)
        self._lookups: dict[Text, Lookup] = {}

    @property
    def active(self) -> int:
        """How many texts are here."""
        return sum(row is not None for row in self.rows)

    def enter(self, texts: Sequence[Text]) -> list[Text]:
        """Read `texts`, for which there is room, and draw one id for each. returns  `texts`"""
        free = [i for i, row in enumerate(self.rows) if row is None][: len(texts)]
        alone = len(texts) == self.size  # nobody else is here: they are read where they stay
        context = self._context if alone else self.engine.context(len(texts), self.capacity)
        windows = [text.window() for text in texts]
        drawer = Drawer(self.engine, texts)
        places = np.array([[len(window) - 1] for window in windows])
        picked = context.draw(windows, places, drawer.draw(texts, 1), drawer.plan)
        if not alone:
            self._context.take(context, range(len(texts)), free)
        for i, text in enumerate(texts):
            text.take(picked, i, 0)
            self.rows[free[i]] = text
        self._leave_finished()
        self._drawer = Drawer(self.engine, self.rows)
        return list(texts)

    def step(self) -> list[Text]:
        """Each text reads its last id, and what is guessed to follow, and draws. returns  the texts that drew"""
        before = self._context.lengths
        drafts = [self._draft(row, length) for row, length in zip(self.rows, before, strict=True)]
        n = self._places(1 + max(map(len, drafts)))
        reads = [[] if row is None else [row.ids[-1], *draft] for row, draft in zip(self.rows, drafts, strict=True)]
        places = np.array([[min(i, len(draft)) for i in range(n)] for draft in drafts])
        picked = self._context.draw(reads, places, self._drawer.draw(self.rows, n), self._drawer.plan)
        self._drawer.learn(picked)
        drawn = [text for text in self.rows if text is not None]
        for i, text in enumerate(self.rows):
            if text is not None:
                self._context.truncate(i, before[i] + self._accept(text, i, picked, drafts[i]))
        self._leave_finished()
        return drawn

    def _places(self, n: int) -> int:
        """At how many places to draw: with a compiler one or all, so that two programs serve."""
        return n if n == 1 or not self.engine.backend.compiles else 1 + self.lookahead

    def _draft(self, text: Text | None, length: int) -> list[int]:
        if text is None or not self.lookahead:
            return []
        lookup = self._lookups.setdefault(text, Lookup(self.lookahead))
        return lookup.guess(text.ids, min(text.left - 1, self.capacity - length - 1))

    def _accept(self, text: Text, row: int, picked: Picked, draft: Sequence[int]) -> int:
        """Let `text` take what it drew, up to the first id that was not guessed. returns  how many ids that are"""
        taken = 0
        for place in range(len(draft) + 1):
            id = text.take(picked, row, place)
            taken += 1
            if text.finish_reason or place == len(draft) or id != draft[place]:
                break
        if draft:
            text.drafted += len(draft)
            text.accepted += taken - 1
            self._lookups[text].learn(len(draft), taken - 1)
        return taken

    def _leave_finished(self) -> None:
        for i, text in enumerate(self.rows):
            if text is not None and text.finish_reason:
                self._remove(i, text)

    def _remove(self, row: int, text: Text) -> None:
        self._context.reset(row)
        self._lookups.pop(text, None)
        self.rows[row] = None

    def full(self) -> list[Text]:
        """Take out the texts whose row is full; they enter again with the younger half of what it holds."""
        lengths, most = self._context.lengths, self._context.capacity
        full = {i: text for i, text in enumerate(self.rows) if text and lengths[i] == most}
        for row, text in full.items():
            self._remove(row, text)
        return list(full.values())

    def shrink(self) -> None:
        """Move to a context of half the rows once half of them are empty, and nobody is waiting for them."""
        active = [i for i, row in enumerate(self.rows) if row is not None]
        if not active or 2 * len(active) > len(self.rows):
            return
        self.size = 1 << (len(active) - 1).bit_length()
        smaller = self.engine.context(self.size, self.capacity)
        self._context = smaller.take(self._context, active, range(len(active)))
        self.rows = [*(self.rows[i] for i in active), *[None] * (self.size - len(active))]
        self._drawer = Drawer(self.engine, self.rows)
