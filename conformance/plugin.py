"""Options for `pytest --pyargs arrayformer.conformance`. Loaded by every pytest run, so it imports nothing but pytest.

Results travel in the reports' user properties: with pytest-xdist the process that writes the files ran no case.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROPERTY = "arrayformer"
_OPTIONS = (
    ("backend", "which backend is judged: a name, or package.module:Class"),
    ("level", "run levels 0 to this one"),
    ("case", "only cases with this id; * stands for anything"),
    ("architecture", "only these architectures, by name or model_type, commas between them (all)"),
    ("device", "which of the backend's devices"),
    ("dtype", "which of the backend's dtypes"),
    ("xfails-file", "known bugs of the backend: a case id a line, then # and the reason"),
    ("timeout", "seconds a case may take (120)"),
    ("artifacts", "where scripts that reproduce failures are written"),
    ("json", "write the results to this file"),
    ("html", "write a page to this file"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, all of them named --arrayformer-*."""
    group = parser.getgroup("arrayformer", "arrayformer conformance")
    for name, text in _OPTIONS:
        group.addoption(f"--arrayformer-{name}", dest=f"arrayformer_{name.replace('-', '_')}", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Collect results where files are to be written, in the process that writes them."""
    wanted = config.getoption("arrayformer_json", None) or config.getoption("arrayformer_html", None)
    if wanted and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Collector(config), "arrayformer-collector")


class Collector:
    """Puts the results of all processes into one file."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.results: dict[str, dict[str, Any]] = {}
        self.environment: dict[str, Any] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a case measured."""
        for name, value in report.user_properties:
            if name == PROPERTY and isinstance(value, dict):
                self.environment = value["environment"]
                self.results[value["result"]["id"]] = value["result"]

    def pytest_sessionfinish(self) -> None:
        """Write the files."""
        if not self.results:
            return
        from arrayformer.conformance.suite import write_reports

        write_reports(self.environment, list(self.results.values()), self.config)


def seconds(config: pytest.Config) -> float:
    """How long a case may take."""
    return float(config.getoption("arrayformer_timeout") or 120)


def architectures(config: pytest.Config) -> tuple[str, ...] | None:
    """The architectures that were asked for, or None for all."""
    said = config.getoption("arrayformer_architecture")
    if not said:
        return None
    from arrayformer.conformance.criterion.architectures import named

    return named([name.strip() for name in said.split(",")])


def path(config: pytest.Config, name: str) -> Path | None:
    """An option that is a path, relative to where pytest was called."""
    value = config.getoption(f"arrayformer_{name}")
    return None if value is None else config.invocation_params.dir / value


@pytest.fixture(scope="session")
def arrayformer_session(request: pytest.FixtureRequest) -> Iterator[Any]:
    """What runs the cases on the backend named on the command line, in a process of its own."""
    from arrayformer.conformance.run.session import Session

    config = request.config
    with Session(
        config.getoption("arrayformer_backend"), device=config.getoption("arrayformer_device"),
        dtype=config.getoption("arrayformer_dtype"), seconds=seconds(config), xfails_file=path(config, "xfails_file"),
        artifacts=path(config, "artifacts"), architectures=architectures(config),
    ) as session:  # fmt: skip
        yield session
