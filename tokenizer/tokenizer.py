"""Text to ids and back: byte-level BPE."""

import operator
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from itertools import islice
from typing import Self, SupportsIndex, cast

from arrayformer.core.errors import InputError, TokenizerError
from arrayformer.tokenizer.added import AddedToken, AddedTokens
from arrayformer.tokenizer.alphabet import PRINTABLE, to_bytes, to_printable
from arrayformer.tokenizer.explanation import Explanation, Merge, Piece
from arrayformer.tokenizer.merge import SHORT, merge, merge_steps
from arrayformer.tokenizer.split import Splitter, split_rule
from arrayformer.tokenizer.stream import StreamDecoder
from arrayformer.tokenizer.table import check_vocab, number_merges
from arrayformer.tokenizer.word_cache import WordEncoder

END_OF_TEXT = "<|endoftext|>"

_NO_TOKEN = "\ufffd".encode()

_SPACE = PRINTABLE[ord(" ")]

MAX_BYTES = 256 << 20
"""Text of more UTF-8 bytes than this is refused before any work is done."""

MAX_EXPLAINED = 128 << 10
"""The same for text that is explained, of which every step is kept."""


class Tokenizer:
    """A byte-level BPE. One instance may be used by many threads.

    n_vocab         how many ids there are
    special_tokens  text -> id of the tokens that are found in text only where asked for
    added_tokens    text -> token of all that are cut out of text whole, the special ones too
    bos_id, eos_id  the ids with which a text begins and ends, None where the tokenizer has none
    rule            how text is cut into pieces
    chat_template   how a conversation becomes a text, None where nothing says so
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        special_tokens: Mapping[str, int] | None = None,
        *,
        rule: str | Splitter = "gpt2",
        added_tokens: Iterable[AddedToken] = (),
        ignore_merges: bool = False,
        normalization: str | None = None,
        bos: str | None = None,
        eos: str | None = None,
        unk: str | None = None,
        around: tuple[Sequence[str], Sequence[str]] = ((), ()),
        chat_template: str | None = None,
    ) -> None:
        """Build a tokenizer from its tables.

        vocab           token in the printable alphabet -> id; it may hold the added tokens too
        merges          pairs of tokens, the first joined first
        special_tokens  text -> id of tokens that are one id whatever their letters (`<|endoftext|>`)
        rule            how text is cut into pieces: the name of one of `split.RULES`, or the way itself
        added_tokens    more tokens of that kind, which need not be special, with their options
        ignore_merges   a piece that is a token as a whole gets its id without a look at the merges. For a table in
                        which the merges lead there anyway it only saves time
        normalization   the Unicode form that text is brought to first, "NFC" or None
        bos, eos        the tokens with which a text begins and ends; `<|endoftext|>` ends it where nothing is said
        unk             the token that stands for a byte without one; such a byte is refused where there is none
        around          the tokens that `encode` puts before and after every text
        chat_template   how a conversation becomes a text, in Jinja's language; see `chat`

        Raises TokenizerError unless all ids together are 0 to n-1, each merge is made of tokens in `vocab` and the
        other tokens are there.
        """
        added = {text: AddedToken(text, id) for text, id in (special_tokens or {}).items()}
        added |= {token.content: token for token in added_tokens}
        ids = {text: token.id for text, token in added.items()}
        check_vocab(vocab, ids)
        self.n_vocab = len(vocab) + len(ids.keys() - vocab.keys())
        self.added_tokens: Mapping[str, AddedToken] = added
        self.special_tokens: Mapping[str, int] = {text: id for text, id in ids.items() if added[text].special}
        # Text alone never becomes a special token, so the merges know none.
        self._vocab = _without(vocab, self.special_tokens)
        self._ids: Mapping[str, int] = {**vocab, **ids}
        self.bos_id = None if bos is None else self._id_of(bos, "bos")
        self.eos_id = self._ids.get(END_OF_TEXT) if eos is None else self._id_of(eos, "eos")
        self._before, self._after = ([self._id_of(token, "template") for token in tokens] for tokens in around)
        self.rule: Splitter = split_rule(rule) if isinstance(rule, str) else rule
        self.normalization = normalization
        self.chat_template = chat_template
        self._ranks, self._results = number_merges(self._vocab, merges)
        self._unk_id = -1 if unk is None else self._id_of(unk, "unknown")
        self._byte_ids = [self._vocab.get(character, self._unk_id) for character in PRINTABLE]
        self._ignore_merges = ignore_merges
        self._words = WordEncoder(self.rule, self._encode_piece, self._known_words)
        self._added = AddedTokens(added.values(), self._normalize)

    @classmethod
    def from_tokens(
        cls,
        tokens: Sequence[str],
        merges: Sequence[str],
        types: Sequence[int],
        pre: str,
        *,
        bos: int | None = None,
        eos: int | None = None,
        add_bos: bool | None = None,
        add_eos: bool | None = None,
        chat_template: str | None = None,
    ) -> Self:
        """The tokenizer of a GGUF file's metadata, whose `tokenizer.ggml.model` is "gpt2".

        tokens    `tokenizer.ggml.tokens`: the place of a token in the list is its id
        merges    `tokenizer.ggml.merges`: two tokens with a space between
        types     `tokenizer.ggml.token_type`: a number for each token, see `ggml.TokenType`
        pre       `tokenizer.ggml.pre`: llama.cpp's name for the way to cut
        bos, eos  `tokenizer.ggml.bos_token_id`, `tokenizer.ggml.eos_token_id`
        add_bos, add_eos  `tokenizer.ggml.add_bos_token`, `tokenizer.ggml.add_eos_token`; None where the file does not
                  say: then llama.cpp's rule for `pre`
        chat_template  `tokenizer.chat_template`

        Raises UnsupportedTokenizerError for an unknown `pre`, TokenizerError for tables that do not hold together.
        """
        from arrayformer.tokenizer.ggml import tables

        found = tables(tokens, merges, types, pre, bos=bos, eos=eos, add_bos=add_bos, add_eos=add_eos)
        return cls(found.vocab, found.merges, chat_template=chat_template, **found.options)

    @property
    def vocab(self) -> dict[str, int]:
        """Every token, as the table writes it, and its id; the special tokens too."""
        return {token: id for id, token in enumerate(self._tokens)}

    @property
    def merges(self) -> list[tuple[str, str]]:
        """The merge table in its order, in the printable alphabet."""
        return [(self._tokens[left], self._tokens[right]) for left, right in self._ranks]

    def split(self, text: str) -> list[str]:
        """Step 1: the pieces that are merged on their own. Joined they are the text again, as it was normalized."""
        return self.rule.pieces(self._normalize(text))

    def encode(
        self, text: str, *, allowed_special: Iterable[str] = (), add_special_tokens: bool = True, mark: str = ""
    ) -> list[int]:
        """The ids of `text`.

        allowed_special     special tokens that stand in the text as such; any other is ordinary text
        add_special_tokens  whether to put the tokens around it with which this tokenizer begins and ends a text
        mark                a character that stands in what is no added token though it would be one without it, and is
                            itself no part of the text; see `chat`

        Raises InputError for text that is not a str, has a lone surrogate (which UTF-8 cannot write) or is larger
        than MAX_BYTES, and for a name in `allowed_special` that is no special token.
        """
        check_text(text, MAX_BYTES)
        ids = list(self._before) if add_special_tokens else []
        for part in self._added.cut(text, self._check_allowed(allowed_special)):
            ids += self._words.encode(_without_mark(part.text, mark)) if part.token is None else [part.token.id]
        if add_special_tokens:
            ids += self._after
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
        """Every stage from text to ids: pieces, bytes in the printable alphabet, merges in order, ids.

        The ids are those that `encode` gives. The merges of a piece of more than 64 bytes are left out: its table
        would grow with the square of them. Raises InputError as `encode` does, and for text above MAX_EXPLAINED.
        """
        check_text(text, MAX_EXPLAINED)
        pieces = [self._whole("", id) for id in self._before]
        explain_piece = cache(self._explain_piece)
        for part in self._added.cut(text, ()):
            if part.token is None:
                pieces += map(explain_piece, self.rule.pieces(part.text))
            else:
                pieces.append(self._whole(part.text, part.token.id))
        return Explanation(text, pieces + [self._whole("", id) for id in self._after])

    def _whole(self, text: str, id: int) -> Piece:
        return Piece(text, text, [], [self._tokens[id]], [id])

    def _explain_piece(self, piece: str) -> Piece:
        final = list(self._encode_piece(piece))
        ids = self._byte_level(piece)
        steps = merge_steps(ids, self._ranks, self._results) if len(ids) <= SHORT else iter(())
        merges = [Merge(rank, [self._tokens[id] for id in ids]) for rank in steps]
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

    def _normalize(self, text: str) -> str:
        return unicodedata.normalize("NFC", text) if self.normalization else text

    def _id_of(self, token: str, role: str) -> int:
        if token not in self._ids:
            raise TokenizerError(f"the {role} token {token[:60]!r} is neither in the vocabulary nor an added token")
        return self._ids[token]

    @cached_property
    def _tokens(self) -> list[str]:
        return sorted(self._ids, key=self._ids.__getitem__)

    @cached_property
    def _bytes(self) -> list[bytes]:
        return [token.encode() if token in self.added_tokens else to_bytes(token) for token in self._tokens]

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


def check_text(text: str, limit: int) -> None:
    """Raises InputError for what is no text of at most `limit` bytes of UTF-8."""
    if not isinstance(text, str):
        raise InputError(f"the text is of type {type(text).__name__}; pass a str (bytes are decoded as UTF-8 first)")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text has a lone surrogate, U+{ord(text[error.start]):04X}, at character {error.start}: "
            "that is no Unicode text; decode the original bytes as UTF-8 with errors='replace'"
        ) from None
    if size > limit:
        raise InputError(f"the text has {size} bytes; at most {limit} are taken at once: split it")


def _without_mark(text: str, mark: str) -> str:
    return text.replace(mark, "") if mark else text


def _without(vocab: Mapping[str, int], special: Mapping[str, int]) -> Mapping[str, int]:
    if special.keys().isdisjoint(vocab):
        return vocab
    return {token: id for token, id in vocab.items() if token not in special}
