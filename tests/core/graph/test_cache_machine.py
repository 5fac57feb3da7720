"""The cache as a machine: whatever is read, forked, copied, cut and forgotten in whatever order, each row's logits are
those that the formulae give for that row's ids alone, without a cache.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.core.graph import reference

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.core.backend import Backend
from arrayformer.core.engine import Context, Engine
from arrayformer.core.errors import InputError
from arrayformer.core.generate.batch import Batch
from arrayformer.core.generate.options import Ending, Sampling
from arrayformer.core.generate.text import Text
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import random_params

CONFIG = GPT2(n_vocab=7, n_ctx=12, n_embd=8, n_head=2, n_layer=2)
PARAMS = random_params(CONFIG.weights(), seed=5, gain=0.4)

ids = st.integers(0, CONFIG.n_vocab - 1)
pieces = st.lists(ids, max_size=5)


class Padding(Backend):
    """NumPy with none of its faster functions, which pads as a compiling backend does."""

    name = "padding"
    library = "numpy"
    xp = NumpyBackend.xp

    def bucket(self, n: int, limit: int) -> int:
        return min(limit, -(-n // 4) * 4)


@cache
def uncached(text: tuple[int, ...]) -> Any:
    """float64 logits [seq, n_vocab] of a text read at once."""
    return reference.logits(list(text), PARAMS, CONFIG.n_head)


def close(got: Any, text: Sequence[int]) -> None:
    np.testing.assert_allclose(np.asarray(got), uncached(tuple(text))[-len(got) :], atol=1e-4)


class Failing(Exception):
    """Ends a step in its middle."""


def fail_in_the_last_block(name: str, x: Any) -> Any:
    if name == "h.1.mid":
        raise Failing
    return x


class Reader:
    """A context, and per row the ids that it should remember."""

    def __init__(self, context: Context, texts: list[list[int]]) -> None:
        self.context, self.texts = context, texts


class Contexts(RuleBasedStateMachine):
    """Contexts of one model, any of which may be forked, copied into another, cut and forgotten."""

    backend: type[Backend] = NumpyBackend
    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine(CONFIG, PARAMS, self.backend())
        self.all: list[Reader] = []

    def keep(self, context: Context, texts: list[list[int]]) -> Reader:
        self.all.append(Reader(context, texts))
        return self.all[-1]

    @rule(target=readers, batch=st.integers(1, 3), capacity=st.integers(1, CONFIG.n_ctx))
    def begin(self, batch: int, capacity: int) -> Reader:
        return self.keep(self.engine.context(batch, capacity), [[] for _ in range(batch)])

    @rule(reader=readers, rows=st.lists(pieces, min_size=3, max_size=3), every=st.booleans())
    def read(self, reader: Reader, rows: list[list[int]], every: bool) -> None:
        capacity = reader.context.capacity
        rows = [row[: capacity - len(text)] for row, text in zip(rows, reader.texts, strict=False)]
        if not any(rows):
            return
        logits = np.asarray(reader.context.read(rows, every=every))
        for i, row in enumerate(rows):
            reader.texts[i] += row
            if row:
                close(logits[i, : len(row)] if every else logits[i : i + 1], reader.texts[i])

    @rule(reader=readers, id=ids)
    def read_too_much(self, reader: Reader, id: int) -> None:
        rows: list[list[int]] = [[] for _ in reader.texts]
        rows[-1] = [id] * (reader.context.capacity - len(reader.texts[-1]) + 1)
        with pytest.raises(InputError):
            reader.context.read(rows)

    @rule(reader=readers, id=ids)
    def break_off(self, reader: Reader, id: int) -> None:
        if max(map(len, reader.texts)) < reader.context.capacity:
            with pytest.raises(Failing):
                reader.context.read([[id] for _ in reader.texts], tap=fail_in_the_last_block)

    @rule(reader=readers, data=st.data())
    def truncate(self, reader: Reader, data: Any) -> None:
        row = data.draw(st.integers(0, len(reader.texts) - 1))
        length = data.draw(st.integers(0, len(reader.texts[row])))
        reader.context.truncate(row, length)
        del reader.texts[row][length:]

    @rule(reader=readers, data=st.data())
    def reset(self, reader: Reader, data: Any) -> None:
        row = data.draw(st.integers(0, len(reader.texts) - 1))
        reader.context.reset(row)
        reader.texts[row].clear()

    @rule(target=readers, reader=readers)
    def fork(self, reader: Reader) -> Any:
        if len(self.all) > 5:
            return multiple()
        return self.keep(reader.context.fork(), [list(text) for text in reader.texts])

    @rule(into=readers, source=readers, data=st.data())
    def take(self, into: Reader, source: Reader, data: Any) -> None:
        n = data.draw(st.integers(1, min(len(into.texts), len(source.texts))))
        rows = data.draw(st.permutations(range(len(source.texts))))[:n]
        places = data.draw(st.permutations(range(len(into.texts))))[:n]
        if into.context.capacity != source.context.capacity:
            with pytest.raises(InputError):
                into.context.take(source.context, rows, places)
            return
        copies = [list(source.texts[row]) for row in rows]
        into.context.take(source.context, rows, places)
        for place, copy in zip(places, copies, strict=True):
            into.texts[place] = copy

    @rule(reader=consumes(readers))
    def forget(self, reader: Reader) -> None:
        self.all.remove(reader)

    @invariant()
    def lengths_are_those_of_the_texts(self) -> None:
        for reader in self.all:
            assert reader.context.lengths == [len(text) for text in reader.texts]


class PaddedContexts(Contexts):
    """The same with steps and capacities padded."""

    backend = Padding


class Batches(RuleBasedStateMachine):
    """Rows that enter a batch, draw together and leave it, each ending with the ids that it draws alone."""

    backend: type[Backend] = NumpyBackend
    lookahead = 0

    def __init__(self) -> None:
        super().__init__()
        self.batch = Batch(Engine(CONFIG, PARAMS, self.backend()), 3, CONFIG.n_ctx, self.lookahead)
        self.start: dict[Text, int] = {}

    def check(self, before: dict[Text, int]) -> None:
        """Each id drawn is the likeliest, by the formulae, after what its text holds before it."""
        for text, length in before.items():
            for end in range(length, len(text.ids)):
                logits = uncached(tuple(text.ids[self.start[text] : end]))[-1]
                assert logits[text.ids[end]] >= logits.max() - 1e-4

    def read(self, texts: list[Text]) -> None:
        self.start |= {text: len(text.ids) - len(text.window()) for text in texts}
        before = {text: len(text.ids) for text in texts}
        assert self.batch.enter(texts) == texts
        self.check(before)

    @precondition(lambda self: self.batch.active < self.batch.size)
    @rule(prompts=st.lists(st.lists(ids, min_size=1, max_size=15), min_size=1, max_size=3), n=st.integers(1, 9))
    def enter(self, prompts: list[list[int]], n: int) -> None:
        ending = Ending(max_new_tokens=n, on_full="slide")
        texts = [Text(prompt, Sampling(), ending, CONFIG.n_ctx) for prompt in prompts]
        self.read(texts[: self.batch.size - self.batch.active])

    @precondition(lambda self: self.batch.active)
    @rule()
    def step(self) -> None:
        if full := self.batch.full():
            self.read(full)
        if self.batch.active:
            before = {text: len(text.ids) for text in self.batch.rows if text is not None}
            assert self.batch.step() == list(before)
            assert all(len(text.ids) > length for text, length in before.items())
            self.check(before)

    @precondition(lambda self: self.batch.active)
    @rule()
    def shrink(self) -> None:
        self.batch.shrink()

    @invariant()
    def each_row_was_read_but_for_its_last_id(self) -> None:
        context = self.batch._context
        for i, row in enumerate(self.batch.rows):
            assert context.lengths[i] == (0 if row is None else len(row.ids) - 1 - self.start[row])


class PaddedBatches(Batches):
    """The same with padding, and with ids guessed ahead."""

    backend = Padding
    lookahead = 3


@pytest.mark.parametrize("machine", [Contexts, PaddedContexts, Batches, PaddedBatches])
def test_no_order_of_steps_confuses_the_cache(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=25, derandomize=True, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
        ),
    )  # fmt: skip
