"""The same seed writes the same text on every array library."""

import pytest

from arrayformer.api import Model
from arrayformer.core.backend import Backend
from arrayformer.core.engine import Engine
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import random_params

CONFIG = GPT2(n_vocab=300, n_ctx=32, n_embd=16, n_head=2, n_layer=1)
PROMPTS = [[1, 2, 3], [7], [5, 6, 5, 6, 5, 6, 5]]
SEEDED = {"temperature": 0.9, "seed": 11}


def strict():
    class Strict(Backend):
        name = "strict"
        library = "array-api-strict"
        xp = pytest.importorskip("array_api_strict")

    return Strict()


def jax():
    pytest.importorskip("jax")
    from arrayformer.backends.jax.backend import JaxBackend

    return JaxBackend()


@pytest.fixture(scope="module")
def numpy_model():
    return written_by("numpy")


def written_by(name):
    from arrayformer.backends.numpy.backend import NumpyBackend

    make = {"numpy": NumpyBackend, "strict": strict, "jax": jax}[name]
    return Model(CONFIG, Engine(CONFIG, random_params(CONFIG.weights(), seed=2, gain=0.3), make()))


@pytest.fixture(scope="module", params=["strict", "jax"])
def other_model(request):
    return written_by(request.param)


@pytest.mark.parametrize("options", [{}, {**SEEDED, "top_k": 20, "top_p": 0.9}], ids=str)
def test_one_text_is_the_same_on_every_library(numpy_model, other_model, options):
    wanted = numpy_model.generate(PROMPTS[0], max_new_tokens=10, **options)

    assert other_model.generate(PROMPTS[0], max_new_tokens=10, **options).ids == wanted.ids


@pytest.mark.parametrize("how", [{"repetition_penalty": 1.2, "logprobs": 2}, {"speculate": True}], ids=str)
def test_a_batch_is_the_same_on_every_library(numpy_model, other_model, how):
    options = {"max_new_tokens": 8, "batch_size": 2, **SEEDED, **how}
    wanted = numpy_model.generate(PROMPTS, **options)

    found = other_model.generate(PROMPTS, **options)

    assert [g.ids for g in found] == [g.ids for g in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.logprobs == (theirs.logprobs and pytest.approx(theirs.logprobs, abs=1e-4))
