"""Reads Hugging Face's `tokenizer.json` where it describes a byte-level BPE.

The format can describe many other tokenizers. Each part that changes ids is read and honoured, or refused by name.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from arrayformer.core.errors import TokenizerError
from arrayformer.core.files import strict_json
from arrayformer.core.files.untrusted import ModelDirectory, shown
from arrayformer.tokenizer import table
from arrayformer.tokenizer.added import AddedToken
from arrayformer.tokenizer.alphabet import PRINTABLE
from arrayformer.tokenizer.errors import UnsupportedTokenizerError
from arrayformer.tokenizer.pre_tokenizer import check_keys, splitter
from arrayformer.tokenizer.split import Splitter
from arrayformer.tokenizer.table import split_merges

SINGLE = "tokenizer.json"


class Read(NamedTuple):
    """What a `tokenizer.json` says."""

    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    added: list[AddedToken]
    rule: Splitter
    normalization: str | None
    ignore_merges: bool
    unk: str | None
    around: tuple[list[str], list[str]]


# Options of the model that a byte-level BPE has not, and the values that leave them off.
_OFF: dict[str, tuple[object, ...]] = {
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
}


def read_tokenizer_json(directory: ModelDirectory) -> Read:
    """What a directory's `tokenizer.json` says. Raises TokenizerError for one that is no byte-level BPE."""
    content = strict_json.read_object(directory, SINGLE, table.MAX_FILE, TokenizerError, table.MAX_VALUES)
    try:
        model = _object(content, "model")
        vocab, merges = _model(model)
        _check_decoder(content.get("decoder"))
        return Read(
            vocab, merges, _added(content), splitter(_steps(content.get("pre_tokenizer"), "pretokenizers")),
            _normalization(content.get("normalizer")), model.get("ignore_merges") is True, _unk(model, vocab),
            _around(content.get("post_processor")),
        )  # fmt: skip
    except TokenizerError as error:
        raise type(error)(f"{directory / SINGLE}: {error}") from None


def _object(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise TokenizerError(f"{key!r} is {_shown(value)}; an object is needed")
    return value


def _model(model: dict[str, Any]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    # GPT-2 itself is published without a type, which was the form before there was one.
    if model.get("type", "BPE") != "BPE":
        raise UnsupportedTokenizerError(
            f'its model is {_shown(model.get("type"))}; only byte-level BPE ("BPE") can be read'
        )
    check_keys(model, *_OFF, "vocab", "merges", "unk_token", "fuse_unk", "ignore_merges")
    for key, off in _OFF.items():
        if model.get(key) not in off:
            raise UnsupportedTokenizerError(
                f"its model sets {key!r} to {_shown(model[key])}, which a byte-level BPE does not have"
            )
    return _object(model, "vocab"), _merges(model)


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    # Written as "a b" until tokenizers 0.20, as ["a", "b"] since.
    entries = model.get("merges")
    if not isinstance(entries, list):
        raise TokenizerError(f"'merges' is {_shown(entries)}; a list is needed")
    if all(isinstance(entry, str) for entry in entries):
        return split_merges(entries)
    for place, entry in enumerate(entries, 1):
        if (
            not isinstance(entry, list) or len(entry) != 2
            or not all(isinstance(part, str) and part for part in entry)
        ):  # fmt: skip
            raise TokenizerError(f"merge {place} is {_shown(entry)}; two tokens are needed")
    return list(map(tuple, entries))


def _unk(model: dict[str, Any], vocab: Mapping[str, int]) -> str | None:
    """The token of a byte that has none. Where each byte has one it stands for nothing."""
    unk = model.get("unk_token")
    if not isinstance(unk, str) or unk not in vocab or vocab.keys() >= set(PRINTABLE):
        return None
    if model.get("fuse_unk"):
        raise UnsupportedTokenizerError("it makes one unknown token of several ('fuse_unk'), which cannot be done here")
    return unk


def _normalization(normalizer: object) -> str | None:
    kinds = [step.get("type") for step in _steps(normalizer, "normalizers")]
    if any(kind != "NFC" for kind in kinds):
        raise UnsupportedTokenizerError(f"it normalizes text by {_shown(', '.join(map(str, kinds)))}; only NFC is done")
    return "NFC" if kinds else None


def _check_decoder(decoder: object) -> None:
    for step in _steps(decoder, "decoders"):
        if step.get("type") not in ("ByteLevel", "Fuse"):  # Fuse joins what ByteLevel has joined already
            raise UnsupportedTokenizerError(f"its decoder is {_shown(step.get('type'))}; only ByteLevel is done")


def _around(post_processor: object) -> tuple[list[str], list[str]]:
    """The tokens that go before and after every text."""
    before: list[str] = []
    after: list[str] = []
    for step in _steps(post_processor, "processors"):
        if step.get("type") == "TemplateProcessing":
            if before or after:
                raise UnsupportedTokenizerError("its post-processor puts a template into a template")
            before, after = _template(step)
        elif step.get("type") != "ByteLevel":  # which moves offsets only
            raise UnsupportedTokenizerError(
                f"its post-processor is {_shown(step.get('type'))}; ByteLevel and TemplateProcessing are done"
            )
    return before, after


def _template(step: dict[str, Any]) -> tuple[list[str], list[str]]:
    parts, known = step.get("single"), step.get("special_tokens") or {}
    before: list[str] = []
    after: list[str] | None = None
    for part in parts if isinstance(parts, list) else [parts]:
        if isinstance(part, dict) and isinstance(part.get("Sequence"), dict) and part["Sequence"].get("id") == "A":
            if after is not None:
                raise TokenizerError("its TemplateProcessing has the text twice")
            after = []
            continue
        name = part["SpecialToken"].get("id") if isinstance(part, dict) and _holds(part, "SpecialToken") else None
        entry = known.get(name) if isinstance(known, dict) and isinstance(name, str) else None
        tokens = entry.get("tokens") if isinstance(entry, dict) else None
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise TokenizerError(f"its TemplateProcessing has a part {_shown(part)} that nothing is said of")
        (before if after is None else after).extend(tokens)
    if after is None:
        raise TokenizerError("its TemplateProcessing has no place for the text")
    return before, after


def _holds(part: dict[str, Any], key: str) -> bool:
    return isinstance(part.get(key), dict)


def _steps(value: object, key: str, depth: int = 0) -> list[dict[str, Any]]:
    """The steps of a part, those of a Sequence in it one after the other."""
    if value is None:
        return []
    if depth > 8:
        raise TokenizerError(f"its {key} are nested too deeply")
    if isinstance(value, dict) and value.get("type") == "Sequence":
        check_keys(value, key)
        value = value.get(key)
    entries = value if isinstance(value, list) else [value]
    steps = [entry for entry in entries if isinstance(entry, dict)]
    if len(steps) != len(entries):
        raise TokenizerError(f"{key!r} is {_shown(value)}; objects are needed")
    found: list[dict[str, Any]] = []
    for step in steps:
        found += _steps(step, key, depth + 1) if step.get("type") == "Sequence" else [step]
    return found


def _added(content: dict[str, Any]) -> list[AddedToken]:
    entries = content.get("added_tokens") or []
    if not isinstance(entries, list):
        raise TokenizerError(f"'added_tokens' is {_shown(entries)}; a list is needed")
    return [added_token(entry, entry.get("id") if isinstance(entry, dict) else None) for entry in entries]


def added_token(entry: object, id: object) -> AddedToken:
    """An added token as these files write it. Raises TokenizerError."""
    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str) or id is None:
        raise TokenizerError(f"the added token {_shown(entry)} has no 'content' and 'id'")
    token: str = entry["content"]
    if type(id) is not int:
        raise TokenizerError(f"the id of the token {token[:60]!r} is {_shown(id)}; ids are whole numbers from 0 on")
    special = _option(entry, "special", True)
    others = ("lstrip", "rstrip", "single_word")
    normalized = _option(entry, "normalized", not special)
    return AddedToken(token, id, special, normalized, *(_option(entry, key, False) for key in others))


def _option(entry: dict[str, Any], key: str, default: bool) -> bool:
    value = entry.get(key, default)
    if not isinstance(value, bool):
        raise TokenizerError(f"{key!r} of the token {entry['content'][:60]!r} is {_shown(value)}, not true or false")
    return value


def _shown(value: object) -> str:
    return shown(repr(value)[:60])
