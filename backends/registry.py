"""From a name to a backend. One entry point is loaded at a time, behind a wall no fault of a plugin gets through."""

import contextlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pluggy

from arrayformer.core.errors import ArrayformerError, BackendError, BackendNotFoundError, PluginError
from arrayformer.core.plugins import hooks as hookspecs
from arrayformer.core.plugins.discovery import (
    BUILT_IN,
    BackendInfo,
    built_in,
    entry_point,
    list_backends,
    plugins,
)
from arrayformer.core.plugins.hooks import PROJECT, Factory

if TYPE_CHECKING:
    from arrayformer.core.backend import Backend

__all__ = ["BackendInfo", "default_backend_name", "find_backend", "get_backend", "list_backends", "load_factory"]

DEFAULT = "ARRAYFORMER_BACKEND"
RAISE_ERRORS = "ARRAYFORMER_RAISE_PLUGIN_ERRORS"
TRACE = "ARRAYFORMER_TRACE"


def default_backend_name() -> str:
    """What `$ARRAYFORMER_BACKEND` says, else NumPy."""
    return os.environ.get(DEFAULT) or "numpy"


def get_backend(name: str, *, device: str | None = None, dtype: str | None = None, **options: Any) -> "Backend":
    """The backend called `name`, or `name@distribution`, ready to compute.

    Options that are None are left to the backend. Raises BackendNotFoundError where nothing of that name is
    installed, BackendError where it cannot be loaded, has not the device or dtype asked for, does not take an
    option, or does not keep the contract. No other plugin is imported.
    """
    from arrayformer.backends.contract import check_contract  # brings NumPy in, which listing does without

    info = find_backend(name)
    factory = load_factory(info)
    options = {key: value for key, value in options.items() if value is not None}
    check_options(info, factory, options)
    with wall(info, "creating the backend"):
        backend = factory(device=device, dtype=dtype, **options)
    check_contract(info, backend)
    return backend


def find_backend(name: str) -> BackendInfo:
    """What `name` or `name@distribution` stands for. Raises BackendError where that is nothing, or two, or refused."""
    short, _, distribution = name.partition("@")
    short = short.replace("-", "_")
    if short in BUILT_IN and distribution in ("", PROJECT):
        return built_in(short)
    found = [i for i in plugins() if i.name == short and same(i.distribution, distribution)]
    ready = [i for i in found if i.status == "installed"]
    if len(ready) == 1:
        return ready[0]
    if ready:
        raise BackendError(two_of_one_name(short, ready))
    if found:
        raise BackendError(f"backend {name!r} is not loaded: {found[0].error}\n  provided by: {found[0]}")
    raise BackendNotFoundError(f"no backend named {name!r}; installed: {', '.join(available())}")


def same(distribution: str, wanted: str) -> bool:
    """Whether a distribution is the one wanted, or none in particular is."""
    names = {re.sub(r"[-_.]+", "-", n).lower() for n in (distribution, wanted)}
    return not wanted or len(names) == 1


def two_of_one_name(name: str, infos: list[BackendInfo]) -> str:
    """Which packages clash and how to choose."""
    lines = [f"two installed packages both provide the backend {name!r}"]
    lines += [f"  {i.distribution} {i.version}   ({i.value})" for i in infos]
    lines += [f"  choose one with --backend {name}@{infos[0].distribution}, or uninstall the other"]
    return "\n".join(lines)


def available(without: str = "") -> list[str]:
    """Names that can be asked for."""
    return sorted({i.name for i in list_backends() if i.status == "installed" and i.name != without})


def load_factory(info: BackendInfo) -> Factory:
    """The factory that `info`'s entry point registers. Nothing stays behind of a registration that fails.

    Raises BackendError naming the distribution, the step that failed, and the cause.
    """
    module = info.value.partition(":")[0].strip()
    with wall(info, f"importing {module}"):
        importlib.import_module(module)
    with wall(info, f"looking up {info.value}"):
        plugin = entry_point(info).load()
    with wall(info, "registering its backends"):
        factories = dict(registered(plugin, info))
        if info.name not in factories:
            names = ", ".join(map(repr, factories)) or "nothing; is its function marked with @arrayformer.hookimpl?"
            raise TypeError(f"the entry point is called {info.name!r}, and what it registers is {names}")
    return factories[info.name]


def registered(plugin: Any, info: BackendInfo) -> Iterator[tuple[str, Factory]]:
    """What a plugin registers, each name once. A manager of its own: a fault in one plugin touches no other."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    if os.environ.get(TRACE):
        manager.trace.root.setwriter(lambda line: print(line, end="", file=sys.stderr))
        manager.enable_tracing()
    manager.register(plugin, name=info.distribution)
    manager.check_pending()
    offered: list[tuple[str, Factory]] = []
    manager.hook.register_backends(register=lambda name, factory: offered.append((name, factory)))
    names = [name for name, _ in offered]
    for name, factory in offered:
        if names.count(name) > 1:
            raise TypeError(f"it registers {name!r} {names.count(name)} times")
        if not callable(factory):
            raise TypeError(f"the factory it registers for {name!r} is {factory!r}, which cannot be called")
        yield name, factory


@contextlib.contextmanager
def wall(info: BackendInfo, step: str) -> Iterator[None]:
    """Turns whatever a plugin raises into a BackendError, and keeps what it prints out of our standard output.

    KeyboardInterrupt passes: it is the user's. Set ARRAYFORMER_RAISE_PLUGIN_ERRORS to see the error itself.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (KeyboardInterrupt, ArrayformerError):
        raise
    except BaseException as error:
        if os.environ.get(RAISE_ERRORS):
            raise
        raise PluginError(not_loaded(info, step, error)) from error


def not_loaded(info: BackendInfo, step: str, error: BaseException) -> str:
    """Who is at fault, at which step, why, and what to do."""
    cause = " ".join(f"{type(error).__name__}: {error}".split())
    absent = isinstance(error, ModuleNotFoundError) and info.builtin
    return "\n".join((
        f"backend {info.name!r} could not be loaded",
        f"  provided by: {info}",
        f"  while:       {step}",
        f"  cause:       {cause}",
        f"  other backends are not affected; available: {', '.join(available(without=info.name))}",
        f"  try:         {advice(info.name) if absent else f'arrayformer plugins --check {info.name}'}",
    ))  # fmt: skip


def advice(name: str) -> str:
    """How to install the library of a built-in backend."""
    extras = ("cupy12", "cupy13") if name == "cupy" else (name,)
    return " or ".join(f"pip install 'arrayformer[{e}]'" for e in extras)


def check_options(info: BackendInfo, factory: Factory, options: dict[str, Any]) -> None:
    """Raises BackendError where `factory` does not take an option."""
    try:
        takes = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # something compiled: it will say so itself
        return
    if any(p.kind is p.VAR_KEYWORD for p in takes):
        return
    known = [p.name for p in takes if p.name not in ("self", "device", "dtype")]
    for name in options:
        if name not in known:
            has = f"its options are {', '.join(known)}" if known else "it has none"
            raise BackendError(f"backend {info.name!r} takes no option {name!r}; {has}")
