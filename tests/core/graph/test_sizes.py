"""What a config means in numbers: OpenAI's four sizes, scales, and what no GPT-2 has."""

import math

import numpy as np
import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.backend import Backend
from arrayformer.core.errors import ConfigError
from arrayformer.core.models.gpt2 import GPT2, SIZES
from arrayformer.core.params import map_paths, random_params, walk

SMALL = {"n_vocab": 7, "n_ctx": 5, "n_embd": 6, "n_head": 3, "n_layer": 2}


# Parameters as counted from the published weights, https://huggingface.co/openai-community (model.safetensors).
@pytest.mark.parametrize(
    ("name", "parameters", "heads"),
    [("124M", 124_439_808, 12), ("355M", 354_823_168, 16), ("774M", 774_030_080, 20), ("1558M", 1_557_611_200, 25)],
)
def test_openais_sizes_have_their_published_number_of_parameters(name, parameters, heads):
    config = SIZES[name]

    assert sum(math.prod(weight.shape) for _, weight in walk(config.weights())) == parameters
    assert (config.n_vocab, config.n_ctx, config.eos_token_id) == (50257, 1024, 50256)
    assert (config.n_head, config.head_dim) == (heads, 64)


def test_every_weight_has_its_shape():
    config = GPT2(**SMALL, n_inner=10, tie_word_embeddings=False)

    block = {
        "ln_1.g": (6,), "ln_1.b": (6,), "attn.c_attn.w": (6, 18), "attn.c_attn.b": (18,), "attn.c_proj.w": (6, 6),
        "attn.c_proj.b": (6,), "ln_2.g": (6,), "ln_2.b": (6,), "mlp.c_fc.w": (6, 10), "mlp.c_fc.b": (10,),
        "mlp.c_proj.w": (10, 6), "mlp.c_proj.b": (6,),
    }  # fmt: skip
    blocks = {f"blocks.{i}.{name}": shape for i in (0, 1) for name, shape in block.items()}
    ends = {"wte": (7, 6), "wpe": (5, 6), "ln_f.g": (6,), "ln_f.b": (6,), "lm_head": (7, 6)}
    assert {path: weight.shape for path, weight in walk(config.weights())} == blocks | ends
    assert "lm_head" not in dict(walk(GPT2(**SMALL).weights()))
    assert GPT2(**SMALL).inner == 24


def test_paths_are_the_same_however_the_tree_is_gone_through():
    tree = GPT2(**SMALL).weights()

    assert list(walk(map_paths(lambda path, _: path, tree))) == [(path, path) for path, _ in walk(tree)]


def test_random_weights_have_their_deviation_and_gains_near_one():
    params = random_params(GPT2(n_vocab=500, n_ctx=50, n_embd=60, n_head=3, n_layer=1).weights(), seed=4, gain=0.1)

    for path, x in walk(params):
        assert x.dtype == np.float32
        assert np.mean(x) == pytest.approx(1.0 if path.endswith(".g") else 0.0, abs=0.05)
        assert np.std(x) == pytest.approx(0.1, rel=0.4)
    again = random_params(GPT2(n_vocab=500, n_ctx=50, n_embd=60, n_head=3, n_layer=1).weights())
    assert np.std(again["wte"]) == pytest.approx(0.02, rel=0.05)
    assert not np.array_equal(again["wte"] * 5, params["wte"])


@pytest.mark.parametrize(
    ("switches", "scales"),
    [
        ({}, [2**-0.5, 2**-0.5]),
        ({"scale_attn_weights": False}, [1.0, 1.0]),
        ({"scale_attn_by_inverse_layer_idx": True}, [2**-0.5, 2**-0.5 / 2]),
        ({"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True}, [1.0, 0.5]),
    ],
)
def test_scores_are_scaled_as_the_config_says(switches, scales):
    config = GPT2(**SMALL, **switches)

    assert [config.scale(layer) for layer in range(2)] == pytest.approx(scales)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [0, -1, 2.0, True, None, "3"])
def test_a_size_that_no_model_has_is_refused(name, size):
    with pytest.raises(ConfigError, match=f"^{name} is"):
        GPT2(**{**SMALL, name: size})


def test_a_model_of_ones_is_the_smallest():
    config = GPT2(**dict.fromkeys(SMALL, 1))

    assert (config.head_dim, config.inner, config.layer_norm_epsilon) == (1, 4, 1e-5)
    switches = (
        "scale_attn_weights",
        "scale_attn_by_inverse_layer_idx",
        "reorder_and_upcast_attn",
        "tie_word_embeddings",
    )
    assert [getattr(config, name) for name in switches] == [True, False, False, True]


@pytest.mark.parametrize("backend", [Backend, NumpyBackend])
def test_claims_are_what_a_backend_says_that_says_nothing(backend):
    claims = {name: getattr(backend, name) for name in ("compiles", "deterministic", "batch_invariant", "api_version")}

    assert claims == {"compiles": False, "deterministic": True, "batch_invariant": False, "api_version": (1, 0)}
    assert backend.dtypes[0] == "float32"
    assert Backend.consumes_cache is False
