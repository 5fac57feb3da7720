"""Merging: the loop for words and the heap for long pieces do the same, and the long one takes no long time."""

import doctest
import random
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import arrayformer.tokenizer.merge
from arrayformer.tokenizer.merge import SHORT, merge, merge_long, merge_steps


@st.composite
def tables(draw):
    """Ranks and results over three bytes, with merges in any order: also such as no training makes."""
    tokens = ["a", "b", "c"]
    pairs = []
    for _ in range(draw(st.integers(0, 12))):
        left, right = draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens))
        if (left, right) not in pairs:
            pairs.append((left, right))
        if left + right not in tokens:
            tokens.append(left + right)
    pairs = draw(st.permutations(pairs))
    ids = {token: id for id, token in enumerate(tokens)}
    return {(ids[left], ids[right]): rank for rank, (left, right) in enumerate(pairs)}, [
        ids[left + right] for left, right in pairs
    ]


def plain(ids, ranks, results):
    """The rule, written as plainly as it can be."""
    ids = list(ids)
    while True:
        found = [(ranks[pair], at) for at, pair in enumerate(pairwise(ids)) if pair in ranks]
        if not found:
            return ids
        rank, at = min(found)
        ids[at : at + 2] = [results[rank]]


@given(tables(), st.lists(st.integers(0, 2), max_size=80))
@example(({(0, 0): 0, (3, 3): 1}, [3, 4]), [0] * 7)
@settings(max_examples=100, deadline=None)
def test_both_ways_of_merging_follow_the_rule(table, ids):
    ranks, results = table
    short = list(ids)

    steps = list(merge_steps(short, ranks, results))

    assert short == plain(ids, ranks, results)
    assert merge_long(ids, ranks, results) == short
    assert merge(list(ids), ranks, results) == short
    assert len(steps) == len(ids) - len(short)


def test_a_lower_rank_that_comes_up_goes_first():
    ranks, results = {(3, 0): 0, (0, 1): 1}, [4, 3]  # "ab"+"a" ranks before "a"+"b", which makes its part

    for ids in ([0, 1, 0, 1], [0, 1, 0, 1] * 30):
        assert merge_long(ids, ranks, results) == plain(ids, ranks, results)


@pytest.mark.parametrize("length", [SHORT - 1, SHORT, SHORT + 1, 3 * SHORT])
def test_the_change_from_one_way_to_the_other_does_not_show(gpt2, tiktoken_encode, length):
    for unit in ("a", "abcdefgh", "^", "漢字", "zq"):
        text = (unit * length)[:length]

        assert gpt2.encode(text) == tiktoken_encode(text)


def letters(count):
    return "".join(random.Random(0).choices("etaoinshrdlu", k=count))


@pytest.mark.parametrize(
    "text", ["a" * 10**6, "^" * 10**5, " " * 10**6, "漢字仮名" * 25_000, "👩‍👩‍👧‍👦" * 5_000, letters(10**5)]
)
def test_a_million_characters_without_a_break_come_back(gpt2, text):
    # With O(n^2) merges this test would run for hours.
    ids = gpt2.encode(text)

    assert gpt2.decode(ids) == text
    assert max(ids) < 50256


def test_long_random_letters_have_tiktokens_ids(gpt2, tiktoken_encode):
    assert gpt2.encode(letters(20_000)) == tiktoken_encode(letters(20_000))


def test_the_six_lines_that_say_it_all_do_what_they_say():
    assert doctest.testmod(arrayformer.tokenizer.merge).attempted == 2
    assert doctest.testmod(arrayformer.tokenizer.merge).failed == 0
