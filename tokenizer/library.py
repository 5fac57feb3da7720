"""Tokenizers of other kinds, through Hugging Face's `tokenizers` where that package is installed.

SentencePiece's models (Llama 2, Mistral, Gemma) are of another algorithm, and so are byte-level ones that split by a
pattern that is not known here. The library reads their `tokenizer.json`; here it gets the interface of `Tokenizer`.
"""

import json
import re
import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, SupportsIndex

from arrayformer.core.errors import InputError, TokenizerError
from arrayformer.core.files.untrusted import ModelDirectory, shown
from arrayformer.tokenizer import table
from arrayformer.tokenizer.added import AddedToken
from arrayformer.tokenizer.alphabet import to_bytes
from arrayformer.tokenizer.errors import UnsupportedTokenizerError
from arrayformer.tokenizer.explanation import Explanation
from arrayformer.tokenizer.tokenizer import MAX_BYTES, Tokenizer, check_text
from arrayformer.tokenizer.tokenizer_config import TokenizerConfig
from arrayformer.tokenizer.tokenizer_json import SINGLE

if TYPE_CHECKING:
    import tokenizers

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"  # which SentencePiece writes in the place of a space
_KINDS = ("BPE", "Unigram")


def library_tokenizer(
    directory: ModelDirectory, config: TokenizerConfig, reason: UnsupportedTokenizerError
) -> Tokenizer:
    """The tokenizer that could not be read here for a `reason`.

    Raises UnsupportedTokenizerError where the package is not installed or the kind is none for language models,
    TokenizerError where the library refuses the file.
    """
    text = directory.read_text(SINGLE, table.MAX_FILE, TokenizerError)
    model = json.loads(text)["model"]  # an object, or the reason would be another
    if model.get("type", "BPE") not in _KINDS or model.get("dropout"):
        raise reason
    try:
        import tokenizers
    except ImportError:
        raise UnsupportedTokenizerError(
            f"{reason}. The package tokenizers reads it, where it is installed: pip install tokenizers"
        ) from None
    try:
        library = tokenizers.Tokenizer.from_str(text)
    except BaseException as error:  # its panics are no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise TokenizerError(f"{reason}, and the package tokenizers refuses it: {shown(error)}") from None
    try:
        return LibraryTokenizer(library, config)
    except TokenizerError as error:
        raise type(error)(f"{directory / SINGLE}: {error}") from None


class LibraryTokenizer(Tokenizer):
    """A tokenizer of the library, as a `Tokenizer`. It cannot explain its steps."""

    def __init__(self, library: "tokenizers.Tokenizer", config: TokenizerConfig) -> None:
        """`config` is what the other files say. Raises TokenizerError where they name a token that is not there."""
        library.no_truncation()
        library.no_padding()
        self._library = library
        self._lock = threading.Lock()  # a switch of the library is set before each text
        vocab = library.get_vocab(with_added_tokens=True)
        self.n_vocab = 1 + max(vocab.values(), default=-1)
        self.added_tokens = {
            token.content: AddedToken(token.content, id, token.special or token.content in config.special)
            for id, token in library.get_added_tokens_decoder().items()
        }
        self.special_tokens = {text: token.id for text, token in self.added_tokens.items() if token.special}
        self._ids = vocab
        self.bos_id, self.eos_id = (
            None if token is None else self._id_of(token, role[:3])
            for role, token in ((role, config.roles.get(role)) for role in ("bos_token", "eos_token"))
        )
        self._before, self._after = self._around()
        if config.add_bos is not None or config.add_eos is not None:
            self._before = [self.bos_id] if config.add_bos and self.bos_id is not None else []
            self._after = [self.eos_id] if config.add_eos and self.eos_id is not None else []
        self.normalization = None
        self.chat_template = config.chat_template
        self._letters = _letters(library)

    @property
    def vocab(self) -> dict[str, int]:
        """Every token and its id."""
        return dict(self._ids)

    @property
    def merges(self) -> list[tuple[str, str]]:
        """Not known: raises InputError."""
        raise self._not_here()

    def split(self, text: str) -> list[str]:
        """Not known: raises InputError."""
        raise self._not_here()

    def explain(self, text: str) -> Explanation:
        """Not known: raises InputError."""
        raise self._not_here()

    def encode(
        self, text: str, *, allowed_special: Iterable[str] = (), add_special_tokens: bool = True, mark: str = ""
    ) -> list[int]:
        """The ids of `text`, see `Tokenizer.encode`. What stands on the two sides of a `mark` is not merged."""
        check_text(text, MAX_BYTES)
        allowed = self._check_allowed(allowed_special)
        first, *others = text.split(mark) if mark else [text]
        ids = self._encode(first, allowed) + [id for part in others for id in self._after_newline(part, allowed)]
        return [*self._before, *ids, *self._after] if add_special_tokens else ids

    def _encode(self, text: str, allowed: set[str]) -> list[int]:
        if not allowed or not any(token in text for token in self.special_tokens.keys() - allowed):
            return self._call(text, as_text=False) if allowed else self._as_text(text)
        pattern = "(" + "|".join(map(re.escape, sorted(allowed, key=len, reverse=True))) + ")"
        ids: list[int] = []
        for n, part in enumerate(re.split(pattern, text)):
            ids += [self.special_tokens[part]] if n % 2 else self._as_text(part)
        return ids

    def _as_text(self, text: str) -> list[int]:
        ids = self._call(text, as_text=True)
        made = [token for token, id in self.special_tokens.items() if id in ids and len(token) > 1 and token in text]
        if not made:
            return ids
        # Unigram may make a special token of its letters: it is cut behind the first of them.
        at = {match.start() + 1 for token in made for match in re.finditer(f"(?={re.escape(token)})", text)}
        first, *others = (text[start:end] for start, end in pairwise([0, *sorted(at), len(text)]))
        return self._call(first, as_text=True) + [id for part in others for id in self._after_newline(part, set())]

    def _call(self, text: str, as_text: bool, add_special_tokens: bool = False) -> list[int]:
        with self._lock:
            self._library.encode_special_tokens = as_text
            return list(self._library.encode(text, add_special_tokens=add_special_tokens).ids)

    def _around(self) -> tuple[list[int], list[int]]:
        """What the file puts before and after every text."""
        plain, whole = (self._call("a", as_text=True, add_special_tokens=add) for add in (False, True))
        at = next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), 0)
        return whole[:at], whole[at + len(plain) :]

    def _after_newline(self, text: str, allowed: set[str]) -> list[int]:
        # SentencePiece puts a space before a text, which this is not the beginning of.
        line, ids = self._encode("\n", set()), self._encode("\n" + text, allowed)
        return ids[len(line) :] if ids[: len(line)] == line else self._encode(text, allowed)

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        """The bytes of the text of `ids`. Raises InputError for an id that does not exist."""
        return self.decode(ids).encode()

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of `ids`, without the space that SentencePiece puts before a text."""
        return str(self._library.decode([self._check_id(id) for id in ids], skip_special_tokens=False))

    def token_bytes(self, id: SupportsIndex) -> bytes:
        """The bytes an id stands for in the middle of a text: b" the"."""
        token = self.token(id)
        if token in self.added_tokens:
            return token.encode()
        if self._letters == "bytes":
            return to_bytes(token)
        if byte := _BYTE.fullmatch(token):
            return bytes([int(byte[1], 16)])
        return token.replace(_SPACE, " ").encode()

    @cached_property
    def _tokens(self) -> list[str]:
        return [self._library.id_to_token(id) or "" for id in range(self.n_vocab)]

    def _not_here(self) -> InputError:
        return InputError("the steps of this tokenizer are those of the package tokenizers: they cannot be shown")


def _letters(library: "tokenizers.Tokenizer") -> str:
    """What tokens are written in: "bytes" (the printable alphabet) or "text" (with a mark for spaces)."""
    state: Any = library.decoder.__getstate__() if library.decoder is not None else b"{}"
    decoder = json.loads(state)
    steps: Sequence[Any] = decoder.get("decoders", [decoder])
    kinds = {step.get("type") for step in steps}
    if "ByteLevel" in kinds:
        return "bytes"
    if kinds & {"Metaspace", "Replace"}:
        return "text"
    raise UnsupportedTokenizerError(f"its decoder is {shown(', '.join(map(str, kinds)), 60)}, which is not known here")
