"""The graph asks of a library exactly what `core/array_api.py` lists: nothing else, and nothing for show."""

import subprocess
import sys
from typing import Any

import array_api_compat.numpy as compat
import numpy as np
import pytest
from tests.core.graph.libraries import convert

from arrayformer.core import array_api, ops, sampling
from arrayformer.core.bind import bind
from arrayformer.core.cache import Cache
from arrayformer.core.decoder import gpt2
from arrayformer.core.models.gpt2 import ACTIVATIONS, GPT2Config
from arrayformer.core.params import Params, random_params

USED: set[str] = set()
METHODS = array_api.methods()


def bare(x: Any) -> Any:
    return x.x if isinstance(x, Least) else tuple(map(bare, x)) if isinstance(x, tuple) else x


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


def everything(config: GPT2Config, params: Params) -> None:
    """Each path through the graph and the device side of sampling."""
    table = bind(config)
    gpt2([1, 2, 3], **params, n_head=config.n_head, scales=config.scales(), ops=table)
    rows = [Least(np.zeros((2, config.n_head, 8, config.head_dim), dtype=np.float16)) for _ in range(config.n_layer)]
    cache = Cache(k=rows, v=rows, length=integers([0, 2]), slot=integers(range(8)))
    ids = integers([[1, 2], [3, 4]])
    logits, cache = gpt2(ids, **params, n_head=config.n_head, cache=cache, only=integers([[1], [0]]), ops=table)
    table.put_rows(cache.k[0], cache.k[1], integers([1, 0]))
    draw = sampling.Draw(
        word=Least(np.array([[5], [6]], dtype=np.int32)), temperature=reals([0, 1]), top_k=integers([3, 4]),
        top_p=reals([0.9, 1]), min_p=reals([-3, -2]), penalty=reals([1, 2]), seen=Least(np.ones((2, 37), dtype=bool)),
    )  # fmt: skip
    plan = sampling.Plan(greedy=False, k=5, nucleus=True, min_p=True, penalty=True, logprobs=2)
    sampling.pick(logits, draw, plan, table)


def test_a_library_with_the_listed_functions_and_no_others_runs_everything() -> None:
    array_api.register_namespace(Least, LeastNamespace())
    USED.clear()

    for activation in ACTIVATIONS:
        config = GPT2Config(37, 13, 24, 3, 2, activation_function=activation, reorder_and_upcast_attn=True)
        everything(config, convert(random_params(config), Least))

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


@pytest.mark.parametrize("module", ["ops", "decoder", "cache", "sampling", "bind", "checks"])
def test_the_graph_imports_no_array_library(module: str) -> None:
    libraries = "{'numpy', 'jax', 'cupy', 'torch', 'arrayformer.backends', 'dask'}"
    code = f"import sys, arrayformer.core.{module}; print(*({libraries} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.split() == []


def test_no_constant_of_the_graph_raises_the_dtype(params: Params, config: GPT2Config) -> None:
    seen: dict[str, Any] = {}
    ops_table = bind(config)

    gpt2([1, 2], **params, n_head=3, ops=ops_table, tap=lambda name, x: seen.setdefault(name, x))

    assert {name: x.dtype for name, x in seen.items() if x.dtype != np.float32} == {}
    assert ops.PLAIN.activation is ops.gelu
