"""What a case judges by: logits in units of the honest run, limits, metrics, equality of bits."""

import numpy as np
import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.criterion.judgement import Judge, ratio_limit
from arrayformer.conformance.criterion.metrics import UNIT
from arrayformer.conformance.criterion.oracle import reference
from arrayformer.conformance.run.calls import Calls
from arrayformer.conformance.run.result import Metric, NotApplicable, Problem, Result
from arrayformer.conformance.run.spec import BackendSpec
from arrayformer.conformance.run.subject import Subject


def a_judge():
    return Judge(Result("L2-x", 2, ""))


@pytest.fixture(scope="module")
def right():
    """Right logits of p1 for one row, what they are counted in, and a backend."""
    ids = [3, 30, 0, 7]
    return Subject(NumpyBackend), reference("p1"), ids, reference("p1").honest([ids]).astype(np.float32)


def test_logits_are_judged_in_units_of_the_honest_run(right):
    subject, ref, ids, y = right
    judge = a_judge()
    step = ref.unit * np.std(ref.oracle(ids)[2])

    judge.logits(subject, y, "p1", [ids])
    near, far = y.copy(), y.copy()
    near[0, 2, 5] += np.float32(6 * step)
    far[0, 2, 5] += np.float32(12 * step)
    judge.logits(subject, near, "p1", [ids])

    words = r"position 2: the logit of id 5 is .*, the oracle says .*R = \d+\.?\d* \(limit 8\)"
    with pytest.raises(Problem, match=words) as said:
        judge.logits(subject, far, "p1", [ids])
    assert said.value.probe == "p1"
    assert {k: said.value.details[k] for k in ("ids", "position", "id")} == {"ids": ids, "position": 2, "id": 5}
    measured = {m.name: m for m in judge.result.metrics}
    assert measured["R"].limit == 8.0
    assert 8.0 < measured["R"].value == said.value.details["R"] == pytest.approx(measured["D"].value / ref.unit)


@pytest.mark.parametrize(("shift", "fits"), [(0.0, True), (0.75, True), (1.25, False), (-1.25, False)])
def test_a_common_shift_has_a_limit_of_its_own(right, shift, fits):
    subject, ref, ids, _ = right
    judge = a_judge()
    r = ref.oracle(ids)
    size = max(1.0, abs(r[1].mean()), r[1].std())
    moved = r[None].astype(np.float32)
    shift *= judge.limit("O")[0] * UNIT["float32"]
    moved[0, 1] += np.float32(shift * size * max(1.0, ref.unit / (16 * UNIT["float32"])))

    if fits:
        judge.logits(subject, moved, "p1", [ids])
    else:
        with pytest.raises(Problem, match="O = "):
            judge.logits(subject, moved, "p1", [ids])


def test_the_last_logits_are_judged_as_the_last(right):
    subject, _, ids, y = right
    judge = a_judge()

    judge.logits(subject, y[:, -2:], "p1", [ids], last=2)

    holed = y[:, -2:].copy()
    holed[0, 1, 4] = np.nan
    for wrong, said in (
        (y[:, :2], "position 2: the logit of"),
        (y[:, -1:], "logits have shape"),
        (holed, "position 3: the logit of id 4 is nan"),
        (y[:, -2:].astype(np.float64), "dtype float64, not float32"),
    ):
        with pytest.raises(Problem, match=said):
            judge.logits(subject, wrong, "p1", [ids], last=2)


@pytest.mark.parametrize(
    ("host", "dtype", "placed"),
    [
        (np.ones(2), None, "float32"), (1.5, None, "float32"), (np.ones(2), "float64", "float64"),
        (np.ones(2, np.float16), None, "float32"), ([1, 2], None, "int64"), (np.ones(2, np.int64), "int32", "int32"),
        ([True], None, "bool"),
    ],
)  # fmt: skip
def test_what_a_case_puts_on_the_device_is_float32_unless_it_says_otherwise(host, dtype, placed):
    subject = Subject(NumpyBackend)

    assert subject.put(host, dtype).dtype == placed
    np.testing.assert_array_equal(subject.get(subject.put(host, dtype)), host)


class Compiles(NumpyBackend):
    """Counts what it compiles."""

    compiles = True
    compiled = 0

    def compile(self, function, *, donate=()):
        self.compiled += 1
        return function


@pytest.mark.parametrize(("make", "how", "programs"), [(NumpyBackend, "as written", 0), (Compiles, "compiled", 2)])
def test_a_function_is_called_compiled_where_the_backend_compiles(make, how, programs):
    subject = Subject(make)
    x, seen = np.ones(2), {}

    found = subject.call(lambda a, b: a + b, x, 2 * x)
    with Calls(subject, a_judge()) as calls:
        calls.check(lambda a: a + 1, [x], lambda way, y: seen.setdefault(way, []).append(y.tolist()))
        calls.check(lambda a: a - 1, [x], lambda way, y: seen.setdefault(way, []).append(y.tolist()))

    assert {way: y.tolist() for way, y in found.items()} == {how: [3.0, 3.0]}
    assert seen == {how: [[2.0, 2.0], [0.0, 0.0]]}
    assert getattr(subject.backend, "compiled", 0) == programs


def test_the_graph_is_compiled_once_unless_it_is_tapped_or_asked_for_as_written():
    subject, ids, seen = Subject(Compiles), [[3, 30]], []

    logits = [subject.models.forward("p1", ids), subject.models.forward("p1", ids)]
    assert subject.backend.compiled == 1
    logits += [
        subject.models.forward("p1", ids, compiled=False),
        subject.models.forward("p1", ids, tap=lambda name, x: seen.append(name) or x),
    ]
    assert subject.backend.compiled == 1
    assert seen[0] == "embed"
    for other in logits[1:]:
        np.testing.assert_allclose(other, logits[0], atol=1e-5)


def test_the_graph_has_the_backends_own_functions_unless_it_is_asked_for_without():
    subject, ids = Subject.of(BackendSpec("arrayformer.conformance.wrong:erf_gelu")), [[3, 30]]

    right = Subject(NumpyBackend).models.forward("p1", ids)
    own, plain = subject.models.forward("p1", ids), subject.models.forward("p1", ids, overrides=False)

    assert subject.spec == BackendSpec("arrayformer.conformance.wrong:erf_gelu")
    assert np.abs(own - right).max() > 1e-4
    np.testing.assert_allclose(plain, right, atol=1e-5)


def test_a_wrong_row_is_named_where_there_are_several(right):
    subject, _, ids, y = right
    judge = a_judge()
    two = np.concatenate([y, y])
    two[1, 3, 2] += 1.0

    with pytest.raises(Problem, match=r"^row 1, position 3: the logit of id 2"):
        judge.logits(subject, two, "p1", [ids, ids])
    with pytest.raises(Problem, match=r"^position 3: the logit of id 2"):
        judge.logits(subject, two[1:], "p1", [ids])


def test_a_backend_is_had_in_its_other_dtypes():
    subject = Subject(NumpyBackend)

    assert subject.in_dtype("float32") is subject
    other = subject.in_dtype("float64")
    assert (other.backend.dtype, other.result_dtype) == ("float64", "float64")
    assert subject.result_dtype == "float32"
    assert [ratio_limit(p) for p in ("float32", "float64", "bfloat16")] == ["R", "R_float64", "R_class"]
    with pytest.raises(NotApplicable, match="does not offer int3"):
        subject.in_dtype("int3")


def test_a_metric_keeps_its_worst_value_and_nan_is_worse_than_all():
    judge = a_judge()

    fits = [judge.metric("R", value, 2.0, "why") for value in (1.0, 3.0, 2.0, float("nan"))]

    assert fits == [True, False, True, False]
    assert np.isnan(judge.result.metrics[0].value)
    assert judge.result.metrics == [Metric("R", judge.result.metrics[0].value, 2.0, "why")]
    assert judge.metric("seen", 1e9) is True


def test_limits_of_a_case_override_the_usual_ones():
    judge = Judge(Result("L1-x", 1, ""), {"R": (99.0, "judged")})

    assert a_judge().limit("R") == (8.0, "")
    assert judge.limit("R") == (99.0, "judged")
    assert judge.limit("R_tap") == (16.0, "")


def test_arrays_are_the_same_only_bit_for_bit():
    judge, x = a_judge(), np.array([0.0, 1.0, np.nan])
    judge.same_bits(x, x.copy(), "copy")

    others = {
        "-1 of 3 values differ": x[None],
        "1 of 3 values differ": x.astype(np.float32),  # NaN differs from itself
        "2 of 3 values differ": np.array([0.0, 1.5, np.nan]),
        "1 of 3": np.array([-0.0, 1.0, np.nan]),
    }
    for said, other in others.items():
        with pytest.raises(Problem, match=f"^what: {said}"):
            judge.same_bits(x, other, "what")


def test_what_a_function_gives_is_held_to_its_bound_everywhere():
    subject, judge, x = Subject(NumpyBackend), a_judge(), np.array([[-1.0, 2.0]], dtype=np.float32)
    exact = np.array([[0.0, 2.0]])

    with Calls(subject, judge) as calls:
        calls.expect("relu", x, exact=exact, bound=1e-3, limit="activation", what="two numbers")
        calls.expect("relu", x, exact=exact[:, 1:], bound=1e-3, limit="activation", what="one", at=np.s_[:, 1:])
        with pytest.raises(Problem, match=r"relu.*, as written, two numbers: at \[0, 1\] got 2, expected 2.2"):
            calls.expect("relu", x, exact=exact * 1.1, bound=1e-3, limit="activation", what="two numbers")
