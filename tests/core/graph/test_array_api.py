"""The graph asks of a library exactly what `core/array_api.py` lists: nothing else, and nothing for show."""

import subprocess
import sys
from typing import Any

import array_api_compat.numpy as compat
import numpy as np
import pytest
from tests.core.graph.libraries import convert

from arrayformer.core import array_api, ops, sampling
from arrayformer.core.architecture import Architecture
from arrayformer.core.decoder import Cache, forward
from arrayformer.core.models.gemma import Gemma
from arrayformer.core.models.gpt2 import GPT2, gpt2
from arrayformer.core.models.llama import Llama
from arrayformer.core.ops import ACTIVATIONS, PLAIN
from arrayformer.core.params import Params, random_params

USED: set[str] = set()
METHODS = array_api.methods()


def bare(x: Any) -> Any:
    return x.x if isinstance(x, Least) else tuple(map(bare, x)) if isinstance(x, tuple | list) else x


class Least:
    """An array that can do what the protocol lists and nothing else."""

    device = "cpu"

    def __init__(self, x: Any) -> None:
        self.x = np.asarray(x)
        self.shape, self.dtype = self.x.shape, self.x.dtype


def integers(x: Any) -> Least:
    return Least(np.array(x, dtype=np.int64))


def reals(x: Any) -> Least:
    return Least(np.array(x, dtype=np.float32))


def method(name: str) -> Any:
    def call(*arguments: Any) -> Least:
        USED.add(name)
        first, *rest = map(bare, arguments)
        return Least(getattr(first, name)(*rest))

    return call


for _name in METHODS:
    setattr(Least, _name, method(_name))


class LeastNamespace:
    """A namespace that has the protocol's functions and nothing else."""

    float32, float64, int32 = np.float32, np.float64, np.int32

    def __getattr__(self, name: str) -> Any:
        if name not in array_api.functions():
            raise AttributeError(f"the graph asked for xp.{name}, which core/array_api.py does not list")
        USED.add(name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            result = getattr(compat, name)(*map(bare, arguments), **{k: bare(v) for k, v in keywords.items()})
            return result if isinstance(result, bool) else Least(result)

        return call


def everything(config: Architecture, params: Params) -> None:
    """Each path through the graph and the device side of sampling."""
    if isinstance(config, GPT2):
        gpt2([1, 2, 3], **params, n_head=config.n_head)
    ids = integers([[1, 2], [3, 4]])
    forward(config, params, ids)
    shape = (2, config.n_kv_head, 8, config.head_dim)
    layers = [(Least(np.zeros(shape, dtype=np.float16)),) * 2 for _ in range(config.n_layer)]
    tables = [(reals(cos), reals(sin)) for cos, sin in config.rotations(8, 8)]
    logits, cache = forward(
        config, params, ids, Cache(layers, integers([0, 2]), tables), only=integers([[1], [0]]), tap=lambda _, x: x
    )
    PLAIN.put_rows(*cache.layers[0], integers([1, 0]))
    draw = sampling.Draw(
        word=Least(np.array([[5], [6]], dtype=np.int32)), temperature=reals([0, 1]), top_k=integers([3, 4]),
        top_p=reals([0.9, 1]), min_p=reals([-3, -2]), penalty=reals([1, 2]),
        seen=Least(np.ones((2, config.n_vocab), dtype=bool)),
    )  # fmt: skip
    plan = sampling.Plan(greedy=False, k=5, nucleus=True, min_p=True, penalty=True, logprobs=2)
    sampling.pick(logits, draw, plan)


def test_a_library_with_the_listed_functions_and_no_others_runs_everything() -> None:
    array_api.register_namespace(Least, LeastNamespace())
    USED.clear()

    configs: list[Architecture] = [
        GPT2(37, 13, 24, 3, 2, activation_function=name, reorder_and_upcast_attn=True) for name in ACTIVATIONS
    ]
    for config in (*configs, Llama.probes()["mistral"], Gemma.probes()["gemma3"], Gemma.probes()["gemma2"]):
        everything(config, convert(random_params(config.weights()), Least))

    assert set(array_api.functions()) - USED == set(), "listed but never asked for"
    reflected = {"__rsub__", "__radd__", "__rtruediv__", "__rmul__"}
    assert set(METHODS) - USED - reflected == set(), "listed but never asked for"


def test_a_registered_namespace_supplies_what_a_library_lacks() -> None:
    class Lacking(np.ndarray):
        pass

    class Shim:
        def __getattr__(self, name: str) -> Any:
            return (lambda x: "ours") if name == "tanh" else getattr(compat, name)

    array_api.register_namespace(Lacking, Shim(), device=lambda x: "nowhere")

    assert array_api.array_namespace(np.ones(2).view(Lacking)).tanh(1) == "ours"
    assert array_api.device(np.ones(2).view(Lacking)) == "nowhere"
    assert array_api.device(np.ones(2)) == "cpu"


@pytest.mark.parametrize("module", ["ops", "decoder", "sampling", "checks"])
def test_the_graph_imports_no_array_library(module: str) -> None:
    libraries = "{'numpy', 'jax', 'cupy', 'torch', 'arrayformer.backends', 'dask'}"
    code = f"import sys, arrayformer.core.{module}; print(*({libraries} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.split() == []


def test_no_constant_of_the_graph_raises_the_dtype(params: Params, config: GPT2) -> None:
    seen: dict[str, Any] = {}

    gpt2([1, 2], **params, n_head=3, tap=lambda name, x: seen.setdefault(name, x))

    assert {name: x.dtype for name, x in seen.items() if x.dtype != np.float32} == {}
    assert PLAIN.gelu is ops.gelu
