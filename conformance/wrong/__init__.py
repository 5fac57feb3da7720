"""Backends that are wrong on purpose. The suite must catch each one, at the case that names its fault.

arrayformer conformance --backend arrayformer.conformance.wrong:erf_gelu
"""

from typing import Any

from arrayformer.conformance.wrong import (
    contract,
    functions,
    gates,
    heads,
    mathematics,
    memory,
    modes,
    namespace,
    norms,
    rotation,
    sizes,
    state,
    windows,
)  # fmt: skip
from arrayformer.conformance.wrong.registry import WRONG, Wrong


def __getattr__(name: str) -> Any:
    """A wrong backend by name; `-` in a name may be written `_`."""
    for known, backend in WRONG.items():
        if name in (known, known.replace("-", "_")):
            return backend.make
    raise AttributeError(f"there is no wrong backend {name!r}")


__all__ = [
    "WRONG", "Wrong", "contract", "functions", "gates", "heads", "mathematics", "memory", "modes", "namespace", "norms",
    "rotation", "sizes", "state", "windows",
]  # fmt: skip
