"""What is shown is what the model computes."""

import numpy as np
import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.architecture import Architecture
from arrayformer.core.engine import Engine
from arrayformer.core.errors import InputError
from arrayformer.core.models.gemma import Gemma
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.models.gpt_neox import GPTNeoX
from arrayformer.core.models.llama import Llama
from arrayformer.core.models.olmo2 import Olmo2
from arrayformer.core.params import map_paths, random_params
from arrayformer.inspection.compare import compare
from arrayformer.inspection.content import for_page
from arrayformer.inspection.gather import Inspection, inspect
from arrayformer.tokenizer import Tokenizer

from .conftest import CONFIG, MakeEngine


def test_the_loss_is_that_of_the_models_own_probabilities(found: Inspection, ids: list[int], probs: np.ndarray) -> None:
    expected = -np.log(probs[np.arange(len(ids) - 1), ids[1:]])

    np.testing.assert_allclose(found.loss[1:], expected, rtol=1e-5)
    assert np.isnan(found.loss[0])


def test_the_rank_counts_what_was_likelier(found: Inspection, ids: list[int], probs: np.ndarray) -> None:
    expected = [int(np.sum(probs[i] > probs[i, ids[i + 1]])) for i in range(len(ids) - 1)]

    assert found.rank.tolist() == [-1, *expected]


def test_the_next_tokens_are_the_likeliest_and_in_order(found: Inspection, probs: np.ndarray) -> None:
    order = np.argsort(-probs, axis=-1, kind="stable")[:, :10]

    np.testing.assert_array_equal(found.next_ids, order)
    np.testing.assert_allclose(found.next_probs, np.take_along_axis(probs, order, -1), rtol=1e-5)
    np.testing.assert_allclose(found.entropy, -np.sum(probs * np.log(probs), -1), rtol=1e-5)


def test_the_lens_on_the_last_layer_is_the_model(found: Inspection, ids: list[int], probs: np.ndarray) -> None:
    np.testing.assert_array_equal(found.lens_ids[-1], found.next_ids[:, :5])
    np.testing.assert_allclose(found.lens_true[-1][:-1], probs[np.arange(len(ids) - 1), ids[1:]], rtol=1e-5)
    assert np.all(np.isnan(found.lens_true[:, -1]))


def test_the_lens_on_an_earlier_layer_is_the_model_cut_there(engine: Engine, found: Inspection, ids: list[int]) -> None:
    later = ("blocks.1.", "blocks.2.")
    silent = map_paths(lambda path, x: x * 0 if path.startswith(later) and ".c_proj." in path else x, engine.params)

    cut = inspect(Engine(CONFIG, silent, engine.backend), ids)

    np.testing.assert_array_equal(cut.next_ids[:, :5], found.lens_ids[1])
    np.testing.assert_allclose(cut.next_probs[:, :5], found.lens_probs[1], rtol=1e-5)


def test_attention_looks_back_only_and_all_of_it(found: Inspection, ids: list[int]) -> None:
    assert found.attention is not None
    n = len(ids)

    assert found.attention.shape == (3, 4, n, n)
    np.testing.assert_allclose(found.attention.sum(-1), 1.0, rtol=1e-5)
    assert not np.any(found.attention * ~np.tri(n, dtype=bool))


def test_the_stream_is_as_long_as_what_is_added_allows(found: Inspection) -> None:
    longest = found.residual[:-1] + found.attn_out + found.mlp_out
    shortest = np.abs(found.residual[:-1] - found.attn_out) - found.mlp_out

    assert np.all(found.residual[1:] <= longest + 1e-4)
    assert np.all(found.residual[1:] >= shortest - 1e-4)


def test_looking_changes_nothing(engine: Engine, ids: list[int]) -> None:
    before = engine.logits(ids)

    inspect(engine, ids)

    np.testing.assert_array_equal(engine.logits(ids), before)


def test_jax_shows_the_same(make_engine: MakeEngine, found: Inspection, ids: list[int]) -> None:
    pytest.importorskip("jax")

    other = inspect(make_engine("jax"), ids)

    np.testing.assert_array_equal(other.next_ids, found.next_ids)
    for name in ("loss", "lens_probs", "attention", "residual", "attn_out", "mlp_out"):
        np.testing.assert_allclose(getattr(other, name), getattr(found, name), atol=1e-4, err_msg=name)


def test_comparing_names_the_step_where_a_fault_begins(engine: Engine, ids: list[int]) -> None:
    broken = map_paths(lambda path, x: x + 0.01 if path == "blocks.1.mlp.c_fc.b" else x, engine.params)

    result = compare(engine, Engine(CONFIG, broken, engine.backend), ids)

    apart = [step.name for step in result.steps if step.largest > 0]
    assert apart[0] == "h.1.mlp.fc"
    assert result.steps[0].name == "embed"
    assert result.divergence > 0


def test_a_backend_does_not_differ_from_itself(engine: Engine, ids: list[int]) -> None:
    result = compare(engine, engine, ids)

    assert max(step.largest for step in result.steps) == 0
    assert (result.same_top, result.divergence) == (len(ids), 0.0)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "no token"),
        ([5], "one token"),
        (list(range(81)), "81 ids do not fit"),
        ([1, 260], "id 260"),
    ],
)
def test_texts_that_cannot_be_inspected_are_refused(engine: Engine, ids: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        inspect(engine, ids)


@pytest.mark.parametrize("name", ["llama-3", "gemma2", "gemma3", "olmo2", "neox", "untied", "relu"])
def test_every_architecture_is_looked_into(name: str) -> None:
    pages = (GPT2, Llama, Gemma, Olmo2, GPTNeoX)
    config: Architecture = next(page.probes()[name] for page in pages if name in page.probes())
    engine = Engine(config, random_params(config.weights(), gain=0.3), NumpyBackend())
    ids = [1, 5, 2, 7, 3, 4]
    logits = engine.logits(ids).astype(np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    found = inspect(engine, ids)

    np.testing.assert_allclose(found.loss[1:], [-log_probs[i, ids[i + 1]] for i in range(5)], rtol=1e-4, atol=1e-4)
    # The lens on the last layer is the model itself: its last norm with its epsilon, its head, its caps.
    np.testing.assert_allclose(found.lens_probs[-1], np.sort(np.exp(log_probs))[:, :-6:-1], rtol=1e-4, atol=1e-6)
    assert found.attention is not None
    assert found.attention.shape == (config.n_layer, config.n_head, 6, 6)
    np.testing.assert_allclose(found.attention.sum(-1), 1.0, rtol=1e-5)
    assert found.attn_out.shape == found.mlp_out.shape == (config.n_layer, 6)


def test_shared_keys_and_the_gate_are_compared_too(tokenizer: Tokenizer) -> None:
    config = Llama.probes()["llama-3"]
    engine = Engine(config, random_params(config.weights(), gain=0.3), NumpyBackend())

    comparison = compare(engine, engine, [1, 5, 2, 7])
    content = for_page(inspect(engine, [1, 5, 2, 7]), tokenizer, "m", config, comparison)

    assert {"h.0.attn.k_rotated", "h.2.mlp.gate", "h.2.mlp.up"} <= {step.name for step in comparison.steps}
    assert (content["nHead"], content["nKvHead"]) == (6, 2)
