"""What `pytest --pyargs arrayformer.conformance --arrayformer-backend NAME` collects: each case is one test."""

from collections.abc import Callable

import pytest

from arrayformer.conformance.plugin import architectures
from arrayformer.conformance.run.case import select
from arrayformer.conformance.run.session import Session
from arrayformer.conformance.suite import judge


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The cases that the options ask for."""
    config = metafunc.config
    level, case = config.getoption("arrayformer_level"), config.getoption("arrayformer_case")
    chosen = select(None if level is None else int(level), (case,) if case else (), architectures(config))
    metafunc.parametrize("case_id", [c.id for c in chosen])


def test_conformance(
    case_id: str, arrayformer_session: Session, record_property: Callable[[str, object], None]
) -> None:
    """The case passes on the backend."""
    judge(arrayformer_session, case_id, record_property)
