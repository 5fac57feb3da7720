"""A tiny model with a tokenizer of bytes, on NumPy."""

import numpy as np
import pytest

from arrayformer.api import Model
from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.engine import Engine
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import random_params
from arrayformer.tokenizer import Tokenizer
from arrayformer.tokenizer.alphabet import PRINTABLE

CONFIG = GPT2(n_vocab=257, n_ctx=32, n_embd=16, n_head=2, n_layer=2, eos_token_id=256)


@pytest.fixture(scope="session")
def tokenizer():
    """Each byte is an id; 256 is the end of text."""
    return Tokenizer({character: id for id, character in enumerate(PRINTABLE)}, [], {"<|endoftext|>": 256})


@pytest.fixture(scope="session")
def model(tokenizer):
    """Random weights large enough that the likeliest id is no close race."""
    return Model(CONFIG, Engine(CONFIG, random_params(CONFIG.weights(), seed=1, gain=0.3), NumpyBackend()), tokenizer)


@pytest.fixture
def writes(tokenizer):
    """writes(ids): a model that writes `ids`, one after the other, whatever the prompt of one id is."""

    def build(ids, n_ctx=32):
        # One block that does nothing; the position alone says what comes next.
        config = GPT2(257, n_ctx, n_embd=n_ctx, n_head=1, n_layer=1, tie_word_embeddings=False, eos_token_id=256)
        params = random_params(config.weights(), gain=0.0)
        params["wpe"] = np.eye(n_ctx, dtype=np.float32)
        for place, id in enumerate(ids):
            params["lm_head"][id, place] = 5.0
        return Model(config, Engine(config, params, NumpyBackend()), tokenizer)

    return build
