"""Does a table hold together? Everything a vocabulary and its merges must fulfil is checked here, once."""

import operator
from collections.abc import Mapping, Sequence

from arrayformer.core.errors import TokenizerError
from arrayformer.tokenizer.alphabet import PRINTABLE
from arrayformer.tokenizer.merge import Ranks

MAX_VOCAB = 600_000
"""More entries than any byte-level vocabulary in use (262,144); a file that claims more is not one."""

MAX_MERGES = 600_000
"""The same for merges; the largest tables in use have 515,000."""

MAX_FILE = 64 << 20
"""Bytes of a tokenizer.json; the largest in use have under 40 MiB."""

MAX_TABLE = 24 << 20
"""The same for every other file; the largest in use have 4 MiB."""

MAX_VALUES = 3_000_000
"""Values in a tokenizer.json: a vocabulary and its merges, each a list of two tokens."""

MAX_TEMPLATE = 1 << 20
"""Bytes of a chat template; the longest in use have some 20,000."""

MAX_TOKEN = 4096
"""Characters in one token; GPT-2's longest has 128."""


class MergeError(TokenizerError):
    """A merge that does not fit; `place` counts the merges from 1."""

    def __init__(self, place: int, what: str) -> None:
        """`what` names the pair and what is wrong with it."""
        super().__init__(f"merge {place}: {what}")
        self.place = place
        self.what = what


def check_vocab(vocab: Mapping[str, int], added_tokens: Mapping[str, int]) -> None:
    """Raises TokenizerError unless all ids together are 0 to n-1, each once, and the tokens are of the alphabet."""
    if not vocab:
        raise TokenizerError("the vocabulary is empty: it needs an id for each byte")
    if len(vocab) + len(added_tokens) > MAX_VOCAB:
        raise TokenizerError(f"the vocabulary has {len(vocab)} entries; at most {MAX_VOCAB} are possible")
    for token, id in added_tokens.items():
        if vocab.get(token, id) != id:
            raise TokenizerError(
                f"the added token {token[:60]!r} has the id {id}, but {vocab[token]} in the vocabulary"
            )
    table = {**vocab, **added_tokens}
    _check_ids(table)
    if max(map(len, table)) > MAX_TOKEN or "" in table:
        token = "" if "" in table else max(table, key=len)
        raise TokenizerError(
            f"the token with id {table[token]} has {len(token)} characters; 1 to {MAX_TOKEN} are possible"
        )
    _check_characters(table, added_tokens)


def _check_ids(table: Mapping[str, int]) -> None:
    if set(map(type, table.values())) == {int} and sorted(table.values()) == list(range(len(table))):
        return
    holder: dict[int, str] = {}
    for token, id in table.items():
        if type(id) is not int or id < 0:
            raise TokenizerError(
                f"the id of the token {token[:60]!r} is {str(id)[:60]}; ids are whole numbers from 0 on"
            )
        if id in holder:
            raise TokenizerError(f"the tokens {holder[id][:60]!r} and {token[:60]!r} have the same id {id}")
        holder[id] = token
    missing = next(id for id in range(len(table)) if id not in holder)
    raise TokenizerError(f"{len(table)} tokens need the ids 0 to {len(table) - 1}, but no token has the id {missing}")


def _check_characters(table: Mapping[str, int], added_tokens: Mapping[str, int]) -> None:
    foreign = set("".join(table)).difference(PRINTABLE)
    foreign &= set("".join(token for token in table if token not in added_tokens)) if foreign else foreign
    if foreign:
        character = min(foreign)
        token = next(token for token in table if character in token and token not in added_tokens)
        raise TokenizerError(
            f"the token {token[:60]!r} holds {character!r} (U+{ord(character):04X}), which stands for no byte: "
            "this is no byte-level BPE table"
        )
    for token in added_tokens:
        if not token.isascii() and any("\ud800" <= character <= "\udfff" for character in token):
            raise TokenizerError(f"the added token {token[:60]!r} holds a lone surrogate, which is no text")


def number_merges(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> tuple[Ranks, list[int]]:
    """The merges in ids: the rank of each pair, and the id that each rank makes.

    Raises MergeError where a merge stands twice, or one of its parts or its result is not in `vocab`.
    """
    if len(merges) > MAX_MERGES:
        raise TokenizerError(f"there are {len(merges)} merges; at most {MAX_MERGES} are possible")
    lefts = [left for left, _ in merges]
    rights = [right for _, right in merges]
    try:
        numbered = list(map(vocab.__getitem__, lefts)), list(map(vocab.__getitem__, rights))
        results = list(map(vocab.__getitem__, map(operator.add, lefts, rights)))
    except KeyError:
        raise _first_fault(vocab, merges) from None
    ranks = dict(zip(zip(*numbered, strict=True), range(len(merges)), strict=True))
    if len(ranks) < len(merges):
        raise _first_fault(vocab, merges)
    return ranks, results


def _first_fault(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> MergeError:
    seen: set[tuple[str, str]] = set()
    for place, (left, right) in enumerate(merges, 1):
        shown = repr(f"{left[:60]} {right[:60]}")
        lost = [token for token in (left, right, left + right) if token not in vocab]
        if lost:
            return MergeError(place, f"{shown} needs {lost[0][:60]!r}, which is not in the vocabulary")
        if (left, right) in seen:
            return MergeError(place, f"{shown} stands in the table twice")
        seen.add((left, right))
    return MergeError(len(merges), "the table does not hold together")


def split_merges(lines: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of merges that are written as two tokens with one space between. Raises TokenizerError."""
    pairs = []
    for place, line in enumerate(lines, 1):
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise TokenizerError(f"merge {place} is {line[:60]!r}; two tokens with one space between are needed")
        pairs.append((left, right))
    return pairs
