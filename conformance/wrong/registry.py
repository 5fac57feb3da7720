"""The list of wrong backends, and how one is made of NumPy and a few wrong functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.diagnosis.fault import Fault
from arrayformer.conformance.diagnosis.faults import FAULTS
from arrayformer.core.backend import Backend
from arrayformer.core.params import Params

Array = Any  # NumPy arrays, whose functions have types only in part
Maker = Callable[..., Backend]

PLAIN_NUMPY = NumpyBackend().overrides


@dataclass(frozen=True)
class Wrong:
    """One wrong backend.

    caught_by  the case that names the fault
    says       words its message has
    make       the backend, as a factory
    seconds    how long the case may take, for one that never answers
    """

    name: str
    caught_by: str
    says: str
    make: Maker
    seconds: float = 60.0


WRONG: dict[str, Wrong] = {}


def wrong(caught_by: str, says: str = "", seconds: float = 60.0) -> Callable[[Any], Any]:
    """Register a backend class, or a function giving overrides for NumPy, as a wrong backend."""

    def register(made: Any) -> Any:
        maker = made if isinstance(made, type) else with_functions(made.__name__, made())
        WRONG[made.__name__] = Wrong(made.__name__, caught_by, says, maker, seconds)
        return maker

    return register


def with_functions(name: str, functions: Mapping[str, Callable[..., Any]]) -> type[NumpyBackend]:
    """NumPy with some of the graph's functions replaced."""

    class Changed(NumpyBackend):
        @property
        def overrides(self) -> Mapping[str, Callable[..., Any]]:
            return {**super().overrides, **functions}

    Changed.__name__ = Changed.__qualname__ = name
    return Changed


def with_fault(fault: Fault) -> type[NumpyBackend]:
    """NumPy with a fault."""

    class changed(NumpyBackend):
        @property
        def overrides(self) -> Mapping[str, Callable[..., Any]]:
            return {**super().overrides, **fault.table()}

    changed.__name__ = changed.__qualname__ = fault.name
    if fault.weights is None:
        return changed
    change = fault.weights

    class Changed(changed):
        def place(self, params: Params, weights: Params, *, owned: bool = False) -> Params:
            return super().place(change(params), weights, owned=owned)

    return Changed


def from_faults(named: Mapping[str, tuple[str, str]]) -> None:
    """Register faults as wrong backends: name -> (the case that names it, words of what it says)."""
    for name, (case, says) in named.items():
        WRONG[name] = Wrong(name, case, says, with_fault(FAULTS[name]))
