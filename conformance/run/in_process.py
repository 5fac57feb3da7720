"""Run cases, one after another, in this process."""

import time
import traceback
from pathlib import Path

import numpy as np

from arrayformer.conformance.run.case import Case
from arrayformer.conformance.run.result import Late, NotApplicable, Problem, Result
from arrayformer.conformance.run.subject import Lab


def run_case(case: Case, lab: Lab, artifacts: Path | None = None) -> Result:
    """Run one case. Whatever the backend does, a Result comes back; only Ctrl-C and the alarm pass.

    artifacts  where to write what reproduces a failure (nowhere)
    """
    result = lab.result = Result(case.id, case.level, case.title)
    start = time.perf_counter()
    try:
        with np.errstate(all="ignore"):
            case(lab)
    except NotApplicable as skip:
        result.outcome, result.message = "skipped", str(skip)
    except Problem as problem:
        result.outcome, result.message, result.facts = "failed", str(problem), plain(problem.facts)
        explain(problem, lab, result, artifacts)
    except (KeyboardInterrupt, Late):
        raise
    except BaseException as error:
        result.outcome, result.message = "error", f"{type(error).__name__}: {error}"
        result.traceback = traceback.format_exc()
    result.seconds = time.perf_counter() - start
    return result


def explain(problem: Problem, lab: Lab, result: Result, artifacts: Path | None) -> None:
    """Look for the first wrong tensor. A backend too broken for that still gets its verdict."""
    if problem.probe is None:
        return
    from arrayformer.conformance.diagnosis.first_wrong import first_divergence

    try:
        with np.errstate(all="ignore"):
            found = first_divergence(lab, problem.probe, problem.facts.get("ids"))
            if found is not None:
                result.divergence = found.as_dict()
                if artifacts is not None:
                    result.files = found.write(artifacts / result.id, lab)
    except Exception as error:
        result.divergence = {
            "sentence": f"the search for the first wrong tensor failed: {type(error).__name__}: {error}"
        }


def plain(facts: dict[str, object]) -> dict[str, object]:
    """Facts as JSON can hold them."""
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in facts.items()}
