"""What the JAX backend adds to JAX: compilations, precision, copies, drops past the end."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arrayformer.backends.registry import get_backend
from arrayformer.conformance.criterion.metrics import divergence
from arrayformer.core import ops
from arrayformer.core.engine import Engine
from arrayformer.core.errors import BackendError
from arrayformer.core.params import Weight

from . import reading

jax = pytest.importorskip("jax")


def test_logits_meet_the_criterion_whole_and_cached() -> None:
    found = reading.errors(get_backend("jax"))

    assert max(found.values()) <= reading.LIMIT


@pytest.mark.parametrize(("dtype", "digits"), [("bfloat16", 8), ("float16", 11)])
def test_low_precision_weights_are_summed_in_float32(dtype: str, digits: int) -> None:
    backend = get_backend("jax", dtype=dtype)
    exact = reading.read_whole(get_backend("numpy", dtype="float64"), reading.ROWS[:1])[0]

    logits = reading.read_whole(backend, reading.ROWS[:1])[0]

    assert logits.dtype == np.float32
    assert divergence(logits, exact).size < 64 * 2.0**-digits
    assert backend.precision == dtype


def test_single_steps_compile_once() -> None:
    engine = Engine(reading.CONFIG, reading.PARAMS, get_backend("jax"))
    context = engine.context(1)
    context.read([[1, 2, 3]])
    step = engine.step(None)
    before = step.compilations()  # type: ignore[attr-defined]

    for _ in range(20):
        context.read([[4]])

    assert step.compilations() - before == 1  # type: ignore[attr-defined]


def test_lengths_are_rounded_up_to_few_buckets() -> None:
    backend = get_backend("jax")

    buckets = [backend.bucket(n, 1000) for n in range(1, 1001)]

    assert sorted(set(buckets)) == [1, 16, 32, 64, 128, 256, 512, 1000]
    assert all(b >= n for n, b in enumerate(buckets, start=1))
    assert backend.bucket(5, 7) == 7


def test_products_are_asked_for_in_float32_and_jax_s_own_setting_is_left_alone() -> None:
    backend = get_backend("jax")
    x = backend.asarray(np.ones((2, 2), np.float32))
    step = backend.compile(lambda a: a @ a)

    step(x)

    lowered = jax.jit(step).lower(x).as_text()
    assert "precision = [HIGHEST, HIGHEST]" in lowered
    assert jax.config.jax_default_matmul_precision is None
    tf32 = get_backend("jax", precision="tf32")
    assert tf32.precision == "tf32"
    assert "precision = [HIGH, HIGH]" in jax.jit(tf32.compile(lambda a: a @ a)).lower(x).as_text()


def test_weights_survive_a_change_to_the_host_s_array() -> None:
    backend = get_backend("jax")
    host = np.ones((64, 64), np.float32)
    weights = backend.place({"wte": host}, {"wte": Weight((64, 64), "table")})

    host[:] = 7

    assert float(weights["wte"].sum()) == 64 * 64


@pytest.mark.parametrize("start", [0, 3, 6, 7, 8, 9, 30])
@pytest.mark.parametrize("seq", [1, 4])
def test_a_write_past_the_end_is_dropped_not_moved_back(start: int, seq: int) -> None:
    backend = get_backend("jax")
    rng = np.random.default_rng(0)
    old, new = (backend.asarray(rng.standard_normal((2, 2, n, 3), np.float32)) for n in (8, seq))
    position = backend.asarray(np.array([[start], [1]]) + np.arange(seq))

    written = backend.overrides["write"](old, new, position)

    np.testing.assert_array_equal(written, ops.write(old, new, position))


def test_top_k_takes_the_lowest_of_equals() -> None:
    backend = get_backend("jax")
    x = backend.asarray(np.array([[1, 3, 3, 2, 3]], np.float32))

    values, places = backend.overrides["top_k"](x, 3)

    np.testing.assert_array_equal(values, [[3, 3, 3]])
    np.testing.assert_array_equal(places, [[1, 2, 4]])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"device": "tpu"}, "no device 'tpu'; it has cpu:0"),
        ({"device": "cpu:99"}, "no device 'cpu:99'"),
        ({"dtype": "float64"}, "no dtype 'float64'; it has float32, bfloat16, float16"),
        ({"precision": "int8"}, "no precision 'int8'; it has float32, tf32"),
        ({"mesh": "data=1000"}, "needs 1000 devices"),
        ({"mesh": "data"}, "is no mesh; write data=4,model=2"),
        ({"mesh": "data=0"}, "is no mesh"),
        ({"mesh": "rows=1"}, "is no mesh"),
        ({"mesh": "data=1", "device": "cpu:0"}, "leave out the device"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_can(options: dict[str, str], says: str) -> None:
    with pytest.raises(BackendError, match=re.escape(says)):
        get_backend("jax", **options)


def test_devices_may_be_named_without_a_number() -> None:
    assert get_backend("jax", device="cpu").device == "cpu:0"


def test_compiled_programs_can_be_kept_for_the_next_process(tmp_path: Path) -> None:
    code = (
        "import sys, jax; from arrayformer.backends.registry import get_backend;"
        "b = get_backend('jax', cache_dir=sys.argv[1]); import numpy as np, jax.numpy as jnp;"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0);"
        "b.compile(lambda x: jnp.sort(jnp.tanh(x @ x)))(b.asarray(np.ones((8, 8), np.float32)))"
    )

    subprocess.run([sys.executable, "-c", code, str(tmp_path / "kept")], check=True)

    assert any((tmp_path / "kept").iterdir())


def test_errors_of_the_runtime_are_backend_errors() -> None:
    backend = get_backend("jax")

    with pytest.raises(BackendError, match=r"backend 'jax': .*RESOURCE_EXHAUSTED.*smaller batch"):
        backend.zeros((1 << 45,))
