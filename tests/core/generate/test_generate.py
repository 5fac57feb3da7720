"""Alone, in a batch, or with ids guessed ahead: the same text, ended for the right reason."""

import threading
from typing import Any

import numpy as np
import pytest

from arrayformer.core.errors import InputError, NumericError
from arrayformer.core.generate import loop
from arrayformer.core.generate.drawing import draw_for, plan_for
from arrayformer.core.generate.options import Ending, Sampling
from arrayformer.core.generate.text import Text
from arrayformer.core.sampling import mark

PROMPTS = ["Hello", "a", "The quick brown fox", "xyxyxyxyxy", "né"]
WAYS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.9, "seed": 7},
    {"temperature": 1.5, "seed": 2**64 - 1, "top_k": 5},
    {"temperature": 0.8, "seed": 3, "top_p": 0.7},
    {"temperature": 0.8, "seed": 3, "top_p": 0.9, "top_k": 50, "min_p": 0.05},
    {"repetition_penalty": 1.3},
    {"temperature": 0.7, "repetition_penalty": 0.8, "seed": 5},
    {"temperature": 0.7, "max_new_tokens": 50, "on_full": "slide"},
]


def begun(model, prompts, **options):
    """Each prompt as a text to go on with, its end left out of account."""
    ending = Ending(ignore_eos=True, **options)
    return [Text(model.ids(prompt), Sampling(), ending, model.config.n_ctx) for prompt in prompts]


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_a_row_writes_the_same_alone_and_in_any_batch(model, options, batch_size):
    options = {"max_new_tokens": 12, **options}

    together = model.generate(PROMPTS, batch_size=batch_size, **options)

    alone = [model.generate(prompt, **options) for prompt in PROMPTS]
    assert [g.ids for g in together] == [g.ids for g in alone]
    assert [g.text for g in together] == [g.text for g in alone]


@pytest.mark.parametrize("options", [way for way in WAYS if "repetition_penalty" not in way], ids=str)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_guessing_ahead_changes_nothing(model, options, batch_size):
    options = {"max_new_tokens": 12, "batch_size": batch_size, **options}

    guessed = model.generate(PROMPTS, speculate=True, **options)

    plain = model.generate(PROMPTS, **options)
    assert [g.ids for g in guessed] == [g.ids for g in plain]
    assert [g.finish_reason for g in guessed] == [g.finish_reason for g in plain]


def test_right_guesses_save_steps_and_are_reported(writes):
    model = writes(list(b"abcdabcdabcdabcdabcdabcd"))
    steps = []
    draw = model.engine.step
    model.engine.step = lambda *which: steps.append(which) or draw(*which)

    written = model.generate([97], max_new_tokens=24, speculate=True)

    assert written.text == "abcdabcdabcdabcdabcdabcd"
    assert len(steps) < 14
    assert 0.5 < written.acceptance <= 1.0


def test_each_row_of_a_batch_has_its_own_length(model):
    rows = [
        *begun(model, ["Hello"], max_new_tokens=3),
        *begun(model, ["a"], max_new_tokens=0),
        *begun(model, ["b", "c"], max_new_tokens=9),
    ]

    list(loop.generate(model.engine, rows, batch_size=2))

    assert [len(row.new_ids) for row in rows] == [3, 0, 9, 9]
    assert {row.finish_reason for row in rows} == {"length"}


def test_nothing_is_guessed_unless_asked_for(writes):
    model = writes(list(b"abcdabcdabcd"))
    [plain], [guessed] = (begun(model, [[97]], max_new_tokens=12) for _ in range(2))
    steps = []
    draw = model.engine.step
    list(loop.generate(model.engine, [plain]))
    model.engine.step = lambda *which: steps.append(which) or draw(*which)

    list(loop.generate(model.engine, [guessed], speculate=True))

    assert (plain.drafted, plain.accepted) == (0, 0)
    assert guessed.drafted >= guessed.accepted > 0
    assert len(steps) + guessed.accepted == 12  # a step draws one id, and each right guess saves one
    assert plain.ids == guessed.ids


def watch(model, monkeypatch, size):
    """The list to which each step that is run appends `size(ids, places)`."""
    seen, step = [], model.engine.step

    def watched(*which):
        def run(params, cache, ids, places, draw):
            seen.append(size(ids, places))
            return step(*which)(params, cache, ids, places, draw)

        return run

    monkeypatch.setattr(model.engine, "step", watched)
    return seen


def test_a_compiler_meets_two_widths_of_guesses_only(writes, monkeypatch):
    model = writes(list(b"abcdabcdabxdabcdabcd"))
    widths = watch(model, monkeypatch, lambda ids, places: places.shape[1])
    plain = model.generate([97], max_new_tokens=20, speculate=True)
    some = set(widths)
    monkeypatch.setattr(model.engine.backend, "compiles", True, raising=False)
    widths.clear()
    padded = model.generate([97], max_new_tokens=20, speculate=True)

    assert padded.ids == plain.ids
    assert len(some) > 2
    assert set(widths) == {1, 1 + loop.LOOKAHEAD}


def test_half_the_rows_are_given_up_once_half_of_them_have_ended(model, monkeypatch):
    rows = [begun(model, ["a"], max_new_tokens=n)[0] for n in (2, 3, 6, 9)]
    heights = watch(model, monkeypatch, lambda ids, places: ids.shape[0])
    list(loop.generate(model.engine, rows))

    assert heights == [4, 4, 4, 2, 2, 2, 1, 1, 1]


def test_as_many_rows_as_are_allowed_may_be_read_together(model):
    assert list(loop.generate(model.engine, [], batch_size=65536)) == []
    with pytest.raises(InputError, match="batch_size is 65537; it is a whole number from 1 to 65536"):
        list(loop.generate(model.engine, [], batch_size=65537))


def test_what_was_not_asked_for_is_not_there(model):
    [text] = loop.generate(model.engine, begun(model, ["a"], max_new_tokens=1))
    context = model.engine.context(1, 4)
    plan = plan_for([Sampling()], 257)

    picked = context.draw([[1, 2]], np.array([[1]]), draw_for([Sampling()], 257, model.engine.backend), plan)

    assert (text.logprobs, text.top_logprobs) == ([], [])
    assert (picked.logprob, picked.top_ids, picked.top_logprobs, picked.seen) == (None, None, None, None)
    only = model.generate("a", max_new_tokens=2, logprobs=0, ignore_eos=True)
    assert only.logprobs == pytest.approx(model.score([*only.prompt_ids, *only.ids])[-2:], abs=1e-4)
    assert all(len(top) == 0 for top in only.top_logprobs)


@pytest.mark.parametrize("id", [0, 3, 256])
def test_what_was_drawn_is_seen_and_nothing_else(id):
    before = np.zeros((2, 257), dtype=bool)
    before[0, 5] = True

    seen = mark(before, np.array([[id], [7]]))

    assert [set(np.flatnonzero(row)) for row in seen] == [{5, id}, {7}]


def test_rows_enter_as_others_leave(model):
    rows = begun(model, PROMPTS * 2, max_new_tokens=4)

    open_at_once = [
        sum(row.finish_reason is None and len(row.new_ids) > 0 for row in rows)
        for _ in loop.generate(model.engine, rows, batch_size=3)
    ]

    assert max(open_at_once) == 3


@pytest.mark.parametrize(
    ("ids", "options", "text", "reason"),
    [
        (b"abcdef", {"max_new_tokens": 3}, "abc", "length"),
        (b"abcdef", {"max_new_tokens": 0}, "", "length"),
        ([97, 98, 256, 99], {}, "ab", "eos"),
        ([256, 97], {}, "", "eos"),
        ([97, 98, 256, 99], {"ignore_eos": True, "max_new_tokens": 4}, "ab<|endoftext|>c", "length"),
        (b"abcdef", {"stop": "cd"}, "ab", "stop"),
        (b"abcdef", {"stop": ["x", "f"]}, "abcde", "stop"),
        (b"abcdef", {"stop": "cd", "max_new_tokens": 3}, "abc", "length"),
        ([97, 98, 256], {"stop": "bc"}, "ab", "eos"),
        ((b"abc" * 11)[:31], {}, ("abc" * 11)[:31], "context"),
        ((b"abc" * 11)[:31], {"max_new_tokens": 99, "on_full": "stop"}, ("abc" * 11)[:31], "context"),
        ("é€😀".encode(), {"max_new_tokens": 9}, "é€😀", "length"),
        ("é€".encode()[:4], {"max_new_tokens": 4}, "é\N{REPLACEMENT CHARACTER}", "length"),
    ],
)
@pytest.mark.parametrize("speculate", [False, True])
def test_a_text_ends_for_the_right_reason(writes, ids, options, text, reason, speculate):
    model = writes(list(ids))

    written = model.generate([65], speculate=speculate, **options)

    assert (written.text, written.finish_reason) == (text, reason)
    assert 256 not in written.ids or options.get("ignore_eos")


@pytest.mark.parametrize("options", [{}, {"stop": ["e", "\N{REPLACEMENT CHARACTER}"]}, {"temperature": 2.0, "seed": 9}])
def test_streamed_pieces_are_the_text(model, options):
    whole = model.generate("Hello", max_new_tokens=26, ignore_eos=True, **options).text

    pieces = list(model.stream("Hello", max_new_tokens=26, ignore_eos=True, **options))

    assert "".join(pieces) == whole
    assert all(pieces)


def test_a_character_of_several_ids_is_streamed_whole(writes):
    model = writes(list("a€😀b".encode()))

    assert list(model.stream([65], max_new_tokens=9)) == ["a", "€", "😀", "b"]


def test_a_sliding_window_goes_on_past_the_context(model):
    written = model.generate("Hello", max_new_tokens=100, on_full="slide", ignore_eos=True)

    assert len(written.ids) == 100
    # Right after the window slid, the model sees the last half context and nothing else.
    text = written.prompt_ids + written.ids
    again = model.generate(text[33 - 16 : 33], max_new_tokens=16, ignore_eos=True)
    assert written.ids[33 - 5 :][:16] == again.ids


def test_log_probabilities_are_those_of_the_whole_distribution(model):
    written = model.generate("Hello", max_new_tokens=5, temperature=0.9, top_k=3, logprobs=4, ignore_eos=True)

    scores = model.score([*written.prompt_ids, *written.ids])[-5:]
    np.testing.assert_allclose(written.logprobs, scores, atol=1e-4)
    for token, logprob, top in zip(written.ids, written.logprobs, written.top_logprobs, strict=True):
        assert len(top) == 4
        assert [value for _, value in top] == sorted((value for _, value in top), reverse=True)
        assert all(value == pytest.approx(logprob) for id, value in top if id == token)


def test_a_repetition_penalty_avoids_what_was_said(writes):
    model = writes(list(b"aaaaaaaa"))

    model.engine.params["lm_head"][98, :8] = 4.5  # the second choice

    written = model.generate([97], max_new_tokens=8, repetition_penalty=100.0)

    assert model.generate([97], max_new_tokens=8).text == "aaaaaaaa"
    assert written.text == "baaaaaaa"  # once both were said, the likelier one is again


def test_a_penalty_and_guessing_ahead_are_refused_together(model):
    with pytest.raises(InputError, match="exclude each other"):
        model.generate("a", repetition_penalty=1.1, speculate=True, max_new_tokens=2)


def test_logits_that_are_not_finite_end_with_an_error(writes):
    model = writes(list(b"ab"))
    model.engine.params["wpe"][1] = np.nan

    with pytest.raises(NumericError, match="after 2 ids"):
        model.generate([97], max_new_tokens=4)


def test_an_interrupted_step_leaves_a_context_that_goes_on(model):
    context = model.engine.context(1, 16)
    context.read([[1, 2, 3]])

    def interrupt(name, x):
        if name == "h.1.attn.probs":
            raise KeyboardInterrupt
        return x

    with pytest.raises(KeyboardInterrupt):
        context.read([[4, 5]], tap=interrupt)
    logits = np.array(context.read([[4]]))

    np.testing.assert_allclose(logits[0], model.logits([1, 2, 3, 4])[-1], atol=1e-5)


def test_threads_that_share_a_model_get_what_each_would_get_alone(model):
    options = {"max_new_tokens": 12, "temperature": 0.8, "ignore_eos": True}
    alone = [model.generate(prompt, seed=i, **options).ids for i, prompt in enumerate(PROMPTS)]
    got = {}

    def work(i):
        for _ in range(3):
            got.setdefault(i, []).append(model.generate(PROMPTS[i], seed=i, **options).ids)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(PROMPTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [got[i] for i in range(len(PROMPTS))] == [[ids] * 3 for ids in alone]
