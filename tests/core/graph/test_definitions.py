"""The functions of the graph against what their docstrings say, value by value."""

import math
from typing import Any

import numpy as np
import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core import ops
from arrayformer.core.engine import Engine
from arrayformer.core.errors import BackendError, InputError
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import random_params

X = np.linspace(-6.0, 6.0, 49)


@pytest.mark.parametrize(
    ("function", "expected"),
    [(ops.relu, np.where(X > 0, X, 0.0)), (ops.silu, [x / (1 + math.exp(-x)) for x in X])],
)
def test_activations_are_their_formulae(function: Any, expected: Any) -> None:
    np.testing.assert_allclose(function(X), expected, rtol=1e-14)


@pytest.mark.parametrize("start", [-1, 0, 1, 3, 4, 6])
def test_new_values_are_written_where_they_belong_and_nowhere_else(start: int) -> None:
    old, new = -np.arange(10.0).reshape(2, 1, 5, 1), np.arange(1.0, 5.0).reshape(2, 1, 2, 1)
    position = np.array([[start, start + 1], [0, 1]])

    written = ops.write(old, new, position)

    expected = old.copy()
    for i in (0, 1):
        expected[1, 0, i] = new[1, 0, i]
        if 0 <= start + i < 5:
            expected[0, 0, start + i] = new[0, 0, i]
    np.testing.assert_array_equal(written, expected)


@pytest.mark.parametrize("rows", [[0], [2], [3, 1], [1, 0, 3, 2]])
@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 2, 3)])
def test_rows_are_put_into_their_places(rows: list[int], shape: tuple[int, ...]) -> None:
    old = np.arange(float(math.prod(shape))).reshape(shape)
    new = -1.0 - np.arange(float(math.prod((len(rows), *shape[1:])))).reshape(len(rows), *shape[1:])

    expected = old.copy()
    expected[rows] = new
    np.testing.assert_array_equal(ops.put_rows(old, new, np.array(rows)), expected)


def test_of_equals_the_lowest_places_are_the_largest() -> None:
    values, places = ops.top_k(np.array([[1.0, 3.0, 3.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0]]), 4)

    assert values.tolist() == [[3.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]]
    assert places.tolist() == [[1, 2, 4, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_products_are_computed_in_the_dtype_of_the_weights_and_given_back_in_that_of_the_input(dtype: Any) -> None:
    x, w, b = (np.full(shape, 1 + 2**-11, np.float32) for shape in ((1, 2), (2, 2), (2,)))
    narrow = w.astype(dtype)

    found = ops.linear(x, narrow, b)

    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (x.astype(dtype) @ narrow).astype(np.float32) + b)
    normed = ops.layer_norm(np.array([[1.0, 3.0]], np.float32), narrow[0], narrow[1], 1.0)
    assert normed.dtype == np.float32
    gain = float(narrow[0, 0])
    np.testing.assert_allclose(normed, [[gain - gain / math.sqrt(2), gain + gain / math.sqrt(2)]], rtol=1e-6)


def test_scores_are_computed_in_float32_where_that_is_asked_for() -> None:
    q = np.full((1, 2, 4), 300.0, np.float16)
    mask = np.ones((2, 2), dtype=bool)
    taps: dict[str, Any] = {}

    def tap(name: str, x: Any) -> Any:
        taps[name] = x
        return x

    found = ops.attention(q, q, q, mask, upcast=True, tap=tap)
    assert taps["scores"].dtype == np.float32
    assert taps["scores"].max() == 180_000.0
    assert (found.dtype, found.tolist()) == (np.float16, q.tolist())

    narrow = ops.attention(q, q, q, mask, scale=0.0, tap=tap)
    assert (taps["scores"].dtype, narrow.dtype) == (np.float16, np.float16)

    wide = q.astype(np.float64)
    ops.attention(wide, wide, wide, mask, upcast=True, tap=tap)
    assert taps["scores"].dtype == np.float64


def test_a_backend_has_its_first_device_and_dtype_unless_another_is_asked_for() -> None:
    usual, wide = NumpyBackend(), NumpyBackend(dtype="float64")

    assert (usual.device, usual.dtype, wide.device, wide.dtype) == ("cpu", "float32", "cpu", "float64")
    with pytest.raises(BackendError, match="has no device 'gpu'; it has cpu"):
        NumpyBackend("gpu")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[1]], "1 rows were given to a context of 2"),
        ([[], []], "no ids"),
        ([[1, 2, 3], [1, 2, 3, 4]], "4 ids do not fit: this model's context is 3; shorten by 1"),
        ([[5], []], "id 5 at place 0"),
    ],
)
def test_a_context_refuses_what_it_cannot_read(rows: list[list[int]], said: str) -> None:
    config = GPT2(n_vocab=5, n_ctx=3, n_embd=2, n_head=1, n_layer=1)
    engine = Engine(config, random_params(config.weights()), NumpyBackend())
    context = engine.context(2)

    with pytest.raises(InputError, match=said):
        context.read(rows)
    with pytest.raises(InputError, match="a context of 0 rows"):
        engine.context(0)
    with pytest.raises(InputError, match="row 1 holds 0 ids; it cannot be cut to 1"):
        context.truncate(1, 1)
    assert context.lengths == [0, 0]
    assert context.capacity == 3
    assert engine.context(1, 0).capacity == 1
