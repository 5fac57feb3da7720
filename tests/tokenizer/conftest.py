"""GPT-2's tokenizer, and two independent ones built offline from the same table."""

import pytest

from arrayformer.tokenizer import gpt2_tokenizer

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@pytest.fixture(scope="session")
def gpt2():
    return gpt2_tokenizer()


@pytest.fixture(scope="session")
def tiktoken_encode(gpt2):
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {gpt2.token_bytes(id): id for id in range(gpt2.n_vocab - 1)}
    encoding = tiktoken.Encoding(
        "gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256}
    )
    return encoding.encode_ordinary


@pytest.fixture(scope="session")
def hugging_face_encode(gpt2):
    tokenizers = pytest.importorskip("tokenizers")
    vocab = {token: id for token, id in gpt2.vocab.items() if id != gpt2.eos_id}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, gpt2.merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return lambda text: tokenizer.encode(text).ids
