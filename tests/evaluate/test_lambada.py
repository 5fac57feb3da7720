import json
from typing import Any

import numpy as np
import pytest

from arrayformer.core.errors import DataFileError
from arrayformer.evaluate import lambada
from arrayformer.evaluate.protocols import PROTOCOLS
from arrayformer.evaluate.run import Options, evaluate
from arrayformer.evaluate.source import Text
from arrayformer.evaluate.words import Passage, WordScorer
from arrayformer.tokenizer import Tokenizer

from .conftest import MakeEngine

PASSAGES = ["the cat sat on the mat", "a fish thought of the cat.", "the mat and the", "one two three, said the fish"]


@pytest.fixture
def passages() -> Any:
    lines = "\n".join(json.dumps({"text": p}) for p in PASSAGES)
    return Text(lines, len(lines), "2" * 64, True, "lambada.jsonl")


def test_the_last_token_is_a_hit_where_it_is_the_likeliest(
    make_engine: MakeEngine, tokenizer: Tokenizer, passages: Text
) -> None:
    engine = make_engine()

    result = evaluate(engine, tokenizer, PROTOCOLS["lambada-token"], passages, Options(batch=3))

    hits = [int(np.argmax(engine.logits((ids := tokenizer.encode(p))[:-1])[-1])) == ids[-1] for p in PASSAGES]
    assert result.totals.n == len(PASSAGES)
    assert result.totals.hits == sum(hits)


def test_words_are_guessed_as_one_passage_at_a_time_would(make_engine: MakeEngine, tokenizer: Tokenizer) -> None:
    engine = make_engine()
    scorer = WordScorer(engine, 3, 30, tokenizer)
    items = [Passage(tuple(tokenizer.encode(p)), "x") for p in PASSAGES[:3]]

    together = scorer.guess(items)

    expected = []
    for item in items:
        ids = list(item.ids)
        for _ in range(3):
            logits = engine.logits(ids)[-1]
            allowed = [i for i in range(260) if not lambada.is_stop_word(tokenizer.token_bytes(i))]
            ids.append(max(allowed, key=lambda i: logits[i]))
        expected.append(lambada.first_word(tokenizer.decode(ids[-3:])))
    assert together == expected
    assert scorer.guess(items[:1]) == expected[:1]


def test_a_guess_that_equals_the_last_word_is_a_hit(make_engine: MakeEngine, tokenizer: Tokenizer) -> None:
    scorer = WordScorer(make_engine(), 2, 30, tokenizer)
    ids = tuple(tokenizer.encode(PASSAGES[0]))
    guess = scorer.guess([Passage(ids, "")])[0]

    outcomes = scorer([Passage(ids, guess), Passage(ids, guess + "x")])

    assert [o.hits for o in outcomes] == [1, 0]


def test_the_word_protocol_reads_all_but_the_last_word(tokenizer: Tokenizer, passages: Text) -> None:
    task = PROTOCOLS["lambada-word"].prepare(passages, tokenizer, 32, 32)

    assert [item.answer for item in task.items if isinstance(item, Passage)] == ["mat", "cat", "the", "fish"]
    assert tokenizer.decode(task.items[0].ids) == "the cat sat on the"


@pytest.mark.parametrize("token", [b" the", b"The", b" THE ", b"it"])
def test_stop_words_are_known_with_spaces_and_capitals(token: bytes) -> None:
    assert lambada.is_stop_word(token)


@pytest.mark.parametrize("token", [b" cat", b"ther", b"", b"\xff", b","])
def test_other_tokens_are_no_stop_words(token: bytes) -> None:
    assert not lambada.is_stop_word(token)


@pytest.mark.parametrize("line", ["plain text", '{"txt": "a b"}', '{"text": 3}', "[]", '{"text": "word"}'])
def test_what_is_no_passage_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(DataFileError, match="line 2 is no LAMBADA passage"):
        lambada.passages('{"text": "a b c"}\n' + line)
