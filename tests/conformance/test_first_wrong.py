"""Which tensor is named as the first wrong one, and what is said of it."""

from typing import ClassVar

import numpy as np
import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.criterion.oracle import Taps, reference
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.diagnosis import first_wrong as diagnose
from arrayformer.conformance.run.subject import Subject
from arrayformer.conformance.wrong import WRONG
from arrayformer.core import ops


def test_a_tensors_ratio_is_counted_in_the_honest_runs_error_and_at_least_in_four_roundoffs():
    exact = {"a": np.array([1.0, -1.0])}
    far = {"a": np.array([1.0 + 2.0**-20, -1.0])}

    assert diagnose.Truth(exact, far, "float32").ratio("a", exact["a"] + 2.0**-18)[0] == 4.0
    assert diagnose.Truth(exact, exact, "bfloat16").ratio("a", exact["a"] + 2.0**-18)[0] == 16.0
    assert diagnose.Truth(exact, exact, "float64").ratio("a", exact["a"] + 2.0**-49)[0] == 4.0


def test_a_tensor_of_another_shape_is_infinitely_wrong_and_taps_of_one_side_are_left_out():
    true = diagnose.Truth({n: np.ones(2) for n in "abce"}, {n: np.ones(2) for n in "abce"}, "float32")

    found = {"c": np.ones((1, 2)), "b": np.ones(3), "a": np.ones(2), "d": np.ones(2)}
    seen = {tap: ratio for tap, ratio, _ in diagnose.ratios(found, true)}

    assert seen == {"a": 0.0, "b": np.inf, "c": np.inf}
    assert list(seen) == ["a", "b", "c"]


def test_the_candidate_that_leaves_least_explains_if_it_leaves_less_than_a_quarter():
    exact, got = np.zeros(4), np.array([4.0, 0.0, 0.0, 0.0])

    def fails():
        raise ValueError

    near = {"none": lambda: None, "fails": fails, "shape": lambda: np.zeros(5), "far": lambda: got - 1.0}
    some = {
        "fair": lambda: got - [0.9, 0, 0, 0],
        "good": lambda: got - [0.1, 0, 0, 0],
        "worse": lambda: got - [0.5, 0, 0, 0],
    }

    assert diagnose.explain(got, exact, near) == ""
    assert diagnose.explain(got, exact, near | some) == "good"
    assert diagnose.explain(got, exact, {"quarter": lambda: got - [1.0, 0, 0, 0]}) == ""


@pytest.mark.parametrize(
    ("shape", "places", "said"),
    [
        ((3, 4), [(1, 0), (1, 2)], "only position 1 is wrong"),
        ((3, 4), [(0, 3), (2, 3)], "only channel 3 is wrong"),
        ((2, 3, 4), [(1, 2, 0), (1, 2, 3)], "only row 1, position 2 is wrong"),
        ((1, 2, 3, 3), [(0, 1, 0, 0), (0, 1, 2, 1)], "only head 1 is wrong"),
        ((2, 2, 2, 2), [(0, 1, 0, 1)], "only row 0, head 1, query 0, key 1 is wrong"),
        ((9,), [(4,)], "only axis 0 4 is wrong"),
        ((3, 4), [(0, 0), (1, 1)], "2 of 12 values are wrong"),
        ((3, 4), [], ""),
        ((2, 2), [(0, 0), (0, 1)], "only position 0 is wrong"),
        ((2, 2), [(0, 0), (0, 1), (1, 0)], ""),  # more than half: everywhere
    ],
)
def test_wrong_values_in_one_place_are_said_to_be_there(shape, places, said):
    exact = np.full(shape, 2.0)
    got = exact + 1e-5  # within 1e-4 of the root mean square: not wrong
    for place in places:
        got[place] += 3e-4

    assert diagnose.elsewhere(got, exact) == said


@pytest.mark.parametrize(
    ("name", "tap", "mode", "override", "cause"),
    [
        ("erf_gelu", "h.0.mlp.act", "the backend's own functions", "gelu", "erf form"),
        ("no_scale", "h.0.attn.scores", "the backend's own functions", "causal_attention", "sqrt(head_dim)"),
        ("unbiased_norm", "h.0.ln_1", "the backend's own functions", "layer_norm", "n - 1"),
        ("no_positions", "embed", "the library's functions as written", "", "no position embedding"),
        ("k_and_v_swapped", "h.0.attn.qkv", "the library's functions as written", "", "keys and values are swapped"),
    ],
)
def test_the_first_wrong_tensor_is_found_in_the_simplest_mode_with_its_cause(name, tap, mode, override, cause):
    ids = [3, 30, 0, 7]

    found = diagnose.first_divergence(Subject(WRONG[name].make), "p1", ids)

    assert (found.probe, found.ids, found.tap, found.mode, found.override) == ("p1", ids, tap, mode, override)
    assert cause in found.cause
    assert found.ratio > found.limit == 16.0
    taps = Taps()
    reference("p1").exact([ids], taps)
    assert found.expected == taps.seen[tap][tuple(found.index)]
    assert found.honest == pytest.approx(found.expected, abs=1e-5)
    assert abs(found.got - found.expected) > 1e-4
    measured = dict(found.ratios)
    assert measured[tap] == found.ratio
    assert all(measured[t] <= 16.0 for t in list(taps.seen)[: list(taps.seen).index(tap)])


class WrongCompiler(NumpyBackend):
    """What it compiles gives everything a little too large."""

    compiles = True

    def compile(self, function, *, donate=()):
        return lambda *args: {name: x * np.float32(1.01) for name, x in function(*args).items()}


class WrongCompilerOfOneFunction(WrongCompiler):
    """Only where its own layer norm is part of it."""

    def compile(self, function, *, donate=()):
        def compiled(*args):
            self.compiling = True
            seen = function(*args)
            self.compiling = False
            return seen

        return compiled

    compiling = False

    @property
    def overrides(self):
        def layer_norm(x, g, b, eps=1e-5):
            return ops.layer_norm(x, g, b, eps) * np.float32(1.01 if self.compiling else 1.0)

        return {**super().overrides, "layer_norm": layer_norm}


class WrongCompilerAlone(WrongCompiler):
    """The same, with no function of its own."""

    overrides: ClassVar = {}


@pytest.mark.parametrize(
    ("make", "tap", "mode", "override"),
    [
        (WrongCompilerAlone, "embed", "the library's functions, compiled", ""),
        (WrongCompiler, "embed", "the library's functions, compiled", ""),
        (WrongCompilerOfOneFunction, "h.0.ln_1", "the backend's own functions, compiled", "layer_norm"),
    ],
)
def test_what_only_a_compiler_gets_wrong_is_found_compiled(make, tap, mode, override):
    found = diagnose.first_divergence(Subject(make), "p1", None)

    assert (found.tap, found.mode, found.override) == (tap, mode, override)
    assert found.ids == probe("p1").rows()[0]
    assert found.got == pytest.approx(1.01 * found.expected, rel=1e-4)


def test_a_right_backend_has_no_wrong_tensor():
    assert diagnose.first_divergence(Subject(NumpyBackend), "p1", None) is None


def test_a_divergence_reads_as_one_sentence():
    found = diagnose.Divergence("p1", [1], "a mode", "h.0.x", [0, 3], 1.5, 1.25, 1.2500001, 123.456, 16.0)

    short = (
        "first wrong tensor: h.0.x[0, 3] on probe p1, with a mode: got 1.5, expected 1.25, "
        "NumPy 1.2500001 (R = 123, limit 16)"
    )
    assert found.sentence == short
    found.override, found.cause = "gelu", "it rains"
    assert found.as_dict()["sentence"] == short + "; the override `gelu` is at fault; likely cause: it rains"


def test_a_cause_is_said_of_tensors_that_cannot_be_compared():
    ref, exact = reference("p1"), np.ones((1, 4, 16))

    assert diagnose.likely_cause(ref, [1], "embed", np.ones((4, 16)), exact) == "its shape is [4, 16], not [1, 4, 16]"
    assert "not finite" in diagnose.likely_cause(ref, [1], "embed", exact * np.inf, exact)
