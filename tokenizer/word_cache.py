"""Encodes text quickly: most words of a text were seen before.

`regex` needs more time to find the pieces of a text than tiktoken needs for everything. But in the known ways of
cutting no piece has a space anywhere except at its beginning or inside white space, so before a space between two
visible characters there is always a boundary. Text is therefore cut at those spaces, which is one call of `str.split`,
and each word is looked up in a dict of the ids of words. Only new words are split into pieces and merged.

Ids are kept as packed machine words: joining bytes and unpacking them at once is the fastest way to a flat list.
"""

import sys
from array import array
from collections.abc import Callable, Iterable, Mapping

import regex

from arrayformer.tokenizer.split import Splitter

MAX_ENTRIES = 1 << 18
"""Words, and pieces, that are remembered at most; 10 MB of English have 107,000 different words between spaces."""

MAX_LENGTH = 48
"""Characters of the longest word that is remembered."""

_CHUNK = 1 << 16


class _Unclear(Exception):
    """A word that `str.split` cut out of white space."""


class _Pieces(dict[str, bytes]):
    """Ids of pieces; what it lacks it encodes, and remembers within bounds."""

    def __init__(self, split: Callable[[str], list[str]], encode_piece: Callable[[str], Iterable[int]]) -> None:
        super().__init__()
        self._split = split
        self._encode_piece = encode_piece

    def __missing__(self, piece: str) -> bytes:
        return _remember(self, piece, array("I", self._encode_piece(piece)).tobytes())

    def of(self, text: str) -> bytes:
        """The ids of any text, piece by piece."""
        return b"".join(map(self.__getitem__, self._split(text)))


class _Words(dict[str, bytes]):
    """Ids of words that stand after a space."""

    def __init__(self, pieces: _Pieces) -> None:
        super().__init__()
        self._pieces = pieces

    def __missing__(self, word: str) -> bytes:
        if not word or word[0].isspace() or word[-1].isspace():
            raise _Unclear
        return _remember(self, word, self._pieces.of(" " + word))

    def after_boundary(self, word: str) -> bytes:
        """The ids of a space and what follows it up to the next boundary, which may end in white space.

        It may begin with U+001C to U+001F too, which are white space to Python and not to the patterns.
        """
        return self[word] if word == word.strip() else self._pieces.of(" " + word)


def _remember(cache: dict[str, bytes], key: str, ids: bytes) -> bytes:
    if len(key) <= MAX_LENGTH:
        if len(cache) >= MAX_ENTRIES:
            cache.clear()  # the frequent ones are soon back, and no look-up has to count
        cache[key] = ids
    return ids


class WordEncoder:
    """Text -> ids by words."""

    def __init__(
        self,
        splitter: Splitter,
        encode_piece: Callable[[str], Iterable[int]],
        known: Callable[[], Mapping[str, int]],
    ) -> None:
        """What it rests on.

        splitter      how text is cut
        encode_piece  the ids of one piece of it; called for each that is new
        known         words with the id that each is after a space; called once, when the first long text comes
        """
        self._pieces = _Pieces(splitter.pieces, encode_piece)
        self._words = _Words(self._pieces)
        self._boundary = None if splitter.boundary is None else regex.compile(splitter.boundary)
        self._known: Callable[[], Mapping[str, int]] | None = known

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, of any length."""
        first = self._boundary.search(text) if self._boundary else None
        if first is None or self._boundary is None:
            return _unpack(self._pieces.of(text))
        known = self._known
        if known and len(text) > _CHUNK:
            self._known = None
            self._words.update((word, id.to_bytes(4, sys.byteorder)) for word, id in known().items())
        ids = _unpack(self._pieces.of(text[: first.start()]))
        start = first.end()
        while start <= len(text):
            cut = self._boundary.search(text, start + _CHUNK)
            end = cut.start() if cut else len(text)
            ids += _unpack(self._encode_chunk(text[start:end], self._boundary))
            start = end + 1
        return ids

    def _encode_chunk(self, chunk: str, boundary: "regex.Pattern[str]") -> bytes:
        # Each word of the chunk stands after a space; where there is other white space beside a space, only the
        # pattern of the boundary knows the words.
        try:
            return b"".join(map(self._words.__getitem__, chunk.split(" ")))
        except _Unclear:
            return b"".join(map(self._words.after_boundary, boundary.split(chunk)))


def _unpack(ids: bytes) -> list[int]:
    return memoryview(ids).cast("I").tolist()
