"""Each fault computes what its sentence says: against NumPy formulae in float64, one for each fault."""

import math

import numpy as np
import pytest

from arrayformer.conformance.criterion import metrics as measure
from arrayformer.conformance.criterion.oracle import Taps, emulation
from arrayformer.conformance.diagnosis import attention_faults, rotation_faults, row_faults
from arrayformer.conformance.diagnosis.faults import FAULTS
from arrayformer.core import ops

RNG = np.random.default_rng(0)
X = np.linspace(-4.0, 4.0, 33)
ROWS, G, B = RNG.standard_normal((2, 3, 8)) * 1e-3, RNG.standard_normal(8), RNG.standard_normal(8)
MEAN, VAR = ROWS.mean(-1, keepdims=True), ROWS.var(-1, keepdims=True)
Q, K, V = 2.0 * RNG.standard_normal((3, 2, 5, 16))  # [head, seq, head_dim]
PLACES = np.arange(5)
CAUSAL = PLACES[:, None] >= PLACES
EARLIER_OR_FIRST = (PLACES[:, None] > PLACES) | ((PLACES[:, None] == 0) & (PLACES == 0))


def attended(scores, hidden=-math.inf, mask=CAUSAL):
    scores = np.where(mask, scores, hidden)
    probs = np.exp(scores - scores.max(-1, keepdims=True))
    return probs / probs.sum(-1, keepdims=True) @ V


SCORES = Q @ K.swapaxes(-1, -2)  # not scaled
SCALED = SCORES / 4.0

ACTIVATIONS = {
    "erf_gelu": ("gelu", [0.5 * t * math.erfc(-t / math.sqrt(2)) for t in X]),
    "tanh_gelu": ("gelu_erf", 0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))),
    "sigmoid_gelu": ("gelu", X / (1 + np.exp(-1.702 * X))),
    "relu_for_gelu": ("gelu", np.maximum(X, 0)),
    "silu_for_gelu": ("gelu", X / (1 + np.exp(-X))),
    "half_activation": ("gelu", ops.gelu(X).astype(np.float16)),
    "brain_activation": ("gelu", measure.round_mantissa(ops.gelu(X), 7)),
}
NORMS = {
    "eps_1e-6": (ROWS - MEAN) / np.sqrt(VAR + 1e-6) * G + B,
    "eps_1e-12": (ROWS - MEAN) / np.sqrt(VAR + 1e-12) * G + B,
    "eps_none": (ROWS - MEAN) / np.sqrt(VAR) * G + B,
    "eps_1e-3": (ROWS - MEAN) / np.sqrt(VAR + 1e-3) * G + B,
    "eps_outside": (ROWS - MEAN) / (np.sqrt(VAR) + 1e-5) * G + B,
    "unbiased_norm": (ROWS - MEAN) / np.sqrt(VAR * 8 / 7 + 1e-5) * G + B,
    "one_pass_norm": (ROWS - MEAN) / np.sqrt((ROWS**2).mean(-1, keepdims=True) - MEAN**2 + 1e-5) * G + B,
    "no_gain": (ROWS - MEAN) / np.sqrt(VAR + 1e-5) + B,
    "no_shift": (ROWS - MEAN) / np.sqrt(VAR + 1e-5) * G,
}
ATTENTIONS = {
    "mask_sees_next": attended(SCALED, mask=PLACES[:, None] + 1 >= PLACES),
    "mask_hides_self": attended(SCALED, mask=EARLIER_OR_FIRST),  # the first has nothing but itself
    "no_mask": attended(SCALED, mask=np.ones((5, 5), dtype=bool)),
    "mask_-10": attended(SCALED, SCALED - 10.0),
    "mask_-1e4": attended(SCALED, SCALED - 1e4),
    "mask_is_-10": attended(SCALED, -10.0),
    "mask_is_-1e4": attended(SCALED, -1e4),
    "mask_is_0": attended(SCALED, 0.0),
    "no_scale": attended(SCORES),
    "scale_d": attended(SCORES / 16.0),
    "scale_twice": attended(SCORES / 8.0),
}
ROUNDED = {"tf32": 10, "bfloat16": 7, "float16": 10}
WEIGHED = (
    "positions_from_1",
    "no_positions",
    "heads_interleaved",
    "k_and_v_swapped",
    "q_and_k_swapped",
    "norms_swapped",
)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_wrong_activation_is_the_one_it_says(name):
    replaced, expected = ACTIVATIONS[name]

    np.testing.assert_allclose(FAULTS[name].functions[replaced](X), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", NORMS)
def test_a_wrong_layer_norm_is_the_one_it_says(name):
    layer_norm = FAULTS[name].functions["layer_norm"]

    np.testing.assert_allclose(layer_norm(ROWS, G, B), NORMS[name], rtol=1e-9)
    np.testing.assert_allclose(layer_norm(ROWS, G, B, 1e-5), NORMS[name], rtol=1e-9)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_a_wrong_attention_is_the_one_it_says(name):
    attention, taps = FAULTS[name].functions["causal_attention"], Taps()

    found = attention(Q, K, V, PLACES, tap=taps)

    assert set(taps.seen) == {"scores", "probs"}
    np.testing.assert_allclose(found, ATTENTIONS[name], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(taps.seen["probs"] @ V, found, rtol=1e-9, atol=1e-12)
    batched = attention(Q[None], K[None], V[None], PLACES[None])
    np.testing.assert_allclose(batched[0], found, rtol=1e-9, atol=1e-12)
    alone = attention(Q[1:2], K[1:2], V[1:2], PLACES)
    np.testing.assert_allclose(alone, found[1:2], rtol=1e-9, atol=1e-12)
    given = attention(Q, K, V, PLACES, scale=0.25)
    np.testing.assert_allclose(given, found, rtol=1e-9, atol=1e-12)


def test_probabilities_in_float16_are_rounded_and_nothing_else_is():
    taps = Taps()

    found = FAULTS["half_probs"].functions["causal_attention"](Q, K, V, PLACES, tap=taps)

    exact = Taps()
    ops.causal_attention(Q, K, V, PLACES, tap=exact)
    np.testing.assert_array_equal(taps.seen["scores"], exact.seen["scores"])
    np.testing.assert_array_equal(taps.seen["probs"], exact.seen["probs"].astype(np.float16).astype(np.float64))
    np.testing.assert_allclose(found, taps.seen["probs"] @ V, rtol=1e-12)


def test_a_bias_and_a_last_row_can_be_forgotten():
    table, w = RNG.standard_normal((4, 2)), RNG.standard_normal((8, 3))

    np.testing.assert_array_equal(FAULTS["no_bias"].functions["linear"](ROWS, w, B[:3]), ROWS @ w)
    clamped = FAULTS["clamped_ids"].functions["embed"](table, np.array([[0, 2, 3]]))
    np.testing.assert_array_equal(clamped, table[[[0, 2, 2]]])


@pytest.mark.parametrize("precision", ROUNDED)
def test_rounded_products_are_those_of_an_honest_backend_of_the_class(precision):
    x, w = ROWS.astype(np.float32) * 1e3, G[:, None].astype(np.float32)

    for name in {precision, f"head_{precision}", f"attention_{precision}"} & FAULTS.keys():
        fault = FAULTS[name]
        assert fault.host
        honest = emulation(precision)
        assert set(fault.functions) == (
            {"unembed"} if "head" in name else {"causal_attention"} if "att" in name else set(honest)
        )
        for function in fault.functions.keys() & {"unembed"}:
            np.testing.assert_array_equal(fault.functions[function](x, w.T), honest[function](x, w.T))


def weights(n=48):
    """One block whose numbers tell where each came from: columns count up, the rows of positions too."""
    columns = np.arange(3.0 * n)
    c_attn = {"w": np.stack([columns, -columns]), "b": columns}
    block = {"ln_1": {"g": 1}, "ln_2": {"g": 2}, "attn": {"c_attn": c_attn, "c_proj": "p"}, "mlp": "m"}
    return {"wte": "e", "wpe": np.arange(4.0)[:, None], "blocks": [block, block]}


@pytest.mark.parametrize(
    ("name", "n", "order"),
    [
        ("k_and_v_swapped", 48, [*range(48), *range(96, 144), *range(48, 96)]),
        ("q_and_k_swapped", 48, [*range(48, 96), *range(48), *range(96, 144)]),
        # [3, 16] read as [16, 3], in each of the three parts
        ("heads_interleaved", 48, [48 * p + 16 * h + d for p in range(3) for d in range(16) for h in range(3)]),
        ("heads_interleaved", 24, [24 * p + 12 * h + d for p in range(3) for d in range(12) for h in range(2)]),
        ("heads_interleaved", 16, [16 * p + 8 * h + d for p in range(3) for d in range(8) for h in range(2)]),
        ("heads_interleaved", 12, [12 * p + 4 * h + d for p in range(3) for d in range(4) for h in range(3)]),
        ("heads_interleaved", 6, [6 * p + 2 * h + d for p in range(3) for d in range(2) for h in range(3)]),
        ("heads_interleaved", 7, range(21)),
    ],
)
def test_columns_of_every_block_come_in_the_wrong_order(name, n, order):
    right = weights(n)

    changed = FAULTS[name].weights(right)

    for block in changed["blocks"]:
        assert block["attn"]["c_attn"]["b"].tolist() == list(order)
        assert block["attn"]["c_attn"]["w"].tolist() == [list(order), [-c for c in order]]
        assert (block["attn"]["c_proj"], block["mlp"], block["ln_1"], block["ln_2"]) == ("p", "m", {"g": 1}, {"g": 2})
    assert len(changed["blocks"]) == 2
    assert changed["wte"] == "e"
    assert right["blocks"][0]["attn"]["c_attn"]["b"].tolist() == list(range(3 * n))


def test_positions_and_norms_come_in_the_wrong_order():
    assert FAULTS["positions_from_1"].weights(weights())["wpe"].tolist() == [[1.0], [2.0], [3.0], [3.0]]
    assert FAULTS["no_positions"].weights(weights())["wpe"].tolist() == [[0.0]] * 4
    for block in FAULTS["norms_swapped"].weights(weights())["blocks"]:
        assert (block["ln_1"], block["ln_2"], block["mlp"]) == ({"g": 2}, {"g": 1}, "m")


def test_each_fault_stands_here_and_tells_hosts_from_devices():
    here = {*ACTIVATIONS, *NORMS, *ATTENTIONS, *WEIGHED, *ROUNDED, "half_probs", "no_bias", "clamped_ids"}
    here |= {f"{part}_{precision}" for part in ("head", "attention") for precision in ("tf32", "bfloat16")}

    elsewhere = {f.name for f in (*rotation_faults.ALL, *attention_faults.ALL, *row_faults.ALL)}
    assert here == FAULTS.keys() - elsewhere  # those are in test_architecture_faults.py
    only_numpy = {name for name in here if FAULTS[name].host}
    narrow = {name for name in here if "float16" in name or "tf32" in name}
    assert only_numpy == narrow | {"half_activation", "brain_activation"}
