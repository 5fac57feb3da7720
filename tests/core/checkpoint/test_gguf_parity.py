"""Models of each architecture, written as llama.cpp's converter writes them, give the logits of transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.core.checkpoint.gguf_models import MODELS, random_model, write_gguf

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.criterion.metrics import divergence
from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.engine import Engine

pytestmark = pytest.mark.parity

IDS = np.random.default_rng(7).integers(0, 97, 60).tolist()

# What transformers reads from GGUF. It knows no keys for windows of Phi-3 and for scalings of positions.
REFEREED = ["llama", "llama untied, wide heads", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2"]


def logits(path: Path) -> np.ndarray:
    backend = NumpyBackend(dtype="float64")
    config, params = read_checkpoint(path, order=backend.order)
    return Engine(config, params, backend, owned=True).logits(IDS)


def their_logits(model: Any) -> np.ndarray:
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        found: np.ndarray = model.double()(input_ids=torch.tensor([IDS])).logits[0].numpy()
    return found


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_those_of_the_model_that_was_converted(tmp_path: Path, name: str) -> None:
    model = random_model(name)
    write_gguf(tmp_path / "model.gguf", name, model)

    found = logits(tmp_path / "model.gguf")

    assert divergence(found, their_logits(model)).size < 1e-4


@pytest.mark.parametrize("number_format", [None, "Q8_0"])
@pytest.mark.parametrize("name", REFEREED)
def test_logits_equal_what_transformers_makes_of_the_file(tmp_path: Path, name: str, number_format: str | None) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")  # without which transformers reads no GGUF
    write_gguf(tmp_path / "model.gguf", name, random_model(name), number_format)

    found = logits(tmp_path / "model.gguf")

    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf")
    assert divergence(found, their_logits(theirs)).size < 1e-4
