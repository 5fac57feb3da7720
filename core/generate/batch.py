"""Rows that are read together: they enter, draw, and leave, each when it is its turn."""

from collections.abc import Sequence

import numpy as np

from arrayformer.core.engine import Context, Engine
from arrayformer.core.generate.lookup import Lookup
from arrayformer.core.generate.options import Sampling, draw_for, plan_for
from arrayformer.core.generate.text import Row, Token
from arrayformer.core.sampling import Draw, Picked, Plan

Drawn = tuple[Row, Token | None]
"""A row and what it drew; None where that was the end of its text."""


class Drawer:
    """How the rows of one context draw: what is the same for each step is made once.

    plan  what the device computes
    """

    def __init__(self, engine: Engine, rows: Sequence[Row | None]) -> None:
        self._backend = engine.backend
        samplings = [Sampling() if row is None else row.sampling for row in rows]
        self.plan: Plan = plan_for(samplings, engine.config.n_vocab)
        self._draw = draw_for(samplings, engine.config.n_vocab, engine.backend)
        if self.plan.penalty:
            seen = np.zeros((len(rows), engine.config.n_vocab), dtype=np.bool_)
            for i, row in enumerate(rows):
                seen[i, [] if row is None else row.ids] = True
            self._draw = self._draw._replace(seen=engine.backend.asarray(seen))

    def draw(self, rows: Sequence[Row | None], n: int) -> Draw:
        """For the next `n` places of each row."""
        if self.plan.greedy:
            return self._draw
        words = np.array([[0] * n if row is None else row.words(n) for row in rows], dtype=np.int32)
        return self._draw._replace(word=self._backend.asarray(words, "int32"))

    def learn(self, picked: Picked) -> None:
        """Remember what was drawn, for the repetition penalty."""
        if self.plan.penalty:
            self._draw = self._draw._replace(seen=picked.seen)


class Batch:
    """Up to `size` rows in one context.

    A row enters by being read in a context of its own, from which it is copied to its place here, so that no
    other row has to wait for more than that one step. Places without a row read nothing.
    """

    def __init__(self, engine: Engine, size: int, capacity: int, lookahead: int = 0) -> None:
        """`lookahead` is how many ids may be guessed ahead (0: none)."""
        self.engine = engine
        self.size = size
        self.capacity = capacity
        self.lookahead = lookahead
        self.rows: list[Row | None] = []
        self._context: Context | None = None
        self._lookups: dict[Row, Lookup] = {}

    @property
    def active(self) -> int:
        """How many rows are here."""
        return sum(row is not None for row in self.rows)

    def enter(self, rows: Sequence[Row]) -> list[Drawn]:
        """Read the texts of `rows` and draw one id for each; there is room for them."""
        fresh = self.engine.context(len(rows), self.capacity)
        texts = [row.window() for row in rows]
        drawer = Drawer(self.engine, rows)
        places = np.array([[len(text) - 1] for text in texts])
        picked = fresh.draw(texts, places, drawer.draw(rows, 1), drawer.plan)
        drawn: list[Drawn] = [(row, row.take(picked, i, 0)) for i, row in enumerate(rows)]
        if self.active or len(rows) < self.size:
            self._settle(rows, fresh)
        else:
            self.rows, self._context = list(rows), fresh
        self._leave_finished()
        self._drawer = Drawer(self.engine, self.rows)
        return drawn

    def _settle(self, rows: Sequence[Row], fresh: Context) -> None:
        """Copy what `fresh` read to free places."""
        if not self.active or self._context is None:
            self._context, self.rows = self.engine.context(self.size, self.capacity), [None] * self.size
        free = [i for i, row in enumerate(self.rows) if row is None][: len(rows)]
        self._context.take(fresh, range(len(rows)), free)
        for i, row in zip(free, rows, strict=True):
            self.rows[i] = row

    def step(self) -> list[Drawn]:
        """Each row reads its last id, and what is guessed to follow, and draws."""
        assert self._context is not None
        before = self._context.lengths
        drafts = [self._draft(row, length) for row, length in zip(self.rows, before, strict=True)]
        n = self._places(1 + max(map(len, drafts)))
        reads = [[] if row is None else [row.ids[-1], *draft] for row, draft in zip(self.rows, drafts, strict=True)]
        places = np.array([[min(i, len(draft)) for i in range(n)] for draft in drafts])
        picked = self._context.draw(reads, places, self._drawer.draw(self.rows, n), self._drawer.plan)
        self._drawer.learn(picked)
        drawn: list[Drawn] = []
        for i, row in enumerate(self.rows):
            if row is not None:
                tokens = self._accept(row, i, picked, drafts[i])
                self._context.truncate(i, before[i] + len(tokens))
                drawn += [(row, token) for token in tokens]
        self._leave_finished()
        return drawn

    def _places(self, n: int) -> int:
        """At how many places to draw: with a compiler one or all, so that two programs serve."""
        return n if n == 1 or not self.engine.backend.compiles else 1 + self.lookahead

    def _draft(self, row: Row | None, length: int) -> list[int]:
        if row is None or not self.lookahead:
            return []
        lookup = self._lookups.setdefault(row, Lookup(self.lookahead))
        return lookup.guess(row.ids, min(row.left - 1, self.capacity - length - 1))

    def _accept(self, row: Row, i: int, picked: Picked, draft: Sequence[int]) -> list[Token | None]:
        """What `row` drew, up to the first id that was not guessed."""
        tokens: list[Token | None] = []
        for place in range(len(draft) + 1):
            token = row.take(picked, i, place)
            tokens.append(token)
            if row.finish_reason or place == len(draft) or token is None or token.id != draft[place]:
                break
        if draft:
            row.drafted += len(draft)
            row.accepted += len(tokens) - 1
            self._lookups[row].learn(len(draft), len(tokens) - 1)
        return tokens

    def _leave_finished(self) -> None:
        for i, row in enumerate(self.rows):
            if row is not None and row.finish_reason:
                self._remove(i)

    def _remove(self, i: int) -> None:
        assert self._context is not None
        self._context.reset(i)
        self._lookups.pop(self.rows[i], None)  # type: ignore[arg-type]
        self.rows[i] = None

    def full(self) -> list[Row]:
        """Take out the rows whose context is full; they enter again with the younger half of it."""
        assert self._context is not None
        places = [
            i for i, row in enumerate(self.rows) if row and self._context.lengths[i] == self._context.capacity
        ]  # fmt: skip
        rows = [row for i in places if (row := self.rows[i]) is not None]
        for i in places:
            self._remove(i)
        return rows

    def shrink(self) -> None:
        """Move to a context of half the rows once half the places are empty, and nobody is waiting for them."""
        assert self._context is not None
        active = [i for i, row in enumerate(self.rows) if row is not None]
        if not active or 2 * len(active) > len(self.rows):
            return
        self.size = 1 << (len(active) - 1).bit_length()
        smaller = self.engine.context(self.size, self.capacity)
        self._context = smaller.take(self._context, active, range(len(active)))
        self.rows = [*(self.rows[i] for i in active), *[None] * (self.size - len(active))]
        self._drawer = Drawer(self.engine, self.rows)
