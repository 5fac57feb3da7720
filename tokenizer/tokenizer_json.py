"""Reads the part of Hugging Face's `tokenizer.json` that describes a byte-level BPE such as GPT-2's.

The format can describe many other tokenizers. Whatever would change the ids and is not GPT-2's way is refused.
"""

from typing import Any, NamedTuple

from arrayformer.core.errors import TokenizerError
from arrayformer.core.files import strict_json
from arrayformer.core.files.untrusted import ModelDirectory
from arrayformer.tokenizer import table
from arrayformer.tokenizer.errors import UnsupportedTokenizerError


class Table(NamedTuple):
    """The arguments of `Tokenizer`."""

    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    special_tokens: dict[str, int]
    ignore_merges: bool


# Options of the model that GPT-2's way has not, and the values that leave them off.
_OFF: dict[str, tuple[object, ...]] = {
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
}


SINGLE = "tokenizer.json"


def read_tokenizer_json(directory: ModelDirectory) -> Table:
    """The tables of a directory's `tokenizer.json`. Raises TokenizerError for one that is no plain byte-level BPE."""
    content = strict_json.read_object(directory, SINGLE, table.MAX_FILE, TokenizerError, table.MAX_VALUES)
    try:
        model = _object(content, "model")
        _check_way(content, model)
        return Table(_object(model, "vocab"), _merges(model), _added(content), model.get("ignore_merges") is True)
    except TokenizerError as error:
        raise type(error)(f"{directory / SINGLE}: {error}") from None


def _object(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise TokenizerError(f"{key!r} is {_shown(value)}; an object is needed")
    return value


def _check_way(content: dict[str, Any], model: dict[str, Any]) -> None:
    if model.get("type") != "BPE":
        raise UnsupportedTokenizerError(
            f'its model is {_shown(model.get("type"))}; only byte-level BPE ("BPE") can be read'
        )
    for key, off in _OFF.items():
        if model.get(key) not in off:
            raise UnsupportedTokenizerError(
                f"its model sets {key!r} to {_shown(model[key])}, which GPT-2's way does not have"
            )
    if content.get("normalizer") is not None:
        raise UnsupportedTokenizerError("it normalizes text before it splits it, which GPT-2's way does not have")
    steps = _steps(content.get("pre_tokenizer"), "pretokenizers")
    if len(steps) != 1 or steps[0].get("type") != "ByteLevel" or steps[0].get("use_regex", True) is not True:
        kinds = ", ".join(str(step.get("type")) for step in steps) or "missing"
        raise UnsupportedTokenizerError(
            f"its pre-tokenizer is {kinds[:100]}; only ByteLevel with GPT-2's pattern can be read"
        )
    if steps[0].get("add_prefix_space", True) is not False:
        raise UnsupportedTokenizerError(
            "it puts a space before every text (add_prefix_space), which GPT-2's way does not have"
        )
    after = _steps(content.get("post_processor"), "processors")
    if any(step.get("type") != "ByteLevel" for step in after):
        raise UnsupportedTokenizerError("its post-processor adds tokens to every text, which GPT-2's way does not have")


def _steps(value: object, key: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if isinstance(value, dict) and value.get("type") == "Sequence":
        value = value.get(key)
    entries = value if isinstance(value, list) else [value]
    steps = [entry for entry in entries if isinstance(entry, dict)]
    if len(steps) != len(entries):
        raise TokenizerError(f"{key!r} is {_shown(value)}; objects are needed")
    return steps


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    # Written as "a b" until tokenizers 0.20, as ["a", "b"] since.
    entries = model.get("merges")
    if not isinstance(entries, list):
        raise TokenizerError(f"'merges' is {_shown(entries)}; a list is needed")
    merges = []
    for place, entry in enumerate(entries, 1):
        parts = entry.split(" ") if isinstance(entry, str) else entry
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):
            raise TokenizerError(f"merge {place} is {_shown(entry)}; two tokens are needed")
        merges.append((parts[0], parts[1]))
    return merges


def _added(content: dict[str, Any]) -> dict[str, int]:
    entries = content.get("added_tokens") or []
    if not isinstance(entries, list):
        raise TokenizerError(f"'added_tokens' is {_shown(entries)}; a list is needed")
    added = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str) or "id" not in entry:
            raise TokenizerError(f"the added token {_shown(entry)} has no 'content' and 'id'")
        added[entry["content"]] = entry["id"]
    return added


def _shown(value: object) -> str:
    return repr(value)[:60]
