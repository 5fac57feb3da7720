"""The tables of a tokenizer as a GGUF file's metadata has them, and llama.cpp's names for the ways to cut text."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from arrayformer.core.errors import TokenizerError
from arrayformer.tokenizer.added import AddedToken
from arrayformer.tokenizer.alphabet import PRINTABLE
from arrayformer.tokenizer.errors import UnsupportedTokenizerError
from arrayformer.tokenizer.table import MAX_MERGES, MAX_VOCAB, split_merges

# As `llm_load_vocab` of llama.cpp maps `tokenizer.ggml.pre` to its patterns (src/llama-vocab.cpp, read 2026-11). There
# an unknown name falls back to another pattern; here it is refused, because its ids would be wrong without a word.
_NAMES = {
    "gpt2": (
        "gpt-2", "phi-2", "olmo", "mpt", "jais", "trillion", "exaone4", "granite-docling", "gigachat", "a.x-4.0",
        "mellum", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de",
    ),
    "smollm": ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
    "llama-bpe": (
        "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
        "dbrx", "smaug-bpe", "glm4", "chatglm-bpe",
    ),
    "qwen2": ("qwen2", "stablelm2", "hunyuan", "deepseek-r1-qwen", "kormo", "megrez", "grok-2"),
}  # fmt: skip

PRE: dict[str, str] = {pre: rule for rule, names in _NAMES.items() for pre in names}
"""`tokenizer.ggml.pre` -> the name of a rule in `split.RULES`."""

# These take a piece that is a token whole, and begin every text with bos where the file does not say otherwise.
_LLAMA3 = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"}

# Qwen's own tokenizer brings text to NFC, as its model was trained; llama.cpp leaves that out.
_NFC = {"qwen2"}


class TokenType(IntEnum):
    """The numbers in `tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Tables(NamedTuple):
    """The arguments of `Tokenizer`."""

    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    options: dict[str, Any]


def tables(
    tokens: Sequence[str], merges: Sequence[str], types: Sequence[int], pre: str, *, bos: int | None, eos: int | None,
    add_bos: bool | None, add_eos: bool | None,
) -> Tables:  # fmt: skip
    """The arguments of `Tokenizer` for what `Tokenizer.from_tokens` is given. Raises as it does."""
    if pre not in PRE:
        raise UnsupportedTokenizerError(
            f"the way to cut text (tokenizer.ggml.pre) is {pre[:60]!r}, which is not known here: {', '.join(PRE)} are. "
            "Take the model in Hugging Face's form, whose tokenizer.json says how"
        )
    _check(tokens, merges, types)
    vocab, added = _sorted_out(tokens, types)
    begin = _named(tokens, bos, "bos") if bos is not None else None
    end = _named(tokens, eos, "eos") if eos is not None else None
    if add_bos is None:
        add_bos = pre in _LLAMA3 and begin is not None
    if (add_bos and begin is None) or (add_eos and end is None):
        raise TokenizerError(f"{'bos' if add_bos else 'eos'} is put beside every text, but no id is given for it")
    options = {
        "rule": PRE[pre], "added_tokens": added, "ignore_merges": pre in _LLAMA3, "bos": begin, "eos": end,
        "normalization": "NFC" if pre in _NFC else None,
        "around": ([begin] if add_bos else [], [end] if add_eos else []),
    }  # fmt: skip
    return Tables(vocab, split_merges(merges), options)


def _check(tokens: Sequence[str], merges: Sequence[str], types: Sequence[int]) -> None:
    if len(tokens) > MAX_VOCAB or len(merges) > MAX_MERGES:
        raise TokenizerError(
            f"{len(tokens)} tokens and {len(merges)} merges; at most {MAX_VOCAB} and {MAX_MERGES} are possible"
        )
    if len(types) != len(tokens):
        raise TokenizerError(f"there are {len(tokens)} tokens, but {len(types)} token types; one each is needed")
    if len(set(tokens)) < len(tokens):
        seen: set[str] = set()
        twice = next(token for token in tokens if token in seen or seen.add(token))  # type: ignore[func-returns-value]
        raise TokenizerError(f"the token {twice[:60]!r} stands in the list twice")


def _sorted_out(tokens: Sequence[str], types: Sequence[int]) -> tuple[dict[str, int], list[AddedToken]]:
    vocab, added = {}, []
    alphabet = set(PRINTABLE)
    for id, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        if kind in (TokenType.CONTROL, TokenType.UNKNOWN):
            added.append(AddedToken(token, id, special=True))
        elif kind == TokenType.USER_DEFINED:
            added.append(AddedToken(token, id, special=False))
        elif kind == TokenType.UNUSED and not alphabet.issuperset(token):
            added.append(AddedToken(token, id, special=True))
        else:
            vocab[token] = id
    return vocab, added


def _named(tokens: Sequence[str], id: int, role: str) -> str:
    if not 0 <= id < len(tokens):
        raise TokenizerError(f"the {role} token has the id {id}; there are the ids 0 to {len(tokens) - 1}")
    return tokens[id]
