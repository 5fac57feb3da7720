"""Text to ids and back: byte-level BPE, as GPT-2 does it."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import SupportsIndex, cast

import regex

from arrayformer.core.errors import InputError
from arrayformer.tokenizer.alphabet import PRINTABLE, to_bytes, to_printable
from arrayformer.tokenizer.explanation import Explanation, Merge, Piece
from arrayformer.tokenizer.merge import merge, merge_steps
from arrayformer.tokenizer.split import WordEncoder, split
from arrayformer.tokenizer.stream import StreamDecoder
from arrayformer.tokenizer.table import check_vocab, number_merges

END_OF_TEXT = "<|endoftext|>"

_NO_TOKEN = "\ufffd".encode()

_SPACE = PRINTABLE[ord(" ")]

MAX_BYTES = 256 << 20
"""Text of more UTF-8 bytes than this is refused before any work is done."""


class Tokenizer:
    """A byte-level BPE. One instance may be used by many threads."""

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        special_tokens: Mapping[str, int] | None = None,
        *,
        ignore_merges: bool = False,
    ) -> None:
        """Build a tokenizer from its tables.

        vocab           token in the printable alphabet -> id; it may hold the special tokens too
        merges          pairs of tokens, the first joined first
        special_tokens  text -> id of tokens that are one id whatever their letters (`<|endoftext|>`)
        ignore_merges   a piece that is a token as a whole gets its id without a look at the merges. For a table in
                        which the merges lead there anyway it only saves time

        Raises TokenizerError unless all ids together are 0 to n-1 and each merge is made of tokens in `vocab`.
        """
        special = dict(special_tokens or {})
        check_vocab(vocab, special)
        self.n_vocab = len(vocab) + len(special.keys() - vocab.keys())
        self.special_tokens: Mapping[str, int] = special
        self.eos_id: int | None = special.get(END_OF_TEXT)
        self._vocab = vocab if special.keys().isdisjoint(vocab) else _without(vocab, special)
        self._ranks, self._results = number_merges(self._vocab, merges)
        self._byte_ids = [self._vocab.get(character, -1) for character in PRINTABLE]
        self._ignore_merges = ignore_merges
        self._words = WordEncoder(self._encode_piece, self._known_words)

    @property
    def vocab(self) -> dict[str, int]:
        """Every token, as the table writes it, and its id; the special tokens too."""
        return {token: id for id, token in enumerate(self._tokens)}

    @property
    def merges(self) -> list[tuple[str, str]]:
        """The merge table in its order, in the printable alphabet."""
        return [(self._tokens[left], self._tokens[right]) for left, right in self._ranks]

    def split(self, text: str) -> list[str]:
        """Step 1: the pieces that are merged on their own. Joined they are the text again."""
        return split(text)

    def encode(self, text: str, *, allowed_special: Iterable[str] = ()) -> list[int]:
        """The ids of `text`.

        A special token written in the text is ordinary text unless it is named in `allowed_special`.
        Raises InputError for text that is not a str, has a lone surrogate (which UTF-8 cannot write) or is larger
        than MAX_BYTES, and for a name in `allowed_special` that is no special token.
        """
        _check_text(text)
        allowed = self._check_allowed(allowed_special)
        if not allowed:
            return self._words.encode(text)
        ids: list[int] = []
        for n, part in enumerate(_special_pattern(allowed).split(text)):
            ids += [self.special_tokens[part]] if n % 2 else self._words.encode(part)
        return ids

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        """The bytes of `ids`. Raises InputError for an id that does not exist."""
        ids = list(ids)
        if set(map(type, ids)) != {int}:
            return b"".join(map(self.token_bytes, ids))
        numbers = cast("list[int]", ids)
        if min(numbers) < 0 or max(numbers) >= self.n_vocab:
            self._check_id(min(numbers) if min(numbers) < 0 else max(numbers))
        return b"".join(map(self._bytes.__getitem__, numbers))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of `ids`; bytes that are not UTF-8 (an id may hold half a character) become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def token(self, id: SupportsIndex) -> str:
        """The token as the table writes it: "Ġthe" for " the"."""
        return self._tokens[self._check_id(id)]

    def token_bytes(self, id: SupportsIndex) -> bytes:
        """The bytes an id stands for: b" the"."""
        return self._bytes[self._check_id(id)]

    def stream(self, n_ids: int = 0) -> StreamDecoder:
        """A decoder that takes ids one at a time and gives out whole characters only.

        n_ids  how many ids the model has, where those are more than the tokenizer's (a vocabulary padded to a round
               number): an id that only the model has is U+FFFD
        """

        def token_bytes(id: int) -> bytes:
            return _NO_TOKEN if type(id) is int and self.n_vocab <= id < n_ids else self.token_bytes(id)

        return StreamDecoder(token_bytes)

    def explain(self, text: str) -> Explanation:
        """Every stage from text to ids: pieces, bytes in the printable alphabet, merges in order, ids."""
        _check_text(text)
        return Explanation(text, [self._explain_piece(piece) for piece in split(text)])

    def _explain_piece(self, piece: str) -> Piece:
        ids = self._byte_level(piece)
        steps = merge_steps(ids, self._ranks, self._results)
        merges = [Merge(rank, [self._tokens[id] for id in ids]) for rank in steps]
        final = list(self._encode_piece(piece))
        shown = merges if final == ids else []
        return Piece(piece, to_printable(piece.encode()), shown, [self._tokens[id] for id in final], final)

    def _encode_piece(self, piece: str) -> Sequence[int]:
        if self._ignore_merges and (whole := self._vocab.get(to_printable(piece.encode()))) is not None:
            return (whole,)
        return merge(self._byte_level(piece), self._ranks, self._results)

    def _known_words(self) -> dict[str, int]:
        # Only if a piece that is a token is not merged: then no word of the vocabulary has to be worked out.
        tokens = self._vocab.items() if self._ignore_merges else ()
        return {token[1:]: id for token, id in tokens if token[0] == _SPACE and token[1:].isascii() and token.isalpha()}

    def _byte_level(self, piece: str) -> list[int]:
        ids = list(map(self._byte_ids.__getitem__, piece.encode()))
        if -1 in ids:
            lost = piece.encode()[ids.index(-1)]
            raise InputError(f"this tokenizer has no token for the byte 0x{lost:02x}, which {piece[:60]!r} holds")
        return ids

    @cached_property
    def _tokens(self) -> list[str]:
        table = {**self._vocab, **self.special_tokens}
        return sorted(table, key=table.__getitem__)

    @cached_property
    def _bytes(self) -> list[bytes]:
        return [token.encode() if token in self.special_tokens else to_bytes(token) for token in self._tokens]

    def _check_allowed(self, allowed_special: Iterable[str]) -> set[str]:
        allowed = {allowed_special} if isinstance(allowed_special, str) else set(allowed_special)
        if unknown := sorted(allowed - self.special_tokens.keys()):
            known = ", ".join(islice(self.special_tokens, 10)) or "none"
            raise InputError(f"{unknown[0][:60]!r} is no special token of this tokenizer; it has {known}")
        return allowed

    def _check_id(self, id: SupportsIndex) -> int:
        if isinstance(id, bool) or not hasattr(id, "__index__"):
            raise InputError(f"{str(id)[:60]!r} is of type {type(id).__name__}; ids are integers")
        number = operator.index(id)
        if not 0 <= number < self.n_vocab:
            raise InputError(f"id {number} does not exist: this tokenizer has the ids 0 to {self.n_vocab - 1}")
        return number


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise InputError(f"the text is of type {type(text).__name__}; pass a str (bytes are decoded as UTF-8 first)")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text has a lone surrogate, U+{ord(text[error.start]):04X}, at character {error.start}: "
            "that is no Unicode text; decode the original bytes as UTF-8 with errors='replace'"
        ) from None
    if size > MAX_BYTES:
        raise InputError(f"the text has {size} bytes; at most {MAX_BYTES} are encoded at once: split it")


def _special_pattern(allowed: Iterable[str]) -> "regex.Pattern[str]":
    return regex.compile("(" + "|".join(map(regex.escape, sorted(allowed, key=len, reverse=True))) + ")")


def _without(vocab: Mapping[str, int], special: Mapping[str, int]) -> dict[str, int]:
    return {token: id for token, id in vocab.items() if token not in special}
