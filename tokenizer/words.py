"""Encodes text quickly: most words of a text were seen before.

`regex` needs more time to find the pieces of a text than tiktoken needs for everything. But no piece has a space
anywhere except at its beginning or inside white space, so before a space that is followed by something visible
there is always a boundary. Text is therefore cut at those spaces, which is one call of `str.split`, and each word
is looked up in a dict of the ids of words. Only new words are split into pieces and merged.

Ids are kept as packed machine words: joining bytes and unpacking them at once is the fastest way to a flat list.
"""

import re
from array import array
from collections.abc import Callable, Iterable

import regex

MAX_ENTRIES = 1 << 17
"""Words, and pieces, that are remembered at most."""

MAX_LENGTH = 48
"""Characters of the longest word that is remembered."""

_CHUNK = 1 << 16

_SPLIT = regex.compile(r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
# The same for ASCII: the standard library has no \p{L}, but takes a third of the time.
_SPLIT_ASCII = re.compile(r" ?[A-Za-z]+|'(?:s|t|re|ve|m|ll|d)| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII)
_BOUNDARY = re.compile(r" (?=\S)")


def split(text: str) -> list[str]:
    """Step 1, GPT-2's pattern: contractions; a word, number or other run with the space before it; white space."""
    return _SPLIT_ASCII.findall(text) if text.isascii() else _SPLIT.findall(text)


class _Unclear(Exception):
    """A word that `str.split` cut from the white space around it."""


class _Cache(dict[str, bytes]):
    """A dict that encodes what it lacks and remembers it. Full, it starts anew: frequent words are soon back."""

    def __init__(self, encode: Callable[[str], bytes]) -> None:
        super().__init__()
        self._encode = encode

    def __missing__(self, key: str) -> bytes:
        ids = self._encode(key)
        if len(key) <= MAX_LENGTH:
            if len(self) >= MAX_ENTRIES:
                self.clear()
            self[key] = ids
        return ids


class WordEncoder:
    """Text -> ids by words; `encode_piece` does the real work for each new piece."""

    def __init__(self, encode_piece: Callable[[str], Iterable[int]]) -> None:
        """`encode_piece` gives the ids of one piece of `split`."""
        self._pieces = _Cache(lambda piece: array("I", encode_piece(piece)).tobytes())
        self._words = _Cache(self._encode_word)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, of any length."""
        first = _BOUNDARY.search(text)
        if first is None:
            return _unpack(self._encode_pieces(text))
        ids = _unpack(self._encode_pieces(text[: first.start()]))
        start = first.end()
        while start <= len(text):
            cut = _BOUNDARY.search(text, start + _CHUNK)
            end = cut.start() if cut else len(text)
            ids += _unpack(self._encode_chunk(text[start:end]))
            start = end + 1
        return ids

    def _encode_chunk(self, chunk: str) -> bytes:
        try:
            return b"".join(map(self._words.__getitem__, chunk.split(" ")))
        except _Unclear:
            return b"".join(map(self._words.__getitem__, _BOUNDARY.split(chunk)))

    def _encode_word(self, word: str) -> bytes:
        if not word or word[0].isspace():
            raise _Unclear
        return self._encode_pieces(" " + word)

    def _encode_pieces(self, text: str) -> bytes:
        return b"".join(map(self._pieces.__getitem__, split(text)))


def _unpack(ids: bytes) -> list[int]:
    return memoryview(ids).cast("I").tolist()
