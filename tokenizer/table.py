"""Does a table hold together? Everything a vocabulary and its merges must fulfil is checked here, once."""

from collections.abc import Mapping, Sequence

from arrayformer.core.errors import TokenizerError
from arrayformer.tokenizer.alphabet import PRINTABLE

MAX_VOCAB = 1_000_000
"""More entries than any vocabulary in use; a file that claims more is not one."""

MAX_TOKEN = 4096
"""Characters in one token; GPT-2's longest has 128."""


class MergeError(TokenizerError):
    """A merge that does not fit; `place` counts the merges from 1."""

    def __init__(self, place: int, what: str) -> None:
        """`what` names the pair and what is wrong with it."""
        super().__init__(f"merge {place}: {what}")
        self.place = place
        self.what = what


def check_vocab(vocab: Mapping[str, int], special_tokens: Mapping[str, int]) -> None:
    """Raises TokenizerError unless all ids together are 0 to n-1, each once, and the tokens are of the alphabet."""
    if not vocab:
        raise TokenizerError("the vocabulary is empty: it needs an id for each byte")
    if len(vocab) + len(special_tokens) > MAX_VOCAB:
        raise TokenizerError(f"the vocabulary has {len(vocab)} entries; at most {MAX_VOCAB} are possible")
    for token, id in special_tokens.items():
        if vocab.get(token, id) != id:
            raise TokenizerError(
                f"the special token {token[:60]!r} has the id {id}, but {vocab[token]} in the vocabulary"
            )
    table = {**vocab, **special_tokens}
    _check_ids(table)
    if max(map(len, table)) > MAX_TOKEN or "" in table:
        token = "" if "" in table else max(table, key=len)
        raise TokenizerError(
            f"the token with id {table[token]} has {len(token)} characters; 1 to {MAX_TOKEN} are possible"
        )
    _check_characters(table, special_tokens)


def _check_ids(table: Mapping[str, int]) -> None:
    if set(map(type, table.values())) == {int} and set(table.values()) == set(range(len(table))):
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


def _check_characters(table: Mapping[str, int], special_tokens: Mapping[str, int]) -> None:
    foreign = set("".join(token for token in table if token not in special_tokens)).difference(PRINTABLE)
    if foreign:
        character = min(foreign)
        token = next(token for token in table if character in token and token not in special_tokens)
        raise TokenizerError(
            f"the token {token[:60]!r} holds {character!r} (U+{ord(character):04X}), which stands for no byte: "
            "this is no byte-level BPE table"
        )
    for token in special_tokens:
        if not token.isascii() and any("\ud800" <= character <= "\udfff" for character in token):
            raise TokenizerError(f"the special token {token[:60]!r} holds a lone surrogate, which is no text")


def check_merges(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
    """Raises MergeError where a merge stands twice, or one of its parts or its result is not in `vocab`."""
    seen: set[tuple[str, str]] = set()
    for place, pair in enumerate(merges, 1):
        left, right = pair
        if left not in vocab or right not in vocab or left + right not in vocab:
            lost = next(token for token in (left, right, left + right) if token not in vocab)
            raise MergeError(place, f"{_shown(pair)} needs {lost[:60]!r}, which is not in the vocabulary")
        if pair in seen:
            raise MergeError(place, f"{_shown(pair)} stands in the table twice")
        seen.add(pair)


def _shown(pair: tuple[str, str]) -> str:
    return repr(f"{pair[0][:60]} {pair[1][:60]}")
