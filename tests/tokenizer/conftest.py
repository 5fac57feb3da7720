"""GPT-2's tokenizer, and two independent ones built offline from the same table."""

import pytest

from arrayformer.tokenizer import Tokenizer, gpt2_tokenizer
from arrayformer.tokenizer.split import RULES

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# As the tokenizer.json of Llama 3 has it.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


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
def gpt2_by(gpt2):
    """GPT-2's table with each of the rules: name -> tokenizer."""
    ordinary = {token: id for token, id in gpt2.vocab.items() if id != gpt2.eos_id}
    return {
        name: Tokenizer(ordinary, gpt2.merges, gpt2.special_tokens, rule=name, ignore_merges=name == "llama-bpe")
        for name in RULES
    }


@pytest.fixture(scope="session")
def hugging_face_by(gpt2):
    """The same tables and rules in Hugging Face's library, with the steps that published files have."""
    tokenizers = pytest.importorskip("tokenizers")
    steps = tokenizers.pre_tokenizers
    whole, bytes_only = (steps.ByteLevel(add_prefix_space=False, use_regex=use) for use in (True, False))

    def cut(pattern):
        return steps.Sequence([steps.Split(tokenizers.Regex(pattern), "isolated"), bytes_only])

    ways = {
        "gpt2": whole,
        "smollm": steps.Sequence([steps.Digits(individual_digits=True), whole]),
        "llama-bpe": cut(LLAMA_3),
        "qwen2": cut(LLAMA_3.replace("{1,3}", "")),
    }
    vocab = {token: id for token, id in gpt2.vocab.items() if id != gpt2.eos_id}
    made = {}
    for name, way in ways.items():
        model = tokenizers.models.BPE(vocab, gpt2.merges, ignore_merges=name == "llama-bpe")
        made[name] = tokenizers.Tokenizer(model)
        made[name].pre_tokenizer = way
        made[name].decoder = tokenizers.decoders.ByteLevel()
    return made
