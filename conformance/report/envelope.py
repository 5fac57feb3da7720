"""Results as JSON, in the envelope of data-apis/array-api-tests-compliance-data (schemas/compliance/v1.schema.json).

The envelope allows fields of our own only inside each test, so what belongs to the whole run is in the first one.
"""

from pathlib import Path
from typing import Any

from arrayformer.conformance.run.result import OUTCOMES, Result
from arrayformer.conformance.run.session import Run
from arrayformer.core.errors import InputError
from arrayformer.core.files import strict_json
from arrayformer.core.files.atomic import write_whole

API_VERSION = "2024.12"  # of the standard the graph is written against


def envelope(run: Run) -> dict[str, Any]:
    """`run` as the schema wants it."""
    environment = run.environment
    tests = [{"nodeid": r.id, **r.as_dict()} for r in run.results]
    if tests:
        tests[0]["run"] = {"environment": environment, "whole": run.whole, "levels": run.levels}
    counts = {outcome: run.count(outcome) for outcome in OUTCOMES if run.count(outcome)}
    return {
        "schema": "v1",
        "name": environment["backend"],
        "version": environment["version"],
        "api_version": API_VERSION,
        "timestamp": run.timestamp,
        "platform": environment["platform"],
        "execution_target": execution_target(environment["device"], environment["library"]),
        "python": environment["python"],
        "test_suite": environment["suite"],
        "data": {
            "duration": run.seconds,
            "exitcode": int(run.failed),
            "summary": {**counts, "total": len(tests), "collected": len(tests)},
            "tests": tests,
        },
    }


def execution_target(device: str, library: str) -> dict[str, str]:
    """Which kind of hardware a device's name stands for."""
    kind = device.partition(":")[0].lower()
    if kind == "cpu":
        return {"kind": "cpu"}
    known = {"gpu": "gpu", "cuda": "gpu", "rocm": "gpu", "mps": "gpu", "tpu": "tpu"}
    return {"kind": known.get(kind, "other"), "backend": {"gpu": library, "tpu": "xla"}.get(kind, kind)}


def write(run: Run, path: Path) -> None:
    """Write the envelope to `path`."""
    write_whole(path, strict_json.dumps(envelope(run), indent=1) + "\n")


def read(path: Path) -> Run:
    """A run that `write` wrote. Raises InputError for any other file."""
    try:
        data = strict_json.parse(path.read_text(encoding="utf-8"), str(path), InputError)
        tests = data["data"]["tests"]
        about = tests[0].pop("run")
        results = [Result.from_dict({k: v for k, v in test.items() if k != "nodeid"}) for test in tests]
        return Run(about["environment"], results, about["whole"], data["data"]["duration"], data["timestamp"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} holds no results of arrayformer conformance --json ({error!r})") from error


def badge(run: Run) -> str:
    """One line of Markdown for a README."""
    if run.level is None:
        text, colour = "failed" if run.failed else "no_level", "red"
    else:
        text, colour = f"level_{run.level}", "brightgreen" if run.level == 5 else "green"
    name = f"arrayformer_{run.environment['backend'].replace('-', '--').replace('_', '__')}"
    return f"![arrayformer conformance: {text.replace('_', ' ')}](https://img.shields.io/badge/{name}-{text}-{colour})"
