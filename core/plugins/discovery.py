"""Which plugins are installed, from package metadata alone: nothing is imported, so nothing can break."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from importlib.util import find_spec

from arrayformer.core.errors import BackendError
from arrayformer.core.plugins.hooks import PROJECT

LOAD_PLUGINS = "ARRAYFORMER_LOAD_PLUGINS"
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class Kind:
    """One kind of plugin.

    noun      what its members are called in messages
    group     of their entry points
    hook      that a module implements to register them
    built_in  name -> (module, distributions that bring the library it needs)
    """

    noun: str
    group: str
    hook: str
    built_in: Mapping[str, tuple[str, tuple[str, ...]]]


BACKENDS = Kind(
    "backend", PROJECT, "register_backends",
    {
        "numpy": ("arrayformer.backends.numpy.backend", ("numpy",)),
        "jax": ("arrayformer.backends.jax.backend", ("jax",)),
        "cupy": ("arrayformer.backends.cupy.backend", ("cupy-cuda12x", "cupy-cuda13x", "cupy")),
        "numba": ("arrayformer.backends.numba.backend", ("numba",)),
    },
)  # fmt: skip

_PAGES = {
    "gpt2": ("gpt2",),
    "llama": ("llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3"),
    "gemma": ("gemma2", "gemma3_text"),
    "olmo2": ("olmo2",),
    "gpt_neox": ("gpt_neox",),
}
MODELS = Kind(
    "model", f"{PROJECT}.models", "register_models",
    {name: (f"arrayformer.core.models.{page}", ()) for page, names in _PAGES.items() for name in names},
)  # fmt: skip


@dataclass(frozen=True)
class PluginInfo:
    """What package metadata says about one plugin.

    value    the entry point: `package.module` or `package.module:object`
    library  the array library and its version, where that can be known without importing anything
    noun     what it is: "backend" or "model"
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
    noun: str = "backend"

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (entry point {self.name} = {self.value})"


def list_plugins(kind: Kind) -> list[PluginInfo]:
    """Built-in ones first, then those of other packages by name. Imports no array library and no plugin."""
    found = [
        *(built_in(kind, name) for name in kind.built_in),
        *sorted(plugins(kind), key=lambda i: (i.name, i.distribution)),
    ]
    names = [i.name for i in found if i.status == "installed" or i.builtin]
    return [replace(i, status="duplicate") if not i.builtin and names.count(i.name) > 1 else i for i in found]


def built_in(kind: Kind, name: str) -> PluginInfo:
    """What comes with arrayformer; the library a backend needs may be missing."""
    module, libraries = kind.built_in[name]
    own = installed([PROJECT]) or "arrayformer (not installed)"
    there = not libraries or find_spec(name) is not None
    return PluginInfo(
        name, PROJECT, own.split(" ", 1)[1], module, builtin=True,
        library=(installed(libraries) or name) if libraries else "",
        status="installed" if there else "not installed", noun=kind.noun,
    )  # fmt: skip


def installed(names: Sequence[str]) -> str:
    """The first of these distributions that is installed, with its version; or nothing."""
    for name in names:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return ""


def plugins(kind: Kind) -> Iterator[PluginInfo]:
    """Entry points of the kind's group in every distribution on the path."""
    seen = set()
    for distribution in distributions():
        text = distribution.read_text("entry_points.txt")
        if not text or kind.group not in text:
            continue
        name, number = identity(distribution)
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key == PROJECT or key in seen:  # of two copies the first on the path is the one that Python imports
            continue
        seen.add(key)
        yield from offers(kind, distribution, name, number)


def offers(kind: Kind, distribution: Distribution, name: str, number: str) -> Iterator[PluginInfo]:
    """What one distribution announces. A file that cannot be read is listed as broken, not raised."""
    try:
        points = distribution.entry_points.select(group=kind.group)
    except Exception as error:
        said = f"entry_points.txt cannot be read: {error}"
        yield PluginInfo("?", name, number, "?", status="broken", error=said, noun=kind.noun)
        return
    for point in points:
        yield judge(kind, PluginInfo(point.name, name, number, point.value, noun=kind.noun))


def judge(kind: Kind, info: PluginInfo) -> PluginInfo:
    """`info` with the status that its name and the environment give it."""
    wanted = os.environ.get(LOAD_PLUGINS)
    if info.name in kind.built_in:
        error = f"the name {info.name!r} is reserved for arrayformer's own {kind.noun}"
        return replace(info, status="refused", error=error)
    if not NAME.fullmatch(info.name):
        error = f"{info.name!r} is no name for a {kind.noun}: lower-case letters, digits and _, a letter first"
        return replace(info, status="refused", error=error)
    if wanted is not None and not {info.name, info.distribution} & {w.strip() for w in wanted.split(",")}:
        return replace(info, status="switched off", error=f"{LOAD_PLUGINS}={wanted!r} leaves it out")
    return info


def find(kind: Kind, name: str) -> PluginInfo | None:
    """What `name` or `name@distribution` stands for, or None where nothing of that name is installed.

    Raises BackendError where two packages have the name, or the one that has it may not be loaded.
    """
    short, _, distribution = name.partition("@")
    short = short.replace("-", "_")
    if short in kind.built_in and distribution in ("", PROJECT):
        return built_in(kind, short)
    found = [i for i in plugins(kind) if i.name == short and _same(i.distribution, distribution)]
    ready = [i for i in found if i.status == "installed"]
    if len(ready) > 1:
        raise BackendError(_two_of_one_name(kind, short, ready))
    if found and not ready:
        raise BackendError(f"{kind.noun} {name!r} is not loaded: {found[0].error}\n  provided by: {found[0]}")
    return ready[0] if ready else None


def _same(distribution: str, wanted: str) -> bool:
    """Whether a distribution is the one wanted, or none in particular is."""
    names = {re.sub(r"[-_.]+", "-", n).lower() for n in (distribution, wanted)}
    return not wanted or len(names) == 1


def _two_of_one_name(kind: Kind, name: str, infos: list[PluginInfo]) -> str:
    """Which packages clash and how to choose."""
    lines = [f"two installed packages both provide the {kind.noun} {name!r}"]
    lines += [f"  {i.distribution} {i.version}   ({i.value})" for i in infos]
    choice = f"choose one with --backend {name}@{infos[0].distribution}, or " if kind is BACKENDS else ""
    lines += [f"  {choice}uninstall the other"]
    return "\n".join(lines)


def available(kind: Kind, without: str = "") -> list[str]:
    """Names that can be asked for."""
    return sorted({i.name for i in list_plugins(kind) if i.status == "installed" and i.name != without})


def identity(distribution: Distribution) -> tuple[str, str]:
    """Name and version of a distribution, whatever state its METADATA is in."""
    try:
        return str(distribution.metadata["Name"] or "unknown"), str(distribution.version or "unknown")
    except Exception:
        return str(getattr(distribution, "_path", "unknown")), "unknown"
