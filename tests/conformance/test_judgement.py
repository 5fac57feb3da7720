"""What a case judges by: logits in units of the honest run, limits, metrics, equality of bits."""

import numpy as np
import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.criterion.metrics import UNIT
from arrayformer.conformance.criterion.oracle import reference
from arrayformer.conformance.run.result import Metric, NotApplicable, Problem, Result
from arrayformer.conformance.run.spec import BackendSpec
from arrayformer.conformance.run.subject import Lab


@pytest.fixture(scope="module")
def right():
    """Right logits of p1 for one row, what they are counted in, and a lab."""
    ids = [3, 30, 0, 7]
    return Lab(NumpyBackend), reference("p1"), ids, reference("p1").honest([ids]).astype(np.float32)


def test_logits_are_judged_in_units_of_the_honest_run(right):
    lab, ref, ids, y = right
    lab.result = Result("L2-x", 2, "")
    step = ref.unit * np.std(ref.oracle(ids)[2])

    lab.judge(y, "p1", [ids])
    near, far = y.copy(), y.copy()
    near[0, 2, 5] += np.float32(6 * step)
    far[0, 2, 5] += np.float32(12 * step)
    lab.judge(near, "p1", [ids])

    words = r"position 2: the logit of id 5 is .*, the oracle says .*R = \d+\.?\d* \(limit 8\)"
    with pytest.raises(Problem, match=words) as said:
        lab.judge(far, "p1", [ids])
    assert said.value.probe == "p1"
    assert {k: said.value.details[k] for k in ("ids", "position", "id")} == {"ids": ids, "position": 2, "id": 5}
    measured = {m.name: m for m in lab.result.metrics}
    assert measured["R"].limit == 8.0
    assert 8.0 < measured["R"].value == said.value.details["R"] == pytest.approx(measured["D"].value / ref.unit)


@pytest.mark.parametrize(("shift", "fits"), [(0.0, True), (0.75, True), (1.25, False), (-1.25, False)])
def test_a_common_shift_has_a_limit_of_its_own(right, shift, fits):
    lab, ref, ids, _ = right
    lab.result = Result("L2-x", 2, "")
    r = ref.oracle(ids)
    size = max(1.0, abs(r[1].mean()), r[1].std())
    moved = r[None].astype(np.float32)
    shift *= lab.limit("O")[0] * UNIT["float32"]
    moved[0, 1] += np.float32(shift * size * max(1.0, ref.unit / (16 * UNIT["float32"])))

    if fits:
        lab.judge(moved, "p1", [ids])
    else:
        with pytest.raises(Problem, match="O = "):
            lab.judge(moved, "p1", [ids])


def test_the_last_logits_are_judged_as_the_last(right):
    lab, _, ids, y = right
    lab.result = Result("L2-x", 2, "")

    lab.judge(y[:, -2:], "p1", [ids], last=2)

    holed = y[:, -2:].copy()
    holed[0, 1, 4] = np.nan
    for wrong, said in (
        (y[:, :2], "position 2: the logit of"),
        (y[:, -1:], "logits have shape"),
        (holed, "position 3: the logit of id 4 is nan"),
        (y[:, -2:].astype(np.float64), "dtype float64, not float32"),
    ):
        with pytest.raises(Problem, match=said):
            lab.judge(wrong, "p1", [ids], last=2)


@pytest.mark.parametrize(
    ("host", "dtype", "placed"),
    [
        (np.ones(2), None, "float32"), (1.5, None, "float32"), (np.ones(2), "float64", "float64"),
        (np.ones(2, np.float16), None, "float32"), ([1, 2], None, "int64"), (np.ones(2, np.int64), "int32", "int32"),
        ([True], None, "bool"),
    ],
)  # fmt: skip
def test_what_a_case_puts_on_the_device_is_float32_unless_it_says_otherwise(host, dtype, placed):
    lab = Lab(NumpyBackend)

    assert lab.put(host, dtype).dtype == placed
    np.testing.assert_array_equal(lab.get(lab.put(host, dtype)), host)


class Compiles(NumpyBackend):
    """Counts what it compiles."""

    compiles = True
    compiled = 0

    def compile(self, function, *, donate=()):
        self.compiled += 1
        return function


@pytest.mark.parametrize(("make", "how", "programs"), [(NumpyBackend, "as written", 0), (Compiles, "compiled", 1)])
def test_a_function_is_called_compiled_where_the_backend_compiles(make, how, programs):
    lab = Lab(make)
    x, made = np.ones(2), []

    found = lab.call(lambda a, b: a + b, x, lambda: made.append(1) or 2 * x)

    assert {way: y.tolist() for way, y in found.items()} == {how: [3.0, 3.0]}
    assert len(made) == 1
    assert getattr(lab.backend, "compiled", 0) == programs


def test_the_graph_is_compiled_once_unless_it_is_tapped_or_asked_for_as_written():
    lab, ids, seen = Lab(Compiles), [[3, 30]], []

    logits = [lab.forward("p1", ids), lab.forward("p1", ids)]
    assert lab.backend.compiled == 1
    logits += [
        lab.forward("p1", ids, compiled=False),
        lab.forward("p1", ids, tap=lambda name, x: seen.append(name) or x),
    ]
    assert lab.backend.compiled == 1
    assert seen[0] == "embed"
    for other in logits[1:]:
        np.testing.assert_allclose(other, logits[0], atol=1e-5)


def test_the_graph_has_the_backends_own_functions_unless_it_is_asked_for_without():
    lab, ids = Lab.of(BackendSpec("arrayformer.conformance.wrong:erf_gelu")), [[3, 30]]

    right = Lab(NumpyBackend).forward("p1", ids)
    own, plain = lab.forward("p1", ids), lab.forward("p1", ids, overrides=False)

    assert lab.spec == BackendSpec("arrayformer.conformance.wrong:erf_gelu")
    assert np.abs(own - right).max() > 1e-4
    np.testing.assert_allclose(plain, right, atol=1e-5)


def test_a_wrong_row_is_named_where_there_are_several(right):
    lab, _, ids, y = right
    lab.result = Result("L2-x", 2, "")
    two = np.concatenate([y, y])
    two[1, 3, 2] += 1.0

    with pytest.raises(Problem, match=r"^row 1, position 3: the logit of id 2"):
        lab.judge(two, "p1", [ids, ids])
    with pytest.raises(Problem, match=r"^position 3: the logit of id 2"):
        lab.judge(two[1:], "p1", [ids])


def test_a_lab_of_another_dtype_shares_the_result_and_its_limits():
    lab = Lab(NumpyBackend, {"L1-x": {"R": (99.0, "judged")}})

    assert lab.in_dtype("float32") is lab
    other = lab.in_dtype("float64")
    assert (other.backend.dtype, other.result_dtype, other.ratio_limit) == ("float64", "float64", "R_float64")
    assert other.result is lab.result
    assert other.overrides is lab.overrides
    assert (lab.result_dtype, lab.ratio_limit) == ("float32", "R")
    with pytest.raises(NotApplicable, match="does not offer int3"):
        lab.in_dtype("int3")


def test_a_metric_keeps_its_worst_value_and_nan_is_worse_than_all():
    lab = Lab(NumpyBackend)

    fits = [lab.metric("R", value, 2.0, "why") for value in (1.0, 3.0, 2.0, float("nan"))]

    assert fits == [True, False, True, False]
    assert np.isnan(lab.result.metrics[0].value)
    assert lab.result.metrics == [Metric("R", lab.result.metrics[0].value, 2.0, "why")]
    assert lab.metric("seen", 1e9) is True


def test_limits_of_a_case_override_the_usual_ones():
    lab = Lab(NumpyBackend, {"L1-x": {"R": (99.0, "judged")}})
    usual = lab.limit("R")
    lab.result = Result("L1-x", 1, "")

    assert usual == (8.0, "")
    assert lab.limit("R") == (99.0, "judged")
    assert lab.limit("R_tap") == (16.0, "")


def test_arrays_are_the_same_only_bit_for_bit():
    lab, x = Lab(NumpyBackend), np.array([0.0, 1.0, np.nan])
    lab.same_bits(x, x.copy(), "copy")

    others = {
        "-1 of 3 values differ": x[None],
        "1 of 3 values differ": x.astype(np.float32),  # NaN differs from itself
        "2 of 3 values differ": np.array([0.0, 1.5, np.nan]),
        "1 of 3": np.array([-0.0, 1.0, np.nan]),
    }
    for said, other in others.items():
        with pytest.raises(Problem, match=f"^what: {said}"):
            lab.same_bits(x, other, "what")
