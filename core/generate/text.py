"""One text that is being written: its ids, what of them was read, and why it ended."""

from collections.abc import Sequence

from arrayformer.core.errors import NumericError
from arrayformer.core.generate.options import Ending, Sampling
from arrayformer.core.generate.stops import TextGate, TextStream
from arrayformer.core.sampling import Picked


class Text:
    """A prompt and what follows it.

    ids            the prompt, then what was drawn, without the end-of-text id
    n_prompt       how many of them are the prompt
    sampling       how ids are drawn
    pieces         the new text as far as it may be shown: whole characters, and nothing that a stop string may begin
                   with. Together they are the text once it has ended
    logprobs       natural logarithm of the probability of each new id under the model alone, where asked for
    top_logprobs   for each new id, the likeliest ids with theirs, where asked for
    finish_reason  "length" (as many ids as asked for), "context" (the context is full), "eos", "stop", or None
                   while there is more to come
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
        self.n_ctx = n_ctx
        self._limit = ending.limit(len(prompt), n_ctx)
        self._why_limited = "length" if self._limit == ending.max_new_tokens else "context"
        self._eos = frozenset() if ending.ignore_eos else eos
        self._gate = TextGate(stream, ending.stop)
        self.pieces: list[str] = []
        self.logprobs: list[float] = []
        self.top_logprobs: list[tuple[tuple[int, float], ...]] = []
        self.finish_reason: str | None = None if self._limit else self._why_limited
        self.drafted = self.accepted = 0

    @property
    def new_ids(self) -> list[int]:
        """What was drawn."""
        return self.ids[self.n_prompt :]

    @property
    def left(self) -> int:
        """How many ids may still be drawn."""
        return self._limit - (len(self.ids) - self.n_prompt)

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

    def take(self, picked: Picked, row: int, place: int) -> int:
        """Append the id that `row` drew at `place`, and return it. An end-of-text id is not appended: it ends the text.

        Raises NumericError where the logits were not finite.
        """
        id = int(picked.ids[row, place])
        if id < 0:
            raise NumericError(
                f"the logits after {len(self.ids)} ids are not finite: the weights hold NaN or infinity, "
                "or the dtype is too narrow for them (try --dtype float32)"
            )
        if id in self._eos:
            self.end("eos")
            return id
        self.ids.append(id)
        self._report(picked, row, place)
        self._show(self._gate.push(id))
        if self._gate.found:
            self.end("stop")
        elif self.left == 0:
            self.end(self._why_limited)
        return id

    def end(self, why: str) -> None:
        """Nothing more comes. A stop string in the last held text still counts."""
        self._show(self._gate.flush())
        self.finish_reason = "stop" if self._gate.found else why

    def _show(self, piece: str) -> None:
        if piece:
            self.pieces.append(piece)

    def _report(self, picked: Picked, row: int, place: int) -> None:
        """Keep the log-probabilities this text asked for."""
        n = self.sampling.logprobs
        if n is None or picked.logprob is None:
            return
        top: list[tuple[int, float]] = []
        if n and picked.top_ids is not None and picked.top_logprobs is not None:
            ids, values = picked.top_ids[row, place], picked.top_logprobs[row, place]
            top = [(int(ids[i]), float(values[i])) for i in range(min(n, ids.shape[0]))]
        self.logprobs.append(float(picked.logprob[row, place]))
        self.top_logprobs.append(tuple(top))
