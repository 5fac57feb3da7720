"""What a fault is: what stands in the place of the graph's own functions, or how weights are changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from arrayformer.core.params import Params

Table = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class Fault:
    """One fault.

    name       of the fault
    sentence   what to tell whoever has it
    functions  what stands in the place of functions of `core/ops.py`
    remembers  makes such functions anew, for those that know what was called before
    weights    how the weights are changed, for faults that are no function's (positions, heads)
    host       whether it is written for NumPy arrays only
    """

    name: str
    sentence: str
    functions: Table = field(default_factory=dict)
    weights: Callable[[Params], Params] | None = None
    host: bool = False
    remembers: Callable[[], Table] | None = None

    def table(self) -> Table:
        """What stands in the place of functions, for one run."""
        return self.functions if self.remembers is None else self.remembers()
