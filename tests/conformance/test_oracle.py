"""The oracle itself, against picoGPT's formulae written out in float64 for one text at a time."""

import math

import numpy as np
import pytest

from arrayformer.conformance.criterion.metrics import round_mantissa
from arrayformer.conformance.criterion.oracle import reference
from arrayformer.conformance.criterion.probes import PROBES, probe


def gelu_new(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


def relu(x):
    return np.maximum(x, 0)


def silu(x):
    return x / (1 + np.exp(-x))


def softmax(x):
    exps = np.exp(x - x.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def layer_norm(x, g, b, eps):
    return g * (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + eps) + b


def mha(x, c_attn, c_proj, n_head, scale):
    q, k, v = np.split(x @ c_attn["w"] + c_attn["b"], 3, axis=-1)
    heads = []
    for h in range(n_head):
        cut = slice(h * q.shape[-1] // n_head, (h + 1) * q.shape[-1] // n_head)
        scores = q[:, cut] @ k[:, cut].T * scale
        scores[np.triu_indices(len(x), 1)] = -np.inf
        heads.append(softmax(scores) @ v[:, cut])
    return np.hstack(heads) @ c_proj["w"] + c_proj["b"]


def plain_gpt2(ids, params, config):
    activation = {"gelu_new": gelu_new, "gelu": gelu, "relu": relu, "silu": silu}[config.activation_function]
    eps = config.layer_norm_epsilon
    x = params["wte"][ids] + params["wpe"][: len(ids)]
    for layer, block in enumerate(params["blocks"]):
        scale = 1 / np.sqrt(config.n_embd // config.n_head) if config.scale_attn_weights else 1.0
        scale = scale / (layer + 1) if config.scale_attn_by_inverse_layer_idx else scale
        x = x + mha(layer_norm(x, **block["ln_1"], eps=eps), **block["attn"], n_head=config.n_head, scale=scale)
        mlp = block["mlp"]
        hidden = activation(layer_norm(x, **block["ln_2"], eps=eps) @ mlp["c_fc"]["w"] + mlp["c_fc"]["b"])
        x = x + hidden @ mlp["c_proj"]["w"] + mlp["c_proj"]["b"]
    head = params.get("lm_head", params["wte"])
    return layer_norm(x, **params["ln_f"], eps=eps) @ head.T


@pytest.mark.parametrize("name", [name for name in PROBES if name != "fable"])
def test_the_oracle_computes_gpt2_as_written_in_picogpt(name):
    ref = reference(name)
    ids = probe(name).rows()[0]

    plain = plain_gpt2(ids, ref.params64, ref.config)

    assert np.max(np.abs(ref.oracle(ids) - plain)) < 1e-9 * np.std(plain)


@pytest.mark.parametrize("name", ["p1", "p2", "p3", "untied"])
def test_an_honest_float32_run_is_a_few_roundoffs_from_the_oracle(name):
    assert 16 * 2.0**-24 <= reference(name).unit < 3e-5


def test_rounding_to_ten_bits_is_what_float16_has():
    x = np.random.default_rng(0).uniform(-60000, 60000, 10000).astype(np.float32)

    assert np.array_equal(round_mantissa(x, 10), x.astype(np.float16).astype(np.float32))


def test_rounding_keeps_what_is_not_finite():
    x = np.array([np.nan, np.inf, -np.inf], dtype=np.float32)

    assert np.array_equal(round_mantissa(x, 7), x, equal_nan=True)


def test_each_probe_holds_every_id_at_least_once():
    for name in ("p1", "p2", "p3", "deep"):
        rows = probe(name).rows()

        assert {id for row in rows for id in row} == set(range(probe(name).config.n_vocab))
