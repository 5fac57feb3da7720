"""What a case can end in, and what it says."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from arrayformer.core.errors import ConformanceFailure

# A known bug that fails is no surprise; everything in BAD is.
BAD = ("failed", "error", "timeout", "xpassed")
OUTCOMES = ("passed", "failed", "error", "timeout", "skipped", "xfailed", "xpassed")


class Problem(ConformanceFailure):
    """What a case found wrong.

    probe    the probe model it was seen on, where one was: then the first wrong tensor can be looked for
    details  what a reader needs: position, id, got, expected ...
    """

    def __init__(self, message: str, *, probe: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.probe = probe
        self.details = details


class NotApplicable(Exception):
    """The case does not apply: the reason is a limitation the backend declares, or something not installed."""


class Late(KeyboardInterrupt):
    """A case took too long. Like Ctrl-C it passes whatever it interrupts."""


@dataclass
class Metric:
    """One number a case measured. `limit` None: reported, not judged. `reason` is of a limit that is not the usual."""

    name: str
    value: float
    limit: float | None = None
    reason: str = ""


@dataclass
class Result:
    """One case on one backend.

    series      name -> [[label, value, limit], ...], for plots
    divergence  where the first wrong tensor is, where it was looked for
    files       what was written to reproduce it
    architectures  whose levels depend on it
    """

    id: str
    level: int
    title: str
    outcome: str = "passed"
    message: str = ""
    seconds: float = 0.0
    metrics: list[Metric] = field(default_factory=list)
    series: dict[str, list[list[Any]]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    divergence: dict[str, Any] | None = None
    files: list[str] = field(default_factory=list)
    traceback: str = ""
    reason: str = ""
    architectures: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "Result":
        """What `as_dict` made; a number that JSON could not write, and so is null there, is NaN again."""
        metrics = [Metric(**{**m, "value": _number(m["value"])}) for m in given["metrics"]]
        series = {
            name: [[label, _number(value), _number(limit)] for label, value, limit in points]
            for name, points in given["series"].items()
        }
        return cls(**{**given, "metrics": metrics, "series": series})


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def levels(results: list[Result]) -> dict[str, int | None]:
    """The level awarded for each architecture."""
    names = dict.fromkeys(name for result in results for name in result.architectures)
    return {name: awarded([r for r in results if name in r.architectures]) for name in names}


def awarded(results: list[Result]) -> int | None:
    """The highest level of which, and below which, every case passed; None where level 0 has not.

    Skipped cases do not count against a level, known bugs do. A level of which nothing ran is not awarded.
    """
    level = None
    for n in range(1 + max((r.level for r in results), default=-1)):
        outcomes = [r.outcome for r in results if r.level == n]
        if not outcomes or not set(outcomes) <= {"passed", "skipped"}:
            break
        level = n
    return level
