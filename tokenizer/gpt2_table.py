"""GPT-2's own tokenizer, from the table in the package."""

from functools import cache
from importlib.resources import files

from arrayformer.tokenizer.alphabet import BYTE_ORDER, PRINTABLE
from arrayformer.tokenizer.tokenizer import END_OF_TEXT, Tokenizer


@cache
def gpt2_tokenizer() -> Tokenizer:
    """The tokenizer of all GPT-2 sizes: 50,257 ids. Read once from package data; needs no download.

    The ids follow from the merge table: the bytes in the order of the alphabet, the merges in theirs, `<|endoftext|>`.
    """
    table = files("arrayformer.tokenizer").joinpath("gpt2", "vocab.bpe").read_text(encoding="utf-8")
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in table.splitlines()[1:])]
    tokens = [PRINTABLE[byte] for byte in BYTE_ORDER] + [left + right for left, right in merges]
    vocab = {token: id for id, token in enumerate(tokens)}
    return Tokenizer(vocab, merges, {END_OF_TEXT: len(vocab)})
