"""Results as JUnit XML, as CI servers read it."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from arrayformer.conformance.run.result import Result
from arrayformer.conformance.run.session import Run
from arrayformer.core.files.atomic import write_whole

_KINDS = {"failed": "failure", "timeout": "failure", "xpassed": "failure", "error": "error"}


def write(runs: Sequence[Run], path: Path) -> None:
    """One suite for each run."""
    root = ET.Element("testsuites", name="arrayformer conformance")
    for run in runs:
        suite = ET.SubElement(
            root, "testsuite", name=run.label, tests=str(len(run.results)), time=f"{run.seconds:.3f}",
            timestamp=run.timestamp.rstrip("Z"),
            failures=str(sum(_KINDS.get(r.outcome) == "failure" for r in run.results)),
            errors=str(run.count("error")), skipped=str(run.count("skipped") + run.count("xfailed")),
        )  # fmt: skip
        for result in run.results:
            add(suite, result)
    ET.indent(root)
    write_whole(path, "<?xml version='1.0' encoding='utf-8'?>\n" + ET.tostring(root, encoding="unicode"))


def add(suite: ET.Element, result: Result) -> None:
    """One case."""
    case = ET.SubElement(
        suite, "testcase", classname=f"arrayformer.conformance.L{result.level}", name=result.id,
        time=f"{result.seconds:.3f}",
    )  # fmt: skip
    message = printable("\n".join(filter(None, (result.message, (result.divergence or {}).get("sentence")))))
    if kind := _KINDS.get(result.outcome):
        ET.SubElement(case, kind, message=message).text = printable(result.traceback)
    elif result.outcome in ("skipped", "xfailed"):
        ET.SubElement(case, "skipped", message=result.reason or message)


def printable(text: str) -> str:
    """`text` without the control characters XML cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or ord(c) >= 32)
