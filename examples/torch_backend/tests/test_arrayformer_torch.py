"""Is the plugin found, does its backend compute GPT-2, and do its faster functions mean what they replace?"""

import numpy as np
import pytest
import torch

from arrayformer.backends.registry import get_backend, list_backends
from arrayformer.conformance import ConformanceSuite
from arrayformer.core import ops
from arrayformer.core.errors import BackendError


def test_the_plugin_is_installed() -> None:
    assert "torch" in [info.name for info in list_backends()]
    assert get_backend("torch").name == "torch"


class TestConformance(ConformanceSuite):
    """All cases in float32, on the default device."""

    backend = "torch"
    xfails_file = "../xfails.txt"


class TestConformanceInBfloat16(ConformanceSuite):
    """The cases on logits, judged by what bfloat16 can hold."""

    backend = "torch"
    dtype = "bfloat16"
    level = 2
    xfails_file = "../xfails.txt"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
class TestConformanceOnCuda(ConformanceSuite):
    """All cases on the first CUDA device."""

    backend = "torch"
    device = "cuda:0"
    xfails_file = "../xfails.txt"


def test_of_equals_top_k_takes_the_lowest_place() -> None:
    backend = get_backend("torch", device="cpu")
    x = backend.asarray(np.array([[0, 7, 7, 5, 7, 5], [1, 1, 1, 1, 1, 1]], np.float32))

    values, places = backend.overrides["top_k"](x, 4)

    assert values.tolist() == [[7, 7, 7, 5], [1, 1, 1, 1]]
    assert places.tolist() == [[1, 2, 4, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("start", [0, 6, 7, 8, 30])
def test_a_write_past_the_end_is_dropped(start: int) -> None:
    backend = get_backend("torch", device="cpu")
    rng = np.random.default_rng(0)
    old, new = (backend.asarray(rng.standard_normal((2, 2, n, 3), np.float32)) for n in (8, 4))
    position = backend.asarray(np.array([[start], [1]]) + np.arange(4))
    expected = ops.write(old, new, position)

    written = backend.overrides["write"](old, new, position)

    assert torch.equal(written, expected)


def test_a_device_that_is_not_there_is_refused_with_those_there_are() -> None:
    with pytest.raises(BackendError, match=r"no device 'cuda:99'; it has .*cpu"):
        get_backend("torch", device="cuda:99")


def test_precision_is_what_pytorch_was_told() -> None:
    assert get_backend("torch", device="cpu").precision == "float32"
    assert get_backend("torch", dtype="bfloat16").precision == "bfloat16"
