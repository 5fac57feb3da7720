"""Is the architecture found, does it run alike on every library, and do its files come back?"""

from pathlib import Path

import numpy as np
import pytest
from arrayformer_my_model import MyModel

from arrayformer.backends.registry import get_backend
from arrayformer.conformance.criterion.metrics import divergence
from arrayformer.core.checkpoint import read_checkpoint, save_checkpoint
from arrayformer.core.decoder import forward
from arrayformer.core.engine import Engine
from arrayformer.core.models.registry import find_model, list_models
from arrayformer.core.params import Params, map_params, random_params

PROBES = MyModel.probes()


def weights(model: MyModel, seed: int = 3) -> Params:
    return random_params(model.weights(), seed, gain=0.2)


def test_the_plugin_is_installed() -> None:
    assert "arrayformer-my-model" in [info.distribution for info in list_models() if info.name == "my_model"]
    assert find_model("my_model") is MyModel


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("backend", ["numpy", "jax", "torch", "array_api_strict"])
def test_each_library_computes_it_as_float64_does(backend: str, probe: str) -> None:
    library = backend if backend in ("jax", "torch", "array_api_strict") else "numpy"
    pytest.importorskip(library)
    if backend not in ("numpy", "jax"):
        pytest.importorskip(f"arrayformer_{backend}", reason=f"needs examples/ of {backend}")
    model = PROBES[probe]
    params, ids = weights(model), np.random.default_rng(0).integers(0, model.n_vocab, 24)
    truth, _ = forward(model, map_params(np.float64, params), ids)
    honest, _ = forward(model, params, ids)

    logits = Engine(model, params, get_backend(backend)).logits(ids.tolist())

    assert divergence(logits, truth).size <= 8 * divergence(honest, truth).size


def test_a_checkpoint_is_saved_and_found_by_its_model_type(tmp_path: Path) -> None:
    model = MyModel(97, 33, 30, 2, 5, eos_token_id=3)
    params = weights(model)

    save_checkpoint(tmp_path / "model", model, params)
    back, read = read_checkpoint(tmp_path / "model")

    assert back == model
    ids = np.arange(20)
    np.testing.assert_array_equal(forward(back, read, ids)[0], forward(model, params, ids)[0])
