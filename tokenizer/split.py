"""Encodes text quickly: most words of a text were seen before.

`regex` needs more time to find the pieces of a text than tiktoken needs for everything. But no piece has a space
anywhere except at its beginning or inside white space, so before a space that is followed by something visible
there is always a boundary. Text is therefore cut at those spaces, which is one call of `str.split`, and each word
is looked up in a dict of the ids of words. Only new words are split into pieces and merged.

Ids are kept as packed machine words: joining bytes and unpacking them at once is the fastest way to a flat list.
"""

import re
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping

import regex

MAX_ENTRIES = 1 << 18
"""Words, and pieces, that are remembered at most; 10 MB of English have 107,000 different words between spaces."""

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
    """A word that `str.split` cut out of white space."""


class _Pieces(dict[str, bytes]):
    """Ids of pieces; what it lacks it encodes, and remembers within bounds."""

    def __init__(self, encode_piece: Callable[[str], Iterable[int]]) -> None:
        super().__init__()
        self._encode_piece = encode_piece

    def __missing__(self, piece: str) -> bytes:
        return _remember(self, piece, array("I", self._encode_piece(piece)).tobytes())

    def of(self, text: str) -> bytes:
        """The ids of any text, piece by piece."""
        return b"".join(map(self.__getitem__, split(text)))


class _Words(dict[str, bytes]):
    """Ids of words that stand after a space."""

    def __init__(self, pieces: _Pieces) -> None:
        super().__init__()
        self._pieces = pieces

    def __missing__(self, word: str) -> bytes:
        if not word or word[0].isspace():
            raise _Unclear
        return _remember(self, word, self._pieces.of(" " + word))


def _remember(cache: dict[str, bytes], key: str, ids: bytes) -> bytes:
    if len(key) <= MAX_LENGTH:
        if len(cache) >= MAX_ENTRIES:
            cache.clear()  # the frequent ones are soon back, and no look-up has to count
        cache[key] = ids
    return ids


class WordEncoder:
    """Text -> ids by words."""

    def __init__(self, encode_piece: Callable[[str], Iterable[int]], known: Callable[[], Mapping[str, int]]) -> None:
        """Two functions on which it rests.

        encode_piece  the ids of one piece of `split`; called for each that is new
        known         words with the id that each is after a space; called once, when the first long text comes
        """
        self._pieces = _Pieces(encode_piece)
        self._words = _Words(self._pieces)
        self._known: Callable[[], Mapping[str, int]] | None = known

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, of any length."""
        first = _BOUNDARY.search(text)
        if first is None:
            return _unpack(self._pieces.of(text))
        known = self._known
        if known and len(text) > _CHUNK:
            self._known = None
            self._words.update((word, id.to_bytes(4, sys.byteorder)) for word, id in known().items())
        ids = _unpack(self._pieces.of(text[: first.start()]))
        start = first.end()
        while start <= len(text):
            cut = _BOUNDARY.search(text, start + _CHUNK)
            end = cut.start() if cut else len(text)
            ids += _unpack(self._encode_chunk(text[start:end]))
            start = end + 1
        return ids

    def _encode_chunk(self, chunk: str) -> bytes:
        # Each word of the chunk stands after a space; where white space follows a space only the pattern of
        # the boundary knows the words.
        try:
            return b"".join(map(self._words.__getitem__, chunk.split(" ")))
        except _Unclear:
            return b"".join(map(self._words.__getitem__, _BOUNDARY.split(chunk)))


def _unpack(ids: bytes) -> list[int]:
    return memoryview(ids).cast("I").tolist()
