"""How the texts of one context draw: their options as what a step computes, and as numbers on the device."""

from collections.abc import Sequence

import numpy as np

from arrayformer.core.backend import Backend
from arrayformer.core.checked import CheckedBackend
from arrayformer.core.engine import Engine
from arrayformer.core.generate.options import Sampling
from arrayformer.core.generate.text import Text
from arrayformer.core.sampling import Draw, Picked, Plan


def plan_for(rows: Sequence[Sampling], n_vocab: int) -> Plan:
    """What a step has to compute so that each of `rows` gets what it asks for."""
    warm = [s for s in rows if not s.greedy]
    ranks = [min(s.top_k or n_vocab, n_vocab) for s in warm]
    nucleus = any(s.top_p is not None and s.top_p < 1.0 for s in warm)
    reported = [s.logprobs for s in rows if s.logprobs is not None]
    return Plan(
        greedy=not warm,
        k=_candidates(max(ranks), n_vocab) if any(k < n_vocab for k in ranks) else 0,
        nucleus=nucleus,
        min_p=any(s.min_p for s in warm),
        penalty=any(s.repetition_penalty != 1.0 for s in rows),
        logprobs=min(max(reported), n_vocab) if reported else None,
    )


def draw_for(rows: Sequence[Sampling], n_vocab: int, backend: Backend | CheckedBackend) -> Draw:
    """`rows` on the device; the words, and what was seen, come with each step."""

    def column(values: list[float]) -> np.ndarray:
        return np.array(values, dtype=np.float32)

    return Draw(
        word=backend.asarray(np.zeros((len(rows), 1), dtype=np.int32), "int32"),
        temperature=backend.asarray(column([0.0 if s.greedy else s.temperature for s in rows])),
        top_k=backend.asarray(np.array([min(s.top_k or n_vocab, n_vocab) for s in rows], dtype=np.int64)),
        top_p=backend.asarray(column([1.0 if s.top_p is None else s.top_p for s in rows])),
        min_p=backend.asarray(column([s.log_min_p() for s in rows])),
        penalty=backend.asarray(column([s.repetition_penalty for s in rows])),
    )


def _candidates(k: int, n_vocab: int) -> int:
    """`k` rounded up to a power of two, so that few programs have to be compiled."""
    return int(min(1 << (k - 1).bit_length(), n_vocab))


class Drawer:
    """How the rows of one context draw: what is the same for each step is made once.

    plan  what the device computes
    """

    def __init__(self, engine: Engine, rows: Sequence[Text | None]) -> None:
        self._checked = engine.checked
        samplings = [Sampling() if row is None else row.sampling for row in rows]
        self.plan: Plan = plan_for(samplings, engine.config.n_vocab)
        self._draw = draw_for(samplings, engine.config.n_vocab, engine.checked)
        if self.plan.penalty:
            seen = np.zeros((len(rows), engine.config.n_vocab), dtype=np.bool_)
            for i, row in enumerate(rows):
                seen[i, [] if row is None else row.ids] = True
            self._draw = self._draw._replace(seen=engine.checked.asarray(seen))

    def draw(self, rows: Sequence[Text | None], n: int) -> Draw:
        """For the next `n` places of each row."""
        if self.plan.greedy:
            return self._draw
        words = np.array([[0] * n if row is None else row.words(n) for row in rows], dtype=np.int32)
        return self._draw._replace(word=self._checked.asarray(words, "int32"))

    def learn(self, picked: Picked) -> None:
        """Remember what was drawn, for the repetition penalty."""
        if self.plan.penalty:
            self._draw = self._draw._replace(seen=picked.seen)
