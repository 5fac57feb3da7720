"""The same text, measured in different ways, comes to the same."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arrayformer.core.engine import Engine
from arrayformer.core.errors import DataFileError, InputError, NumericError
from arrayformer.core.params import Params, map_paths
from arrayformer.evaluate import score
from arrayformer.evaluate.protocols import PROTOCOLS
from arrayformer.evaluate.run import Options, evaluate
from arrayformer.evaluate.score import WindowScorer
from arrayformer.evaluate.source import Text
from arrayformer.evaluate.windows import every_id
from arrayformer.tokenizer import Tokenizer

from .conftest import MakeEngine


def per_id(engine: Engine, tokenizer: Tokenizer, story: Text, batch: int = 3, stride: int = 16) -> Any:
    ids = tokenizer.encode(story.text, allowed_special=["<|endoftext|>"])
    windows = list(every_id(ids, 259, engine.config.n_ctx, stride))
    scorer = WindowScorer(engine, batch, engine.config.n_ctx)
    rows = [row for i in range(0, len(windows), batch) for row in scorer.per_id(windows[i : i + batch])[0]]
    return np.concatenate(rows)


def by_hand(engine: Engine, tokenizer: Tokenizer, story: Text, stride: int = 16) -> Any:
    """The definition, one id at a time in float64: no batch, no cache, no windows code."""
    ids = [259, *tokenizer.encode(story.text, allowed_special=["<|endoftext|>"])]
    n_ctx = engine.config.n_ctx
    losses = []
    for place in range(1, len(ids)):
        block_end = n_ctx if place <= n_ctx else n_ctx + math.ceil((place - n_ctx) / stride) * stride
        block_end = min(block_end, len(ids) - 1)
        before = ids[max(0, block_end - n_ctx) : place]
        logits = engine.logits(before)[-1].astype(np.float64)
        losses.append(np.log(np.sum(np.exp(logits - logits.max()))) + logits.max() - logits[ids[place]])
    return np.array(losses)


def test_batched_windows_give_what_the_definition_gives(
    make_engine: MakeEngine, tokenizer: Tokenizer, story: Text
) -> None:
    engine = make_engine()

    np.testing.assert_allclose(per_id(engine, tokenizer, story), by_hand(engine, tokenizer, story), atol=1e-5)


@pytest.mark.parametrize("logit_bytes", [1, 4 * 260 * 3 * 5])
def test_reading_in_chunks_changes_nothing(
    make_engine: MakeEngine, tokenizer: Tokenizer, story: Text, monkeypatch: pytest.MonkeyPatch, logit_bytes: int
) -> None:
    engine = make_engine()
    whole = per_id(engine, tokenizer, story)
    monkeypatch.setattr(score, "LOGIT_BYTES", logit_bytes)

    chunked = per_id(engine, tokenizer, story)

    np.testing.assert_allclose(chunked, whole, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_the_batch_size_changes_nothing(make_engine: MakeEngine, tokenizer: Tokenizer, story: Text, batch: int) -> None:
    engine = make_engine()

    np.testing.assert_allclose(per_id(engine, tokenizer, story, batch), per_id(engine, tokenizer, story), atol=1e-5)


def test_jax_agrees_with_numpy(make_engine: MakeEngine, tokenizer: Tokenizer, story: Text) -> None:
    pytest.importorskip("jax")

    got = per_id(make_engine("jax"), tokenizer, story, stride=32)

    np.testing.assert_allclose(got, per_id(make_engine(), tokenizer, story, stride=32), atol=1e-5)


def test_a_strict_array_library_agrees_with_numpy(
    make_engine: MakeEngine, params: Params, tokenizer: Tokenizer, story: Text
) -> None:
    strict = pytest.importorskip("array_api_strict")
    from arrayformer.core.backend import Backend

    class Strict(Backend):
        name, library, xp = "strict", "array-api-strict", strict

        def to_numpy(self: Any, x: Any) -> Any:
            return np.array(x._array)

    got = per_id(Engine(make_engine().config, params, Strict()), tokenizer, story)

    np.testing.assert_allclose(got, per_id(make_engine(), tokenizer, story), atol=1e-5)


def test_bits_per_byte_count_every_byte_of_the_file(make_engine: MakeEngine, tokenizer: Tokenizer, story: Text) -> None:
    engine = make_engine()

    result = evaluate(engine, tokenizer, PROTOCOLS["text"], story)

    bits = np.sum(by_hand(engine, tokenizer, story)) / math.log(2)
    assert result.figures()["bits_per_byte"].value == pytest.approx(bits / len(story.text.encode()), rel=1e-6)
    assert result.totals.n == len(tokenizer.encode(story.text, allowed_special=["<|endoftext|>"]))


def test_perplexities_follow_from_the_same_sum(make_engine: MakeEngine, tokenizer: Tokenizer, story: Text) -> None:
    result = evaluate(make_engine(), tokenizer, PROTOCOLS["text"], story)

    figures = result.figures()
    assert figures["token_perplexity"].value == pytest.approx(math.exp(result.totals.loss / result.totals.n))
    assert figures["word_perplexity"].value == pytest.approx(math.exp(result.totals.loss / len(story.text.split())))


def test_a_run_that_was_stopped_goes_on_where_it_was(
    make_engine: MakeEngine, tokenizer: Tokenizer, story: Text, tmp_path: Path
) -> None:
    engine, protocol, file = make_engine(), PROTOCOLS["text"], tmp_path / "state.json"
    seen = []

    def stop(result: Any) -> Any:
        seen.append(result.totals.windows)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(engine, tokenizer, protocol, story, Options(batch=2, state=file), progress=stop)
    resumed = []
    again = evaluate(
        engine, tokenizer, protocol, story, Options(batch=2, state=file),
        progress=lambda result: resumed.append(result.totals.windows),
    )  # fmt: skip

    assert (seen, resumed[0]) == ([2, 4], 6)
    assert again.totals == evaluate(engine, tokenizer, protocol, story, Options(batch=2)).totals
    assert [f.name for f in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("change", ["stride", "weights", "text"])
def test_the_state_of_another_run_is_refused(
    make_engine: MakeEngine, params: Params, tokenizer: Tokenizer, story: Text, tmp_path: Path, change: str
) -> None:
    protocol, file = PROTOCOLS["text"], tmp_path / "state.json"
    evaluate(make_engine(), tokenizer, protocol, story, Options(state=file, limit=1))
    engine, text, options = make_engine(), story, Options(state=file)
    if change == "stride":
        options = Options(state=file, stride=3)
    elif change == "weights":
        other = map_paths(lambda path, x: x + 1 if path == "blocks.1.mlp.c_fc.b" else x, params)
        engine = Engine(engine.config, other, engine.backend)
    else:
        text = Text(story.text, story.n_bytes, "1" * 64, False, "other.txt")

    with pytest.raises(DataFileError, match="belongs to another run"):
        evaluate(engine, tokenizer, protocol, text, options)


def test_a_file_that_is_no_state_is_refused(
    make_engine: MakeEngine, tokenizer: Tokenizer, story: Text, tmp_path: Path
) -> None:
    file = tmp_path / "state.json"
    file.write_text("[1, 2]")

    with pytest.raises(DataFileError, match="is not the state of an evaluation"):
        evaluate(make_engine(), tokenizer, PROTOCOLS["text"], story, Options(state=file))


def test_weights_that_are_not_finite_are_an_error(
    make_engine: MakeEngine, params: Params, tokenizer: Tokenizer, story: Text
) -> None:
    broken = map_paths(lambda path, x: x * np.nan if path == "ln_f.b" else x, params)

    with pytest.raises(NumericError, match="not finite"):
        evaluate(Engine(make_engine().config, broken, make_engine().backend), tokenizer, PROTOCOLS["text"], story)


@pytest.mark.parametrize("name", ["batch", "limit", "stride"])
@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", np.float64(2)])
def test_options_that_cannot_be_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} .* is "):
        Options(**{name: value})


def test_a_stride_longer_than_the_context_is_refused(
    make_engine: MakeEngine, tokenizer: Tokenizer, story: Text
) -> None:
    with pytest.raises(InputError, match="the stride is 33"):
        evaluate(make_engine(), tokenizer, PROTOCOLS["text"], story, Options(stride=33))


def test_an_option_may_be_an_integer_of_any_library() -> None:
    assert Options(np.int64(2), np.uint8(3), np.array(4)) == Options(2, 3, 4)  # type: ignore[arg-type]


def test_a_run_with_a_limit_is_not_complete(make_engine: MakeEngine, tokenizer: Tokenizer, story: Text) -> None:
    result = evaluate(make_engine(), tokenizer, PROTOCOLS["text"], story, Options(limit=2))

    assert (result.complete, result.totals.windows) == (False, 2)
