"""Guessing the last word of a passage, stop words left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arrayformer.core.array_api import Array, array_namespace
from arrayformer.core.engine import Engine
from arrayformer.core.errors import NumericError
from arrayformer.evaluate.lambada import first_word, is_stop_word
from arrayformer.evaluate.score import fill, reset
from arrayformer.evaluate.totals import Outcome
from arrayformer.tokenizer import Tokenizer

TOKENS = 3  # how far the model writes to finish a word, as in cybertronai/bflm eval_lambada_slow.py


@dataclass(frozen=True)
class Passage:
    """What is read, and the word that follows."""

    ids: tuple[int, ...]
    answer: str


def likeliest(logits: Array, skipped: Array) -> tuple[Array, Array]:
    """logits [batch, n_vocab], skipped [n_vocab] bool -> (the likeliest id that is not skipped [batch], its logit)"""
    xp = array_namespace(logits)
    open_to = xp.where(skipped, -np.inf, logits)
    return xp.argmax(open_to, axis=-1), xp.max(open_to, axis=-1)


class WordScorer:
    """Has the model write three tokens after each passage, none of them a stop word; the first word of them counts."""

    def __init__(self, engine: Engine, batch: int, capacity: int, tokenizer: Tokenizer) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.context = engine.context(batch, min(capacity + TOKENS, engine.config.n_ctx))
        n_tokens = min(engine.config.n_vocab, tokenizer.n_vocab)
        stop = [not id < n_tokens or is_stop_word(tokenizer.token_bytes(id)) for id in range(engine.config.n_vocab)]
        self.skipped = engine.checked.asarray(np.array(stop), "bool")

    def __call__(self, passages: Sequence[Passage]) -> list[Outcome]:
        """One Outcome for each passage: of one answer, hit or not; its loss is not measured and 0."""
        guesses = self.guess(passages)
        return [Outcome(1, 0.0, int(g == p.answer)) for g, p in zip(guesses, passages, strict=True)]

    def guess(self, passages: Sequence[Passage]) -> list[str]:
        """The word the model puts after each passage. Raises NumericError where logits are not finite."""
        written: list[list[int]] = [[] for _ in passages]
        rows: list[Sequence[int]] = [p.ids if p else () for p in fill(passages, len(self.context.lengths))]
        reset(self.context)
        to_numpy = self.engine.checked.to_numpy
        for _ in range(TOKENS):
            ids, logits = (to_numpy(x) for x in likeliest(self.context.read(rows), self.skipped))
            if not np.all(np.isfinite(logits[: len(passages)])):
                raise NumericError("a logit is not finite: the weights hold NaN or overflow in this dtype")
            for row, id in zip(written, ids, strict=False):
                row.append(int(id))
            rows = [row or () for row in fill([row[-1:] for row in written], len(rows))]
        return [first_word(self.tokenizer.decode(row)) for row in written]
