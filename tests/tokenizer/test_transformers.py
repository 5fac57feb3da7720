"""Directories as they are published and as transformers saves them: its ids, and no warning."""

import json
import warnings

import pytest

from arrayformer.tokenizer import load_tokenizer

pytestmark = pytest.mark.parity

TEXTS = [
    "Hello world!", " a<u>b <v> c", "<|endoftext|>x", "e\u0301 12 'S\n\n x", "a !b! <u> ", "", "DON'T we'll  3\t漢字 🦜"
]  # fmt: skip
CASES = {
    "as published": ({}, {}),
    "GPT-2": ({"tokenizer_class": "GPT2Tokenizer"}, {}),
    "a space first": ({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}, {}),
    "bos": ({"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True}, {}),
    "eos": ({"tokenizer_class": "GPT2Tokenizer", "add_eos_token": True, "eos_token": "<|endoftext|>"}, {}),
    "added tokens": (
        {"tokenizer_class": "GPT2Tokenizer"},
        {
            "added_tokens.json": {"<u>": 50257, "<v>": 50258},
            "special_tokens_map.json": {"sep_token": "<v>"},
        },
    ),
    "padding by punctuation": ({"tokenizer_class": "GPT2Tokenizer", "pad_token": "!"}, {}),
    "Qwen": ({"tokenizer_class": "Qwen2Tokenizer"}, {}),
}


@pytest.fixture(params=CASES)
def directory(request, tmp_path, gpt2):
    config, files = CASES[request.param]
    merges = "".join(f"{left} {right}\n" for left, right in gpt2.merges)
    (tmp_path / "vocab.json").write_text(json.dumps(gpt2.vocab))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    for name, content in {"tokenizer_config.json": config, **files}.items():
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def test_the_ids_are_those_of_transformers_before_and_after_it_saved_them(directory):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(directory)
    theirs.save_pretrained(directory / "saved")

    for where in (directory, directory / "saved"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ours = load_tokenizer(where)

        for text in TEXTS:
            assert ours.encode(text, allowed_special=ours.special_tokens) == theirs(text)["input_ids"], text


def test_the_two_files_beside_the_saved_one_agree(directory):
    transformers = pytest.importorskip("transformers")
    transformers.AutoTokenizer.from_pretrained(directory).save_pretrained(directory)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_tokenizer(directory).encode("Hello")
