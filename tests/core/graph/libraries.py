"""Small models and array libraries for the tests of the graph."""

from typing import Any

import numpy as np
import pytest

from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import Params, map_params, random_params


def read_only(x: np.ndarray) -> np.ndarray:
    x = np.array(x)
    x.flags.writeable = False
    return x


def strict(x: np.ndarray) -> Any:
    xp = pytest.importorskip("array_api_strict")
    return xp.asarray(x)


def jax_array(x: np.ndarray) -> Any:
    return pytest.importorskip("jax.numpy").array(x)


def torch_array(x: np.ndarray) -> Any:
    return pytest.importorskip("torch").tensor(x)


LIBRARIES = {"numpy": np.array, "read_only": read_only, "strict": strict, "jax": jax_array, "torch": torch_array}


@pytest.fixture(params=LIBRARIES)
def asarray(request: pytest.FixtureRequest) -> Any:
    """Turns a NumPy array into one of each array library in turn."""
    convert = LIBRARIES[request.param]
    if request.param == "strict":
        xp = pytest.importorskip("array_api_strict")
        with xp.ArrayAPIStrictFlags(data_dependent_shapes=False, boolean_indexing=False, enabled_extensions=()):
            yield convert
    else:
        yield convert


@pytest.fixture
def config() -> GPT2:
    """Odd everywhere: three heads, an odd vocabulary, an odd context."""
    return GPT2(n_vocab=37, n_ctx=13, n_embd=24, n_head=3, n_layer=2)


@pytest.fixture
def params(config: GPT2) -> Params:
    """Float32 weights wide enough apart that every fault shows."""
    return random_params(config.weights(), seed=1, gain=0.3)


def convert(params: Params, asarray: Any) -> Params:
    placed: Params = map_params(lambda x: asarray(x), params)
    return placed


def to_numpy(x: Any) -> np.ndarray:
    return np.asarray(x, dtype=np.float64)
