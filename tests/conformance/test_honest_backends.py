"""No false alarm: honest libraries pass, over seeds, and nothing of theirs is changed."""

import hashlib
import subprocess
import sys

import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.criterion.oracle import reference
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.run.case import select
from arrayformer.conformance.run.in_process import run_case
from arrayformer.conformance.run.result import Result
from arrayformer.conformance.run.subject import Subject
from arrayformer.conformance.wrong.honest import ReadOnlyNumpy, jax_as_written
from arrayformer.core.backend import Backend
from arrayformer.core.params import walk


def passes(subject, *patterns):
    results = [run_case(case, subject) for case in select(None, patterns, real=False)]

    assert results
    assert [(r.id, r.outcome, r.message) for r in results if r.outcome not in ("passed", "skipped")] == []


@pytest.mark.parametrize("seed", range(12))
def test_numpy_passes_on_every_seed_uncached_and_cached(seed):
    subject, judge = Subject(NumpyBackend), Judge(Result("L2-x", 2, ""))
    for base in ("p1", "p3", "quiet"):
        name = f"{base}-s{seed}" if seed else base
        rows = reference(name).probe.rows()[:4]
        judge.logits(subject, subject.models.forward(name, rows), name, rows)
        context = subject.models.engine(name).context(1)
        for n in range(1, 17 if base != "p1" else 9):
            logits = context.read([rows[0][n - 1 : n]])
            judge.logits(subject, logits[:, None, :], name, [rows[0][:n]], last=1)


def test_numpy_passes_all_levels_but_the_last():
    passes(Subject(NumpyBackend), "L0-*", "L1-*", "L2-*", "L3-*")


def test_numpy_that_may_not_write_passes():
    passes(
        Subject(ReadOnlyNumpy), "L0-*", "L1-*", "L2-logits[p1]", "L2-logits[p3]", "L2-again", "L3-cached[p3]", "L3-fork"
    )


def test_array_api_strict_passes_at_its_strictest():
    strict = pytest.importorskip("array_api_strict")

    class Strict(Backend):
        name = "array_api_strict"
        library = "array-api-strict"
        xp = strict

    with strict.ArrayAPIStrictFlags(data_dependent_shapes=False, boolean_indexing=False, enabled_extensions=()):
        passes(Subject(Strict), "L1-*", "L2-logits[p1]", "L2-logits[p3]", "L2-as-written", "L3-chunks", "L3-ragged[5]")


def test_jax_passes_compiled_and_as_written():
    jax_backend = pytest.importorskip("arrayformer.backends.jax.backend")

    passes(Subject(jax_backend.JaxBackend), "L0-compile", "L1-gelu", "L1-write", "L2-logits[p3]", "L3-cached[p3]")
    passes(Subject(jax_as_written), "L1-gelu", "L2-logits[p1]")


def test_the_suite_changes_no_setting_of_jax_or_numpy():
    pytest.importorskip("jax")
    code = """
import numpy, jax
def state():
    return dict(jax.config.values), numpy.geterr(), numpy.random.get_state()[1].tolist(), numpy.get_printoptions()
from arrayformer.conformance.run.subject import Subject
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.run.case import select
from arrayformer.conformance.run.in_process import run_case
from arrayformer.conformance.run.spec import BackendSpec
jax.numpy.zeros(1)
before = state()
subject = Subject.of(BackendSpec("jax"))
wanted = ("L0-claims", "L0-copies", "L1-identity", "L1-casts", "L2-logits[p1]", "L3-capacity", "L4-sure-draws")
for case in select(None, wanted):
    result = run_case(case, subject)
    assert result.outcome in ("passed", "skipped"), result
assert state() == before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_a_probe_draws_the_same_weights_everywhere():
    digest = hashlib.sha256(b"".join(x.tobytes() for _, x in walk(probe("p3").params()))).hexdigest()

    assert digest == "f9fb1cd9da31843a8f16f5f32251aa7aaea27af0bdb75ca4ffd74fbb475e364e"
