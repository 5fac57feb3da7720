"""From a name to a backend."""

import inspect
import os
from typing import TYPE_CHECKING, Any

from arrayformer.core.errors import BackendError, BackendNotFoundError
from arrayformer.core.plugins.discovery import BACKENDS, PluginInfo, available, find, list_plugins
from arrayformer.core.plugins.hooks import BackendFactory
from arrayformer.core.plugins.loading import load, wall

if TYPE_CHECKING:
    from arrayformer.core.backend import Backend

__all__ = ["default_backend_name", "find_backend", "get_backend", "list_backends", "load_factory"]

DEFAULT = "ARRAYFORMER_BACKEND"


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
    _check_options(info, factory, options)
    with wall(info, "creating the backend"):
        backend = factory(device=device, dtype=dtype, **options)
    check_contract(info, backend)
    return backend


def list_backends() -> list[PluginInfo]:
    """Built-in backends first, then those of plugins by name. Imports no array library and no plugin."""
    return list_plugins(BACKENDS)


def find_backend(name: str) -> PluginInfo:
    """What `name` or `name@distribution` stands for. Raises BackendError where that is nothing, or two, or refused."""
    info = find(BACKENDS, name)
    if info is None:
        raise BackendNotFoundError(f"no backend named {name!r}; installed: {', '.join(available(BACKENDS))}")
    return info


def load_factory(info: PluginInfo) -> BackendFactory:
    """The factory that `info`'s entry point registers. Raises PluginError."""
    factory: BackendFactory = load(BACKENDS, info)
    return factory


def _check_options(info: PluginInfo, factory: BackendFactory, options: dict[str, Any]) -> None:
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
