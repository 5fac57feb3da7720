"""GPT-2's own tokenizer, from the table in the package."""

import operator
from functools import cache
from itertools import starmap
from pathlib import Path

from arrayformer.core.files.untrusted import ModelDirectory
from arrayformer.tokenizer.alphabet import BYTE_ORDER, PRINTABLE
from arrayformer.tokenizer.files import read_merges
from arrayformer.tokenizer.tokenizer import END_OF_TEXT, Tokenizer


@cache
def gpt2_tokenizer() -> Tokenizer:
    """The tokenizer of all GPT-2 sizes: 50,257 ids. Read once from package data; needs no download.

    The ids follow from the merge table: the bytes in the order of the alphabet, the merges in theirs, `<|endoftext|>`.
    """
    with ModelDirectory(Path(__file__).with_name("gpt2")) as directory:
        merges = read_merges(directory, "vocab.bpe").pairs
    tokens = [PRINTABLE[byte] for byte in BYTE_ORDER] + list(starmap(operator.add, merges))
    vocab = dict(zip(tokens, range(len(tokens)), strict=True))
    return Tokenizer(vocab, merges, {END_OF_TEXT: len(vocab)}, ignore_merges=True)
