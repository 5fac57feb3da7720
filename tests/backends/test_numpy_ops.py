"""What NumPy does faster is what the plain functions do."""

import os
import subprocess
import sys
from typing import Any, ClassVar

import numpy as np
import pytest

from arrayformer.backends.numpy import ops as fast
from arrayformer.backends.numpy.backend import OVERRIDES, NumpyBackend
from arrayformer.backends.numpy.threads import spread
from arrayformer.core import ops as plain
from arrayformer.core.engine import Engine
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import random_params, walk

SHAPES = [(1,), (7,), (1, 1, 5), (2, 3, 17), (3, 301, 129)]


def draw(*shape: int, seed: int = 0, dtype: Any = np.float32, scale: float = 1.0) -> Any:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def assert_close(got: np.ndarray, wanted: np.ndarray, ulps: int = 8) -> None:
    """Equal within a few units in the last place of the largest value."""
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    if not wanted.size:
        return
    unit = np.finfo(wanted.dtype).eps * max(1.0, np.abs(wanted).max())
    np.testing.assert_allclose(got, wanted, rtol=0, atol=ulps * unit)


@pytest.mark.parametrize("name", ["gelu", "gelu_erf"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_activation_is_the_plain_one(name: str, dtype: Any, shape: tuple[int, ...]) -> None:
    x = draw(*shape, dtype=dtype, scale=3.0)
    wanted = getattr(plain, name)(x)

    got = getattr(fast, name)(x.copy())

    assert_close(got, wanted)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["gelu", "gelu_erf"])
def test_an_activation_far_out_is_the_value_or_zero(name: str) -> None:
    x = np.array([-1e30, -200.0, -11.0, 0.0, 200.0, 1e18], dtype=np.float32)

    got = getattr(fast, name)(x.copy())

    np.testing.assert_allclose(got, [0.0, 0.0, 0.0, 0.0, 200.0, 1e18], atol=1e-6)


@pytest.mark.parametrize("name", ["gelu", "gelu_erf"])
def test_an_activation_takes_a_view_with_gaps(name: str) -> None:
    x = draw(4, 10, 6)[:, ::2, 1:4]

    assert_close(getattr(fast, name)(x.copy()[:, :, :]), getattr(plain, name)(x))
    assert_close(getattr(fast, name)(x), getattr(plain, name)(draw(4, 10, 6)[:, ::2, 1:4]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm_is_the_plain_one_and_leaves_its_input(shape: tuple[int, ...], dtype: Any) -> None:
    x, g, b = draw(*shape, dtype=dtype) + 5, draw(shape[-1], seed=1, dtype=dtype), draw(shape[-1], seed=2, dtype=dtype)
    before = x.copy()

    got = fast.layer_norm(x, g, b, eps=1e-3)

    assert_close(got, plain.layer_norm(x, g, b, eps=1e-3), ulps=16)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_is_the_plain_one_in_either_order(shape: tuple[int, ...], order: Any) -> None:
    x, w, b = draw(*shape), np.asarray(draw(shape[-1], 19, seed=1), order=order), draw(19, seed=2)

    assert_close(fast.linear(x, w, b), plain.linear(x, w, b))
    assert_close(fast.unembed(x, w.T), plain.unembed(x, w.T))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("ids", [[3], [[0, 8], [8, 1]]])
def test_rows_of_a_table_are_found_in_either_order(ids: Any, order: Any) -> None:
    table = np.asarray(draw(9, 4), order=order)

    got = fast.embed(table, np.array(ids))

    np.testing.assert_array_equal(got, table[np.array(ids)])
    assert got.flags.c_contiguous


ATTENTION = {
    # name: q's shape, number of keys, position of the first query of each row
    "one query": ((1, 2, 1, 4), 9, [5]),
    "a whole prompt": ((1, 3, 11, 4), 11, [0]),
    "ragged rows": ((3, 2, 1, 4), 12, [0, 11, 5]),
    "ragged chunks": ((2, 2, 5, 4), 20, [0, 13]),
    "past the last key": ((2, 2, 4, 4), 6, [1, 4]),
    "many blocks": ((2, 2, 300, 8), 450, [0, 140]),
    "one long row": ((1, 1, 700, 4), 700, [0]),
}


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("upcast", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ATTENTION)
def test_attention_is_the_plain_one(case: str, dtype: Any, upcast: bool, scale: float | None) -> None:
    shape, n_keys, first = ATTENTION[case]
    q = draw(*shape, dtype=dtype, scale=2.0)
    k, v = (draw(*shape[:2], n_keys, shape[-1], seed=s, dtype=dtype) for s in (1, 2))
    position = np.array(first)[:, None] + np.arange(shape[2])
    where: dict[str, Any] = {"position": position, "scale": scale, "upcast": upcast}

    got = fast.causal_attention(q, k, v, **where)

    assert_close(got, plain.causal_attention(q, k, v, **where))


@pytest.mark.parametrize("n", [1, 6, 800])
def test_attention_without_a_batch_is_the_plain_one(n: int) -> None:
    q, k, v = (draw(2, n, 4, seed=s) for s in range(3))
    position = np.arange(n)

    assert_close(fast.causal_attention(q, k, v, position), plain.causal_attention(q, k, v, position))


@pytest.mark.parametrize("n", [1, 6, 800])
@pytest.mark.parametrize("n_kv_head", [1, 2, 6])
@pytest.mark.parametrize("how", [{}, {"window": 1}, {"window": 5}, {"cap": 2.0, "scale": 0.3}, {"window": 700}])
def test_attention_with_shared_heads_windows_and_caps_is_the_plain_one(n: int, n_kv_head: int, how: Any) -> None:
    q, k, v = draw(2, 6, n, 4), draw(2, n_kv_head, n + 3, 4, seed=1), draw(2, n_kv_head, n + 3, 4, seed=2)
    position = np.array([[0], [3]]) + np.arange(n)

    got = fast.causal_attention(q, k, v, position, **how)

    assert_close(got, plain.causal_attention(q, k, v, position, **how))


@pytest.mark.parametrize("window", [1, 3, 90])
def test_attention_never_looks_at_keys_before_the_first_window(window: int) -> None:
    q, k, v = draw(1, 2, 100, 4), draw(1, 1, 400, 4, seed=1), draw(1, 1, 400, 4, seed=2)
    position = np.arange(200, 300)[None]
    spoilt_k, spoilt_v = k.copy(), v.copy()
    spoilt_k[..., : 201 - window, :] = spoilt_v[..., : 201 - window, :] = np.nan

    got = fast.causal_attention(q, spoilt_k, spoilt_v, position, window=window)

    np.testing.assert_array_equal(got, fast.causal_attention(q, k, v, position, window=window))


@pytest.mark.parametrize("shape", [(1, 8), (3, 7, 40), (1, 9000, 24)])
def test_rms_norm_is_the_plain_one(shape: tuple[int, ...]) -> None:
    x, g = 3 * draw(*shape), draw(shape[-1], seed=1)

    assert_close(fast.rms_norm(x, g, 1e-3), plain.rms_norm(x, g, 1e-3))


@pytest.mark.parametrize("half", [1, 2, 4])
def test_a_rotation_is_the_plain_one(half: int) -> None:
    x = draw(2, 3, 5, 8)
    angles = 100 * draw(2, 5, half, seed=1)

    got = fast.rotate(x, np.cos(angles), np.sin(angles))

    np.testing.assert_array_equal(got, plain.rotate(x, np.cos(angles), np.sin(angles)))


@pytest.mark.parametrize("n", [7, 300_000])
def test_a_gated_product_is_the_plain_one(n: int) -> None:
    gate, up = 4 * draw(n), draw(n, seed=1)
    wanted = plain.gated(gate, up, plain.silu)

    assert_close(fast.gated(gate, up, fast.silu), wanted)


@pytest.mark.parametrize("n", [1, 300])
def test_attention_never_looks_at_keys_behind_the_last_position(n: int) -> None:
    q, k, v = (draw(1, 2, 400, 4, seed=s) for s in range(3))
    q, position = q[..., :n, :], np.arange(n)[None]
    spoilt_k, spoilt_v = k.copy(), v.copy()
    spoilt_k[..., n:, :] = spoilt_v[..., n:, :] = np.nan

    got = fast.causal_attention(q, spoilt_k, spoilt_v, position)

    np.testing.assert_array_equal(got, fast.causal_attention(q, k, v, position))


def test_a_tap_inside_attention_sees_and_replaces_the_probabilities() -> None:
    q, k, v = (draw(1, 2, 3, 4, seed=s) for s in range(3))
    position = np.arange(3)
    seen: list[str] = []

    def tap(name: str, x: Any) -> Any:
        seen.append(name)
        return x * 0.0 if name == "probs" else x

    got = fast.causal_attention(q, k, v, position, tap=tap)

    assert seen == ["scores", "probs"]
    assert not got.any()


@pytest.mark.parametrize("start", [[0, 3], [4, 5], [7, 6]])
def test_a_write_is_the_plain_one_and_in_place(start: list[int]) -> None:
    old, new = draw(2, 3, 6, 4), draw(2, 3, 2, 4, seed=1)
    position = np.array(start)[:, None] + np.arange(2)
    wanted = plain.write(old, new, position)

    got = fast.write(old, new, position)

    assert got is old
    np.testing.assert_array_equal(got, wanted)


def test_rows_are_put_where_the_plain_function_puts_them() -> None:
    old, new, rows = draw(4, 3), draw(2, 3, seed=1), np.array([3, 0])
    wanted = plain.put_rows(old, new, rows)

    got = fast.put_rows(old, new, rows)

    assert got is old
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("k", [1, 2, 5, 40])
@pytest.mark.parametrize("levels", [1, 3, 10**9])
def test_the_largest_are_those_of_the_plain_function_in_its_order(k: int, levels: int) -> None:
    x = np.random.default_rng(0).integers(0, levels, (2, 3, 40)).astype(np.float32)

    for got, wanted in zip(fast.top_k(x, k), plain.top_k(x, k), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_row_of_nan_is_no_error() -> None:
    values, places = fast.top_k(np.full((1, 9), np.nan, dtype=np.float32), 3)

    assert values.shape == places.shape == (1, 3)


def test_every_part_is_done_once_and_an_error_comes_out() -> None:
    done: list[int] = []
    spread(done.append, range(100))

    assert sorted(done) == list(range(100))
    with pytest.raises(ZeroDivisionError):
        spread(lambda part: print(1 // part), [1, 2, 0, 3])


@pytest.mark.parametrize("variable", ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"])
def test_as_many_threads_as_the_blas_is_allowed(variable: str) -> None:
    code = "from arrayformer.backends.numpy.threads import n_threads; print(n_threads())"

    env = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name} | {variable: "1"}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True, text=True)

    assert out.stdout == "1\n"


CONFIG = GPT2(n_vocab=97, n_ctx=64, n_embd=24, n_head=3, n_layer=2)


class Plain(NumpyBackend):
    """The same backend with nothing overridden."""

    overrides: ClassVar = {}


@pytest.mark.parametrize("activation", ["gelu_new", "gelu"])
def test_a_model_computes_the_same_with_and_without_overrides(activation: str) -> None:
    config = GPT2(**CONFIG.as_dict() | {"activation_function": activation})
    params = random_params(config.weights(), gain=0.2)
    contexts = [Engine(config, params, backend()).context(3) for backend in (NumpyBackend, Plain)]

    for rows in ([[1, 2, 3], [4], [5] * 9], [[6], [7], [8]], [[], [9, 10], [11]]):
        fast_logits, plain_logits = (context.read(rows, every=True) for context in contexts)
        for row, ids in enumerate(rows):
            assert_close(fast_logits[row, : len(ids)], plain_logits[row, : len(ids)], ulps=64)


def test_placing_keeps_values_and_shapes_and_owns_its_memory() -> None:
    params = random_params(CONFIG.weights())

    placed = NumpyBackend().place(params, CONFIG.weights())

    for (path, host), (_, there) in zip(walk(params), walk(placed), strict=True):
        np.testing.assert_array_equal(there, host, err_msg=path)
        assert not np.shares_memory(there, host)


def test_every_override_has_the_name_of_a_plain_function() -> None:
    for name in OVERRIDES:
        assert callable(getattr(plain, name))


def test_a_tree_given_away_is_the_tree_that_comes_back() -> None:
    params = random_params(CONFIG.weights())
    wanted = NumpyBackend().place(params, CONFIG.weights())

    placed = NumpyBackend().place(params, CONFIG.weights(), owned=True)

    assert placed is params
    for (path, got), (_, same) in zip(walk(placed), walk(wanted), strict=True):
        np.testing.assert_array_equal(got, same, err_msg=path)
