"""Is the plugin found, and does its backend compute GPT-2?"""

import pytest

from arrayformer.backends.registry import get_backend, list_backends
from arrayformer.conformance import ConformanceSuite

pytest.importorskip("dask.array", reason="Dask is not installed", exc_type=ImportError)


def test_the_plugin_is_installed() -> None:
    assert "dask" in [info.name for info in list_backends()]
    assert get_backend("dask").name == "dask"


class TestConformance(ConformanceSuite):
    """All cases."""

    backend = "dask"
    seconds = 600.0
