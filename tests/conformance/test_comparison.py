"""What a verdict is computed with: measures, and the oracle's classes of precision.

Every number here follows from a definition, not from a run.
"""

import math

import numpy as np
import pytest

from arrayformer.conformance.criterion import metrics as measure
from arrayformer.conformance.criterion.oracle import EXACT, Reference, Taps, emulation, stored
from arrayformer.conformance.criterion.probes import probe
from arrayformer.core import ops

R = np.array([[0.0, 2.0, 4.0, 6.0], [1.0, 1.0, 1.0, 1.0]])  # deviations sqrt(5) and 0, means 3 and 1
S5 = math.sqrt(5)


# -- measures


def test_the_worst_error_is_named_with_its_place_and_both_values():
    got, expected = np.array([[1.0, 2.0], [9.0, 4.0]]), np.array([[1.0, 2.5], [6.0, 4.0]])

    assert measure.worst(np.abs(got - expected), got, expected) == measure.Worst(3.0, (1, 0), 9.0, 6.0)
    assert measure.worst(np.zeros((0, 2)), got, expected) == measure.Worst(0.0, (), 0.0, 0.0)
    assert measure.worst(np.array([1.0, np.nan, 5.0]), np.arange(3.0), np.ones(3)) == measure.Worst(
        np.inf, (1,), 1.0, 1.0
    )


def test_errors_of_logits_are_counted_in_deviations_of_the_oracles_row():
    y = R.copy()
    y[0, 3] += 4.0  # the row's mean moves by 1, so this logit is off by 3 and the others by 1

    far = measure.divergence(y, R)

    np.testing.assert_allclose(measure.spread(R), [[S5], [1.0]])
    assert (far.index, far.got, far.expected) == ((0, 3), 10.0, 6.0)
    assert far.size == pytest.approx(3 / S5)


@pytest.mark.parametrize(
    ("r", "shift", "size"),
    [
        ([[0.0, 2.0, 4.0, 6.0]], 0.5, 0.5 / 3),  # relative to the mean
        ([[-6.0, -4.0, -2.0, 0.0]], -0.5, 0.5 / 3),
        ([[-1.0, 0.0, 0.0, 1.0]], 0.5, 0.5),  # at least to 1
        ([[-9.0, 9.0, -9.0, 9.0]], 0.5, 0.5 / 9),  # at least to the spread
        ([[0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 4.0, 6.0]], 0.5, 0.5),  # the worst row counts
    ],
)
def test_a_shift_of_the_mean_is_relative_to_mean_spread_or_one(r, shift, size):
    assert measure.offset(np.array(r) + shift, np.array(r)) == pytest.approx(size)


def test_errors_of_tensors_are_counted_in_root_mean_squares():
    r = np.array([3.0, -4.0, 0.0, 0.0])  # root mean square 2.5

    assert measure.tensor_error(r + np.array([0.0, 0.0, 5.0, 0.0]), r) == measure.Worst(2.0, (2,), 5.0, 0.0)
    assert measure.tensor_error(np.array([0.5, 0.0]), np.zeros(2)).size == 0.5
    assert measure.tensor_error(np.zeros(0), np.zeros(0)).size == 0.0


def test_kullback_leibler_is_the_sum_by_its_definition():
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])

    np.testing.assert_allclose(measure.log_softmax(np.log([p, 7 * q]) + 900), np.log([p, q]), rtol=1e-12)
    np.testing.assert_allclose(measure.kl(np.log([p, q]), np.log([q, q])), [0.25 * math.log(2), 0.0], atol=1e-15)


def test_each_row_has_its_own_winners():
    r = np.array([[0.0, 4.0, 2.0], [9.0, 5.0, 7.0]])  # deviation sqrt(8 / 3)

    for limit, winners in ((0.0, 1), (0.99 / math.sqrt(8 / 3), 1), (1.01 / math.sqrt(8 / 3), 2), (9.0, 3)):
        assert measure.may_win(r, limit).tolist() == (r >= np.sort(r)[:, [-winners]]).tolist()


def test_nan_and_infinities_are_the_same_only_in_the_same_places():
    row = np.array([1.0, np.nan, np.inf, -np.inf])

    assert measure.same_specials(row, row + 1)
    for other in ([1.0, 1.0, np.inf, -np.inf], [1.0, np.nan, 1.0, -np.inf], [1.0, np.nan, np.inf, 1.0]):
        assert not measure.same_specials(np.array(other), row)


@pytest.mark.parametrize(
    ("bits", "x", "expected"),
    [
        (7, 1 + 2**-8, 1.0),  # halfway: to the even one, down
        (7, 1 + 3 * 2**-8, 1 + 2**-6),  # halfway: to the even one, up
        (7, 1 + 2**-8 + 2**-20, 1 + 2**-7),
        (7, -1 - 3 * 2**-9, -1 - 2**-7),
        (10, 1 + 2**-11, 1.0),
        (10, 1 + 3 * 2**-11, 1 + 2**-9),
        (10, 1 + 2**-10, 1 + 2**-10),
        (10, 2 - 2**-12, 2.0),  # a carry into the exponent
    ],
)
def test_a_mantissa_is_rounded_to_nearest_even(bits, x, expected):
    for dtype in (np.float32, np.float64):
        [got] = measure.round_mantissa(np.array([x], dtype=dtype), bits)
        assert (got, got.dtype) == (expected, dtype)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("float64", 1 + 2**-8 + 2**-20), ("float32", 1 + 2**-8 + 2**-20), ("tf32", 1 + 2**-8),
        ("float16", 1 + 2**-8), ("bfloat16", 1 + 2**-7),
    ],
)  # fmt: skip
def test_each_class_rounds_to_its_own_unit(precision, expected):
    x = np.array([1 + 2**-8 + 2**-20])

    assert measure.rounded(x, precision)[0] == expected
    half_steps = {"float64": 53, "float32": 24, "tf32": 11, "float16": 11, "bfloat16": 8}
    assert measure.UNIT[precision] == 2.0 ** -half_steps[precision]


# -- the oracle


def products(precision):
    """What rounds the operands, and what rounds the result, in one class of precision."""
    near = {"tf32": lambda x: measure.round_mantissa(x, 10), "bfloat16": lambda x: measure.round_mantissa(x, 7),
            "float16": lambda x: x.astype(np.float16).astype(x.dtype)}[precision]  # fmt: skip
    return near, (lambda x: x) if precision == "tf32" else near


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("scale", [None, 0.25])
def test_an_honest_run_of_a_class_rounds_operands_and_what_the_class_stores(precision, scale):
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((5, 12), (12, 7), (7,)))
    q, k, v = (rng.standard_normal((2, 5, 12)).astype(np.float32) for _ in range(3))
    near, out = products(precision)
    table, taps, places = emulation(precision), Taps(), np.arange(5)

    weighed = table["causal_attention"](q, k, v, places, tap=taps, **({} if scale is None else {"scale": scale}))

    np.testing.assert_array_equal(table["linear"](x, w, b), out(near(x) @ near(w)) + b)
    np.testing.assert_array_equal(table["unembed"](x, w.T), out(near(x) @ near(w)))
    scores = out(near(q * np.float32(scale or 12**-0.5)) @ near(k).swapaxes(-1, -2))
    exps = np.where(np.tri(5, dtype=bool), np.exp(scores), 0).astype(np.float32)
    probs = exps / exps.sum(-1, keepdims=True)
    np.testing.assert_array_equal(taps.seen["scores"], scores)
    np.testing.assert_allclose(taps.seen["probs"], probs, rtol=1e-6)
    np.testing.assert_array_equal(weighed, out(near(taps.seen["probs"]) @ near(v)))
    batched = table["causal_attention"](q[None], k[None], v[None], places[None], scale=scale)
    np.testing.assert_array_equal(batched[0], weighed)
    alone = table["causal_attention"](q[1:2], k[1:2], v[1:2], places, scale=scale)
    np.testing.assert_array_equal(alone, weighed[1:2])


def test_the_wide_classes_are_the_graph_itself():
    assert emulation("float32") == emulation("float64") == {}


def test_the_oracle_keeps_float64_where_a_config_asks_for_float32_scores():
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 4, 8))
    places = np.arange(4)
    x = np.linspace(-3, 3, 7)

    wide = EXACT["causal_attention"](q, k, v, places, upcast=True, scale=0.3)

    np.testing.assert_array_equal(wide, ops.causal_attention(q, k, v, places, scale=0.3))
    np.testing.assert_allclose(EXACT["gelu_erf"](x), [0.5 * t * math.erfc(-t / math.sqrt(2)) for t in x], rtol=1e-14)


def test_a_tap_keeps_what_was_there_when_it_looked():
    taps, x = Taps(), np.ones(2)

    assert taps("a", x) is x
    x[0] = 5.0

    assert taps.seen["a"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("float32", "float32"), ("float32", "tf32"), ("float16", "float16"), ("bfloat16", "bfloat16")],
)
def test_the_unit_is_the_error_of_the_worst_row_of_the_honest_run(dtype, precision):
    ref = Reference("p1", dtype, precision)

    errors = []
    for ids in ref.probe.rows():
        honest, exact = ref.honest([ids]), ref.exact([ids])
        errors.append(measure.divergence(honest, exact).size)
        np.testing.assert_array_equal(ref.oracle(ids), exact[0])

    assert ref.unit == pytest.approx(max(*errors, 16 * measure.UNIT[precision]))
    assert ref.oracle(ids) is ref.oracle(list(ids))
    assert ref.params64["wte"].dtype == np.float64
    np.testing.assert_array_equal(ref.params64["wte"], stored(probe("p1").params(), dtype)["wte"])
    np.testing.assert_array_equal(ref.params32["wte"], measure.rounded(probe("p1").params()["wte"], dtype))


def test_the_unit_of_float64_is_that_of_float32_scaled():
    narrow, wide = Reference("p1", "float32", "float32"), Reference("p1", "float64", "float64")

    assert wide.unit == narrow.unit * 2.0**-29
