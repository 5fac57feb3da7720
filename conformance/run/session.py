"""One run of the suite on one backend: which cases, what became of them, what is known about them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from arrayformer.conformance.run.case import select
from arrayformer.conformance.run.result import BAD, Result, awarded
from arrayformer.conformance.run.spec import Target
from arrayformer.conformance.run.worker import Worker
from arrayformer.conformance.run.xfails import Known, read_known

Show = Callable[[int, int, Result], None]


@dataclass
class Run:
    """What one run of the suite found.

    facts    of the backend, see conformance/report/environment.py
    results  in the order in which they ran
    whole    whether no case of a level up to the highest was left out, so that a level can be awarded
    """

    facts: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    whole: bool = True
    seconds: float = 0.0
    timestamp: str = ""

    @property
    def failed(self) -> bool:
        """Whether something went wrong that was not known to."""
        return any(r.outcome in BAD for r in self.results)

    @property
    def level(self) -> int | None:
        """The level awarded, if any."""
        return awarded(self.results) if self.whole else None

    @property
    def label(self) -> str:
        """jax cpu:0 bfloat16"""
        return f"{self.facts['backend']} {self.facts['device']} {self.facts['dtype']}"

    def count(self, outcome: str) -> int:
        """How many results there are of an outcome."""
        return sum(r.outcome == outcome for r in self.results)


def run(
    name: str | None, *, device: str | None = None, dtype: str | None = None, level: int | None = None,
    patterns: Sequence[str] = (), xfails_file: Path | None = None, artifacts: Path | None = None,
    seconds: float = 120.0, show: Show = lambda _done, _of, _result: None,
) -> Run:  # fmt: skip
    """Run the suite on the backend `name`.

    Raises BackendError where it cannot be had, InputError for case ids that do not exist.
    """
    from arrayformer.backends.registry import default_backend_name

    known = read_known(xfails_file) if xfails_file else Known()
    target = Target(name or default_backend_name(), device, dtype)
    start = datetime.now(UTC)
    with Worker(target, seconds=seconds, artifacts=artifacts, overrides=known.limits) as worker:
        worker.start()  # the library is imported there while the cases are here
        cases = select(level, patterns)
        done = Run(worker.facts(), whole=not patterns, timestamp=start.strftime("%Y-%m-%dT%H:%M:%SZ"))
        for place, case in enumerate(cases):
            done.results.append(known.apply(worker.run(case)))
            show(place + 1, len(cases), done.results[-1])
    done.seconds = (datetime.now(UTC) - start).total_seconds()
    return done
