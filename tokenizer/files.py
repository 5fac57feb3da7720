"""A tokenizer from the files beside a checkpoint.

Three forms, the first that is there is taken:

1. `tokenizer.json` (Hugging Face), which says everything
2. `vocab.json` and `merges.txt` (Hugging Face), which leave the way to cut text to the model's kind
3. `encoder.json` and `vocab.bpe` (OpenAI)

`tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` beside them say which tokens are special and
what goes around a text. Files that contradict each other are refused: nobody can know which of them the model was
trained with.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

from arrayformer.core.errors import TokenizerError
from arrayformer.core.files import strict_json
from arrayformer.core.files.untrusted import ModelDirectory, opened
from arrayformer.tokenizer import table
from arrayformer.tokenizer.added import AddedToken
from arrayformer.tokenizer.alphabet import PRINTABLE
from arrayformer.tokenizer.errors import UnsupportedTokenizerError
from arrayformer.tokenizer.library import library_tokenizer
from arrayformer.tokenizer.pre_tokenizer import ByteLevel, Split, Steps
from arrayformer.tokenizer.split import GPT2, QWEN2, Splitter
from arrayformer.tokenizer.table import MergeError
from arrayformer.tokenizer.tokenizer import END_OF_TEXT, Tokenizer
from arrayformer.tokenizer.tokenizer_config import CONFIG, TokenizerConfig, read_config
from arrayformer.tokenizer.tokenizer_json import SINGLE, Read, read_tokenizer_json

_PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
_LOOKS_SPECIAL = re.compile(r"<[^\s<>]+>|\[[A-Z]+\]")

# The ways of those classes of transformers that need nothing but the two files: without and with a space before a text.
_KINDS: dict[str, tuple[Splitter, Splitter, str | None]] = {
    **dict.fromkeys(("GPT2Tokenizer", "CodeGenTokenizer"), (GPT2, Steps((ByteLevel(True, True),)), None)),
    "Qwen2Tokenizer": (QWEN2, Steps((Split(QWEN2.pattern), ByteLevel(True, False))), "NFC"),
}


def has_tokenizer(directory: str | Path | ModelDirectory) -> bool:
    """Whether `directory` holds one of the three forms, or part of one, sound or not."""
    with opened(directory, TokenizerError) as found:
        return any(found.has(name) for name in (*chain(*_PAIRS), SINGLE))


def load_tokenizer(directory: str | Path | ModelDirectory) -> Tokenizer:
    """Read the tokenizer in `directory`.

    One that is no byte-level BPE is left to the package tokenizers where that is installed.

    Raises TokenizerError for none, half of one, a broken one or files that contradict each other,
    UnsupportedTokenizerError for one that cannot be read.
    """
    with opened(directory, TokenizerError) as found:
        return _load(found)


def _load(directory: ModelDirectory) -> Tokenizer:
    pair = next((pair for pair in _PAIRS if all(map(directory.has, pair))), None)
    if directory.has(SINGLE):
        config = read_config(directory)
        try:
            read = read_tokenizer_json(directory)
        except UnsupportedTokenizerError as reason:
            return library_tokenizer(directory, config, reason)
        if pair is not None:
            _check_same(directory, read, *pair)
        return _make(directory, SINGLE, read, config)
    if pair is not None:
        return _load_pair(directory, *pair)
    half = next((name for name in chain(*_PAIRS) if directory.has(name)), None)
    what = f"{half} is only half of a tokenizer" if half else "there is no tokenizer"
    raise TokenizerError(
        f"{directory}: {what}; needed are vocab.json and merges.txt, encoder.json and vocab.bpe, or tokenizer.json. "
        "Without any of them the model takes ids only"
    )


def _check_same(directory: ModelDirectory, read: Read, vocab_name: str, merges_name: str) -> None:
    """Raises TokenizerError where the two files hold another table than `tokenizer.json`."""
    vocab = strict_json.read_object(directory, vocab_name, table.MAX_TABLE, TokenizerError, table.MAX_VOCAB)
    added = {token.content: token.id for token in read.added}  # vocab.json may hold them or not
    same = vocab.items() <= {**read.vocab, **added}.items() and read.vocab.keys() - added.keys() <= vocab.keys()
    if not same or read_merges(directory, merges_name).pairs != read.merges:
        raise TokenizerError(
            f"{directory}: {SINGLE} says something else than {vocab_name} and {merges_name}; take them from one model, "
            "or leave only those that belong to the weights"
        )


def _load_pair(directory: ModelDirectory, vocab_name: str, merges_name: str) -> Tokenizer:
    config = read_config(directory)
    if config.kind is None:
        config = replace(config, kind=_kind(directory))
    rule, normalization = _way(directory, config)
    vocab = strict_json.read_object(directory, vocab_name, table.MAX_TABLE, TokenizerError, table.MAX_VOCAB)
    merges, first_line = read_merges(directory, merges_name)
    added = [AddedToken(text, id) for text, id in _special_in(vocab, merges).items() if text not in config.added]
    read = Read(vocab, merges, added, rule, normalization, False, None, ([], []))
    try:
        tokenizer = _make(directory, vocab_name, read, config)
    except MergeError as error:
        line = error.place + first_line - 1
        raise TokenizerError(f"{directory / merges_name}: line {line}: {error.what}") from None
    _warn_of_leftovers(directory / vocab_name, tokenizer, merges)
    return tokenizer


def _kind(directory: ModelDirectory) -> str:
    """The class that transformers takes where nothing is said: it goes by the model."""
    model = (
        strict_json.read_object(directory, "config.json", 1 << 20, TokenizerError)
        if directory.has("config.json")
        else {}
    )
    return "Qwen2Tokenizer" if model.get("model_type") in ("qwen2", "qwen3") else "GPT2Tokenizer"


def _way(directory: ModelDirectory, config: TokenizerConfig) -> tuple[Splitter, str | None]:
    """How text is cut and normalized where there is no tokenizer.json to say it."""
    kind = (config.kind or "GPT2Tokenizer").removesuffix("Fast")
    if kind not in _KINDS:
        raise UnsupportedTokenizerError(
            f"{directory / CONFIG}: tokenizer_class is {kind[:60]!r}, whose way to cut text a tokenizer.json has to "
            f"say; {', '.join(_KINDS)} need none"
        )
    plain, prefixed, normalization = _KINDS[kind]
    return prefixed if config.add_prefix_space else plain, normalization


def _make(directory: ModelDirectory, name: str, read: Read, config: TokenizerConfig) -> Tokenizer:
    """The tokenizer of a table and of what the other files say of it."""
    try:
        added = _all_added(read, config)
        bos, eos = _bos(read, config), config.roles.get("eos_token")
        _check_prefix(read.rule, config)
        return Tokenizer(
            read.vocab, read.merges, rule=read.rule, added_tokens=added, ignore_merges=read.ignore_merges,
            normalization=read.normalization, bos=bos, eos=eos, unk=read.unk, around=_around(read, config, bos, eos),
            chat_template=config.chat_template,
        )  # fmt: skip
    except MergeError as error:
        if name == SINGLE:
            raise TokenizerError(f"{directory / name}: {error}") from None
        raise
    except TokenizerError as error:
        raise type(error)(f"{directory / name}: {error}") from None


def _bos(read: Read, config: TokenizerConfig) -> str | None:
    # What GPT2Tokenizer takes where nothing is said.
    default = END_OF_TEXT if config.kind in ("GPT2Tokenizer", "GPT2TokenizerFast") else None
    known = default in read.vocab or any(token.content == default for token in read.added)
    return config.roles.get("bos_token") or (default if known else None)


def _all_added(read: Read, config: TokenizerConfig) -> list[AddedToken]:
    """The added tokens of all files, and the special ones that stand in the vocabulary only."""
    added = {token.content: token for token in read.added}
    for text, token in config.added.items():
        if added.setdefault(text, token) != (replace(token, normalized=added[text].normalized)):
            raise TokenizerError(
                f"the added token {text[:60]!r} is {_said(added[text])} here and {_said(token)} in {CONFIG}; take both "
                "from one model"
            )
    for text in config.special & (read.vocab.keys() | added.keys()):
        added[text] = replace(added.get(text) or AddedToken(text, read.vocab[text]), special=True)
    # A token that text leads to anyway, such as "!" taken for padding, is nothing that text could be kept from.
    ordinary = {text for text, token in added.items() if token.special and text in read.vocab}
    if ordinary:
        ordinary &= set(PRINTABLE).union(left + right for left, right in read.merges)
    return [replace(token, special=False) if token.content in ordinary else token for token in added.values()]


def _said(token: AddedToken) -> str:
    flags = ("special", "lstrip", "rstrip", "single_word")
    return " ".join([f"id {token.id}", *(flag for flag in flags if getattr(token, flag))])


def _check_prefix(rule: Splitter, config: TokenizerConfig) -> None:
    said = config.add_prefix_space
    done = isinstance(rule, Steps) and any(isinstance(step, ByteLevel) and step.add_prefix_space for step in rule.steps)
    if said is not None and said != done:
        raise TokenizerError(f"add_prefix_space is {done} here and {said} in {CONFIG}; take both from one model")


def _around(
    read: Read, config: TokenizerConfig, bos: str | None, eos: str | None
) -> tuple[Sequence[str], Sequence[str]]:
    """As transformers does it: what the config says of bos or eos stands for all that tokenizer.json says of both."""
    if config.add_bos is None and config.add_eos is None:
        return read.around
    return [bos] if bos and config.add_bos else [], [eos] if eos and config.add_eos else []


class Merges(NamedTuple):
    """What a file of merges holds."""

    pairs: list[tuple[str, str]]
    first_line: int
    """The number of the line on which the first pair stands."""


def read_merges(directory: ModelDirectory, name: str) -> Merges:
    """Read a `merges.txt` or `vocab.bpe`.

    One merge a line: two tokens and one space between. Line 1 may be a `#version` line; lines may end in CRLF.
    Raises TokenizerError with the number of the first line that is something else.
    """
    text = directory.read_text(name, table.MAX_TABLE, TokenizerError)
    if (n_lines := text.count("\n")) > table.MAX_MERGES + 1:
        raise TokenizerError(f"{directory / name}: {n_lines} lines; at most {table.MAX_MERGES} merges are possible")
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    del text
    first_line = 2 if lines[0].startswith("#version") else 1
    del lines[: first_line - 1]
    fields = " ".join(lines).split(" ")
    if set(map(str.count, lines, repeat(" "))) != {1} or "" in fields:
        raise _first_bad_line(directory / name, lines, first_line)
    return Merges(list(zip(fields[::2], fields[1::2], strict=True)), first_line)


def _first_bad_line(path: Path, lines: list[str], first_line: int) -> TokenizerError:
    for number, line in enumerate(lines, first_line):
        fields = line.split(" ")
        if len(fields) != 2 or "" in fields:
            return TokenizerError(
                f"{path}: line {number}: a merge is two tokens with one space between, not {line[:60]!r}"
            )
    return TokenizerError(f"{path}: there is not one merge in it; is the file complete?")


def _special_in(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    # vocab.json does not say which of its entries are special: those that neither a byte nor a merge makes,
    # and that look like it (<|endoftext|>, <pad>, [SEP]).
    made = {left + right for left, right in merges}.union(PRINTABLE)
    return {token: id for token, id in vocab.items() if token not in made and _LOOKS_SPECIAL.fullmatch(token)}


def _warn_of_leftovers(path: Path, tokenizer: Tokenizer, merges: Sequence[tuple[str, str]]) -> None:
    made = set(PRINTABLE).union(left + right for left, right in merges)
    n_added = len(tokenizer.added_tokens.keys() - made)
    if tokenizer.n_vocab != 256 + len(merges) + n_added:
        warnings.warn(
            f"{path}: {tokenizer.n_vocab} tokens, but 256 bytes, {len(merges)} merges and {n_added} added tokens make "
            f"{256 + len(merges) + n_added}: some tokens are never used, or are missing",
            stacklevel=5,
        )
