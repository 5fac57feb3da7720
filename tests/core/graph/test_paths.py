"""One graph, many ways through it: cache, chunks, ragged batches, padding, compilers, taps."""

import itertools
from typing import Any

import numpy as np
import pytest
from tests.core.graph import reference
from tests.core.graph.libraries import convert

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.backend import Backend
from arrayformer.core.engine import Engine
from arrayformer.core.errors import InputError
from arrayformer.core.models.gpt2 import GPT2, gpt2
from arrayformer.core.params import Params, random_params

IDS = [3, 36, 0, 7, 7, 21, 5, 5, 1, 2, 9, 10, 11]


class Plain(Backend):
    """NumPy with none of its faster functions, which pads as a compiling backend does."""

    name = "plain"
    library = "numpy"
    xp = NumpyBackend.xp

    def bucket(self, n: int, limit: int) -> int:
        return min(limit, -(-n // 8) * 8)


@pytest.fixture(params=[NumpyBackend, Plain])
def engine(request: pytest.FixtureRequest, config: GPT2, params: Params) -> Engine:
    return Engine(config, params, request.param())


def close(got: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(got), expected, atol=2e-4 * expected.std())


@pytest.mark.parametrize("cuts", [(), (1,), (12,), (1, 2, 3), (5, 9), tuple(range(1, 13))])
def test_reading_in_pieces_is_reading_at_once(cuts: tuple[int, ...], engine: Engine, params: Params) -> None:
    expected = reference.logits(IDS, params, 3)
    context = engine.context()
    edges = [0, *cuts, len(IDS)]

    for start, end in itertools.pairwise(edges):
        logits = context.read([IDS[start:end]], every=True)
        close(logits[0, : end - start], expected[start:end])
    assert context.lengths == [len(IDS)]


def test_a_ragged_batch_gives_each_row_what_it_gives_alone(engine: Engine, params: Params) -> None:
    context = engine.context(3)
    first = [IDS[:5], IDS[3:4], IDS[2:9]]
    then = [[4], [], [8, 30]]

    context.read(first)
    logits = context.read(then)

    for row in (0, 2):
        close(logits[row], reference.logits(first[row] + then[row], params, 3)[-1])
    assert context.lengths == [6, 1, 9]


def test_padding_past_the_end_of_the_context_harms_nothing(config: GPT2, params: Params) -> None:
    context = Engine(config, params, Plain()).context(2)
    context.read([IDS[:10], IDS[:4]])

    logits = context.read([IDS[10:13], IDS[4:5]])

    close(logits[0], reference.logits(IDS, params, 3)[-1])
    close(logits[1], reference.logits(IDS[:5], params, 3)[-1])


def test_what_does_not_fit_is_refused_before_anything_is_written(engine: Engine, params: Params) -> None:
    context = engine.context()
    context.read([IDS[:12]])

    with pytest.raises(InputError, match="14 ids do not fit"):
        context.read([[1, 2]])

    close(context.read([IDS[12:]])[0], reference.logits(IDS, params, 3)[-1])


def test_a_fork_goes_its_own_way(engine: Engine, params: Params) -> None:
    context = engine.context()
    context.read([IDS[:4]])
    twin = context.fork()

    twin.read([[30, 31]])
    logits = context.read([IDS[4:6]])

    close(logits[0], reference.logits(IDS[:6], params, 3)[-1])
    close(twin.read([[7]])[0], reference.logits([*IDS[:4], 30, 31, 7], params, 3)[-1])


def test_what_was_cut_off_is_forgotten(engine: Engine, params: Params) -> None:
    context = engine.context(2)
    context.read([IDS[:8], IDS[:3]])

    context.truncate(0, 4)
    context.reset(1)
    logits = context.read([[9], [30]])

    close(logits[0], reference.logits([*IDS[:4], 9], params, 3)[-1])
    close(logits[1], reference.logits([30], params, 3)[-1])


def test_rows_move_from_one_context_to_another(engine: Engine, params: Params) -> None:
    pool, newcomer = engine.context(3), engine.context(1)
    pool.read([IDS[:2], IDS[:5], IDS[:3]])
    newcomer.read([IDS[5:9]])

    pool.take(newcomer, [0], [1])
    logits = pool.read([[1], [2], [3]])

    close(logits[1], reference.logits([*IDS[5:9], 2], params, 3)[-1])
    close(logits[2], reference.logits([*IDS[:3], 3], params, 3)[-1])


def test_poison_in_unused_slots_is_never_seen(config: GPT2, params: Params) -> None:
    clean, poisoned = (Engine(config, params, Plain()).context() for _ in range(2))
    layers = [(np.full_like(k, 1e30), np.full_like(v, 1e30)) for k, v in poisoned.cache.layers]
    poisoned.cache = poisoned.cache._replace(layers=layers)

    for ids in ([3, 4, 5], [6], [7, 8]):
        np.testing.assert_array_equal(clean.read([ids]), poisoned.read([ids]))


def test_weights_outlive_the_hosts_arrays(config: GPT2, params: Params) -> None:
    engine = Engine(config, params, NumpyBackend())
    before = engine.logits(IDS)

    params["wte"][:] = 0
    params["blocks"][0]["attn"]["c_attn"]["w"][:] = 0

    np.testing.assert_array_equal(engine.logits(IDS), before)


def test_jit_compiles_one_step_and_gives_the_same(params: Params, config: GPT2) -> None:
    jax = pytest.importorskip("jax")
    placed = convert(params, jax.numpy.array)
    traces = []

    def logits(ids: Any) -> Any:
        traces.append(1)
        return gpt2(ids, **placed, n_head=config.n_head)

    compiled = jax.jit(logits)
    for ids in (IDS, IDS[::-1]):
        close(compiled(jax.numpy.array(ids)), reference.logits(ids, params, 3))
    assert len(traces) == 1


def test_taps_name_every_step_and_can_replace_it(engine: Engine) -> None:
    names: list[str] = []

    def look(name: str, x: Any) -> Any:
        names.append(name)
        return x * 0.0 if name == "h.1.mlp.act" else x

    changed = engine.logits(IDS, tap=look)

    steps = ["ln_1", *(f"attn.{x}" for x in ("qkv", "scores", "probs", "out", "proj")), "mid", "ln_2"]
    steps += [*(f"mlp.{x}" for x in ("fc", "act", "proj")), "end"]
    assert names == ["embed", *(f"h.{i}.{s}" for i in (0, 1) for s in steps), "ln_f", "logits"]
    assert np.abs(changed - engine.logits(IDS)).max() > 0.1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layer_norm_epsilon", 1e-2),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("activation_function", "relu"),
        ("activation_function", "silu"),
        ("activation_function", "gelu"),
    ],
)
def test_every_switch_of_the_config_changes_the_numbers(
    key: str, value: Any, config: GPT2, params: Params
) -> None:
    switched = GPT2(**{**config.as_dict(), key: value})

    usual = Engine(config, params, NumpyBackend()).logits(IDS)
    other = Engine(switched, params, NumpyBackend()).logits(IDS)

    assert np.abs(usual - other).max() > 1e-4


def test_an_untied_head_is_used(config: GPT2) -> None:
    untied = GPT2(**{**config.as_dict(), "tie_word_embeddings": False})
    params = random_params(untied.weights(), seed=3, gain=0.3)

    close(Engine(untied, params, NumpyBackend()).logits(IDS), reference.logits(IDS, params, 3))
