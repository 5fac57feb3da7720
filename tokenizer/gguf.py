"""The tokenizer of a GGUF file: which keys of its metadata must be what before `Tokenizer.from_tokens` sees them."""

from collections.abc import Mapping, Sequence
from typing import Any

from arrayformer.core.errors import TokenizerError
from arrayformer.tokenizer.errors import UnsupportedTokenizerError
from arrayformer.tokenizer.table import MAX_TEMPLATE
from arrayformer.tokenizer.tokenizer import Tokenizer

_PREFIX = "tokenizer.ggml."
_NONE = ("none", "no_vocab")


def gguf_tokenizer(metadata: Mapping[str, Any], where: str) -> Tokenizer | None:
    """The tokenizer that the metadata of a GGUF file holds, or None where it holds none.

    metadata  its keys with numbers, texts, lists of texts and arrays of numbers
    where     what a message begins with

    Raises UnsupportedTokenizerError for one that is no byte-level BPE or cuts text in an unknown way, TokenizerError
    for one that is broken.
    """
    kind = metadata.get(f"{_PREFIX}model", "none")
    if kind in _NONE:
        return None
    if kind != "gpt2":
        raise UnsupportedTokenizerError(
            f"{where}: its tokenizer is of the kind {str(kind)[:60]!r} (tokenizer.ggml.model), and only 'gpt2', "
            "byte-level BPE, is read from GGUF; take the model in Hugging Face's form"
        )
    keys = _Keys(metadata, where)
    try:
        return Tokenizer.from_tokens(
            keys.texts("tokens"), keys.texts("merges"), keys.types("token_type"), keys.one_of(str, "pre", "default"),
            bos=keys.one_of(int, "bos_token_id"), eos=keys.one_of(int, "eos_token_id"),
            add_bos=keys.one_of(bool, "add_bos_token"), add_eos=keys.one_of(bool, "add_eos_token"),
            chat_template=_chat_template(metadata),
        )  # fmt: skip
    except UnsupportedTokenizerError as error:
        raise UnsupportedTokenizerError(f"{where}: {error}") from None
    except TokenizerError as error:
        raise TokenizerError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from None


def _chat_template(metadata: Mapping[str, Any]) -> str | None:
    template = metadata.get("tokenizer.chat_template")
    if template is not None and (not isinstance(template, str) or len(template) > MAX_TEMPLATE):
        raise TokenizerError(f"tokenizer.chat_template is no text of at most {MAX_TEMPLATE} characters")
    return template


class _Keys:
    """The keys of a tokenizer, each of the type it must have."""

    def __init__(self, metadata: Mapping[str, Any], where: str) -> None:
        self._metadata, self._where = metadata, where

    def texts(self, name: str) -> Sequence[str]:
        found = self._metadata.get(_PREFIX + name)
        if not isinstance(found, list):
            raise TokenizerError(f"{self._where}: {_PREFIX}{name} is no list of texts")
        return found

    def types(self, name: str) -> list[int]:
        found = self._metadata.get(_PREFIX + name)
        if getattr(getattr(found, "dtype", None), "kind", "") not in ("i", "u"):
            raise TokenizerError(f"{self._where}: {_PREFIX}{name} is no list of whole numbers")
        return found.tolist()  # type: ignore[union-attr,no-any-return]

    def one_of(self, kind: type, name: str, default: Any = None) -> Any:
        found = self._metadata.get(_PREFIX + name, default)
        if found is not default and type(found) is not kind:
            raise TokenizerError(f"{self._where}: {_PREFIX}{name} is {found!r:.60}, not of type {kind.__name__}")
        return found
