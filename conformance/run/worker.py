"""Cases in a process of their own, so that one that never returns, or takes the process with it, costs one verdict.

All cases share the process: starting one costs seconds with a large library. After a hang or a crash the next case
starts a new one.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from arrayformer.conformance.run.case import Case
from arrayformer.conformance.run.result import Result
from arrayformer.conformance.run.spec import BackendSpec
from arrayformer.core.child import Child, ChildEndedError, ChildError, ChildTimeoutError, Requests, ended_with
from arrayformer.core.errors import BackendError

START_SECONDS = 120.0
_THREAD_VARIABLES = tuple(f"{name}_NUM_THREADS" for name in ("OPENBLAS", "MKL", "OMP", "VECLIB_MAXIMUM"))


class Worker:
    """A process that runs cases on one backend.

    seconds    how long a case may take
    artifacts  where failures are written down (nowhere)
    limits     case id -> {name of a limit: (value, reason)}, for limits that are not the usual ones
    threads    whether the library may use as many threads as it does for a user. One is enough for small probes:
               threads that wait for each other make a busy machine ten times slower
    """

    def __init__(
        self, spec: BackendSpec, *, seconds: float = 120.0, artifacts: Path | None = None,
        limits: Mapping[str, Any] | None = None, threads: bool = False,
    ) -> None:  # fmt: skip
        self.spec = spec
        self.seconds = seconds
        self._hello = {
            "spec": asdict(spec),
            "artifacts": None if artifacts is None else str(artifacts.resolve()),
            "limits": dict(limits or {}),
        }
        one = {} if threads else {name: "1" for name in _THREAD_VARIABLES if name not in os.environ}
        self._child = Child("-m", "arrayformer.conformance.run.worker", env=one)
        self._environment: dict[str, Any] = {}

    def start(self) -> None:
        """Start the process without waiting for it: `environment` does."""
        self._child.start()
        self._environment = {}

    def environment(self) -> dict[str, Any]:
        """What the backend says of itself. Raises BackendError where it cannot be had."""
        if not self._child.running:
            self.start()
        if not self._environment:
            self._environment = self._greet()
        return self._environment

    def run(self, case: Case) -> Result:
        """Run a case. A hang is a timeout, a death of the process an error; the case after it gets a new process."""
        self.environment()
        result = Result(case.id, case.level, case.title, seconds=self.seconds)
        try:
            return Result.from_dict(self._child.ask({"case": case.id}, self.seconds))
        except ChildTimeoutError as late:
            result.outcome, result.message = "timeout", str(late)
        except ChildEndedError as death:
            result.outcome, result.message = "error", f"the process died ({ended_with(death.code)})"
        return result

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _greet(self) -> dict[str, Any]:
        try:
            answer = self._child.ask(self._hello, START_SECONDS)
        except ChildError as error:
            raise BackendError(f"backend {self.spec.name!r} could not be created: {error}") from error
        if "unavailable" in answer:
            self._child.close()
            raise BackendError(answer["unavailable"])
        return answer


def main() -> None:
    """The child's side: told what it is to do, then one case after another."""
    requests = Requests()  # before any library is there
    hello = next(iter(requests), None)
    if hello is None:  # whoever started us was ended before it said what to do
        return
    from arrayformer.conformance.run.case import find_case
    from arrayformer.conformance.run.in_process import InProcess
    from arrayformer.conformance.run.subject import Subject

    artifacts = Path(hello["artifacts"]) if hello["artifacts"] else None
    subject = Subject.of(BackendSpec(**hello["spec"]))
    # Whoever asks keeps the time: an alarm reaches no library that does not return to Python.
    runner = InProcess(subject, seconds=0.0, artifacts=artifacts, limits=hello["limits"])
    try:
        requests.answer(runner.environment())
    except Exception as error:
        own = error if isinstance(error, BackendError) else f"{type(error).__name__}: {error}"
        requests.answer({"unavailable": str(own)})
        return
    for request in requests:
        requests.answer(runner.run(find_case(request["case"])).as_dict())


if __name__ == "__main__":
    main()
