"""A tokenizer from the files beside a checkpoint.

Three forms, the first complete one wins:

1. `vocab.json` + `merges.txt` (Hugging Face), with `added_tokens.json` where there is one
2. `encoder.json` + `vocab.bpe` (OpenAI)
3. `tokenizer.json` (Hugging Face), if it describes a byte-level BPE

Where form 1 stands beside a `tokenizer.json` that says something else, form 1 is taken and a warning says so.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

from arrayformer.core.errors import TokenizerError
from arrayformer.core.files import strict_json
from arrayformer.core.files.untrusted import ModelDirectory, opened
from arrayformer.tokenizer import table
from arrayformer.tokenizer.alphabet import PRINTABLE
from arrayformer.tokenizer.errors import UnsupportedTokenizerError
from arrayformer.tokenizer.table import MergeError
from arrayformer.tokenizer.tokenizer import Tokenizer
from arrayformer.tokenizer.tokenizer_json import SINGLE, read_tokenizer_json

_PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
_ADDED, _OPTIONS = "added_tokens.json", "tokenizer_config.json"
_LOOKS_SPECIAL = re.compile(r"<[^\s<>]+>|\[[A-Z]+\]")


def has_tokenizer(directory: str | Path | ModelDirectory) -> bool:
    """Whether `directory` holds one of the three forms, or part of one, sound or not."""
    with opened(directory, TokenizerError) as found:
        return any(found.has(name) for name in (*chain(*_PAIRS), SINGLE))


def load_tokenizer(directory: str | Path | ModelDirectory) -> Tokenizer:
    """Read the tokenizer in `directory`.

    Raises TokenizerError for none, half of one or a broken one, UnsupportedTokenizerError for one that is no byte-level
    BPE.
    """
    with opened(directory, TokenizerError) as found:
        return _load(found)


def _load(directory: ModelDirectory) -> Tokenizer:
    pair = _pair_in(directory)
    if pair is not None:
        return _load_pair(directory, *pair)
    if directory.has(SINGLE):
        return _load_single(directory)
    half = next((name for name in chain(*_PAIRS) if directory.has(name)), None)
    what = f"{half} is only half of a tokenizer" if half else "there is no tokenizer"
    raise TokenizerError(
        f"{directory}: {what}; needed are vocab.json and merges.txt, encoder.json and vocab.bpe, or tokenizer.json. "
        "Without any of them the model takes ids only"
    )


def _pair_in(directory: ModelDirectory) -> tuple[str, str] | None:
    return next((pair for pair in _PAIRS if all(map(directory.has, pair))), None)


def _load_pair(directory: ModelDirectory, vocab_name: str, merges_name: str) -> Tokenizer:
    _check_options(directory)
    vocab = _read_json(directory, vocab_name)
    merges, first_line = read_merges(directory, merges_name)
    special = _special_in(vocab, merges)
    if directory.has(_ADDED):
        special |= _read_json(directory, _ADDED)
    try:
        tokenizer = Tokenizer(vocab, merges, special)
    except MergeError as error:
        line = error.place + first_line - 1
        raise TokenizerError(f"{directory / merges_name}: line {line}: {error.what}") from None
    except TokenizerError as error:
        raise TokenizerError(f"{directory / vocab_name}: {error}") from None
    _warn_of_leftovers(directory / vocab_name, tokenizer, len(merges))
    if directory.has(SINGLE):
        with directory.open(SINGLE, TokenizerError):
            pass  # a broken link is no contradiction but a fault
        _warn_of_contradiction(directory, vocab, merges)
    return tokenizer


def _read_json(directory: ModelDirectory, name: str) -> dict[str, Any]:
    return strict_json.read_object(directory, name, table.MAX_FILE, TokenizerError, table.MAX_VALUES)


def _check_options(directory: ModelDirectory) -> None:
    options = _read_json(directory, _OPTIONS) if directory.has(_OPTIONS) else {}
    for key in ("add_prefix_space", "add_bos_token"):
        if options.get(key):
            raise UnsupportedTokenizerError(
                f"{directory / _OPTIONS}: {key} puts something before every text, which GPT-2's way does not have"
            )


def _load_single(directory: ModelDirectory) -> Tokenizer:
    read = read_tokenizer_json(directory)
    try:
        return Tokenizer(read.vocab, read.merges, read.special_tokens, ignore_merges=read.ignore_merges)
    except TokenizerError as error:
        raise TokenizerError(f"{directory / SINGLE}: {error}") from None


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
    text = directory.read_text(name, table.MAX_FILE, TokenizerError)
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
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


def _warn_of_leftovers(path: Path, tokenizer: Tokenizer, n_merges: int) -> None:
    n_special = len(tokenizer.special_tokens)
    if tokenizer.n_vocab != 256 + n_merges + n_special:
        warnings.warn(
            f"{path}: {tokenizer.n_vocab} tokens, but 256 bytes, {n_merges} merges and {n_special} special tokens make "
            f"{256 + n_merges + n_special}: some tokens are never used, or are missing",
            stacklevel=5,
        )


def _warn_of_contradiction(
    directory: ModelDirectory, vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]
) -> None:
    try:
        other = read_tokenizer_json(directory)
        tokens = {**other.vocab, **other.special_tokens}
        same = tokens == dict(vocab) and other.merges == merges and not other.ignore_merges
    except TokenizerError:
        same = False
    if not same:
        warnings.warn(
            f"{directory}: tokenizer.json says something else than vocab.json and merges.txt, which are used",
            stacklevel=5,
        )
