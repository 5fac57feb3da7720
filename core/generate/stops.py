"""Text that goes out as it is made, and ends exactly where a stop string begins."""

from collections.abc import Sequence
from typing import Protocol


class TextStream(Protocol):
    """What turns ids into text one by one: `tokenizer.stream()`."""

    def push(self, id: int, /) -> str:
        """The text that this id completes."""

    def flush(self) -> str:
        """What was left unfinished."""


class TextGate:
    """Lets text out as soon as no stop string can begin in it.

    found  whether a stop string has come; what it began with, and everything after, is never let out
    """

    def __init__(self, stream: TextStream | None, stop: Sequence[str] = ()) -> None:
        self.stream = stream
        self.stop = stop
        self.found = False
        self._held = ""

    def push(self, id: int) -> str:
        """The text that may go out now that `id` has come."""
        return "" if self.stream is None else self._let_out(self.stream.push(id))

    def flush(self) -> str:
        """The rest, once no more ids come."""
        if self.stream is None or self.found:
            return ""
        out = self._let_out(self.stream.flush())
        rest, self._held = self._held, ""
        return out if self.found else out + rest

    def _let_out(self, piece: str) -> str:
        if not self.stop:
            return piece
        text = self._held + piece
        starts = [at for at in map(text.find, self.stop) if at >= 0]
        self.found = bool(starts)
        cut = min(starts) if starts else len(text) - self._possible(text)
        self._held = "" if self.found else text[cut:]
        return text[:cut]

    def _possible(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a stop string."""
        longest = 0
        for stop in self.stop:
            for n in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:n]):
                    longest = n
                    break
        return longest
