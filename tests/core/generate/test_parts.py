"""The parts of the loop alone: which rows are read together, what is guessed, what a row says of itself."""

from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest

from arrayformer.core.errors import NumericError
from arrayformer.core.generate.lookup import Lookup
from arrayformer.core.generate.loop import group
from arrayformer.core.generate.options import Ending, Sampling
from arrayformer.core.generate.text import Text
from arrayformer.core.sampling import Picked


@pytest.mark.parametrize(
    ("lengths", "room", "alone", "together"),
    [
        ([5], 3, False, 1),
        ([5, 5, 5, 5], 3, False, 3),
        ([5, 5, 5], 3, True, 1),
        ([5, 5], 1, False, 1),
        ([1, 9], 2, False, 2),  # 18 places for 10 ids
        ([9, 1, 1], 3, False, 2),  # 27 places for 11 ids are too many
        ([4, 1, 1], 3, False, 3),  # 12 places for 6 ids are just right
        ([4, 1, 1, 1], 4, False, 3),
        ([1, 1, 1, 8], 4, False, 3),
        ([2048, 2048, 1], 3, False, 2),  # 4,096 places are the most
        ([2049, 2049], 2, False, 1),
    ],
)
def test_texts_are_read_together_unless_padding_would_be_most_of_it(lengths, room, alone, together):
    rows = deque(SimpleNamespace(window=lambda n=n: [0] * n, capacity=n + 1) for n in lengths)
    order = list(rows)

    assert group(rows, room, 9999, alone) == order[:together]
    assert list(rows) == order[together:]


@pytest.mark.parametrize(
    ("ids", "most", "guessed"),
    [
        ([1, 2, 3, 1, 2], 2, [3, 1]),
        ([1, 2, 3, 1, 2], 5, [3, 1, 2, 3, 1]),  # behind the end the repetition goes on
        ([1, 2, 3, 1, 2, 4, 1, 2], 2, [4, 1]),  # the latest occurrence counts
        ([9, 1, 2, 3, 7, 1, 2, 4, 9, 1, 2], 2, [3, 7]),  # the longest one before the latest
        ([8, 9, 1, 2, 3, 7, 9, 1, 2, 4, 8, 9, 1, 2], 1, [3]),
        ([1, 3, 1], 5, []),  # one id alone says nothing
        ([1, 2], 5, []),
        ([1, 2, 3, 1, 2], 0, []),
    ],
)
@pytest.mark.parametrize("by_one", [False, True])
def test_what_stood_after_the_last_ids_before_is_guessed(ids, most, guessed, by_one):
    lookup = Lookup(8)
    for end in range(1, len(ids)) if by_one else ():
        lookup.guess(ids[:end], most)

    assert lookup.guess(ids, most) == guessed


def test_a_text_that_needs_a_larger_context_waits():
    texts = deque(SimpleNamespace(window=lambda: [0], capacity=n) for n in (4, 5, 4))

    assert [text.capacity for text in group(texts, 3, 4, False)] == [4]
    assert [text.capacity for text in group(texts, 3, 5, False)] == [5, 4]


def test_less_is_guessed_after_a_wrong_guess_and_more_after_a_right_one():
    lookup, lengths = Lookup(8), []

    guesses = ((0, 0), (8, 7), (7, 3), (3, 0), (1, 0), (1, 0), (0, 0), (1, 1), (2, 2), (4, 4), (8, 8), (8, 0), (4, 0))
    for drafted, accepted in guesses:
        lookup.learn(drafted, accepted)
        lengths.append(len(lookup.guess([1, 2, 1, 2], 99)))

    assert lengths == [8, 7, 3, 1, 1, 1, 1, 2, 4, 8, 8, 4, 2]


def begun(n_prompt=3, n_ctx=8, sampling=None, **options):
    return Text(range(n_prompt), sampling or Sampling(), Ending(**options), n_ctx, eos=frozenset({99}))


def picked(*ids, **more):
    return Picked(np.array([[0] * len(ids), ids]), **more)


@pytest.mark.parametrize(
    ("n_prompt", "n_ctx", "window"), [(5, 6, 5), (6, 6, 6), (7, 6, 3), (8, 7, 3), (2, 1, 1), (3, 2, 1)]
)
def test_a_fresh_context_reads_all_or_the_last_half_of_it(n_prompt, n_ctx, window):
    text = begun(n_prompt, n_ctx, max_new_tokens=4, on_full="slide")

    assert text.window() == list(range(n_prompt))[-window:]
    assert text.capacity == min(n_ctx, n_prompt + 4)


def test_a_text_counts_what_it_drew_and_what_is_left():
    text = begun(max_new_tokens=3)
    assert (text.left, text.capacity, text.new_ids, text.finish_reason) == (3, 6, [], None)

    assert text.take(picked(7, 5), 1, 1) == 5

    assert (text.left, text.capacity, text.new_ids, text.ids) == (2, 6, [5], [0, 1, 2, 5])
    assert text.words(2) == [text.sampling.word(4), text.sampling.word(5)]
    text.take(picked(7), 1, 0)
    assert text.finish_reason is None
    text.take(picked(7), 1, 0)
    assert (text.finish_reason, text.left) == ("length", 0)


@pytest.mark.parametrize(
    ("options", "id", "reason"),
    [
        ({"max_new_tokens": 5}, 99, "eos"), ({"max_new_tokens": 5, "ignore_eos": True}, 99, None), ({}, 99, "eos"),
        ({"max_new_tokens": 1}, 0, "length"), ({"max_new_tokens": 5}, 0, None),
    ],
)  # fmt: skip
def test_a_text_ends_for_its_own_reason(options, id, reason):
    text = begun(**options)

    assert text.take(picked(id), 1, 0) == id

    assert text.finish_reason == reason
    assert text.new_ids == ([] if reason == "eos" else [id])


def test_a_text_without_a_limit_ends_with_the_context():
    assert begun(8).finish_reason == "context"
    assert begun(8, max_new_tokens=0).finish_reason == "length"
    text = begun(7)
    text.take(picked(0), 1, 0)

    assert text.finish_reason == "context"


def test_an_id_that_is_none_is_an_error_with_the_place():
    with pytest.raises(NumericError, match="after 3 ids"):
        begun().take(picked(-1), 1, 0)


@pytest.mark.parametrize(("wanted", "top"), [(None, None), (0, 0), (1, 1), (2, 2), (9, 2)])
def test_a_text_gets_as_many_alternatives_as_it_asked_for(wanted, top):
    values = {
        "logprob": np.array([[0.0], [-0.5]]), "top_ids": np.array([[[0, 0]], [[4, 3]]]),
        "top_logprobs": np.array([[[0.0, 0.0]], [[-0.25, -0.75]]]),
    }  # fmt: skip

    def reported(n, picked):
        text = begun(sampling=Sampling(logprobs=n))
        text.take(picked, 1, 0)
        return text.logprobs, text.top_logprobs

    logprobs, tops = reported(wanted, picked(4, **values))

    assert logprobs == ([] if wanted is None else [-0.5])
    assert tops == ([] if wanted is None else [((4, -0.25), (3, -0.75))[: top or 0]])
    assert reported(2, picked(4)) == ([], [])
    assert reported(2, picked(4, logprob=values["logprob"])) == ([-0.5], [()])
