"""One text that is being written: its ids, what of them was read, and why it ended."""

from collections.abc import Sequence
from typing import NamedTuple

from arrayformer.core.errors import NumericError
from arrayformer.core.generate.options import Ending, Sampling
from arrayformer.core.generate.stops import TextGate, TextStream
from arrayformer.core.sampling import Picked


class Token(NamedTuple):
    """An id that was drawn.

    id       the id
    text     what may be shown now: whole characters, and nothing that a stop string may begin with
    logprob  natural logarithm of its probability under the model alone (None unless asked for)
    top      the likeliest ids with their log-probabilities
    """

    id: int
    text: str
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Row:
    """A prompt and what follows it.

    ids            the prompt, then what was drawn
    n_prompt       how many of them are the prompt
    sampling       how ids are drawn
    finish_reason  "length" (as many ids as asked for), "context" (the context is full), "eos", "stop", or None
                   while there is more to come
    tail           text that was held back until the end was known
    drafted        how many ids were guessed ahead, and `accepted` how many of those were right
    """

    def __init__(
        self, prompt: Sequence[int], sampling: Sampling, ending: Ending, n_ctx: int, *,
        eos: frozenset[int] = frozenset(), stream: TextStream | None = None,
    ) -> None:  # fmt: skip
        """`prompt` was checked by `check_ids`. Raises InputError where it, and what is to follow, does not fit."""
        self.ids = list(prompt)
        self.n_prompt = len(prompt)
        self.sampling = sampling
        self.limit = ending.limit(len(prompt), n_ctx)
        self.n_ctx = n_ctx
        self.eos = frozenset() if ending.ignore_eos else eos
        self.gate = TextGate(stream, ending.stop)
        self.why_limited = "length" if self.limit == ending.max_new_tokens else "context"
        self.finish_reason: str | None = None if self.limit else self.why_limited
        self.tail = ""
        self.drafted = self.accepted = 0

    @property
    def new_ids(self) -> list[int]:
        """What was drawn."""
        return self.ids[self.n_prompt :]

    @property
    def left(self) -> int:
        """How many ids may still be drawn."""
        return self.limit - (len(self.ids) - self.n_prompt)

    @property
    def capacity(self) -> int:
        """How many ids a context has to hold for this text."""
        return min(self.n_ctx, len(self.ids) + self.left)

    def window(self) -> list[int]:
        """What a fresh context has to read: everything, or the last half context of what does not fit."""
        return self.ids if len(self.ids) <= self.n_ctx else self.ids[-max(1, self.n_ctx // 2) :]

    def words(self, n: int) -> list[int]:
        """The random words for the next `n` ids."""
        return [self.sampling.word(len(self.ids) + i) for i in range(n)]

    def take(self, picked: Picked, row: int, place: int) -> Token | None:
        """Append the id that `row` drew at `place`. None for the end of text, which is no part of it.

        Raises NumericError where the logits were not finite.
        """
        id = int(picked.ids[row, place])
        if id < 0:
            raise NumericError(
                f"the logits after {len(self.ids)} ids are not finite: the weights hold NaN or infinity, "
                "or the dtype is too narrow for them (try --dtype float32)"
            )
        if id in self.eos:
            self.end("eos")
            return None
        self.ids.append(id)
        text = self.gate.push(id)
        if self.gate.found:
            self.end("stop")
        elif self.left == 0:
            self.end(self.why_limited)
        return Token(id, text, *self.reported(picked, row, place))

    def end(self, why: str) -> None:
        """Nothing more comes. A stop string in the last held text still counts."""
        self.tail = self.gate.flush()
        self.finish_reason = "stop" if self.gate.found else why

    def reported(self, picked: Picked, row: int, place: int) -> tuple[float | None, tuple[tuple[int, float], ...]]:
        """The log-probabilities this row asked for."""
        if self.sampling.logprobs is None or picked.logprob is None:
            return None, ()
        top: list[tuple[int, float]] = []
        if self.sampling.logprobs and picked.top_ids is not None and picked.top_logprobs is not None:
            ids, values = picked.top_ids[row, place], picked.top_logprobs[row, place]
            top = [(int(ids[i]), float(values[i])) for i in range(min(self.sampling.logprobs, ids.shape[0]))]
        return float(picked.logprob[row, place]), tuple(top)
