"""Is the plugin found, and does its backend compute GPT-2?"""

from arrayformer.backends.registry import get_backend, list_backends
from arrayformer.conformance import ConformanceSuite


def test_the_plugin_is_installed() -> None:
    assert "array_api_strict" in [info.name for info in list_backends()]
    assert get_backend("array-api-strict").name == "array_api_strict"


class TestConformance(ConformanceSuite):
    """All cases."""

    backend = "array_api_strict"
