"""The suite under pytest: from the command line, and from a third party's own test file.

    from arrayformer.conformance import ConformanceSuite

    class TestMine(ConformanceSuite):
        backend = "mine"        # a name, "package.module:Class", or a Backend class

Each case is one test; its id is the same as on the command line.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from arrayformer.conformance.plugin import PROPERTY, path
from arrayformer.conformance.run.case import all_cases, select
from arrayformer.conformance.run.in_process import run_case
from arrayformer.conformance.run.result import Late, Result
from arrayformer.conformance.run.session import Run
from arrayformer.conformance.run.spec import Target
from arrayformer.conformance.run.subject import Lab
from arrayformer.conformance.run.worker import Worker
from arrayformer.conformance.run.xfails import Known, read_known
from arrayformer.core.backend import Backend

Maker = Callable[..., Backend]


class Bench:
    """Runs cases on one backend: in a process of its own where the backend has a name, else in this one.

    backend  a name, "package.module:Class", a Backend class or any factory taking `device` and `dtype`; None is
             the default backend
    """

    def __init__(
        self, backend: str | Maker | None, device: str | None = None, dtype: str | None = None, seconds: float = 120.0,
        xfails_file: Path | None = None, artifacts: Path | None = None,
    ) -> None:  # fmt: skip
        from arrayformer.backends.registry import default_backend_name

        self.known = read_known(xfails_file) if xfails_file else Known()
        self.seconds, self.artifacts = seconds, artifacts
        self.worker: Worker | None = None
        if backend is None or isinstance(backend, str):
            target = Target(backend or default_backend_name(), device, dtype)
            self.worker = Worker(target, seconds=seconds, artifacts=artifacts, overrides=self.known.limits)
        else:
            self.lab = Lab(chosen(backend, device, dtype), self.known.limits)

    def run(self, case_id: str) -> Result:
        """Run the case of that id."""
        case = all_cases()[case_id]
        if self.worker is not None:
            return self.known.apply(self.worker.run(case))
        try:
            with alarm(self.seconds):
                result = run_case(case, self.lab, self.artifacts)
        except Late:
            result = Result(case.id, case.level, case.title, "timeout", f"no answer after {self.seconds:g} s")
        return self.known.apply(result)

    def facts(self) -> dict[str, Any]:
        """What the backend says of itself."""
        from arrayformer.conformance.report.environment import facts

        return self.worker.facts() if self.worker is not None else facts(self.lab.backend)

    def close(self) -> None:
        """End the process, if there is one."""
        if self.worker is not None:
            self.worker.close()


def chosen(maker: Maker, device: str | None, dtype: str | None) -> Maker:
    """`maker` with a device and a dtype to fall back on."""

    def make(**options: Any) -> Backend:
        return maker(device=options.get("device") or device, dtype=options.get("dtype") or dtype)

    return make


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raises Late after `seconds`, where the system has such a signal and this is the main thread."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(_signal: int, _frame: object) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(bench: Bench, case_id: str, record_property: Callable[[str, object], None]) -> None:
    """One test: run the case, hand its result to the report, and end as it ended."""
    result = bench.run(case_id)
    record_property(PROPERTY, {"facts": bench.facts(), "result": result.as_dict()})
    message = "\n".join(filter(None, (
        result.message, (result.divergence or {}).get("sentence"), result.traceback,
        *(f"reproduce: python {file}" for file in result.files if file.endswith(".py")),
    )))  # fmt: skip
    if result.outcome == "skipped":
        pytest.skip(message)
    if result.outcome == "xfailed":
        pytest.xfail(f"{result.reason}: {message}")
    if result.outcome != "passed":
        pytest.fail(f"{result.outcome}: {message}", pytrace=False)


class ConformanceSuite:
    """Subclass it in a test file, with a name pytest collects, and say which backend.

    backend      a name, "package.module:Class", a Backend class or a factory taking `device` and `dtype`
    device, dtype, level, cases    as on the command line
    xfails_file  known bugs, relative to the test file
    seconds      how long a case may take
    """

    backend: ClassVar[str | Maker] = ""
    device: ClassVar[str | None] = None
    dtype: ClassVar[str | None] = None
    level: ClassVar[int | None] = None
    cases: ClassVar[tuple[str, ...]] = ()
    xfails_file: ClassVar[str | None] = None
    seconds: ClassVar[float] = 120.0

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each case."""
        if "case_id" in metafunc.fixturenames:
            metafunc.parametrize("case_id", [c.id for c in select(self.level, self.cases)])

    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls, request: pytest.FixtureRequest) -> Iterator[Bench]:
        """What runs the cases."""
        known = None if cls.xfails_file is None else request.path.parent / cls.xfails_file
        # Asked on the class: a plain function as `backend` does not become a method.
        bench = Bench(cls.backend, cls.device, cls.dtype, cls.seconds, known, path(request.config, "artifacts"))
        yield bench
        bench.close()

    def test_conformance(self, case_id: str, bench: Bench, record_property: Callable[[str, object], None]) -> None:
        """The case passes on the backend."""
        judge(bench, case_id, record_property)


def write_reports(facts: dict[str, Any], results: list[dict[str, Any]], config: pytest.Config) -> None:
    """The files that --arrayformer-json and --arrayformer-html ask for."""
    from datetime import UTC, datetime

    from arrayformer.conformance.report import envelope

    order = {id: place for place, id in enumerate(all_cases())}
    found = sorted((Result.from_dict(r) for r in results), key=lambda r: order[r.id])
    run = Run(facts, found, timestamp=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    run.whole = {r.id for r in found} >= {c.id for c in select(max(r.level for r in found))}
    run.seconds = sum(r.seconds for r in found)
    if file := path(config, "json"):
        envelope.write(run, file)
    if file := path(config, "html"):
        from arrayformer.conformance.report import page

        page.write([run], file)


__all__ = ["Bench", "ConformanceSuite", "judge"]
