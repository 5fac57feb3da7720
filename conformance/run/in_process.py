"""Run cases in this process: on a backend that was given as an object, and inside the worker's own process."""

import contextlib
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.case import Case
from arrayformer.conformance.run.output import watched
from arrayformer.conformance.run.result import Late, NotApplicable, Problem, Result
from arrayformer.conformance.run.subject import Subject

Limits = Mapping[str, Mapping[str, tuple[float, str]]]


class InProcess:
    """Runs cases on a backend in this process; the same methods as `Worker`.

    seconds    how long a case may take (0: as long as it likes), where the system has an alarm
    artifacts  where failures are written down (nowhere)
    limits     case id -> {name of a limit: (value, reason)}, for limits that are not the usual ones
    """

    def __init__(
        self, subject: Subject, *, seconds: float = 120.0, artifacts: Path | None = None,
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.subject = subject
        self.limits = limits or {}
        self.seconds = seconds
        self.artifacts = artifacts

    def start(self) -> None:
        """Nothing has to be started."""

    def environment(self) -> dict[str, Any]:
        """What the backend says of itself. Raises BackendError where it cannot be had."""
        from arrayformer.conformance.report.environment import environment

        return environment(self.subject.backend)

    def run(self, case: Case) -> Result:
        """Run a case. A hang is a timeout."""
        try:
            with _alarm(self.seconds):
                return run_case(case, self.subject, self.artifacts, self.limits)
        except Late:
            return Result(case.id, case.level, case.title, "timeout", f"no answer after {self.seconds:g} s")

    def close(self) -> None:
        """Nothing has to be ended."""


def run_case(case: Case, subject: Subject, artifacts: Path | None = None, limits: Limits | None = None) -> Result:
    """Run one case. Whatever the backend does, a Result comes back; only Ctrl-C and the alarm pass.

    artifacts  where to write what reproduces a failure (nowhere)
    limits     see `InProcess`
    """
    result = Result(case.id, case.level, case.title)
    judge = Judge(result, (limits or {}).get(case.id))
    start = time.perf_counter()
    try:
        with np.errstate(all="ignore"), watched() as written:
            case(subject, judge)
        if written.text:
            raise Problem(f"while it ran, the library wrote on standard output: {written.text[:200]!r}")
    except NotApplicable as skip:
        result.outcome, result.message = "skipped", str(skip)
    except Problem as problem:
        result.outcome, result.message, result.details = "failed", str(problem), _plain(problem.details)
        _explain(problem, subject, judge, artifacts)
    except KeyboardInterrupt:  # Late too
        raise
    except BaseException as error:
        result.outcome, result.message = "error", f"{type(error).__name__}: {error}"
        result.traceback = traceback.format_exc()
    result.seconds = time.perf_counter() - start
    return result


def _explain(problem: Problem, subject: Subject, judge: Judge, artifacts: Path | None) -> None:
    """Look for the first wrong tensor. A backend too broken for that still gets its verdict."""
    if problem.probe is None:
        return
    result = judge.result
    from arrayformer.conformance.diagnosis.first_wrong import first_divergence

    try:
        with np.errstate(all="ignore"):
            found = first_divergence(subject, problem.probe, problem.details.get("ids"), judge.limit("R_tap")[0])
            if found is not None:
                result.divergence = found.as_dict()
                if artifacts is not None:
                    result.files = found.write(artifacts / result.id, subject)
    except Exception as error:
        result.divergence = {
            "sentence": f"the search for the first wrong tensor failed: {type(error).__name__}: {error}"
        }


def _plain(details: dict[str, object]) -> dict[str, object]:
    """Details as JSON can hold them."""
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in details.items()}


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raises Late after `seconds` (0: never), where the system has such a signal and this is the main thread."""
    if not seconds or not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
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
