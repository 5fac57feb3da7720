"""Tokenizers from the metadata of GGUF files, sound and not."""

from typing import Any

import numpy as np
import pytest

from arrayformer.core.errors import TokenizerError
from arrayformer.tokenizer import UnsupportedTokenizerError
from arrayformer.tokenizer.alphabet import PRINTABLE
from arrayformer.tokenizer.gguf import gguf_tokenizer

TOKENS = [*PRINTABLE, "he", "ll", "hell", "<s>", "</s>"]
METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.merges": ["h e", "l l", "he ll"],
    "tokenizer.ggml.token_type": np.array([1] * 259 + [3, 3], np.int32),
    "tokenizer.ggml.bos_token_id": 259,
    "tokenizer.ggml.eos_token_id": 260,
    "tokenizer.ggml.add_bos_token": True,
}


def changed(name: str, value: Any) -> dict[str, Any]:
    """The metadata with another value for a key, or without it where that is `...`."""
    keys = METADATA | {f"tokenizer.ggml.{name}": value}
    return {key: value for key, value in keys.items() if value is not ...}


def test_a_sound_one_is_made() -> None:
    tokenizer = gguf_tokenizer(METADATA, "m.gguf")

    assert tokenizer is not None
    assert tokenizer.encode("hell 12") == [259, 258, 32, 49, 50]
    assert tokenizer.eos_id == 260


@pytest.mark.parametrize("kind", ["none", "no_vocab", ...])
def test_a_file_without_one_gives_none(kind: Any) -> None:
    assert gguf_tokenizer(changed("model", kind), "m.gguf") is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model", "llama", "m.gguf: its tokenizer is of the kind 'llama'"),
        ("model", 3, "m.gguf: its tokenizer is of the kind '3'"),
        ("pre", "a-new-one", "m.gguf: .*'a-new-one', which is not known here"),
        ("pre", ..., "m.gguf: .*'default', which is not known here"),
    ],
)
def test_one_of_another_kind_is_told_from_a_broken_one(name: str, value: Any, message: str) -> None:
    with pytest.raises(UnsupportedTokenizerError, match=message):
        gguf_tokenizer(changed(name, value), "m.gguf")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pre", 3, r"tokenizer\.ggml\.pre is 3, not of type str"),
        ("tokens", ..., r"tokenizer\.ggml\.tokens is no list of texts"),
        ("tokens", np.arange(3), r"tokenizer\.ggml\.tokens is no list of texts"),
        ("tokens", TOKENS[:-1], "there are 260 tokens, but 261 token types"),
        ("tokens", [*TOKENS[:-1], "he"], "the token 'he' stands in the list twice"),
        ("merges", "h e", r"tokenizer\.ggml\.merges is no list of texts"),
        ("merges", ["h e", "hell"], "merge 2 is 'hell'"),
        ("merges", ["h e", "x yz"], "m.gguf: "),
        ("token_type", ..., r"tokenizer\.ggml\.token_type is no list of whole numbers"),
        ("token_type", ["1"] * 261, r"tokenizer\.ggml\.token_type is no list of whole numbers"),
        ("token_type", np.ones(261, np.float32), r"tokenizer\.ggml\.token_type is no list of whole numbers"),
        ("bos_token_id", 261, "the bos token has the id 261"),
        ("eos_token_id", "</s>", r"tokenizer\.ggml\.eos_token_id is '</s>', not of type int"),
        ("add_bos_token", 1, r"tokenizer\.ggml\.add_bos_token is 1, not of type bool"),
        ("add_eos_token", np.array([True]), r"tokenizer\.ggml\.add_eos_token is array"),
    ],
)
def test_a_broken_one_is_refused_naming_the_file(name: str, value: Any, message: str) -> None:
    with pytest.raises(TokenizerError, match=message) as raised:
        gguf_tokenizer(changed(name, value), "m.gguf")

    assert str(raised.value).startswith("m.gguf: ")
    assert str(raised.value).count("m.gguf: ") == 1
    assert str(raised.value).isprintable()


def test_the_chat_template_comes_with_it() -> None:
    made = gguf_tokenizer(METADATA | {"tokenizer.chat_template": "{{ messages }}"}, "m.gguf")

    assert made is not None
    assert made.chat_template == "{{ messages }}"
    for wrong in (5, "a" * ((1 << 20) + 1)):
        with pytest.raises(TokenizerError, match=r"m\.gguf: tokenizer\.chat_template is no text"):
            gguf_tokenizer(METADATA | {"tokenizer.chat_template": wrong}, "m.gguf")
