"""Faults of newer architectures compute what their sentences say: against formulae written out in float64."""

import numpy as np
import pytest

from arrayformer.conformance.diagnosis.faults import FAULTS
from arrayformer.core import ops

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 2, 3, 8))
ANGLES = np.arange(3)[:, None] * np.array([1.0, 0.1, 0.01])
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)
ROW, G = RNG.standard_normal((2, 8)), RNG.standard_normal(8)
RMS = np.sqrt((ROW**2).mean(-1, keepdims=True) + 1e-6)
GATE, UP = RNG.standard_normal((2, 5)), RNG.standard_normal((2, 5))
Q = RNG.standard_normal((1, 4, 6, 8))
K, V = RNG.standard_normal((2, 1, 2, 6, 8))
PLACES = np.arange(6)


def turned(left, right, cos=COS, sin=SIN):
    return left * cos - right * sin, right * cos + left * sin


def test_neighbours_are_turned_as_complex_numbers_are():
    z = (X[..., 0:6:2] + 1j * X[..., 1:6:2]) * np.exp(1j * ANGLES)

    found = FAULTS["rope_neighbours"].functions["rotate"](X, COS, SIN)

    np.testing.assert_allclose(found[..., 0:6:2], z.real, rtol=1e-12)
    np.testing.assert_allclose(found[..., 1:6:2], z.imag, rtol=1e-12)
    np.testing.assert_array_equal(found[..., 6:], X[..., 6:])


@pytest.mark.parametrize(
    ("name", "channels"),
    [("rope_last_channels", (slice(2, 5), slice(5, 8))), ("rope_pairs_of_the_head", (slice(0, 3), slice(4, 7)))],
)
def test_other_channels_are_turned(name, channels):
    left, right = turned(*(X[..., part] for part in channels))

    found = FAULTS[name].functions["rotate"](X, COS, SIN)

    np.testing.assert_allclose(found[..., channels[0]], left, rtol=1e-12)
    np.testing.assert_allclose(found[..., channels[1]], right, rtol=1e-12)


def test_theta_one_percent_off_moves_each_frequency_by_its_power():
    table = np.cos(np.arange(20)[:, None] * 1e4 ** (-np.arange(4) / 4))

    found = FAULTS["rope_theta_1_percent"].functions["embed"](table, np.array([3, 17]))

    wanted = np.cos(np.array([3, 17])[:, None] * 10100.0 ** (-np.arange(4) / 4))
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rms_mean_subtracted", (ROW - ROW.mean(-1, keepdims=True)) / np.sqrt(ROW.var(-1, keepdims=True) + 1e-6) * G),
        ("rms_1_plus_w", ROW / RMS * (1 + G)),
        ("rms_no_gain", ROW / RMS),
        ("rms_sum_for_mean", ROW / np.sqrt((ROW**2).sum(-1, keepdims=True) + 1e-6) * G),
        ("rms_n_minus_1", ROW / np.sqrt((ROW**2).sum(-1, keepdims=True) / 7 + 1e-6) * G),
        ("rms_mean_of_sizes", ROW / (np.abs(ROW).mean(-1, keepdims=True) + 1e-6) * G),
    ],
)
def test_a_wrong_rms_norm_is_the_one_it_says(name, expected):
    np.testing.assert_allclose(FAULTS[name].functions["rms_norm"](ROW, G, 1e-6), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gate_and_up_swapped", GATE * np.tanh(UP)), ("gate_not_activated", GATE * UP),
        ("gate_of_the_product", np.tanh(GATE * UP)), ("gate_added", np.tanh(GATE) + UP), ("gate_alone", np.tanh(GATE)),
    ],
)  # fmt: skip
def test_a_wrong_gate_is_the_one_it_says(name, expected):
    np.testing.assert_allclose(FAULTS[name].functions["gated"](GATE, UP, np.tanh), expected, rtol=1e-12)


def looked(order, mask=PLACES[:, None] >= PLACES):
    """Attention of each head to the keys that `order` says, under a mask."""
    out = []
    for head, of in enumerate(order):
        scores = np.where(mask, Q[0, head] @ K[0, of].T / np.sqrt(8), -np.inf)
        out.append(ops.softmax(scores) @ V[0, of])
    return np.array(out)[None]


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("heads_tiled", [0, 1, 0, 1]), ("heads_reversed", [1, 1, 0, 0]), ("heads_first_for_all", [0] * 4),
        ("heads_last_for_all", [1] * 4), ("heads_group_off_by_one", [0, 1, 1, 1]), ("heads_last_group_lost", [0] * 4),
    ],
)  # fmt: skip
def test_heads_look_at_the_keys_the_fault_says(name, order):
    found = FAULTS[name].functions["causal_attention"](Q, K, V, PLACES)

    np.testing.assert_allclose(found, looked(order), rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "width"),
    [("window_one_more", 4), ("window_one_less", 2), ("window_forgotten", 99), ("window_half", 2)],
)
def test_a_wrong_window_is_as_long_as_it_says(name, width):
    found = FAULTS[name].functions["causal_attention"](Q, K, V, PLACES, window=3)

    distance = PLACES[:, None] - PLACES
    np.testing.assert_allclose(found, looked([0, 0, 1, 1], (distance >= 0) & (distance < width)), rtol=1e-10)


def test_what_remembers_is_made_anew_for_each_run():
    first, second = (FAULTS["rope_on_queries_only"].table()["rotate"] for _ in range(2))

    for rotate in (first, second):
        assert not np.array_equal(rotate(X, COS, SIN), X)
        assert np.array_equal(rotate(X, COS, SIN), X)
