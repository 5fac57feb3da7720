"""Run the suite and compare what it visited with what real models ask for."""

import fnmatch
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from arrayformer.conformance.coverage.demands import boundaries, demands, uncovered
from arrayformer.conformance.coverage.recorder import Recorder, Visits
from arrayformer.conformance.run.case import select
from arrayformer.conformance.run.in_process import run_case
from arrayformer.conformance.run.result import Result
from arrayformer.conformance.run.spec import Factory
from arrayformer.conformance.run.subject import Subject

Label = tuple[str, str, str]
"""function, axis, boundary"""


@dataclass(frozen=True)
class Excuse:
    """Boundaries that nothing visits, and why.

    function, axis  patterns; * stands for anything
    above           only boundaries at this size and beyond (all)
    only            a pattern for the boundary itself
    reason          for a reader
    """

    function: str
    reason: str
    axis: str = "*"
    above: int = 0
    only: str = "*"

    def covers(self, function: str, axis: str, label: str) -> bool:
        """Whether a boundary is excused by this."""
        sizes = [int(n) for n in re.findall(r"\d+", label)]
        patterns = zip((function, axis, label), (self.function, self.axis, self.only), strict=True)
        return all(fnmatch.fnmatchcase(*pair) for pair in patterns) and max(sizes, default=0) >= self.above


@cache
def excuses() -> tuple[Excuse, ...]:
    """Those in excused.toml."""
    text = files("arrayformer.conformance.coverage").joinpath("excused.toml").read_text(encoding="utf-8")
    return tuple(Excuse(**entry) for entry in tomllib.loads(text)["excuse"])


@dataclass(frozen=True)
class Coverage:
    """What came of it.

    wanted    (function, axis) -> how many boundaries there are
    missing   boundaries that are neither visited nor excused
    excused   boundary -> why it is not visited
    idle      excuses for what was visited, or for nothing
    """

    wanted: Mapping[tuple[str, str], int]
    missing: tuple[Label, ...]
    excused: Mapping[Label, str]
    idle: tuple[Excuse, ...]

    @property
    def total(self) -> int:
        """How many boundaries there are."""
        return sum(self.wanted.values())

    @property
    def sentence(self) -> str:
        """The number."""
        seen = self.total - len(self.missing) - len(self.excused)
        return f"{seen} of {self.total} boundaries visited, {len(self.excused)} excused, {len(self.missing)} missing"


def coverage(visits: Visits) -> Coverage:
    """Compare what was visited with the demands."""
    wanted = {key: len(boundaries(demand)) for key, demand in demands().items()}
    labels = [(*key, label) for key, missing in uncovered(visits).items() for label in missing]
    excused = {label: e.reason for label in labels for e in reversed(excuses()) if e.covers(*label)}
    used = {e for e in excuses() for label in labels if e.covers(*label)}
    missing = tuple(label for label in labels if label not in excused)
    return Coverage(wanted, missing, excused, tuple(e for e in excuses() if e not in used))


def survey(
    make: Factory, show: Callable[[int, int, Result], None] = lambda _done, _of, _result: None
) -> tuple[Visits, list[Result]]:  # fmt: skip
    """Run every case on a backend, in this process: what it visited, and what became of the cases."""
    recorder = Recorder()
    subject = Subject(recorder.on(make))
    cases, results = select(), []
    with recorder.standard(subject.put(np.zeros(1, dtype=np.float32))):
        for place, case in enumerate(cases, start=1):
            recorder.threads = "all" if case.real else "one"  # as `Session` runs them
            results.append(run_case(case, subject))
            show(place, len(cases), results[-1])
    return recorder.visits, results


def table(found: Coverage) -> list[tuple[str, str, int, int, int, str]]:
    """function, axis, boundaries, visited, excused, and the reasons or what is missing."""
    lines: list[tuple[Any, ...]] = []
    for (function, axis), total in sorted(found.wanted.items()):
        excused = {label: why for label, why in found.excused.items() if label[:2] == (function, axis)}
        missing = [label[2] for label in found.missing if label[:2] == (function, axis)]
        notes = [*(f"missing: {', '.join(missing)}" for _ in missing[:1]), *sorted(set(excused.values()))]
        lines.append((function, axis, total, total - len(excused) - len(missing), len(excused), "; ".join(notes)))
    return lines
