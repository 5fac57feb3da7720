"""A tiny model with a tokenizer of bytes, as files, and the command line inside this process."""

import io
import json
import sys

import pytest
from tests.models import END, bytes_vocab, tiny

import arrayformer
from arrayformer import cli
from arrayformer.core.params import random_params

CONFIG = tiny(n_vocab=258, n_ctx=64, n_layer=1, eos_token_id=257)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A tiny model with a tokenizer of bytes, as files."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    vocab = bytes_vocab("qq", END)
    files = {"vocab.json": json.dumps(vocab).encode(), "merges.txt": b"#version: 0.2\nq q\n"}
    arrayformer.save_checkpoint(path, CONFIG, random_params(CONFIG.weights(), seed=1, gain=0.3), tokenizer_files=files)
    return str(path)


@pytest.fixture
def run(capsys, monkeypatch):
    """run(*arguments, stdin=b""): the exit code, and what went to the two streams."""

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = cli.main([str(a) for a in arguments])
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def generate(run, directory):
    def call(*arguments, stdin=b""):
        return run("generate", "-m", directory, "--offline", "--ignore-eos", *arguments, stdin=stdin)

    return call
