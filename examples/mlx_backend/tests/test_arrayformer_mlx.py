"""Is the plugin found, and does its backend compute GPT-2?"""

import pytest

from arrayformer.backends.registry import get_backend, list_backends
from arrayformer.conformance import ConformanceSuite

pytest.importorskip("mlx.core", reason="MLX is not installed", exc_type=ImportError)


def test_the_plugin_is_installed() -> None:
    assert "mlx" in [info.name for info in list_backends()]
    assert get_backend("mlx").name == "mlx"


class TestConformance(ConformanceSuite):
    """All cases in float32."""

    backend = "mlx"
    xfails_file = "../xfails.txt"


class TestConformanceInBfloat16(ConformanceSuite):
    """The cases on logits, judged by what bfloat16 can hold."""

    backend = "mlx"
    dtype = "bfloat16"
    level = 2
    xfails_file = "../xfails.txt"
