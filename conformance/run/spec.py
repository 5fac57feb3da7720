"""Which backend is judged: a name, or where its class is written."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arrayformer.core.backend import Backend
from arrayformer.core.errors import BackendError

Factory = Callable[..., Backend]


@dataclass(frozen=True)
class BackendSpec:
    """A backend by its registered name, or as "package.module:Class" before it is installed as a plugin.

    Plain strings, so that another process can make the same one.
    """

    name: str
    device: str | None = None
    dtype: str | None = None

    def make(self, device: str | None = None, dtype: str | None = None) -> Backend:
        """A new backend. Raises BackendError where it cannot be had."""
        device, dtype = device or self.device, dtype or self.dtype
        if ":" in self.name:
            return self._imported(device, dtype)
        from arrayformer.backends.registry import get_backend

        return get_backend(self.name, device=device, dtype=dtype)

    def _imported(self, device: str | None, dtype: str | None) -> Backend:
        module, _, attribute = self.name.partition(":")
        try:
            factory: Any = importlib.import_module(module)
            for part in attribute.split("."):
                factory = getattr(factory, part)
        except (ImportError, AttributeError, ValueError) as error:
            raise BackendError(f"backend {self.name!r}: {error}; write package.module:Class") from error
        made = factory(device=device, dtype=dtype)
        if not isinstance(made, Backend):
            raise BackendError(f"{self.name} made a {type(made).__name__}, which is no arrayformer Backend")
        return made


def with_options(factory: Factory, device: str | None, dtype: str | None) -> Factory:
    """`factory` with a device and a dtype to fall back on."""

    def make(**options: Any) -> Backend:
        return factory(device=options.get("device") or device, dtype=options.get("dtype") or dtype)

    return make
