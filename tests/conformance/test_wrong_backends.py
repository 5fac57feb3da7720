"""Backends that are wrong on purpose: each is caught by the case that names its fault."""

import pytest

from arrayformer.conformance.diagnosis import attention_faults, rotation_faults, row_faults
from arrayformer.conformance.run.case import select
from arrayformer.conformance.run.session import Session
from arrayformer.conformance.run.spec import BackendSpec
from arrayformer.conformance.run.worker import Worker
from arrayformer.conformance.wrong import WRONG

ALONE = ("never_answers", "takes_the_process")


@pytest.mark.parametrize("name", sorted(WRONG.keys() - set(ALONE)))
def test_a_wrong_backend_fails_the_case_that_names_its_fault(name, monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)  # the session gives real sizes all threads
    wrong = WRONG[name]
    session = Session(wrong.make)

    results = [session.run(case) for case in select(None, (wrong.caught_by,))]
    failed = [r for r in results if r.outcome == "failed"]

    assert failed
    said = "\n".join(f"{r.message} {(r.divergence or {}).get('sentence', '')}" for r in failed)
    assert wrong.says in said


@pytest.mark.parametrize(("name", "outcome"), [("never_answers", "timeout"), ("takes_the_process", "error")])
def test_a_backend_that_never_answers_or_dies_costs_one_verdict(name, outcome):
    wrong = WRONG[name]
    [case], [other] = select(None, (wrong.caught_by,)), select(None, ("L1-relu",))
    with Worker(BackendSpec(f"arrayformer.conformance.wrong:{name}"), seconds=wrong.seconds) as worker:
        first = worker.run(case)
        worker.seconds = 60.0
        second = worker.run(other)

    assert first.outcome == outcome
    assert wrong.says in first.message
    assert second.outcome == "passed"


def test_there_are_at_least_thirty_wrong_backends():
    assert len(WRONG) >= 30


def test_every_case_with_a_number_has_a_wrong_backend_or_a_reason():
    """Cases without one: those that hold for every backend because the core sees to it, and plain functions."""
    caught = {wrong.caught_by.split("[")[0] for wrong in WRONG.values()}
    cases = {case.id.split("[")[0] for case in select()}

    assert len(cases & caught) >= 25


def test_there_are_at_least_sixty_for_rotation_heads_windows_norms_and_gates():
    new = {fault.name for fault in (*rotation_faults.ALL, *attention_faults.ALL, *row_faults.ALL)}

    assert new <= WRONG.keys()
    assert len(new) >= 60
