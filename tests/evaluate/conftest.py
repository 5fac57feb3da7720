"""A small model with a byte-level tokenizer, and texts for it."""

from collections.abc import Callable

import numpy as np
import pytest
from tests.models import bytes_tokenizer, tiny

from arrayformer.backends.registry import get_backend
from arrayformer.core.engine import Engine
from arrayformer.core.params import Params, random_params
from arrayformer.evaluate.source import Text
from arrayformer.tokenizer import Tokenizer

CONFIG = tiny(n_vocab=260, n_embd=24, n_head=4)

MakeEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return bytes_tokenizer(("t", "h"), ("th", "e"), ("Ġ", "a"))


@pytest.fixture(scope="session")
def params() -> Params:
    return random_params(CONFIG.weights(), seed=3, gain=0.3)


@pytest.fixture(scope="session")
def make_engine(params: Params) -> MakeEngine:
    return lambda backend="numpy", dtype=None: Engine(CONFIG, params, get_backend(backend, dtype=dtype))


@pytest.fixture(scope="session")
def story() -> Text:
    rng = np.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "thought", "of", "a", "fish:", "one,", "two,", "three"]
    text = " ".join(rng.choice(words, 24)) + "\n<|endoftext|>\nthe énd\n"
    return Text(text, len(text.encode()), "0" * 64, False, "story.txt")
