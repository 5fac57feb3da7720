"""OpenAI's 124M weights against what others published of them.

    ARRAYFORMER_GPT2=openai-community/gpt2 pytest -m real_weights

The variable names a directory or a hub id. Without it these tests are skipped: nothing here downloads by itself.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arrayformer
from arrayformer.api import Model
from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.engine import Engine
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.hub.resolve import resolve_model

WHERE = os.environ.get("ARRAYFORMER_GPT2", "")
RECORDED = json.loads((Path(__file__).parent / "fixtures" / "gpt2_124m_logits.json").read_text())

pytestmark = [
    pytest.mark.real_weights,
    pytest.mark.skipif(not WHERE, reason="set ARRAYFORMER_GPT2 to a directory or hub id of GPT-2 124M"),
]


@pytest.fixture(scope="module")
def model() -> Model:
    return arrayformer.load(WHERE)


def test_the_ids_are_picogpts(model: Model) -> None:
    assert model.tokenizer is not None
    assert model.tokenizer.encode("Hello, world") == [15496, 11, 995]


def test_the_continuation_is_the_one_picogpt_published(model: Model) -> None:
    """https://github.com/jaymody/picoGPT, README."""
    written = model.generate("Alan Turing theorized that computers would one day become", max_new_tokens=40)

    assert written.text == (
        " the most powerful machines on the planet.\n\nThe computer is a machine that can perform complex calculations,"
        " and it can perform these calculations in a way that is very similar to the human brain."
    )


def test_greedy_ids_are_those_of_transformers_own_test(model: Model) -> None:
    """https://github.com/huggingface/transformers, tests/models/gpt2/test_modeling_gpt2.py."""
    written = model.generate([464, 3290], max_new_tokens=18)

    expected = [373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688, 290, 2688, 27262, 13, 198, 198, 464, 3290]
    assert written.ids == expected


def test_the_last_layer_norm_is_that_of_keras_hubs_test(model: Model) -> None:
    """https://github.com/keras-team/keras-hub, gpt2_backbone_test.py, to its tolerance."""
    seen: dict[str, Any] = {}

    model.engine.logits([1169, 2068, 7586, 21831, 13], tap=lambda name, x: seen.setdefault(name, x))

    expected = [-0.1116, -0.0375, -0.2624, 0.00891, -0.0061]
    np.testing.assert_allclose(model.backend.to_numpy(seen["ln_f"]).ravel()[:5], expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("example", RECORDED["examples"], ids=lambda e: e["prompt"][:20])
def test_logits_are_the_recorded_ones(example: dict[str, Any]) -> None:
    """The recorded model computes GELU in its erf form, so the config is told to."""
    config, params = read_checkpoint(resolve_model(WHERE))
    assert isinstance(config, GPT2)
    erf = replace(config, activation_function=RECORDED["activation_function"])

    logits = Engine(erf, params, NumpyBackend(), owned=True).logits(example["ids"])[-1].astype(np.float64)

    ids, expected = zip(*example["top"], strict=True)
    np.testing.assert_allclose(logits[list(ids)], expected, atol=1e-2)
    assert np.argsort(-logits)[0] == ids[0]
    assert abs(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - example["logsumexp"]) < 1e-2
