"""Is the plugin found, and does its backend compute GPT-2?"""

import pytest

from arrayformer.backends.registry import get_backend, list_backends
from arrayformer.conformance import ConformanceSuite

pytest.importorskip("dpnp", reason="dpnp is not installed", exc_type=ImportError)


def test_the_plugin_is_installed() -> None:
    assert "dpnp" in [info.name for info in list_backends()]
    assert get_backend("dpnp").name == "dpnp"


class TestConformance(ConformanceSuite):
    """All cases, on the device that SYCL takes."""

    backend = "dpnp"
