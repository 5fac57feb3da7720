"""The small models and the tokenizer of bytes that tests use."""

from typing import Any

from arrayformer.core.models.gpt2 import GPT2
from arrayformer.tokenizer import Tokenizer
from arrayformer.tokenizer.alphabet import PRINTABLE

END = "<|endoftext|>"


def tiny(**changes: Any) -> GPT2:
    """A GPT-2 of two blocks whose ids are bytes and the end of text, but for `changes`."""
    sizes = {"n_vocab": 257, "n_ctx": 32, "n_embd": 16, "n_head": 2, "n_layer": 2}
    end = {} if "n_vocab" in changes else {"eos_token_id": 256}
    return GPT2(**(sizes | end | changes))


def bytes_vocab(*words: str) -> dict[str, int]:
    """Each byte is an id; `words` come after them."""
    return {token: id for id, token in enumerate([*PRINTABLE, *words])}


def bytes_tokenizer(*merges: tuple[str, str]) -> Tokenizer:
    """Each byte is an id, then what `merges` make of two, then the end of text."""
    vocab = bytes_vocab(*("".join(pair) for pair in merges))
    return Tokenizer(vocab, list(merges), {END: len(vocab)})
