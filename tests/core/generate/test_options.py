"""Options at their bounds, and what a step has to compute for rows that ask for different things."""

import math
import subprocess
import sys
from hashlib import blake2b

import numpy as np
import pytest

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.errors import InputError
from arrayformer.core.generate.drawing import draw_for, plan_for
from arrayformer.core.generate.options import Ending, Sampling
from arrayformer.core.sampling import Plan


def test_nothing_asked_for_is_the_likeliest_id_until_the_context_is_full():
    assert Sampling() == Sampling(0.0, None, None, None, 1.0, 0, None)
    assert Ending() == Ending(None, (), False, "error")


@pytest.mark.parametrize(
    ("kind", "name", "inside", "outside"),
    [
        (Sampling, "temperature", [0, 1e6], [-1e-9, 1000001]),
        (Sampling, "top_k", [1, 2**63 - 1], [0, 2**63]),
        (Sampling, "top_p", [1e-300, 1], [0, 0.0, 1.0001]),
        (Sampling, "min_p", [0, 1], [-1e-9, 1.0001]),
        (Sampling, "repetition_penalty", [0.01, 100], [0.0099, 100.1]),
        (Sampling, "seed", [0, 2**64 - 1], [-1, 2**64]),
        (Sampling, "logprobs", [0, 1000], [-1, 1001]),
        (Ending, "max_new_tokens", [0, 10**9], [-1, 10**9 + 1]),
        (Ending, "stop", ["a", "a" * 1024, ["b"] * 64], ["", "a" * 1025, ["b"] * 65]),
    ],
)
def test_an_option_reaches_to_its_bounds_and_not_beyond(kind, name, inside, outside):
    for value in inside:
        expected = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
        assert getattr(kind(**{name: value}), name) == expected
    for value in outside:
        with pytest.raises(InputError):
            kind(**{name: value})


def test_a_refusal_says_what_is_possible_and_gives_advice_where_there_is_some():
    with pytest.raises(
        InputError, match=r"^top_k is 0; it is a whole number from 1 to \d+; leave it out to keep all ids$"
    ):
        Sampling(top_k=0)
    with pytest.raises(InputError, match=r"^logprobs is 'a'; it is a whole number from 0 to 1000$"):
        Sampling(logprobs="a")
    with pytest.raises(InputError, match=r"^min_p is 2; it is a number from 0 to 1$"):
        Sampling(min_p=2)


@pytest.mark.parametrize(
    ("options", "n_prompt", "limit"),
    [
        ({}, 3, 5), ({}, 8, 0), ({"max_new_tokens": 5}, 3, 5), ({"max_new_tokens": 2}, 3, 2),
        ({"max_new_tokens": 6, "on_full": "stop"}, 3, 5), ({"max_new_tokens": 4, "on_full": "stop"}, 3, 4),
        ({"max_new_tokens": 99, "on_full": "slide"}, 30, 99),
        ({"max_new_tokens": 6}, 3, "make 9, and this model's context is 8: ask for 5 at most"),
        ({}, 9, "9 ids and this model's context is 8: shorten it by 1"),
        ({"max_new_tokens": 0, "on_full": "stop"}, 10, "shorten it by 2"),
    ],
)  # fmt: skip
def test_as_many_ids_may_follow_as_fit(options, n_prompt, limit):
    ending = Ending(**options)

    if isinstance(limit, int):
        assert ending.limit(n_prompt, 8) == limit
    else:
        with pytest.raises(InputError, match=limit):
            ending.limit(n_prompt, 8)


@pytest.mark.parametrize(
    ("rows", "plan"),
    [
        ([{}], Plan()),
        ([{"temperature": 9e-6, "top_k": 2, "top_p": 0.5, "min_p": 0.5}], Plan()),  # cold: nothing is cut
        ([{"temperature": 1e-5}], Plan(greedy=False)),
        ([{}, {"temperature": 1.0}], Plan(greedy=False)),
        ([{"temperature": 1.0, "top_k": 5}], Plan(greedy=False, k=8)),
        ([{"temperature": 1.0, "top_k": 8}], Plan(greedy=False, k=8)),
        ([{"temperature": 1.0, "top_k": 1}], Plan(greedy=False, k=1)),
        ([{"temperature": 1.0, "top_k": 99}], Plan(greedy=False, k=100)),
        ([{"temperature": 1.0, "top_k": 100}], Plan(greedy=False)),
        ([{"temperature": 1.0, "top_k": 5}, {"temperature": 1.0}], Plan(greedy=False, k=100)),
        ([{"temperature": 1.0, "top_k": 5}, {"temperature": 1.0, "top_k": 9}, {}], Plan(greedy=False, k=16)),
        ([{"temperature": 1.0, "top_p": 1.0}], Plan(greedy=False)),
        ([{"temperature": 1.0, "top_p": 0.9}, {"temperature": 1.0}], Plan(greedy=False, nucleus=True)),
        ([{"temperature": 1.0, "min_p": 0.0}], Plan(greedy=False)),
        ([{"temperature": 1.0, "min_p": 0.1}, {"temperature": 1.0}], Plan(greedy=False, min_p=True)),
        ([{"repetition_penalty": 1.5}, {}], Plan(penalty=True)),
        ([{"logprobs": 0}, {}], Plan(logprobs=0)),
        ([{"logprobs": 3}, {"logprobs": 5}, {}], Plan(logprobs=5)),
        ([{"logprobs": 500}], Plan(logprobs=100)),
    ],
)
def test_a_step_computes_what_some_row_asks_for(rows, plan):
    assert plan_for([Sampling(**row) for row in rows], 100) == plan


def test_each_row_brings_its_own_numbers():
    rows = [
        Sampling(), Sampling(0.5, top_k=3, top_p=0.25, min_p=0.125, repetition_penalty=2.0),
        Sampling(9e-6, top_k=200), Sampling(1e-5, min_p=0.0),
    ]  # fmt: skip

    draw = draw_for(rows, 100, NumpyBackend())

    assert draw.temperature.tolist() == [0.0, 0.5, 0.0, float(np.float32(1e-5))]
    assert draw.top_k.tolist() == [100, 3, 100, 100]
    assert draw.top_p.tolist() == [1.0, 0.25, 1.0, 1.0]
    assert draw.min_p.tolist() == [-math.inf, float(np.float32(math.log(0.125))), -math.inf, -math.inf]
    assert draw.penalty.tolist() == [1.0, 2.0, 1.0, 1.0]
    assert (draw.word.tolist(), draw.seen) == ([[0]] * 4, None)


@pytest.mark.parametrize(("seed", "place"), [(0, 0), (7, 3), (2**64 - 1, 10**6)])
def test_a_word_is_a_digest_of_seed_and_place(seed, place):
    digest = blake2b(seed.to_bytes(8, "little") + place.to_bytes(8, "little"), digest_size=4).digest()

    assert Sampling(seed=seed).word(place) == int(np.frombuffer(digest, "<i4")[0])


def test_reading_how_a_model_ends_a_text_needs_no_sampler_and_no_engine():
    code = (
        "import sys, arrayformer.core.generate.options, arrayformer.core.checkpoint.generation_file;"
        "print([m for m in ('sampling', 'engine', 'backend') if f'arrayformer.core.{m}' in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
