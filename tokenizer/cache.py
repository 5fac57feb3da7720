"""Ids of what was encoded before: most words of a text are not new."""

from collections.abc import Callable

MAX_ENTRIES = 1 << 17
MAX_LENGTH = 32


class IdCache(dict[str, tuple[int, ...]]):
    """A dict that encodes what it lacks and remembers it, bounded in entries and in the length of a key.

    Full, it starts anew: the frequent words are back after a page, and nothing has to be counted per look-up.
    """

    def __init__(self, encode: Callable[[str], tuple[int, ...]]) -> None:
        """`encode` gives the ids of a key that is not here."""
        super().__init__()
        self._encode = encode

    def __missing__(self, key: str) -> tuple[int, ...]:
        """The ids of a new key."""
        ids = self._encode(key)
        if len(key) <= MAX_LENGTH:
            if len(self) >= MAX_ENTRIES:
                self.clear()
            self[key] = ids
        return ids
