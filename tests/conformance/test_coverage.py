"""What the suite visits, beside what real models ask for."""

import numpy as np
import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.coverage import survey
from arrayformer.conformance.coverage.demands import Range, boundaries, demands, uncovered, visited
from arrayformer.conformance.coverage.models import matrices, real_models, vocabularies
from arrayformer.conformance.coverage.recorder import Recorder
from arrayformer.conformance.run.subject import Subject


@pytest.fixture(scope="module")
def surveyed():
    return survey.survey(NumpyBackend)


def test_numpy_passes_the_whole_suite_while_it_is_watched(surveyed):
    _, results = surveyed

    assert [(r.id, r.outcome, r.message) for r in results if r.outcome not in ("passed", "skipped")] == []


def test_each_boundary_that_real_models_cross_is_visited_or_excused(surveyed):
    found = survey.coverage(surveyed[0])

    assert found.missing == ()
    assert found.total > 1500
    assert len(found.excused) < 40


def test_no_excuse_is_left_for_what_is_visited(surveyed):
    found = survey.coverage(surveyed[0])

    assert found.idle == ()
    assert all(len(reason) > 20 for reason in found.excused.values())


def test_a_boundary_that_nothing_visited_is_missing():
    visits = {key: {int(label.strip("=> ")) for label in boundaries(demand) if label.startswith("=")}
              for key, demand in demands().items() if isinstance(demand, Range)}  # fmt: skip
    del visits["put_rows", "rows"]

    missing = uncovered(visits)

    assert "= 32" in missing["put_rows", "rows"]
    assert "= 32" not in missing["put_rows", "rows put"]
    assert "> 32" in missing["put_rows", "rows put"]


@pytest.mark.parametrize(
    ("demand", "crossed"),
    [
        (Range(1, 4), ["= 1", "= 2", "> 2", "= 4"]),
        (Range(5, 20), ["= 8", "> 8", "= 16", "> 16", "a multiple of 8", "no multiple of 8"]),
        (Range(1 << 23, 1 << 24), ["= 8388608", "> 8388608", "> 16777216"]),
        (frozenset({768, 64}), ["= 64", "= 768"]),
        (frozenset({"a view", "in order"}), ["a view", "in order"]),
    ],
)
def test_boundaries_are_powers_of_two_multiples_and_the_sizes_models_have(demand, crossed):
    assert boundaries(demand) == crossed


def test_a_size_lies_on_one_side_of_each_boundary():
    assert set(visited([96])) == {"= 96", "> 64", "a multiple of 8", "a multiple of 32", "no multiple of 64"}
    assert set(visited([7])) == {"= 7", "> 4"}
    assert {"= 16777217", "> 16777216"} <= set(visited([(1 << 24) + 1]))


def test_the_models_are_read_by_their_pages():
    models = real_models()

    assert len(models) == 20
    assert (models["gpt2-1558M"].n_head, models["gpt2-1558M"].head_dim) == (25, 64)
    assert (models["gemma-3-1B"].n_kv_head, models["gemma-3-1B"].head_dim) == (1, 256)
    assert (2048, 8192) in matrices()["llama-3_2"]
    assert set(vocabularies()) >= {50257, 128256, 151936}


def test_the_recorder_notes_what_each_function_was_called_with():
    recorder = Recorder()
    subject = Subject(recorder.on(NumpyBackend))
    x = np.ones((2, 3, 8), dtype=np.float32)
    with recorder.standard(subject.put(x)):
        subject.function("linear")(subject.put(x), subject.put(np.ones((8, 5))), subject.put(np.ones(5)))
        subject.function("gelu")(np.swapaxes(subject.put(x), 0, 1))
        subject.function("causal_attention")(*(subject.put(x[None]) for _ in range(3)), subject.put(np.arange(3)))

    assert recorder.visits["linear", "rows"] == {6}
    assert recorder.visits["linear", "K x N of some rows"] == {"8 x 5"}
    assert recorder.visits["gelu", "layout"] == {"a view"}
    assert recorder.visits["causal_attention, prompt", "keys, head_dim 8"] == {3}
    assert recorder.visits["linear", "threads"] == {"one"}
