"""Text to ids and back: byte-level BPE, as GPT-2 does it."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain

import regex

from arrayformer.core.errors import InputError, TokenizerError
from arrayformer.tokenizer.alphabet import PRINTABLE, to_bytes, to_printable
from arrayformer.tokenizer.cache import IdCache
from arrayformer.tokenizer.explanation import Explanation, Piece
from arrayformer.tokenizer.merge import Ranks, merge, trace
from arrayformer.tokenizer.stream import StreamDecoder
from arrayformer.tokenizer.table import check_merges, check_vocab

SPLIT = regex.compile(r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
"""Step 1: GPT-2's pattern. Contractions; a word, number or other run with the space before it; white space."""

END_OF_TEXT = "<|endoftext|>"

MAX_BYTES = 1 << 30
"""Text of more bytes than this is refused before any work is done."""


class Tokenizer:
    """A byte-level BPE. One instance may be used by many threads."""

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        special_tokens: Mapping[str, int] | None = None,
    ) -> None:
        """Build a tokenizer from its tables.

        vocab           token in the printable alphabet -> id; it may hold the special tokens too
        merges          pairs of tokens, the first joined first
        special_tokens  text -> id of tokens that are one id whatever their letters (`<|endoftext|>`)

        Raises TokenizerError unless all ids together are 0 to n-1 and each merge is made of tokens in `vocab`.
        """
        special = dict(special_tokens or {})
        check_vocab(vocab, special)
        check_merges(vocab, merges)
        self.special_tokens: Mapping[str, int] = special
        self.n_vocab = len({**vocab, **special})
        self.eos_id: int | None = special.get(END_OF_TEXT)
        self._vocab = {token: id for token, id in vocab.items() if token not in special}
        self._byte_ids = [self._vocab.get(character, -1) for character in PRINTABLE]
        self._ranks: Ranks = {(vocab[left], vocab[right]): rank for rank, (left, right) in enumerate(merges)}
        self._results = [vocab[left + right] for left, right in merges]
        self._pieces = IdCache(self._encode_piece)

    def split(self, text: str) -> list[str]:
        """Step 1: the pieces that are merged on their own. Joined they are the text again."""
        return SPLIT.findall(text)

    def encode(self, text: str, *, allowed_special: Iterable[str] = ()) -> list[int]:
        """The ids of `text`.

        A special token written in the text is ordinary text unless it is named in `allowed_special`.
        Raises InputError for text that is not a str, has a lone surrogate (which no UTF-8 can write) or is larger
        than MAX_BYTES, and TokenizerError for a name in `allowed_special` that is no special token.
        """
        self._check_text(text)
        allowed = self._check_allowed(allowed_special)
        if not allowed:
            return self._encode_ordinary(text)
        ids: list[int] = []
        for n, part in enumerate(_special_pattern(allowed).split(text)):
            ids += [self.special_tokens[part]] if n % 2 else self._encode_ordinary(part)
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of `ids`. Raises InputError for an id that does not exist."""
        return b"".join(map(self.token_bytes, ids))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; bytes that are not UTF-8 (an id may hold half a character) become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def token(self, id: int) -> str:
        """The token as the table writes it: "Ġthe" for " the"."""
        return self._tokens[self._check_id(id)]

    def token_bytes(self, id: int) -> bytes:
        """The bytes an id stands for: b" the"."""
        return self._bytes[self._check_id(id)]

    def stream(self) -> StreamDecoder:
        """A decoder that takes ids one at a time and gives out whole characters only."""
        return StreamDecoder(self.token_bytes)

    def explain(self, text: str) -> Explanation:
        """Every stage from text to ids: pieces, bytes in the printable alphabet, merges in order, ids."""
        self._check_text(text)
        return Explanation(text, [self._explain_piece(piece) for piece in self.split(text)])

    def _explain_piece(self, piece: str) -> Piece:
        start = self._byte_level(piece)
        steps = trace(start, self._ranks, self._results)
        ids = steps[-1][1] if steps else start
        return Piece(
            piece,
            to_printable(piece.encode()),
            [(rank, [self._tokens[id] for id in after]) for rank, after in steps],
            [self._tokens[id] for id in ids],
            ids,
        )

    def _encode_ordinary(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._pieces.__getitem__, SPLIT.findall(text))))

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        return tuple(merge(self._byte_level(piece), self._ranks, self._results))

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

    def _check_text(self, text: str) -> None:
        if not isinstance(text, str):
            raise InputError(f"the text is of type {type(text).__name__}; pass a str (decode bytes as UTF-8 first)")
        try:
            size = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError as error:
            raise InputError(
                f"the text has a lone surrogate, U+{ord(text[error.start]):04X}, at character {error.start}: "
                "it is no Unicode text; decode the original bytes as UTF-8 with errors='replace'"
            ) from None
        if size > MAX_BYTES:
            raise InputError(f"the text has {size} bytes; at most {MAX_BYTES} are encoded at once: split it")

    def _check_allowed(self, allowed_special: Iterable[str]) -> set[str]:
        allowed = {allowed_special} if isinstance(allowed_special, str) else set(allowed_special)
        if unknown := sorted(allowed - self.special_tokens.keys()):
            known = ", ".join(self.special_tokens) or "none"
            raise TokenizerError(f"{unknown[0][:60]!r} is no special token of this tokenizer; it has {known}")
        return allowed

    def _check_id(self, id: int) -> int:
        if isinstance(id, bool) or not hasattr(id, "__index__") or not 0 <= id < self.n_vocab:
            raise InputError(f"id {id!r} does not exist: this tokenizer has the ids 0 to {self.n_vocab - 1}")
        return id


def _special_pattern(allowed: Iterable[str]) -> "regex.Pattern[str]":
    return regex.compile("(" + "|".join(map(regex.escape, sorted(allowed, key=len, reverse=True))) + ")")
