"""The seed's functions: names, argument order, shapes, dtypes, and the same numbers as its formulae in float64."""

import inspect
import math
from typing import Any

import numpy as np
import pytest
from tests.core.graph import reference
from tests.core.graph.libraries import convert, to_numpy

import arrayformer
from arrayformer.core import ops
from arrayformer.core.erf import erfc
from arrayformer.core.errors import InputError
from arrayformer.core.models.gpt2 import GPT2, gpt2
from arrayformer.core.params import Params

SIGNATURES = {
    "gelu": ["x"],
    "softmax": ["x"],
    "layer_norm": ["x", "g", "b", "eps"],
    "linear": ["x", "w", "b"],
    "ffn": ["x", "c_fc", "c_proj"],
    "attention": ["q", "k", "v", "mask"],
    "mha": ["x", "c_attn", "c_proj", "n_head"],
    "transformer_block": ["x", "mlp", "attn", "ln_1", "ln_2", "n_head"],
    "gpt2": ["inputs", "wte", "wpe", "blocks", "ln_f", "n_head"],
    "load_encoder_hparams_and_params": ["model_size", "models_dir"],
}
IDS = [3, 36, 0, 7, 7, 21]


@pytest.mark.parametrize(("name", "arguments"), SIGNATURES.items())
def test_the_seeds_functions_take_the_seeds_arguments_in_order(name: str, arguments: list[str]) -> None:
    parameters = inspect.signature(getattr(arrayformer, name)).parameters.values()

    assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == arguments


def test_logits_equal_the_formulae_on_every_library(asarray: Any, params: Params, config: GPT2) -> None:
    expected = reference.logits(IDS, params, config.n_head)

    logits = gpt2(IDS, **convert(params, asarray), n_head=config.n_head)

    assert logits.shape == (len(IDS), config.n_vocab)
    assert "float32" in str(logits.dtype)
    np.testing.assert_allclose(to_numpy(logits), expected, atol=2e-4 * expected.std())


def test_a_batch_gives_each_row_what_it_gives_alone(asarray: Any, params: Params, config: GPT2) -> None:
    placed = convert(params, asarray)
    rows = [IDS, IDS[::-1]]

    logits = gpt2(asarray(np.array(rows)), **placed, n_head=config.n_head)

    for row, ids in enumerate(rows):
        expected = reference.logits(ids, params, config.n_head)
        np.testing.assert_allclose(to_numpy(logits)[row], expected, atol=2e-4 * expected.std())


def test_float64_weights_give_float64_logits_to_the_last_digits(params: Params, config: GPT2) -> None:
    double = convert(params, np.float64)

    logits = gpt2(IDS, **double, n_head=config.n_head)

    assert logits.dtype == np.float64
    np.testing.assert_allclose(logits, reference.logits(IDS, params, config.n_head), rtol=1e-11, atol=1e-11)


def test_float16_weights_give_float16_logits(params: Params, config: GPT2) -> None:
    logits = gpt2(IDS, **convert(params, np.float16), n_head=config.n_head)

    assert logits.dtype == np.float16


def test_the_future_never_changes_the_past(asarray: Any, params: Params, config: GPT2) -> None:
    placed = convert(params, asarray)

    before = to_numpy(gpt2(IDS, **placed, n_head=config.n_head))
    after = to_numpy(gpt2([*IDS[:3], 30, 1, 2], **placed, n_head=config.n_head))

    np.testing.assert_array_equal(before[:3], after[:3])
    assert np.all(np.any(before[3:] != after[3:], axis=-1))


def test_the_context_may_be_filled_to_the_last_place(params: Params, config: GPT2) -> None:
    ids = list(range(config.n_ctx))

    logits = gpt2(ids, **params, n_head=config.n_head)

    np.testing.assert_allclose(logits, reference.logits(ids, params, config.n_head), atol=1e-3)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([], "no ids"),
        ([-1], "id -1 at place 0"),
        ([0, 37], "id 37 at place 1 does not exist: this model has the ids 0 to 36"),
        ([1.5], "1.5 at place 0 is of type float"),
        ([True], "of type bool"),
        (["3"], "of type str"),
        ([None], "NoneType"),
        ([[1, 2]], "of type list"),
        ([np.float32(1)], "float32"),
        ([0] * 14, "14 ids do not fit: this model's context is 13"),
    ],
)
def test_ids_that_do_not_exist_are_refused_on_every_library(
    asarray: Any, params: Params, config: GPT2, ids: list[Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        gpt2(ids, **convert(params, asarray), n_head=config.n_head)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), (1, 1, 1), (14,), (1, 14)])
def test_an_array_of_ids_of_no_use_is_refused(shape: tuple[int, ...], params: Params, config: GPT2) -> None:
    with pytest.raises(InputError):
        gpt2(np.zeros(shape, dtype=np.int64), **params, n_head=config.n_head)


def test_ids_that_are_no_integers_are_refused_as_an_array_too(params: Params, config: GPT2) -> None:
    with pytest.raises(InputError, match="integer dtype"):
        gpt2(np.ones(3), **params, n_head=config.n_head)


def test_numpy_integers_are_ids(params: Params, config: GPT2) -> None:
    logits = gpt2([np.int64(3), np.uint8(4)], **params, n_head=config.n_head)

    np.testing.assert_array_equal(logits, gpt2([3, 4], **params, n_head=config.n_head))


@pytest.mark.parametrize(("activation", "expected"), [(ops.gelu, reference.gelu), (ops.gelu_erf, reference.gelu_erf)])
def test_activations_equal_their_definition(activation: Any, expected: Any) -> None:
    x = np.linspace(-12, 12, 4001)

    np.testing.assert_allclose(activation(x), expected(x), rtol=0, atol=4e-15)
    np.testing.assert_allclose(activation(x.astype(np.float32)), expected(x), rtol=0, atol=2e-6)


def test_erfc_keeps_its_digits_where_it_is_small() -> None:
    x = np.linspace(-5, 9, 1001)

    np.testing.assert_allclose(erfc(x), [math.erfc(v) for v in x], rtol=2e-13)


def test_softmax_of_large_scores_is_finite_and_sums_to_one() -> None:
    rows = ops.softmax(np.array([[1e4, 1e4 - 1, -1e4], [-80.0, 0.0, 80.0]], dtype=np.float32))

    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-6)


def test_layer_norm_survives_a_large_offset() -> None:
    x = (3e4 + np.random.default_rng(0).standard_normal((4, 768))).astype(np.float32)
    g, b = np.ones(768, np.float32), np.zeros(768, np.float32)

    np.testing.assert_allclose(ops.layer_norm(x, g, b).var(-1), 1, rtol=2e-3)


def test_a_masked_key_does_not_change_attention(asarray: Any) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 2, 3, 4)) for _ in range(3))
    mask = np.tril(np.ones((3, 3), dtype=bool))
    spoilt = k.copy()
    spoilt[:, :, 2] = 1e30

    clean = ops.attention(asarray(q), asarray(k), asarray(v), asarray(mask))
    dirty = ops.attention(asarray(q), asarray(spoilt), asarray(v), asarray(mask))

    np.testing.assert_array_equal(to_numpy(clean)[:, :, :2], to_numpy(dirty)[:, :, :2])


def test_a_mask_of_numbers_is_refused() -> None:
    x = np.ones((2, 2))

    with pytest.raises(InputError, match="pass booleans"):
        ops.attention(x, x, x, np.array([[0.0, -1e10], [0.0, 0.0]]))
