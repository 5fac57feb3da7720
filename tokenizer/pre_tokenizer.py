"""How a `tokenizer.json` says that text is cut: its steps, one after the other on each piece of the step before.

    {"type": "Digits", "individual_digits": true}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}

Steps that are one of the known rules become that rule, which is fast. Others are carried out one by one. The patterns
in such a file are written for another engine (Oniguruma) and come from anybody, so only those are taken that are known
to be read alike and in linear time; a step of another kind or pattern is refused by name.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import regex

from arrayformer.core.errors import TokenizerError
from arrayformer.core.files.untrusted import shown
from arrayformer.tokenizer.errors import UnsupportedTokenizerError
from arrayformer.tokenizer.split import GPT2, LLAMA_BPE, QWEN2, SMOLLM, Splitter

_O200K_END = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+END"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*END"
    r"COUNT| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Where they are from, as published: Llama 3, Qwen 2, GPT-4o, Mistral's Tekken, DeepSeek 3 (three of them), Falcon.
_PATTERNS = frozenset(
    {
        LLAMA_BPE.pattern,
        QWEN2.pattern,
        _O200K.replace("END", _O200K_END).replace("COUNT", r"\p{N}{1,3}"),
        _O200K.replace("END", "|").replace("COUNT", r"\p{N}"),
        r"\p{N}{1,3}",
        "[一-龥\u3040-ゟ゠-ヿ]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "[0-9][0-9][0-9]",
        r"\p{N}",
        r"\d",
        GPT2.pattern,
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    }
)

Behavior = Literal["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
_BEHAVIORS = ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous")

_Cut = tuple[str, bool]
"""A part of a text, and whether it is a match."""


@dataclass(frozen=True)
class Split:
    """The step that cuts at the matches of a pattern. `invert` takes what is between the matches for them."""

    pattern: str
    behavior: Behavior = "Isolated"
    invert: bool = False

    def pieces(self, text: str) -> list[str]:
        """The pieces of one piece."""
        cuts = [(part, matched != self.invert) for part, matched in _matches(self.pattern, text)]
        return _BEHAVE[self.behavior](cuts)


@dataclass(frozen=True)
class ByteLevel:
    """The step that turns bytes into the printable alphabet, here only with what it does to text before."""

    add_prefix_space: bool
    use_regex: bool

    def pieces(self, text: str) -> list[str]:
        """The pieces of one piece, cut by GPT-2's pattern if `use_regex`."""
        if self.add_prefix_space and not text.startswith(" "):
            text = " " + text
        return GPT2.pieces(text) if self.use_regex else [text]


@dataclass(frozen=True)
class Steps:
    """Steps one after the other, as a `Splitter`."""

    steps: tuple[Split | ByteLevel, ...]
    name: str = "the steps of its tokenizer.json"

    @property
    def boundary(self) -> str | None:
        """Known where there is GPT-2's pattern alone, with the space that goes before a text."""
        alone = len(self.steps) == 1 and isinstance(self.steps[0], ByteLevel) and self.steps[0].use_regex
        return GPT2.boundary if alone else None

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text."""
        pieces = [text] if text else []
        for step in self.steps:
            pieces = [piece for whole in pieces for piece in step.pieces(whole)]
        return pieces


def _matches(pattern: str, text: str) -> list[_Cut]:
    cuts, done = [], 0
    for match in regex.finditer(pattern, text):
        start, end = match.span()
        cuts += [(text[done:start], False)] * (start > done) + [(match[0], True)] * (end > start)
        done = end
    return cuts + [(text[done:], False)] * (done < len(text))


def _isolated(cuts: list[_Cut]) -> list[str]:
    return [part for part, _ in cuts]


def _removed(cuts: list[_Cut]) -> list[str]:
    return [part for part, matched in cuts if not matched]


def _contiguous(cuts: list[_Cut]) -> list[str]:
    return _joined(cuts, lambda before, now: before == now)


def _merged_with_previous(cuts: list[_Cut]) -> list[str]:
    return _joined(cuts, lambda before, now: now and not before)


def _merged_with_next(cuts: list[_Cut]) -> list[str]:
    return _joined(cuts, lambda before, now: before and not now)


def _joined(cuts: list[_Cut], joins: Callable[[bool, bool], bool]) -> list[str]:
    """The parts, each joined to the one before where `joins` says so of the two (whether they are matches)."""
    pieces: list[str] = []
    before = False
    for part, matched in cuts:
        if pieces and joins(before, matched):
            pieces[-1] += part
        else:
            pieces.append(part)
        before = matched
    return pieces


_BEHAVE: Mapping[str, Callable[[list[_Cut]], list[str]]] = {
    "Isolated": _isolated,
    "Removed": _removed,
    "MergedWithPrevious": _merged_with_previous,
    "MergedWithNext": _merged_with_next,
    "Contiguous": _contiguous,
}


def splitter(steps: Iterable[Mapping[str, Any]]) -> Splitter:
    """The way to cut that these steps of a `pre_tokenizer` describe.

    Raises UnsupportedTokenizerError for what cannot be done here, TokenizerError for what is no description of a step.
    """
    read = tuple(map(_step, steps))
    kinds = ", ".join(str(step.get("type")) for step in steps) or "missing"
    if not read or not isinstance(read[-1], ByteLevel) or any(isinstance(step, ByteLevel) for step in read[:-1]):
        raise UnsupportedTokenizerError(f"its pre-tokenizer is {shown(kinds, 100)}; one that ends in ByteLevel is read")
    plain, regex_too = ByteLevel(False, False), ByteLevel(False, True)
    known: dict[tuple[Split | ByteLevel, ...], Splitter] = {
        (regex_too,): GPT2,
        (Split(r"\p{N}"), regex_too): SMOLLM,
        (Split(LLAMA_BPE.pattern), plain): LLAMA_BPE,
        (Split(QWEN2.pattern), plain): QWEN2,
        # Every character is part of a match: to remove what is none changes nothing.
        (Split(LLAMA_BPE.pattern, "Removed", True), plain): LLAMA_BPE,
        (Split(QWEN2.pattern, "Removed", True), plain): QWEN2,
    }
    return known.get(read) or Steps(read)


def _step(step: Mapping[str, Any]) -> Split | ByteLevel:
    kind = step.get("type")
    if kind == "ByteLevel":
        check_keys(step, "add_prefix_space", "trim_offsets", "use_regex")  # offsets are no matter of ids
        return ByteLevel(_flag(step, "add_prefix_space"), _flag(step, "use_regex", True))
    if kind == "Digits":
        check_keys(step, "individual_digits")
        return Split(r"\p{N}", "Isolated" if _flag(step, "individual_digits") else "Contiguous")
    if kind == "Split":
        check_keys(step, "pattern", "behavior", "invert")
        behavior = step.get("behavior")
        if behavior not in _BEHAVIORS:
            raise TokenizerError(f"a Split's 'behavior' is {shown(behavior, 60)}; there are {', '.join(_BEHAVIORS)}")
        return Split(_pattern(step.get("pattern")), behavior, _flag(step, "invert", False))
    raise UnsupportedTokenizerError(
        f"its pre-tokenizer has a step {shown(kind, 100)}; Split, Digits and ByteLevel are read"
    )


def _pattern(pattern: object) -> str:
    if isinstance(pattern, dict) and len(pattern) == 1:
        kind, text = next(iter(pattern.items()))
        if kind == "String" and isinstance(text, str) and text:
            return regex.escape(text, special_only=True, literal_spaces=True)
        if kind == "Regex" and text in _PATTERNS:
            return str(text)
        if kind == "Regex" and isinstance(text, str):
            raise UnsupportedTokenizerError(f"it splits by a pattern that is not known here: {shown(text)}")
    raise TokenizerError(f"a Split's 'pattern' is {shown(pattern, 60)}; a Regex or a String is needed")


def _flag(step: Mapping[str, Any], key: str, default: bool | None = None) -> bool:
    value = step.get(key, default)
    if not isinstance(value, bool):
        raise TokenizerError(f"{key!r} of {shown(step.get('type'), 60)} is {shown(value, 60)}; true or false is needed")
    return value


def check_keys(step: Mapping[str, Any], *known: str) -> None:
    """Raises UnsupportedTokenizerError for an option that is none of `known`: it might change the ids."""
    if unknown := sorted(step.keys() - {"type", *known}):
        raise UnsupportedTokenizerError(f"its {shown(step.get('type'), 60)} has an unknown option {unknown[0][:60]!r}")
