"""Loading one plugin, behind a wall no fault of it gets through."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pluggy

from arrayformer.core.errors import ArrayformerError, PluginError
from arrayformer.core.plugins import hooks
from arrayformer.core.plugins.discovery import BACKENDS, Kind, PluginInfo, available
from arrayformer.core.plugins.hooks import PROJECT

RAISE_ERRORS = "ARRAYFORMER_RAISE_PLUGIN_ERRORS"
TRACE = "ARRAYFORMER_TRACE"


def load(kind: Kind, info: PluginInfo) -> Any:
    """What `info`'s entry point registers under its name. Nothing stays behind of a registration that fails.

    Raises PluginError naming the distribution, the step that failed, and the cause.
    """
    module = info.value.partition(":")[0].strip()
    with wall(info, f"importing {module}"):
        importlib.import_module(module)
    with wall(info, f"looking up {info.value}"):
        plugin = EntryPoint(info.name, info.value, kind.group).load()
    with wall(info, f"registering its {kind.noun}s"):
        offered = dict(_registered(kind, plugin, info))
        if info.name not in offered:
            names = ", ".join(map(repr, offered)) or "nothing; is its function marked with @arrayformer.hookimpl?"
            raise TypeError(f"the entry point is called {info.name!r}, and what it registers is {names}")
    return offered[info.name]


def _registered(kind: Kind, plugin: Any, info: PluginInfo) -> Iterator[tuple[str, Any]]:
    """What a plugin registers, each name once. A manager of its own: a fault in one plugin touches no other."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hooks)
    if os.environ.get(TRACE):
        manager.trace.root.setwriter(lambda line: print(line, end="", file=sys.stderr))
        manager.enable_tracing()
    manager.register(plugin, name=info.distribution)
    manager.check_pending()
    offered: list[tuple[str, Any]] = []
    getattr(manager.hook, kind.hook)(register=lambda name, what: offered.append((name, what)))
    names = [name for name, _ in offered]
    for name, what in offered:
        if names.count(name) > 1:
            raise TypeError(f"it registers {name!r} {names.count(name)} times")
        if not callable(what):
            raise TypeError(f"what it registers for {name!r} is {what!r}, which cannot be called")
        yield name, what


@contextlib.contextmanager
def wall(info: PluginInfo, step: str) -> Iterator[None]:
    """Turns whatever a plugin raises into a PluginError, and keeps what it prints out of our standard output.

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
        raise PluginError(_not_loaded(info, step, error)) from error


def _not_loaded(info: PluginInfo, step: str, error: BaseException) -> str:
    """Who is at fault, at which step, why, and what to do."""
    cause = " ".join(f"{type(error).__name__}: {error}".split())
    lines = [
        f"{info.noun} {info.name!r} could not be loaded",
        f"  provided by: {info}",
        f"  while:       {step}",
        f"  cause:       {cause}",
    ]
    if info.noun == BACKENDS.noun:
        others = ", ".join(available(BACKENDS, without=info.name))
        absent = isinstance(error, ModuleNotFoundError) and info.builtin
        lines += [
            f"  other backends are not affected; available: {others}",
            f"  try:         {advice(info.name) if absent else f'arrayformer plugins --check {info.name}'}",
        ]
    return "\n".join(lines)


def advice(name: str) -> str:
    """How to install the library of a built-in backend."""
    extras = ("cupy12", "cupy13") if name == "cupy" else (name,)
    return " or ".join(f"pip install 'arrayformer[{e}]'" for e in extras)
