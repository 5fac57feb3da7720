"""A small model with a byte-level tokenizer, and one look into it."""

from collections.abc import Callable

import numpy as np
import pytest
from tests.models import bytes_tokenizer, tiny

from arrayformer.backends.registry import get_backend
from arrayformer.core.engine import Engine
from arrayformer.core.params import random_params
from arrayformer.inspection.gather import Inspection, inspect
from arrayformer.tokenizer import Tokenizer

CONFIG = tiny(n_vocab=260, n_ctx=80, n_embd=24, n_head=4, n_layer=3)
TEXT = "the cat </script> sat—\n\non <b>a</b> & mat"

MakeEngine = Callable[[str], Engine]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return bytes_tokenizer(("t", "h"), ("th", "e"), ("Ġ", "a"))


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
