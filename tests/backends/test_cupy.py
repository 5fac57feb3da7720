"""CuPy: on a GPU what it computes, without one that it says why it cannot."""

from typing import Any

import numpy as np
import pytest

from arrayformer.backends.probe import check_backend
from arrayformer.backends.registry import get_backend
from arrayformer.conformance.criterion.metrics import divergence
from arrayformer.core import ops
from arrayformer.core.backend import Backend
from arrayformer.core.errors import BackendError

from . import reading


def reason() -> str:
    """Why CuPy cannot run here; empty where it can."""
    try:
        get_backend("cupy")
    except BackendError as error:
        return str(error)
    return ""


@pytest.fixture
def cupy_backend() -> Backend:
    """CuPy in float32, or a skip that says why not."""
    if why := reason():
        pytest.skip(" ".join(why.split()))
    return get_backend("cupy")


def test_where_it_cannot_run_the_reason_and_the_way_out_are_given() -> None:
    why = reason()
    if not why:
        pytest.skip("it runs here")

    assert "pip install 'arrayformer[cupy12]'" in why or "it needs an NVIDIA GPU and driver" in why
    assert check_backend("cupy").state == "unavailable"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_meet_the_criterion(cupy_backend: Backend, dtype: str) -> None:
    assert max(reading.errors(get_backend(cupy_backend.name, dtype=dtype)).values()) <= reading.LIMIT


@pytest.mark.gpu
def test_float16_weights_meet_what_float16_can(cupy_backend: Backend) -> None:
    exact = reading.read_whole(get_backend("numpy", dtype="float64"))[0]

    logits = reading.read_whole(get_backend(cupy_backend.name, dtype="float16"))[0]

    assert divergence(logits, exact).size < 64 * 2.0**-11


def arguments(backend: Backend) -> dict[str, tuple[Any, ...]]:
    """For each override, what to call it with. Fresh each time: they may overwrite."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return backend.asarray(rng.standard_normal(shape, dtype=np.float32))

    def integers(x: Any) -> Any:
        return backend.asarray(np.asarray(x))

    position = integers([[5, 6, 7, 8], [0, 1, 2, 3]])
    return {
        **{name: (normal(3, 100) * 4,) for name in ("gelu", "gelu_erf", "relu", "silu")},
        "layer_norm": (normal(2, 3, 77) + 100.0, normal(77), normal(77)),
        "linear": (normal(2, 3, 8), normal(8, 5), normal(5)),
        "causal_attention": (normal(2, 3, 4, 8), normal(2, 3, 9, 8), normal(2, 3, 9, 8), position, integers(range(9))),
        "write": (normal(2, 3, 7, 8), normal(2, 3, 4, 8), position, integers(range(7))),
        "put_rows": (normal(4, 3), normal(2, 3), integers([3, 1])),
    }


@pytest.mark.gpu
def test_each_override_means_what_it_replaces(cupy_backend: Backend) -> None:
    for name, override in cupy_backend.overrides.items():
        expected = cupy_backend.to_numpy(getattr(ops, name)(*arguments(cupy_backend)[name]))

        got = cupy_backend.to_numpy(override(*arguments(cupy_backend)[name]))

        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.gpu
def test_a_device_that_is_not_there_is_refused(cupy_backend: Backend) -> None:
    with pytest.raises(BackendError, match="no device 'cuda:99'; it has cuda:0"):
        get_backend(cupy_backend.name, device="cuda:99")
