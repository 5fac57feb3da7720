"""Packages that offer backends, written for one test and gone after it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GOOD = """
import array_api_compat.numpy as xp
from arrayformer import hookimpl
from arrayformer.core.backend import Backend


class Acme(Backend):
    name = "acme"
    library = "numpy"
    xp = xp
{claims}

@hookimpl
def register_backends(register):
    register("acme", Acme)
"""


def backend_source(claims: str = "") -> str:
    """A plugin whose backend works, with `claims` in its class."""
    return GOOD.format(claims="".join(f"    {line}\n" for line in claims.splitlines()))


Install = Callable[..., None]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on the path of this process and of those it starts."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":".join(p for p in sys.path if p))
    for variable in ("BACKEND", "LOAD_PLUGINS", "RAISE_PLUGIN_ERRORS", "TRACE"):
        monkeypatch.delenv(f"ARRAYFORMER_{variable}", raising=False)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Install:
    """install(source) makes a distribution of one module whose entry point offers a backend."""

    def write(
        source: str | None, *, name: str = "acme", distribution: str = "acme-af", module: str = "",
        value: str = "", points: str | None = None, metadata: bool = True,
    ) -> None:  # fmt: skip
        module = module or distribution.replace("-", "_")
        folder = site / f"{distribution.replace('-', '_')}-0.9.0.dist-info"
        folder.mkdir()
        if metadata:
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.9.0\n")
        (folder / "entry_points.txt").write_text(points or f"[arrayformer]\n{name} = {value or module}\n")
        if source is not None:
            (site / f"{module}.py").write_text(source)

    return write
