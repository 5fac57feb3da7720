"""Train a small GPT-2 from text, with jax.grad through arrayformer's graph.

Run from the root of the repository, with the `train` extra installed:

    python -m examples.train_fable --corpus DIR --out DIR --layers 3 --stop-after 1000
    python -m examples.train_fable --corpus DIR --out DIR --layers 6 --resume

The model in the package was made so: 3 layers to step 600, 6 layers to step 800, then --window 512 --decay 300 with the
decay counted from step 753 (examples/train_fable/fable.md is what --about took).
The model is in OUT/export then: `arrayformer generate -m OUT/export "Once upon a time"`.
A run that is cut goes on from its last checkpoint with --resume, through the same text in the same order.
A file named decay_now in OUT brings it to its end: the learning rate falls to 0 over the next --decay steps.
"""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from examples.train_fable import checkpoint
from examples.train_fable.corpus import Corpus, batch, prepare
from examples.train_fable.network import grow, lengthen, losses, new_params
from examples.train_fable.optimiser import Schedule, apply, optimiser, split_qkv
from examples.train_fable.options import Options, read_options
from examples.train_fable.report import export, write_log
from examples.train_fable.scoring import bits_per_byte, quick_bits_per_byte
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from arrayformer.core.errors import NumericError
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import Params, map_params


class Run:
    """One training run: its weights, where it stands, and what moves it on."""

    def __init__(self, options: Options, corpus: Corpus) -> None:
        self.options, self.corpus = options, corpus
        self.schedule = Schedule(options.warmup, options.decay)
        self.optimiser = optimiser(options.rate, options.adam_rate)
        self.losses = jax.jit(partial(losses, n_head=options.heads))
        self.update = jax.jit(self._update, donate_argnums=(0, 1))
        self.progress = checkpoint.Progress(n_layer=options.layers, window=options.window)
        if options.resume:
            self.progress = checkpoint.read_progress(options.out)
        self.params = new_params(self.config(), options.seed)
        self.state = self.optimiser.init(split_qkv(self.params))
        if options.resume:
            self.params, self.state = checkpoint.restore(options.out, self.params, self.state)
        if self.progress.n_layer != options.layers:
            self._grow(options.layers)
        if self.progress.window < options.window:
            self.params = lengthen(self.params, self.progress.window)
            self.progress.window = options.window

    def config(self) -> GPT2:
        """The network as it is now."""
        o, c = self.options, self.corpus
        return GPT2(c.n_vocab, o.context, o.width, o.heads, self.progress.n_layer, eos_token_id=c.eos)

    def _grow(self, n_layer: int) -> None:
        """More blocks. The optimiser starts afresh, so the learning rate rises again."""
        self.params = grow(self.params, n_layer)
        self.state = self.optimiser.init(split_qkv(self.params))
        self.progress = replace(self.progress, n_layer=n_layer, began=self.progress.step)

    def _update(self, params: Params, state: Any, ids: jax.Array, rate: float) -> tuple[Params, Any, jax.Array]:
        loss, slopes = jax.value_and_grad(lambda p: losses(p, ids, self.options.heads).mean())(params)
        updates, state = self.optimiser.update(split_qkv(slopes), state, split_qkv(params))
        return apply(params, updates, rate), state, loss  # type: ignore[arg-type]

    def last_step(self) -> int:
        """The step at which the learning rate reaches 0."""
        if self.progress.decay_from is not None:
            return self.progress.decay_from + self.options.decay
        left = max(0, self.options.tokens - self.progress.tokens) // self.options.batch_tokens
        return self.options.steps or self.progress.step + left

    def step(self) -> float:
        """One update. Returns the loss before it. Raises NumericError where that is no number."""
        at = self.progress
        if at.decay_from is None and (self.asked_to_decay() or at.step >= self.last_step() - self.options.decay):
            at.decay_from = at.step
        rate = self.schedule.rate(at.step, at.began, at.decay_from)
        o = self.options
        ids = batch(self.corpus.train, at.tokens, (o.rows, o.window), o.context, o.seed)
        started = time.perf_counter()
        self.params, self.state, loss = self.update(self.params, self.state, ids, rate)
        value = float(loss)
        if not np.isfinite(value):
            raise NumericError(f"step {at.step}: the loss is {value}; resume from the checkpoint with a smaller --rate")
        at.seconds += time.perf_counter() - started
        at.step, at.tokens = at.step + 1, at.tokens + ids[:, 1:].size
        return value

    def asked_to_decay(self) -> bool:
        """Whether somebody wants the run to come to its end."""
        return (self.options.out / "decay_now").exists()

    def quick_score(self) -> float:
        """Bits per byte of a fixed part of the validation text."""
        o, c = self.options, self.corpus
        return quick_bits_per_byte(self.losses, self.params, c.valid, c.bytes_of, window=o.window, rows=o.rows)

    def export(self) -> float:
        """Write the model, scored on the whole validation text with the weights as they are stored."""
        o, c = self.options, self.corpus
        stored = map_params(lambda x: np.asarray(x).astype(np.float16).astype(np.float32), self.params)
        score = bits_per_byte(self.losses, stored, c.valid, c.valid_bytes, eos=c.eos, window=o.context, stride=o.stride)
        counted = (
            f"{score:.4f} bits per byte over the whole validation text "
            f"(each id counted once, windows of {o.context} ids every {o.stride} ids, float16 weights)"
        )
        about = o.about.read_text(encoding="utf-8") if o.about else ""
        export(o.out / "export", o.out, o.name, self.config(), self.params, score=counted, about=about, note=o.note)
        return score

    def save(self) -> None:
        """Write the checkpoint."""
        checkpoint.save(self.options.out, self.progress, self.params, self.state)


def train(run: Run, tell: Callable[[str], None], advance: Callable[[int, int], None]) -> None:
    """Steps until the learning rate is 0 or --stop-after is reached, with log, scores and checkpoints."""
    o, recent, since = run.options, [], (run.progress.tokens, run.progress.seconds)
    while (at := run.progress).step < min(run.last_step(), o.stop_after or sys.maxsize):
        recent.append(run.step())
        advance(at.step, run.last_step())
        score = at.step % o.validate_every == 0 or at.step == run.last_step()
        if not score and at.step % o.log_every:
            continue
        entry = {
            "step": at.step, "tokens": at.tokens, "seconds": round(at.seconds, 1),
            "loss": round(float(np.mean(recent)), 4),
            "rate": round(run.schedule.rate(at.step - 1, at.began, at.decay_from), 4),
            "n_layer": at.n_layer, "window": o.window, "batch_tokens": o.batch_tokens,
        }  # fmt: skip
        if score:
            entry["bits_per_byte"] = round(run.quick_score(), 4)
        write_log(o.out, entry)
        speed = (at.tokens - since[0]) / (at.seconds - since[1])
        tell(" ".join(f"{name} {value}" for name, value in entry.items()) + f" tokens_per_second {speed:.0f}")
        recent, since = [], (at.tokens, at.seconds)
        if score:
            run.save()
    run.save()


def progress_bar(console: Console) -> AbstractContextManager[Progress | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not console.is_terminal:
        return nullcontext()
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


def main(arguments: list[str] | None = None) -> Path:
    """Train, and export unless --stop-after ended the run. Returns the folder of the model."""
    options = read_options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    corpus = prepare(options.corpus, options.out, options.vocab)
    console.print(f"{len(corpus.train):,} ids to train on, {len(corpus.valid):,} to validate, {corpus.n_vocab:,} ids")
    run = Run(options, corpus)
    with progress_bar(console) as bar:
        task = bar.add_task("") if bar else None

        def advance(step: int, steps: int) -> None:
            if bar and task is not None:
                bar.update(task, completed=step, total=steps)

        train(run, console.print, advance)
    if run.progress.step >= run.last_step():
        score = run.export()
        console.print(f"{score:.4f} bits per byte over the whole validation text; model in {options.out / 'export'}")
    return options.out / "export"


if __name__ == "__main__":
    main()
