"""Draws follow the distribution, and are the same on every array library."""

import functools
import math
import os

import numpy as np
import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.backend import Backend
from arrayformer.core.generate.drawing import draw_for, plan_for
from arrayformer.core.generate.options import Sampling
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.ops import PLAIN
from arrayformer.core.sampling import pick

DRAWS = int(os.environ.get("ARRAYFORMER_DRAWS", "20"))
"""Draws that are compared with each library in each of six ways; 10,000 take half an hour on 2 cores."""

BATCH = 20

CONFIG = GPT2(n_vocab=8, n_ctx=4, n_embd=2, n_head=1, n_layer=1)


class Plain(Backend):
    """A library without any override, uncompiled."""

    name = "plain"
    library = "plain"

    def __init__(self, xp):
        self.xp = xp
        super().__init__()


def libraries():
    """NumPy with its overrides, and each library that is here without any."""
    yield "numpy", lambda: NumpyBackend()
    yield "array_api_strict", lambda: Plain(pytest.importorskip("array_api_strict"))
    yield "jax", lambda: Plain(pytest.importorskip("jax").numpy)
    yield "torch", lambda: (pytest.importorskip("torch"), Plain(pytest.importorskip("array_api_compat.torch")))[1]


@pytest.fixture(params=[pytest.param(make, id=name) for name, make in libraries()])
def backend(request):
    return request.param()


def draws(backend, logits, sampling, n, first=0):
    """The ids drawn at the places first, first + 1, ... of a text, all from the same logits [n_vocab]."""
    host = np.broadcast_to(np.asarray(logits, dtype=np.float32), (n, 1, len(logits)))
    rows = [sampling] * n
    words = np.array([[sampling.word(first + i)] for i in range(n)], dtype=np.int32)
    draw = draw_for(rows, len(logits), backend)._replace(word=backend.asarray(words, "int32"))
    picked = picker(backend, plan_for(rows, len(logits)))(backend.asarray(host), draw)
    return backend.to_numpy(picked.ids)[:, 0]


@functools.cache
def picker(backend, plan):
    """`pick` as this backend runs it, compiled once."""
    return backend.compile(functools.partial(pick, plan=plan, ops=PLAIN.replaced(backend.overrides)))


def gpt2_like(n_vocab):
    """Logits that fall off as GPT-2's do: a few likely ids and a long tail."""
    return np.random.default_rng(0).permutation(-1.2 * np.log(np.arange(1, n_vocab + 1)) - 30.0)


def compiled_jax():
    """JAX as it runs: eager it takes three times as long, and the small cases below are eager."""
    pytest.importorskip("jax")
    from arrayformer.backends.jax.backend import JaxBackend

    return JaxBackend()


SHAPES = {"flat": np.zeros(50257), "like GPT-2's": gpt2_like(50257)}
NUMPY = NumpyBackend()


@functools.cache
def drawn_by_numpy(shape, sampling, first):
    """What the other libraries have to draw."""
    return draws(NUMPY, SHAPES[shape], sampling, BATCH, first)


@pytest.mark.parametrize(
    "make", list((dict(libraries()) | {"jax": compiled_jax}).items())[1:], ids=lambda entry: entry[0]
)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "sampling",
    [Sampling(1.0, seed=1), Sampling(0.7, top_k=40, seed=2), Sampling(1.0, top_p=0.9, seed=3)],
    ids=["all ids", "top-k", "top-p"],
)
def test_every_library_draws_the_same_ids(make, shape, sampling):
    backend = make[1]()

    for first in range(0, DRAWS, BATCH):
        found = draws(backend, SHAPES[shape], sampling, BATCH, first)

        np.testing.assert_array_equal(found, drawn_by_numpy(shape, sampling, first))


def expected(logits, sampling):
    """The distribution that should be drawn from, in float64, by the definition of each cut."""
    scaled = np.asarray(logits, dtype=np.float64) / sampling.temperature
    order = np.argsort(-scaled, kind="stable")
    kept = np.zeros(len(scaled), dtype=bool)
    kept[order[: sampling.top_k or len(scaled)]] = True
    kept |= scaled == scaled[kept].min()  # equals of the last stay in
    if sampling.top_p is not None:
        probs = np.where(kept, np.exp(scaled - scaled.max()), 0.0)
        probs /= probs.sum()
        kept &= np.array([probs[probs > p].sum() < sampling.top_p for p in probs])
    if sampling.min_p:
        kept &= scaled >= scaled.max() + math.log(sampling.min_p)
    probs = np.where(kept, np.exp(scaled - scaled.max()), 0.0)
    return probs / probs.sum()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0), Sampling(0.5, seed=4), Sampling(3.0, seed=5), Sampling(1.0, top_k=3), Sampling(1.0, top_p=0.6),
        Sampling(1.0, top_k=6, top_p=0.8, seed=6), Sampling(1.0, min_p=0.2), Sampling(0.8, top_p=0.95, min_p=0.05),
    ],
    ids=str,
)  # fmt: skip
def test_draws_follow_the_distribution(sampling):
    logits = np.array([2.0, 1.5, 1.0, 1.0, 0.0, -0.5, -1.0, -3.0, 0.3, -2.0])
    n = 10_000

    counts = np.bincount(draws(NumpyBackend(), logits, sampling, n), minlength=len(logits))

    probs = expected(logits, sampling)
    possible = probs > 0
    assert counts[~possible].sum() == 0
    chi_squared = ((counts[possible] - n * probs[possible]) ** 2 / (n * probs[possible])).sum()
    # Of 9 degrees of freedom 33.7 is passed once in 10,000; fewer degrees pass it less often.
    assert chi_squared < 33.7


@pytest.mark.parametrize(
    ("logits", "sampling", "possible"),
    [
        ([0.0, 3.0, 1.0], Sampling(0.0), {1}),
        ([0.0, 3.0, 3.0], Sampling(0.0), {1}),  # of equals the first
        ([0.0, 3.0, 1.0], Sampling(1e-6), {1}),
        ([0.0, 3.0, 1.0], Sampling(1e-320), {1}),
        ([0.0, 3.0, 1.0], Sampling(1.0, top_k=1), {1}),
        ([0.0, 3.0, 1.0], Sampling(1.0, top_p=1e-9), {1}),
        ([0.0, 3.0, 1.0], Sampling(1.0, min_p=1.0), {1}),
        ([0.0, 0.5, 1.0], Sampling(1e6, top_k=2), {1, 2}),
        ([0.0, 0.5, 1.0], Sampling(1e6, top_k=9), {0, 1, 2}),  # more than there are: all
        ([0.0, 0.0, 0.0, 0.0], Sampling(1.0, top_k=2), {0, 1, 2, 3}),  # ties at the cut stay in
        ([1.0, 0.0, 0.0, -9.0], Sampling(2.0, top_k=2), {0, 1, 2}),
        ([0.0, 0.0, 0.0, 0.0], Sampling(1.0, top_p=0.1), {0, 1, 2, 3}),
        ([0.0, 0.0, 0.0], Sampling(1.0, top_p=1.0, top_k=3, min_p=0.0), {0, 1, 2}),
        ([5.0, 5.0, 0.0], Sampling(1.0, top_p=0.5), {0, 1}),
        ([-1e30, 1e30, 0.0], Sampling(1.0), {1}),
        ([50.0, 49.0, 0.0], Sampling(1.0, top_k=2, top_p=0.99), {0, 1}),
    ],
)
def test_what_can_be_drawn_at_the_edges(backend, logits, sampling, possible):
    assert set(draws(backend, logits, sampling, 300).tolist()) == possible


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_draw_no_id(backend, wrong):
    assert set(draws(backend, [0.0, wrong, 1.0], Sampling(1.0), 4)) == {-1}


def test_rows_that_are_cut_differently_share_a_step():
    backend, n = NumpyBackend(), 200
    ways = [Sampling(1.0, top_k=2), Sampling(1.0), Sampling(0.0), Sampling(1.0, top_p=0.3), Sampling(1.0, min_p=0.9)]
    rows = [way for way in ways for _ in range(n)]
    logits = np.broadcast_to(np.array([0.0, 0.2, 0.4, 0.1, 0.3], dtype=np.float32), (len(rows), 1, 5))
    words = np.array([[rows[i].word(i % n)] for i in range(len(rows))], dtype=np.int32)
    draw = draw_for(rows, 5, backend)._replace(word=words)

    ids = pick(logits, draw, plan_for(rows, 5), PLAIN).ids[:, 0]

    drawn = [set(ids[i * n : (i + 1) * n].tolist()) for i in range(len(ways))]
    assert drawn == [{2, 4}, {0, 1, 2, 3, 4}, {2}, {2, 4}, {2, 4}]


def test_a_word_depends_on_seed_and_place_alone():
    words = {(seed, place): Sampling(1.0, seed=seed).word(place) for seed in range(50) for place in range(50)}

    assert len(set(words.values())) == len(words)
    assert words[0, 0] == Sampling(0.1, top_k=3, seed=0).word(0)
