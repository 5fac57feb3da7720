"""Cases in a process of their own, so that one that never returns, or takes the process with it, costs one verdict.

All cases share the process: starting one costs seconds with a large library. After a hang or a crash the next case
starts a new one. The child reads one JSON request a line on its standard input and answers with one line.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from arrayformer.conformance.run.case import Case
from arrayformer.conformance.run.result import Result
from arrayformer.conformance.run.spec import BackendSpec
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
        self.hello = {
            "spec": asdict(spec),
            "artifacts": None if artifacts is None else str(artifacts.resolve()),
            "limits": dict(limits or {}),
        }
        self._variables = {} if threads else dict.fromkeys(_THREAD_VARIABLES, "1")
        self._child: _Child | None = None
        self._environment: dict[str, Any] = {}

    def start(self) -> None:
        """Start the process without waiting for it: `environment` does."""
        self._child = _Child(self._variables | os.environ)

    def environment(self) -> dict[str, Any]:
        """What the backend says of itself. Raises BackendError where it cannot be had."""
        self._greeted()
        return self._environment

    def run(self, case: Case) -> Result:
        """Run a case. A hang is a timeout, a death of the process an error; the case after it gets a new process."""
        child = self._greeted()
        answer = child.ask({"case": case.id}, self.seconds)
        if isinstance(answer, dict):
            return Result.from_dict(answer)
        self._child = None
        code = child.end()
        result = Result(case.id, case.level, case.title, seconds=self.seconds)
        if answer == "timeout":
            result.outcome, result.message = "timeout", f"no answer after {self.seconds:g} s"
        else:
            signal = f"signal {-code}" if code < 0 else f"exit code {code}"
            result.outcome, result.message = "error", f"the process died ({signal})"
        return result

    def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            child.end(patience=2.0)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _greeted(self) -> "_Child":
        """The process, told what it is to do."""
        if self._child is None:
            self.start()
        child = self._child
        if child is None:
            raise BackendError(f"backend {self.spec.name!r}: no process could be started")
        if not child.greeted:
            self._environment = self._greet(child)
            child.greeted = True
        return child

    def _greet(self, child: "_Child") -> dict[str, Any]:
        answer = child.ask(self.hello, START_SECONDS)
        if not isinstance(answer, dict):
            self.close()
            what = f"gave no answer within {START_SECONDS:g} s" if answer == "timeout" else "took its process with it"
            raise BackendError(f"backend {self.spec.name!r} {what} when it was created")
        if "unavailable" in answer:
            self.close()
            raise BackendError(answer["unavailable"])
        return answer


class _Child:
    """The process and its two pipes."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        # -P: nothing of the working directory is imported.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "arrayformer.conformance.run.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables,
        )  # fmt: skip
        self._answers: queue.Queue[str | None] = queue.Queue()
        self.greeted = False
        threading.Thread(target=_listen, args=(self._process.stdout, self._answers), daemon=True).start()

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any] | str:
        """The answer to a request, "timeout" or "died"."""
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            return "timeout"
        except OSError:
            return "died"
        return "died" if line is None else dict(json.loads(line))

    def end(self, patience: float = 0.2) -> int:
        """End the process, one that does not go within `patience` seconds by force. Returns its exit code."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._process.kill()
        return self._process.wait()


def _listen(stream: IO[str], answers: "queue.Queue[str | None]") -> None:
    """Put each line of `stream` into `answers`, and None when it ends."""
    for line in stream:
        answers.put(line)
    answers.put(None)


def main() -> None:
    """The child's side. What a library prints outside of cases goes to standard error: answers have their channel."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(what: Mapping[str, Any]) -> None:
        try:
            print(json.dumps(what), file=answers, flush=True)
        except BrokenPipeError:  # whoever asked has been ended
            os._exit(1)  # without the second attempt to write that an ordinary end would make

    with contextlib.suppress(KeyboardInterrupt):  # whoever started us says so
        _serve(answer)


def _serve(answer: Any) -> None:
    """Read what to do, then run each case asked for."""
    first = sys.stdin.readline()
    if not first:  # whoever started us was ended before it said what to do
        return
    hello = json.loads(first)
    from arrayformer.conformance.run.case import all_cases
    from arrayformer.conformance.run.in_process import InProcess
    from arrayformer.conformance.run.subject import Subject

    artifacts = Path(hello["artifacts"]) if hello["artifacts"] else None
    # Whoever asks keeps the time: an alarm reaches no library that does not return to Python.
    subject = Subject.of(BackendSpec(**hello["spec"]))
    runner = InProcess(subject, seconds=0.0, artifacts=artifacts, limits=hello["limits"])
    try:
        answer(runner.environment())
    except Exception as error:
        own = error if isinstance(error, BackendError) else f"{type(error).__name__}: {error}"
        answer({"unavailable": str(own)})
        return
    for line in sys.stdin:
        answer(runner.run(all_cases()[json.loads(line)["case"]]).as_dict())


if __name__ == "__main__":
    main()
