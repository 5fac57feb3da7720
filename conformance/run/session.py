"""One run of the suite on one backend: which cases, what became of them, what was expected to fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from arrayformer.conformance.criterion.architectures import names
from arrayformer.conformance.run.case import Case, counts_for, select
from arrayformer.conformance.run.in_process import InProcess
from arrayformer.conformance.run.result import BAD, Result, awarded, levels
from arrayformer.conformance.run.spec import BackendSpec, Factory, with_options
from arrayformer.conformance.run.subject import Subject
from arrayformer.conformance.run.worker import Worker
from arrayformer.conformance.run.xfails import Xfails, read_xfails

Show = Callable[[int, int, Result], None]


class Session:
    """Runs cases on one backend: in a process of its own where the backend has a name, else in this one.

    backend      a name, "package.module:Class", a Backend class or any factory taking `device` and `dtype`; None is
                 the default backend
    seconds      how long a case may take
    xfails_file  known bugs, see `xfails`
    artifacts    where failures are written down (nowhere)
    architectures  those whose levels are asked for (all)
    """

    def __init__(
        self, backend: str | Factory | None, *, device: str | None = None, dtype: str | None = None,
        seconds: float = 120.0, xfails_file: Path | None = None, artifacts: Path | None = None,
        architectures: tuple[str, ...] | None = None,
    ) -> None:  # fmt: skip
        from arrayformer.backends.registry import default_backend_name

        self.architectures = architectures
        self.xfails = read_xfails(xfails_file) if xfails_file else Xfails()
        limits = self.xfails.limits
        self.runner: Worker | InProcess
        self._real: Worker | InProcess
        if backend is None or isinstance(backend, str):
            spec = BackendSpec(backend or default_backend_name(), device, dtype)
            self.runner = Worker(spec, seconds=seconds, artifacts=artifacts, limits=limits)
            # Real sizes in a process of their own, where the library has all its threads as it has for a user.
            self._real = Worker(spec, seconds=seconds, artifacts=artifacts, limits=limits, threads=True)
        else:
            subject = Subject(with_options(backend, device, dtype))
            self.runner = self._real = InProcess(subject, seconds=seconds, artifacts=artifacts, limits=limits)

    def environment(self) -> dict[str, Any]:
        """What the backend says of itself. Raises BackendError where it cannot be had."""
        return self.runner.environment()

    def run(self, case: Case) -> Result:
        """Run a case. Its result is seen in the light of what is known to fail."""
        runner = self._real if case.real else self.runner
        result = self.xfails.apply(runner.run(case))
        wanted = names() if self.architectures is None else self.architectures
        result.architectures = [name for name in wanted if counts_for(case, name)]
        return result

    def __enter__(self) -> "Session":
        self.runner.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()
        self._real.close()


@dataclass
class Run:
    """What one run of the suite found.

    environment  of the backend, see conformance/report/environment.py
    results      in the order in which they ran
    whole        whether no case of a level up to the highest was left out, so that a level can be awarded
    """

    environment: dict[str, Any]
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
        """The level awarded, if any: the lowest of those of the architectures."""
        if not self.whole:
            return None
        found = list(self.levels.values()) or [awarded(self.results)]
        return None if None in found else min(level for level in found if level is not None)

    @property
    def levels(self) -> dict[str, int | None]:
        """The level awarded for each architecture."""
        return levels(self.results) if self.whole else {}

    @property
    def label(self) -> str:
        """jax cpu:0 bfloat16"""
        return f"{self.environment['backend']} {self.environment['device']} {self.environment['dtype']}"

    def count(self, outcome: str) -> int:
        """How many results there are of an outcome."""
        return sum(r.outcome == outcome for r in self.results)


def run(
    name: str | None, *, device: str | None = None, dtype: str | None = None, level: int | None = None,
    patterns: Sequence[str] = (), architectures: tuple[str, ...] | None = None, real: bool = True,
    xfails_file: Path | None = None, artifacts: Path | None = None, seconds: float = 120.0,
    show: Show = lambda _done, _of, _result: None,
) -> Run:  # fmt: skip
    """Run the suite on the backend `name`, for some `architectures` or all.

    Without `real` only what is not at the sizes of real models.

    Raises BackendError where it cannot be had, InputError for case ids that do not exist.
    """
    start = datetime.now(UTC)
    options: dict[str, Any] = {"device": device, "dtype": dtype, "seconds": seconds, "artifacts": artifacts}
    # The library is imported in the worker while the cases are here.
    with Session(name, xfails_file=xfails_file, architectures=architectures, **options) as session:
        cases = select(level, patterns, architectures, real=real)
        done = Run(session.environment(), whole=real and not patterns, timestamp=start.strftime("%Y-%m-%dT%H:%M:%SZ"))
        for place, case in enumerate(cases):
            done.results.append(session.run(case))
            show(place + 1, len(cases), done.results[-1])
    done.seconds = (datetime.now(UTC) - start).total_seconds()
    return done
