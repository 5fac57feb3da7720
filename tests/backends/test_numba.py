import os
import subprocess
import sys
import threading

import numpy as np
import pytest

numba = pytest.importorskip("numba")
ml_dtypes = pytest.importorskip("ml_dtypes")

# ruff: noqa: E402
import arrayformer
from arrayformer.backends.numba import compiled, elementwise, parallel
from arrayformer.backends.numba import ops as numba_ops
from arrayformer.backends.registry import get_backend
from arrayformer.core import ops
from arrayformer.core.engine import Engine
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.models.llama import Llama
from arrayformer.core.params import Weight, random_params, walk

RNG = np.random.default_rng(0)
needs_compiler = pytest.mark.skipif(not compiled.COMPILES, reason="kernels as Python are too slow")


def drawn(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(np.float32).astype(dtype)


def wide(*arrays):
    return [x.astype(np.float64) for x in arrays]


def engine(dtype="float32", backend="numba", page=GPT2, name="p2"):
    model = page.probes()[name]
    return Engine(model, random_params(model.weights(), gain=0.2), get_backend(backend, dtype=dtype))


@needs_compiler
def test_exp_is_right_to_a_float32_where_its_result_is_one():
    x = np.linspace(-87, 88, 100_001).astype(np.float32)

    y = np.array([elementwise.exp(number) for number in x])

    np.testing.assert_allclose(y, np.exp(x.astype(np.float64)), rtol=2e-7)
    assert elementwise.exp(np.float32(-np.inf)) == 0.0
    assert np.isnan(elementwise.exp(np.float32(np.nan)))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 5, 8, 19, 40])
@pytest.mark.parametrize("shape", [(7, 3), (64, 100), (771, 33)])
@needs_compiler
def test_a_product_of_any_number_of_rows_sums_in_float32(dtype, rows, shape):
    x, w, b = drawn(2, rows, shape[0])[:1], np.asfortranarray(drawn(*shape, dtype=dtype)), drawn(shape[1], dtype=dtype)
    table = np.ascontiguousarray(w.T)
    wide_x, wide_w, wide_b = wide(x, w, b)

    for y, exact in ((numba_ops.linear(x, w, b), wide_x @ wide_w + wide_b), (numba_ops.linear(x, w), wide_x @ wide_w),
                     (numba_ops.unembed(x, table), wide_x @ wide_w)):  # fmt: skip
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, exact, atol=3e-6 * np.sqrt(shape[0]) * 4)


def test_a_matrix_in_any_order_of_memory_is_multiplied():
    x, w = drawn(3, 40), drawn(40, 20)

    for laid_out in (w, np.asfortranarray(w), np.repeat(w, 2, axis=1)[:, ::2]):
        for dtype in (np.float32, ml_dtypes.bfloat16):
            narrow = laid_out.astype(dtype)
            np.testing.assert_allclose(
                numba_ops.linear(x, narrow), x @ narrow.astype(np.float32), atol=1e-4, err_msg=str(laid_out.flags)
            )


@pytest.mark.parametrize("name", ["gelu", "gelu_erf", "silu", "relu"])
@needs_compiler
def test_activations_agree_with_the_plain_ones_out_to_where_they_are_flat(name):
    x = np.concatenate([np.linspace(-200, 200, 4001), np.linspace(-1e-3, 1e-3, 101)]).astype(np.float32)
    up = drawn(*x.shape)
    with np.errstate(over="ignore"):
        exact = getattr(ops, name)(x.astype(np.float64))

    function = getattr(numba_ops, name)
    np.testing.assert_allclose(function(x.copy()), exact, rtol=2e-6, atol=2e-7)
    np.testing.assert_allclose(numba_ops.gated(x.copy(), up, function), exact * up, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(function(x[::2].copy()), function(x[::2]))


@needs_compiler
def test_not_a_number_stays_so():
    x = np.array([[1.0, np.nan, 3.0]], dtype=np.float32)

    for function in (numba_ops.gelu, numba_ops.gelu_erf, numba_ops.silu, numba_ops.relu):
        assert np.isnan(function(x.copy())[0, 1])
    assert np.isnan(numba_ops.rms_norm(x, x[0])).all()
    assert np.isnan(numba_ops.linear(x, np.ones((3, 2), dtype=np.float32, order="F"))).all()


@pytest.mark.parametrize("shape", [(5,), (1, 1, 768), (3, 50, 33)])
@needs_compiler
def test_norms_agree_with_the_plain_ones(shape):
    x, g, b = drawn(*shape) * 5 + 3, drawn(shape[-1]), drawn(shape[-1], dtype=ml_dtypes.bfloat16)
    wide_x, wide_g, wide_b = wide(x, g, b)

    np.testing.assert_allclose(numba_ops.layer_norm(x, g, b), ops.layer_norm(wide_x, wide_g, wide_b), atol=1e-5)
    np.testing.assert_allclose(numba_ops.rms_norm(x, g, 1e-6), ops.rms_norm(wide_x, wide_g, 1e-6), atol=1e-5)


@pytest.mark.parametrize("batched", [True, False])
@needs_compiler
def test_rotation_turns_some_channels_and_leaves_the_rest(batched):
    x, angle = drawn(3, 2, 5, 10), drawn(*((3,) if batched else ()), 5, 3)
    cos, sin = np.cos(angle), np.sin(angle)

    turned = numba_ops.rotate(x, cos, sin)

    np.testing.assert_allclose(turned, ops.rotate(*wide(x, cos, sin)), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("how", [{}, {"window": 5}, {"cap": 2.0, "scale": 0.3}, {"window": 1, "cap": 0.5}])
@pytest.mark.parametrize("query", [1, 3, 20, 150])
@needs_compiler
def test_attention_sees_what_the_plain_one_sees(dtype, how, query):
    q, k, v = drawn(2, 6, query, 16), drawn(2, 2, 200, 16, dtype=dtype), drawn(2, 2, 200, 16, dtype=dtype)
    position = np.arange(query) + np.array([[7], [40]])
    exact = ops.causal_attention(*wide(q, k, v), position, **how)

    np.testing.assert_allclose(numba_ops.causal_attention(q, k, v, position, **how), exact, atol=3e-6)
    np.testing.assert_allclose(numba_ops.causal_attention(q[0], k[0], v[0], position[0], **how), exact[0], atol=3e-6)


def test_keys_behind_the_last_position_are_not_looked_at():
    q, k, v = drawn(1, 2, 20, 8), drawn(1, 2, 64, 8), drawn(1, 2, 64, 8)
    k[:, :, 20:], v[:, :, 20:] = np.nan, np.nan

    for n in (1, 20):
        assert np.isfinite(numba_ops.causal_attention(q[:, :, :n], k, v, np.arange(n))).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_text_read_id_by_id_has_the_logits_of_one_read_at_once(dtype):
    model = engine(dtype)
    ids = [int(i) for i in RNG.integers(0, model.config.n_vocab, 12)]
    at_once = model.logits(ids)
    context = model.context(1, 12)

    one_by_one = [model.backend.to_numpy(context.read([[i]]))[0] for i in ids]

    np.testing.assert_allclose(np.array(one_by_one), at_once, atol=1e-5 if dtype == "float32" else 0.05)


@pytest.mark.parametrize(("page", "name"), [(GPT2, "p2"), (Llama, "llama-2")])
def test_logits_are_those_of_numpy(page, name):
    ids = [1, 5, 3, 2, 0, 4]

    here, there = (engine(backend=b, page=page, name=name).logits(ids) for b in ("numba", "numpy"))

    np.testing.assert_allclose(here, there, atol=5e-5)


def test_weights_are_kept_as_narrow_as_they_are():
    placed = engine("bfloat16").params

    assert {x.dtype.name for _, x in walk(placed)} == {"bfloat16"}


def test_threads_that_compute_at_once_do_not_disturb_each_other():
    models = [engine(), engine(page=Llama, name="llama-2")]
    ids = [1, 2, 3, 4, 5]
    alone = [m.logits(ids) for m in models]
    different = []

    def work(i):
        different.extend(1 for _ in range(30) if not np.allclose(models[i].logits(ids), alone[i], atol=1e-5))

    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not different


CODE = """
import warnings; warnings.simplefilter("error")
import numpy as np
from arrayformer.backends.numba import parallel
from arrayformer.backends.registry import get_backend
from arrayformer.core.engine import Engine
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import random_params
model = GPT2.probes()["p2"]
params = random_params(model.weights(), gain=0.2)
for dtype, atol in (("float32", 5e-5), ("bfloat16", 0.5)):
    backends = get_backend("numba", dtype=dtype), get_backend("numpy")
    logits = [Engine(model, params, b).logits([1, 5, 3, 2]) for b in backends]
    np.testing.assert_allclose(*logits, atol=atol)
print(parallel.n_threads())
"""


@pytest.mark.parametrize("setting", ["NUMBA_NUM_THREADS=1", "OMP_NUM_THREADS=1", "NUMBA_DISABLE_JIT=1", ""])
def test_it_computes_the_same_with_one_thread_and_without_a_compiler(setting, monkeypatch):
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_DISABLE_JIT"):
        monkeypatch.delenv(name, raising=False)
    if setting:
        monkeypatch.setenv(*setting.split("="))

    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr
    if "THREADS" in setting:
        assert done.stdout == "1\n"


def test_kernels_run_as_python_too():
    code = """
import numpy as np
from arrayformer.backends.numba import attention, elementwise, parallel, products
x, w, out = np.float32([[1, 2]]), np.float32([[3, 4], [5, 6], [7, 8]]), np.empty((1, 3), np.float32)
products.multiply(parallel.threads(), x, w, np.float32([1, 1, 1]), out)
assert out.tolist() == [[12, 18, 24]]
bits = (w.view(np.uint32) >> 16).astype(np.uint16)
products.multiply(parallel.threads(), x, bits, np.empty(0, np.float32), out)
assert out.tolist() == [[11, 17, 23]]
np.testing.assert_allclose(elementwise.exp(np.float32(1.5)), np.exp(1.5), rtol=1e-6)
"""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)

    assert done.returncode == 0, done.stderr


def test_where_nothing_can_be_kept_on_disk_it_says_so_once_and_works(monkeypatch):
    def njit(cache=False, **flags):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr(compiled, "_said", set())

    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR") as said:
        functions = [compiled.kernel()(lambda x: 2 * x), compiled.kernel()(lambda x: 3 * x)]

    assert len(said) == 1
    assert [f(2) for f in functions] == [4, 6]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}, 1),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "many"}, 2),
    ],
)
def test_the_number_of_threads_is_what_was_asked_for_and_no_more_than_the_cores(environment, expected, monkeypatch):
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    parallel.n_threads.cache_clear()

    try:
        assert parallel.n_threads() == expected
    finally:
        parallel.n_threads.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_laid_out_as_products_read_them_and_rounded_to_even(dtype):
    backend = get_backend("numba", dtype=dtype)
    weights = {"w": Weight((70, 45), "column"), "t": Weight((70, 45), "table"), "g": Weight((45,), "norm")}
    halves = np.array([1.00390625, 1.01171875, np.inf, np.nan, -0.0], dtype=np.float32)  # two lie in the middle
    params = {"w": drawn(70, 45), "t": drawn(45, 70).T, "g": np.resize(halves, 45)}
    before = {name: x.copy() for name, x in params.items()}

    for x in ({**params}, {**params, "w": np.asfortranarray(params["w"])}):
        placed = backend.place(x, weights)
        for name in weights:
            exact = before[name].astype(backend.native(dtype)).astype(np.float32)
            np.testing.assert_array_equal(placed[name].astype(np.float32), exact)
            assert not np.shares_memory(placed[name], params[name])
        assert placed["w"].flags.f_contiguous
        assert placed["t"].flags.c_contiguous


def test_weights_given_away_are_not_copied_where_they_lie_right():
    backend, w = get_backend("numba"), drawn(64, 32)

    weights = {"w": Weight((32, 64), "row"), "t": Weight((64, 32), "table")}
    placed = backend.place({"w": w.T, "t": w}, weights, owned=True)

    assert np.shares_memory(placed["w"], w)
    assert np.shares_memory(placed["t"], w)


def test_a_model_is_packed_where_it_is_asked_for_and_writes_on():
    model = arrayformer.load("fable", backend="numba", pack="q8_0")

    made = model.generate("Once upon a time", max_new_tokens=8)

    assert len(made.ids) == 8
    assert not any(isinstance(x, np.ndarray) for path, x in walk(model.engine.params) if path.endswith("c_fc.w"))
