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
from arrayformer.conformance.run.spec import Target
from arrayformer.core.errors import BackendError

START_SECONDS = 120.0


class Worker:
    """A process that runs cases on one backend.

    seconds    how long a case may take
    artifacts  where failures are written down (nowhere)
    overrides  see `Lab`
    """

    def __init__(
        self, target: Target, *, seconds: float = 120.0, artifacts: Path | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.target = target
        self.seconds = seconds
        self.hello = {
            "target": asdict(target),
            "artifacts": None if artifacts is None else str(artifacts.resolve()),
            "overrides": dict(overrides or {}),
        }
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._facts: dict[str, Any] = {}

    def start(self) -> None:
        """Start the process without waiting for it: `facts` does."""
        # One BLAS thread: probes are small, and threads that wait for each other make a busy machine ten times slower.
        single = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "MKL", "OMP", "VECLIB_MAXIMUM")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "arrayformer.conformance.run.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**single, **os.environ},
        )  # fmt: skip
        self._answers, self._facts = queue.Queue(), {}
        assert self._process.stdout is not None
        threading.Thread(target=listen, args=(self._process.stdout, self._answers), daemon=True).start()

    def facts(self) -> dict[str, Any]:
        """What the backend says of itself. Raises BackendError where it cannot be had."""
        if self._process is None:
            self.start()
        if not self._facts:
            self._greet()
        return self._facts

    def run(self, case: Case) -> Result:
        """Run a case. A hang is a timeout, a death of the process an error; the case after it gets a new process."""
        self.facts()
        answer = self._ask({"case": case.id}, self.seconds)
        if isinstance(answer, dict):
            return Result.from_dict(answer)
        code = self._end()
        result = Result(case.id, case.level, case.title, seconds=self.seconds)
        if answer == "timeout":
            result.outcome, result.message = "timeout", f"no answer after {self.seconds:g} s"
        else:
            signal = f"signal {-code}" if code and code < 0 else f"exit code {code}"
            result.outcome, result.message = "error", f"the process died ({signal})"
        return result

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._pipe().close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
            self._end()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _greet(self) -> None:
        answer = self._ask(self.hello, START_SECONDS)
        if not isinstance(answer, dict):
            self._end()
            what = f"gave no answer within {START_SECONDS:g} s" if answer == "timeout" else "took its process with it"
            raise BackendError(f"backend {self.target.name!r} {what} when it was created")
        if "unavailable" in answer:
            self._end()
            raise BackendError(answer["unavailable"])
        self._facts = answer

    def _ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any] | str:
        try:
            pipe = self._pipe()
            pipe.write(json.dumps(request) + "\n")
            pipe.flush()
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            return "timeout"
        except OSError:
            return "died"
        return "died" if line is None else dict(json.loads(line))

    def _pipe(self) -> IO[str]:
        assert self._process is not None
        assert self._process.stdin is not None
        return self._process.stdin

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        process.kill()
        return process.wait()


def listen(stream: IO[str], answers: "queue.Queue[str | None]") -> None:
    """Put each line of `stream` into `answers`, and None when it ends."""
    for line in stream:
        answers.put(line)
    answers.put(None)


def main() -> None:
    """The child's side. What a library prints goes to standard error: answers have a channel of their own."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(what: Mapping[str, Any]) -> None:
        try:
            print(json.dumps(what), file=answers, flush=True)
        except BrokenPipeError:  # whoever asked has been ended
            os._exit(1)  # without the second attempt to write that an ordinary end would make

    first = sys.stdin.readline()
    if not first:  # whoever started us was ended before it said what to do
        return
    hello = json.loads(first)
    from arrayformer.conformance.report.environment import facts
    from arrayformer.conformance.run.case import all_cases
    from arrayformer.conformance.run.in_process import run_case
    from arrayformer.conformance.run.subject import Lab

    lab = Lab.of(Target(**hello["target"]), hello["overrides"])
    try:
        answer(facts(lab.backend))
    except Exception as error:
        own = error if isinstance(error, BackendError) else f"{type(error).__name__}: {error}"
        answer({"unavailable": str(own)})
        return
    artifacts = Path(hello["artifacts"]) if hello["artifacts"] else None
    for line in sys.stdin:
        case = all_cases()[json.loads(line)["case"]]
        answer(run_case(case, lab, artifacts).as_dict())


if __name__ == "__main__":
    main()
