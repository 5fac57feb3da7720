"""From results to a verdict: levels, known bugs, time limits, and what pytest is told."""

import os
import re
import time
from itertools import pairwise

import numpy as np
import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance import suite
from arrayformer.conformance.run import session
from arrayformer.conformance.run.case import Case, matches, select
from arrayformer.conformance.run.in_process import run_case
from arrayformer.conformance.run.result import BAD, OUTCOMES, Late, NotApplicable, Problem, Result, awarded
from arrayformer.conformance.run.session import Run, Session
from arrayformer.conformance.run.spec import with_options
from arrayformer.conformance.run.subject import Subject
from arrayformer.conformance.run.xfails import Xfails, read_xfails
from arrayformer.core.errors import InputError


def results(*outcomes):
    """One result for each (level, outcome)."""
    return [Result(f"L{level}-{n}", level, "", outcome) for n, (level, outcome) in enumerate(outcomes)]


@pytest.mark.parametrize(
    ("found", "level"),
    [
        ([], None),
        ([(0, "passed")], 0),
        ([(1, "passed")], None),
        ([(0, "passed"), (2, "passed")], 0),  # of level 1 nothing ran
        ([(1, "passed"), (0, "passed")], 1),
        ([(0, "passed"), (0, "skipped"), (1, "skipped"), (2, "passed")], 2),
        ([(n, "passed") for n in range(6)], 5),
        *(([(0, "passed"), (1, "passed"), (1, bad), (2, "passed")], 0) for bad in (*BAD, "xfailed")),
        *(([(0, bad), (1, "passed")], None) for bad in (*BAD, "xfailed")),
    ],
)
def test_a_level_is_the_highest_up_to_which_everything_passed(found, level):
    assert awarded(results(*found)) == level
    assert Run({}, results(*found)).level == level
    assert Run({}, results(*found), whole=False).level is None


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_was_not_known_to_go_wrong_fails_a_run(outcome):
    run = Run({"backend": "b", "device": "cpu:0", "dtype": "float16"}, results((0, "passed"), (0, outcome)))

    assert run.failed is (outcome in ("failed", "error", "timeout", "xpassed"))
    assert run.count(outcome) == (2 if outcome == "passed" else 1)
    assert run.label == "b cpu:0 float16"
    assert Run({}) == Run({}, [], True, 0.0, "")


@pytest.mark.parametrize(
    ("outcome", "becomes"),
    [
        ("passed", "xpassed"),
        ("failed", "xfailed"),
        ("error", "xfailed"),
        ("timeout", "xfailed"),
        ("skipped", "skipped"),
    ],
)
def test_a_known_bug_that_fails_is_expected_and_one_that_passes_is_not(outcome, becomes):
    known = Xfails({"L1-x": "issue 7"})

    found = known.apply(Result("L1-x", 1, "", outcome, "as it said"))
    other = known.apply(Result("L1-y", 1, "", outcome))

    assert found.outcome == becomes
    assert found.reason == ("" if outcome == "skipped" else "issue 7")
    assert ("issue 7" in found.message) is (outcome == "passed")
    assert (other.outcome, other.reason) == (outcome, "")


def test_a_file_of_known_bugs_names_cases_and_limits(tmp_path):
    path = tmp_path / "known.txt"
    path.write_text(
        "# all of it\n\nL2-logits  # issue 1\nlimit L1-gelu activation=32 # slow\nlimit L1-gelu R=0.5 # odd\n"
    )

    known = read_xfails(path)

    assert known.cases == {case.id: "issue 1" for case in select(None, ("L2-logits",))}
    assert known.limits == {"L1-gelu": {"activation": (32.0, "slow"), "R": (0.5, "odd")}}
    for line in (
        "limit L1-gelu R=0 # zero",
        "limit R=1 # no case",
        "limit L1-gelu L1-relu R=1 # two",
        "limit L1-gelu R=x # y",
    ):
        path.write_text(line)
        with pytest.raises(InputError, match="line 1: write `limit CASE"):
            read_xfails(path)


@pytest.mark.parametrize(
    ("id", "pattern", "named"),
    [
        ("L2-logits[p3]", "L2-logits[p3]", True), ("L2-logits[p3]", "L2-logits", True), ("L2-logits[p3]", "L2-*", True),
        ("L2-logits[p3]", "L2-logits[p*]", True), ("L2-logits[p3]", "L2-logits[p1]", False),
        ("L2-logits3", "L2-logits[3]", False), ("L2-logits[p3]", "logits", False), ("L2-logits[p3]", "l2-*", False),
    ],
)  # fmt: skip
def test_a_pattern_names_cases(id, pattern, named):
    assert matches(id, pattern) is named


def case(function):
    return Case("L1-mine", 1, "Mine.", "", function)


def raises(error):
    def function(subject, judge):
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "outcome", "message"),
    [
        (lambda subject, judge: None, "passed", ""),
        (raises(NotApplicable("no such dtype")), "skipped", "no such dtype"),
        (raises(Problem("it is wrong", at=np.int64(3))), "failed", "it is wrong"),
        (raises(ValueError("oh")), "error", "ValueError: oh"),
        (raises(SystemExit(3)), "error", "SystemExit: 3"),
    ],
)
def test_whatever_a_case_does_becomes_a_result(function, outcome, message):
    result = run_case(case(function), Subject(NumpyBackend))

    assert (result.outcome, result.message) == (outcome, message)
    assert bool(result.traceback) is (outcome == "error")
    assert result.details == ({"at": 3} if outcome == "failed" else {})
    assert (result.id, result.level, result.divergence) == ("L1-mine", 1, None)
    assert 0 <= result.seconds < 10
    assert Result.from_dict(result.as_dict()) == result


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Late()])
def test_an_interrupt_and_the_alarm_pass_through(error):
    with pytest.raises(type(error)):
        run_case(case(raises(error)), Subject(NumpyBackend))


def test_a_case_that_waits_is_ended_by_the_alarm_and_the_next_one_is_not():
    with Session(NumpyBackend, seconds=0.1) as short, Session(NumpyBackend, seconds=30.0) as long:
        late = short.run(case(lambda subject, judge: time.sleep(60)))
        fine = long.run(case(lambda subject, judge: time.sleep(0.2)))

    assert (late.outcome, late.message, late.id, late.level) == ("timeout", "no answer after 0.1 s", "L1-mine", 1)
    assert fine.outcome == "passed"
    assert short.environment()["backend"] == "numpy"


def test_what_a_case_sees_on_standard_output_fails_it():
    said = run_case(case(lambda subject, judge: print("loading kernels")), Subject(NumpyBackend))
    from_below = run_case(case(lambda subject, judge: os.write(1, b"cublas: hello")), Subject(NumpyBackend))

    assert (said.outcome, from_below.outcome) == ("failed", "failed")
    assert "wrote on standard output: 'loading kernels\\n'" in said.message
    assert "cublas: hello" in from_below.message


def test_options_fall_back_on_those_of_the_session():
    made = with_options(lambda **options: options, "gpu:1", "float16")

    assert made() == {"device": "gpu:1", "dtype": "float16"}
    assert made(device="cpu", dtype="float64") == {"device": "cpu", "dtype": "float64"}


class Fixed:
    """A session with one result."""

    def __init__(self, result):
        self.result = result

    def run(self, case):
        return self.result

    def environment(self):
        return {"backend": "b"}


@pytest.mark.parametrize(
    ("outcome", "ends", "said"),
    [
        ("skipped", pytest.skip.Exception, "it said"), ("xfailed", pytest.xfail.Exception, "issue 7: it said"),
        *((bad, pytest.fail.Exception, f"{bad}: it said\nthe tensor\nthe trace\nreproduce: python a") for bad in BAD),
    ],
)  # fmt: skip
def test_pytest_is_told_how_a_case_ended_and_all_it_said(outcome, ends, said):
    told = []
    result = Result("L1-x", 1, "", outcome, "it said", reason="issue 7", traceback="the trace", files=["a.py", "b.npz"])
    result.divergence = {"sentence": "the tensor"}

    with pytest.raises(ends) as ended:
        suite.judge(Fixed(result), "L1-gelu", lambda name, value: told.append((name, value)))

    assert str(ended.value) == said + (".py" if outcome in BAD else "\nthe tensor\nthe trace\nreproduce: python a.py")
    assert told == [("arrayformer", {"environment": {"backend": "b"}, "result": result.as_dict()})]


def test_pytest_is_told_nothing_of_a_case_that_passed():
    assert suite.judge(Fixed(Result("L1-x", 1, "")), "L1-gelu", lambda name, value: None) is None


class FakeWorker:
    """Passes every case."""

    def __init__(self, spec, **options):
        self.spec = spec

    def start(self):
        pass

    def close(self):
        pass

    def environment(self):
        return {"backend": self.spec.name}

    def run(self, case):
        return Result(case.id, case.level, case.title)


@pytest.mark.parametrize(("level", "patterns", "awarded"), [(1, (), 1), (0, (), 0), (1, ("L0-*",), None)])
def test_a_level_is_awarded_only_where_no_case_was_left_out(monkeypatch, level, patterns, awarded):
    monkeypatch.setattr(session, "Worker", FakeWorker)
    shown = []

    run = session.run("mine", level=level, patterns=patterns, show=lambda *progress: shown.append(progress))

    cases = select(level, patterns)
    assert [r.id for r in run.results] == [case.id for case in cases]
    assert run.level == awarded
    assert shown == [(n, len(cases), result) for n, result in enumerate(run.results, 1)]
    assert run.environment == {"backend": "mine"}
    assert 0 <= run.seconds < 60
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", run.timestamp)


def test_cases_run_in_the_order_of_their_levels_and_those_of_real_sizes_last():
    places = [(case.real, case.level) for case in select(3)]

    assert all(a <= b for a, b in pairwise(places))
    assert {level for _, level in places} == {0, 1, 2, 3}
    assert not any(case.real for case in select(3, real=False))
    assert [c.id for c in select(2, ("L2-again", "L3-fork"))] == ["L2-again"]
