"""Which backends are installed, from package metadata alone: nothing is imported, so nothing can break."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distributions, version
from importlib.util import find_spec

from arrayformer.core.plugins.hooks import PROJECT

LOAD_PLUGINS = "ARRAYFORMER_LOAD_PLUGINS"
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")

BUILT_IN = {
    "numpy": ("arrayformer.backends.numpy.backend", ("numpy",)),
    "jax": ("arrayformer.backends.jax.backend", ("jax",)),
    "cupy": ("arrayformer.backends.cupy.backend", ("cupy-cuda12x", "cupy-cuda13x", "cupy")),
}
"""name -> (module, distributions that bring the library)"""


@dataclass(frozen=True)
class BackendInfo:
    """What package metadata says about one backend.

    value    the entry point: `package.module` or `package.module:object`
    library  the array library and its version, where that can be known without importing anything
    status   "installed"; "not installed" (a built-in without its library); "duplicate" (another distribution has
             the name too); "switched off" (by ARRAYFORMER_LOAD_PLUGINS); "refused" or "broken" (see `error`)
    """

    name: str
    distribution: str
    version: str
    value: str
    builtin: bool = False
    library: str = ""
    status: str = "installed"
    error: str = ""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (entry point {self.name} = {self.value})"


def list_backends() -> list[BackendInfo]:
    """Built-in backends first, then those of plugins by name. Imports no array library and no plugin."""
    found = [*map(built_in, BUILT_IN), *sorted(plugins(), key=lambda i: (i.name, i.distribution))]
    names = [i.name for i in found if i.status == "installed" or i.builtin]
    return [replace(i, status="duplicate") if not i.builtin and names.count(i.name) > 1 else i for i in found]


def built_in(name: str) -> BackendInfo:
    """A backend that comes with arrayformer; its library may be missing."""
    module, libraries = BUILT_IN[name]
    own = installed([PROJECT]) or "arrayformer (not installed)"
    there = find_spec(name) is not None
    return BackendInfo(
        name, PROJECT, own.split(" ", 1)[1], module, builtin=True,
        library=installed(libraries) or name, status="installed" if there else "not installed",
    )  # fmt: skip


def installed(names: Sequence[str]) -> str:
    """The first of these distributions that is installed, with its version; or nothing."""
    for name in names:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return ""


def plugins() -> Iterator[BackendInfo]:
    """Entry points of the group `arrayformer` in every distribution on the path."""
    seen = set()
    for distribution in distributions():
        text = distribution.read_text("entry_points.txt")
        if not text or PROJECT not in text:
            continue
        name, number = identity(distribution)
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key == PROJECT or key in seen:  # of two copies the first on the path is the one that Python imports
            continue
        seen.add(key)
        yield from offers(distribution, name, number)


def offers(distribution: Distribution, name: str, number: str) -> Iterator[BackendInfo]:
    """The backends one distribution announces. A file that cannot be read is listed as broken, not raised."""
    try:
        points = distribution.entry_points.select(group=PROJECT)
    except Exception as error:
        yield BackendInfo("?", name, number, "?", status="broken", error=f"entry_points.txt cannot be read: {error}")
        return
    for point in points:
        yield judge(BackendInfo(point.name, name, number, point.value))


def judge(info: BackendInfo) -> BackendInfo:
    """`info` with the status that its name and the environment give it."""
    wanted = os.environ.get(LOAD_PLUGINS)
    if info.name in BUILT_IN:
        error = f"the name {info.name!r} is reserved for arrayformer's own backend"
        return replace(info, status="refused", error=error)
    if not NAME.fullmatch(info.name):
        error = f"{info.name!r} is no name for a backend: lower-case letters, digits and _, a letter first"
        return replace(info, status="refused", error=error)
    if wanted is not None and not {info.name, info.distribution} & {w.strip() for w in wanted.split(",")}:
        return replace(info, status="switched off", error=f"{LOAD_PLUGINS}={wanted!r} leaves it out")
    return info


def identity(distribution: Distribution) -> tuple[str, str]:
    """Name and version of a distribution, whatever state its METADATA is in."""
    try:
        return str(distribution.metadata["Name"] or "unknown"), str(distribution.version or "unknown")
    except Exception:
        return str(getattr(distribution, "_path", "unknown")), "unknown"


def entry_point(info: BackendInfo) -> EntryPoint:
    """What loads the backend's module."""
    return EntryPoint(info.name, info.value, PROJECT)
