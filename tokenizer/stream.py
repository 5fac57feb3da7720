"""Step 7 as it happens: ids come one at a time, characters go out only when they are whole."""

import codecs
from collections.abc import Callable


class StreamDecoder:
    """Turns ids into text without ever giving out part of a character.

    A character outside ASCII has up to four bytes, which may lie in several ids; its bytes wait here until it is
    whole. What `push` and `flush` gave, joined, is what `Tokenizer.decode` gives for all the ids at once.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        """`token_bytes` gives the bytes of an id and raises InputError for one that does not exist."""
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, id: int) -> str:
        """The text that this id completes; "" while a character is not whole."""
        return self._decoder.decode(self._token_bytes(id))

    def flush(self) -> str:
        """The end: U+FFFD for a character that was left unfinished, else "". The decoder can then start anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
