"""The suite under pytest: from the command line, and from a third party's own test file.

    from arrayformer.conformance import ConformanceSuite

    class TestMine(ConformanceSuite):
        backend = "mine"        # a name, "package.module:Class", or a Backend class

Each case is one test; its id is the same as on the command line.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from arrayformer.conformance.criterion.architectures import named
from arrayformer.conformance.plugin import PROPERTY, architectures, path
from arrayformer.conformance.run.case import find_case, select
from arrayformer.conformance.run.result import Result
from arrayformer.conformance.run.session import Run, Session
from arrayformer.conformance.run.spec import Factory


def wanted(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The architectures of these names, or None for all."""
    return named(names) if names else None


def judge(session: Session, case_id: str, record_property: Callable[[str, object], None]) -> None:
    """One test: run the case, hand its result to the report, and end as it ended."""
    result = session.run(find_case(case_id))
    record_property(PROPERTY, {"environment": session.environment(), "result": result.as_dict()})
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
    device, dtype, level, cases, architectures  as on the command line; no architectures are all
    xfails_file  known bugs, relative to the test file
    seconds      how long a case may take
    """

    backend: ClassVar[str | Factory] = ""
    device: ClassVar[str | None] = None
    dtype: ClassVar[str | None] = None
    level: ClassVar[int | None] = None
    cases: ClassVar[tuple[str, ...]] = ()
    architectures: ClassVar[tuple[str, ...]] = ()
    xfails_file: ClassVar[str | None] = None
    seconds: ClassVar[float] = 120.0

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each case."""
        if "case_id" in metafunc.fixturenames:
            metafunc.parametrize("case_id", [c.id for c in select(self.level, self.cases, wanted(self.architectures))])

    @pytest.fixture(scope="class")
    @classmethod
    def session(cls, request: pytest.FixtureRequest) -> Iterator[Session]:
        """What runs the cases."""
        xfails = None if cls.xfails_file is None else request.path.parent / cls.xfails_file
        # Asked on the class: a plain function as `backend` does not become a method.
        with Session(
            cls.backend, device=cls.device, dtype=cls.dtype, seconds=cls.seconds, xfails_file=xfails,
            artifacts=path(request.config, "artifacts"), architectures=wanted(cls.architectures),
        ) as session:  # fmt: skip
            yield session

    def test_conformance(self, case_id: str, session: Session, record_property: Callable[[str, object], None]) -> None:
        """The case passes on the backend."""
        judge(session, case_id, record_property)


def write_reports(environment: dict[str, Any], results: list[dict[str, Any]], config: pytest.Config) -> None:
    """The files that --arrayformer-json and --arrayformer-html ask for."""
    from datetime import UTC, datetime

    from arrayformer.conformance.report import envelope

    chosen = architectures(config)
    order = {case.id: place for place, case in enumerate(select(None, (), chosen))}
    found = sorted((Result.from_dict(r) for r in results), key=lambda r: order.get(r.id, len(order)))
    run = Run(environment, found, timestamp=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    run.whole = {r.id for r in found} >= {c.id for c in select(max(r.level for r in found), (), chosen)}
    run.seconds = sum(r.seconds for r in found)
    if file := path(config, "json"):
        envelope.write(run, file)
    if file := path(config, "html"):
        from arrayformer.conformance.report import page

        page.write([run], file)


__all__ = ["ConformanceSuite", "judge"]
