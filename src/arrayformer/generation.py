"""What is written after a prompt: whole, or in pieces as it comes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from arrayformer.core.generate.text import Text

Piece = TypeVar("Piece")


@dataclass(frozen=True)
class Generation:
    """What followed a prompt.

    text           the new text, cut where a stop string begins
    ids            the new ids, without the end-of-text id. After a stop string they may reach behind the text
    finish_reason  "length" (max_new_tokens), "context" (it is full), "eos" (end of text), "stop" (a stop string),
                   "interrupted" (`Stream.interrupt`), or "" where there is more to come
    prompt_ids     the ids of the prompt
    logprobs       per id, natural logarithm of its probability under the model alone (None unless asked for)
    top_logprobs   per id, the likeliest ids with theirs
    acceptance     part of the ids guessed ahead that were right (None where none were guessed)
    """

    text: str
    ids: list[int]
    finish_reason: str
    prompt_ids: list[int]
    logprobs: list[float] | None = None
    top_logprobs: list[tuple[tuple[int, float], ...]] | None = None
    acceptance: float | None = None

    @classmethod
    def of(cls, text: Text) -> Self:
        """What `text` holds so far."""
        asked = text.sampling.logprobs is not None
        return cls(
            text="".join(text.pieces),
            ids=text.new_ids,
            finish_reason=text.finish_reason or "",
            prompt_ids=text.ids[: text.n_prompt],
            logprobs=list(text.logprobs) if asked else None,
            top_logprobs=list(text.top_logprobs) if asked else None,
            acceptance=text.accepted / text.drafted if text.drafted else None,
        )


class Stream(Generic[Piece]):
    """A text that comes in pieces: iterate over it. The model works only while the next piece is asked for."""

    def __init__(self, text: Text, steps: Iterator[Text], pieces: list[Piece], first: int = 0) -> None:
        """`pieces` from `first` on are what comes out; `steps` make the list grow."""
        self._text = text
        self._steps = steps
        self._pieces = pieces
        self._next = first

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        while self._next == len(self._pieces):
            if next(self._steps, None) is None:
                break
        if self._next == len(self._pieces):  # the last step may have brought nothing
            raise StopIteration
        self._next += 1
        return self._pieces[self._next - 1]

    @property
    def generation(self) -> Generation:
        """What was written so far."""
        return Generation.of(self._text)

    def interrupt(self) -> None:
        """Write no more. What was held back, because a stop string may have begun in it, is the last piece."""
        if self._text.finish_reason is None:
            self._text.end("interrupted")
        self._steps = iter(())
