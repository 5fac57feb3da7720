"""A small model with a byte-level tokenizer, and one look into it."""

from collections.abc import Callable

import numpy as np
import pytest

from arrayformer.backends.registry import get_backend
from arrayformer.core.engine import Engine
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import random_params
from arrayformer.inspection.gather import Inspection, inspect
from arrayformer.tokenizer import Tokenizer
from arrayformer.tokenizer.alphabet import PRINTABLE

CONFIG = GPT2(n_vocab=260, n_ctx=80, n_embd=24, n_head=4, n_layer=3)
TEXT = "the cat </script> sat—\n\non <b>a</b> & mat"

MakeEngine = Callable[[str], Engine]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    vocab = {character: id for id, character in enumerate(PRINTABLE)} | {"th": 256, "the": 257, "Ġa": 258}
    return Tokenizer(vocab, [("t", "h"), ("th", "e"), ("Ġ", "a")], {"<|endoftext|>": 259})


@pytest.fixture(scope="session")
def make_engine() -> MakeEngine:
    params = random_params(CONFIG.weights(), seed=3, gain=0.3)
    return lambda backend: Engine(CONFIG, params, get_backend(backend))


@pytest.fixture(scope="session")
def engine(make_engine: MakeEngine) -> Engine:
    return make_engine("numpy")


@pytest.fixture(scope="session")
def ids(tokenizer: Tokenizer) -> list[int]:
    return tokenizer.encode(TEXT)


@pytest.fixture(scope="session")
def found(engine: Engine, ids: list[int]) -> Inspection:
    return inspect(engine, ids)


@pytest.fixture(scope="session")
def probs(engine: Engine, ids: list[int]) -> np.ndarray:
    """What the model expects after each id, [seq, n_vocab] float64."""
    logits = engine.logits(ids).astype(np.float64)
    exps = np.exp(logits - logits.max(-1, keepdims=True))
    result: np.ndarray = exps / exps.sum(-1, keepdims=True)
    return result
