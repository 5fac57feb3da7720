"""Running a protocol: batch after batch, remembered in a file if asked for."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from arrayformer.core.checks import check_whole
from arrayformer.core.engine import Engine
from arrayformer.core.errors import DataFileError
from arrayformer.core.params import walk
from arrayformer.evaluate.protocols import Protocol, Task
from arrayformer.evaluate.result import Result
from arrayformer.evaluate.score import WindowScorer
from arrayformer.evaluate.source import Text
from arrayformer.evaluate.state import State, load_state, save_state
from arrayformer.evaluate.totals import Outcome, Totals
from arrayformer.evaluate.windows import Window
from arrayformer.evaluate.words import Passage, WordScorer
from arrayformer.tokenizer import Tokenizer

SAVE_EVERY = 10.0
"""Seconds between two writings of the state."""

Progress = Callable[[Result], None]


@dataclass(frozen=True)
class Options:
    """What the user may choose.

    batch   windows read together
    stride  ids from one window to the next (None: the protocol's)
    limit   windows to stop after (None: all); a result with a limit is no protocol's figure
    state   where the run is remembered, so that it goes on where it was stopped

    The numbers are Python's own afterwards. Raises InputError for anything else.
    """

    batch: int = 4
    stride: int | None = None
    limit: int | None = None
    state: Path | None = None

    def __post_init__(self) -> None:
        keep = partial(object.__setattr__, self)
        keep("batch", check_whole("batch (--batch-size)", self.batch, 1, 65536))
        if self.stride is not None:
            keep("stride", check_whole("stride (--stride)", self.stride, 1, 2**31))
        if self.limit is not None:
            keep("limit", check_whole("limit (--limit)", self.limit, 1, 2**63 - 1))


def evaluate(
    engine: Engine, tokenizer: Tokenizer, protocol: Protocol, text: Text, options: Options | None = None, *,
    model: str = "", progress: Progress | None = None,
) -> Result:  # fmt: skip
    """Measure a model by a protocol.

    model     the name it goes by in the result
    progress  called with the result so far after each batch

    Raises InputError for options that do not fit, DataFileError for a text with nothing to score or a state file
    of another run, NumericError where logits are not finite.
    """
    options = options or Options()
    n_ctx = engine.config.n_ctx
    stride = protocol.stride(n_ctx) if options.stride is None else options.stride
    task = protocol.prepare(text, tokenizer, n_ctx, stride)
    if not task.items:
        raise DataFileError(f"{text.origin} has {task.n_tokens} token(s): nothing in it can be scored")
    items = task.items[: options.limit]
    start = Result(
        protocol=protocol.name, model=model, config=engine.config.as_dict(), backend=engine.backend.name,
        device=engine.backend.device, dtype=engine.backend.dtype, n_ctx=n_ctx, stride=stride, batch=options.batch,
        data=text, n_tokens=task.n_tokens, n_scored=scored(task.items), n_words=task.n_words, n_bytes=task.n_bytes,
        windows=len(task.items), notes=task.notes, totals=Totals(),
    )  # fmt: skip
    run = identity(start, engine)
    state = State(run, Totals()) if options.state is None else load_state(options.state, run)
    score = scorer(engine, tokenizer, task, options.batch)
    return advance(score, items, replace(start, totals=state.totals), options, run, progress)


def advance(
    score: Callable[[Any], list[Outcome]], items: Sequence[Any], result: Result, options: Options,
    run: dict[str, Any], progress: Progress | None,
) -> Result:  # fmt: skip
    """Score what `result` has not yet, writing the state every few seconds and however the run ends."""
    saved, began = time.monotonic(), time.monotonic()
    try:
        while result.totals.windows < len(items):
            done = result.totals.windows
            totals = result.totals
            for outcome in score(items[done : done + options.batch]):
                totals = totals.add(outcome)
            result = replace(result, totals=totals, seconds=time.monotonic() - began)
            if progress:
                progress(result)
            if options.state and time.monotonic() - saved > SAVE_EVERY:
                save_state(options.state, State(run, totals))
                saved = time.monotonic()
    finally:
        if options.state:
            save_state(options.state, State(run, result.totals))
    return result


def scorer(engine: Engine, tokenizer: Tokenizer, task: Task, batch: int) -> Callable[[Any], list[Outcome]]:
    """What scores this task's items."""
    longest = max(len(item.ids) for item in task.items)
    batch = min(batch, len(task.items))
    if isinstance(task.items[0], Passage):
        return WordScorer(engine, batch, longest, tokenizer)
    return WindowScorer(engine, batch, longest - 1)


def scored(items: Sequence[Window] | Sequence[Passage]) -> int:
    """How many ids (or answers) count."""
    return sum(item.n_scored if isinstance(item, Window) else 1 for item in items)


def identity(result: Result, engine: Engine) -> dict[str, Any]:
    """What has to be the same for a run to be continued."""
    return {
        "protocol": result.protocol, "data": result.data.sha256, "stride": result.stride, "windows": result.windows,
        "n_tokens": result.n_tokens, "weights": fingerprint(engine), "backend": result.backend,
        "device": result.device, "dtype": result.dtype,
    }  # fmt: skip


def fingerprint(engine: Engine) -> str:
    """A digest of the config and of the model's biases and layer norms: enough to tell two models apart."""
    digest = hashlib.sha256(json.dumps(engine.config.as_dict(), sort_keys=True).encode())
    for path, leaf in walk(engine.params):
        if len(leaf.shape) == 1:
            digest.update(path.encode() + engine.checked.to_numpy(leaf).tobytes())
    return digest.hexdigest()[:32]
