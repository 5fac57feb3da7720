"""What `generate` prints: text as it comes, or JSON when it is done."""

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from arrayformer.api import Model, Prompt
from arrayformer.commands.output import on_terminal, out
from arrayformer.core.files import strict_json
from arrayformer.core.generate.options import Options
from arrayformer.generation import Generation, Stream

Completed = Iterator[tuple[int, Generation]]


class Note:
    """How much was written and how fast: said on stderr at the end, on a terminal."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._n = 0
        self._acceptance: float | None = None
        self._reason = ""

    def add(self, written: Generation) -> None:
        """Count one text."""
        self._n += len(written.ids)
        self._reason, self._acceptance = written.finish_reason, written.acceptance

    def say(self) -> None:
        """Print it."""
        if not sys.stderr.isatty():
            return
        rate = self._n / max(time.perf_counter() - self._start, 1e-9)
        guessed = "" if self._acceptance is None else f", {self._acceptance:.0%} of the guesses right"
        print(f"[{self._n} tokens, {rate:.0f} tokens/s{guessed}, {self._reason}]", file=sys.stderr)


def write_one(model: Model, prompt: Prompt, how: Options, speculate: bool, echo: bool) -> None:
    """One text, piece by piece."""
    note = Note()
    stream: Stream[str] | Stream[int]
    if model.tokenizer is None:
        stream = model.stream_ids(prompt, speculate=speculate, **how)
    else:
        stream = model.stream(prompt, speculate=speculate, **how)
    if echo:
        out(shown(model, prompt))
    print_stream(stream)
    note.add(stream.generation)
    note.say()


def print_stream(stream: Stream[str] | Stream[int]) -> None:
    """Text, or ids with a space after each, as they come, and a line break. After Ctrl-C also what was held back."""
    try:
        for piece in stream:
            out(piece if isinstance(piece, str) else f"{piece} ")
    except KeyboardInterrupt:
        stream.interrupt()
        out("".join(piece if isinstance(piece, str) else f"{piece} " for piece in stream) + "\n")
        raise
    out("\n")


def write_many(
    model: Model, prompts: Iterable[Prompt], how: Options, batch_size: int, speculate: bool, *,
    echo: bool, as_json: bool,
) -> None:  # fmt: skip
    """Each text in the order of the prompts, as soon as those before it are out."""
    note = Note()
    asked: deque[Prompt] = deque()
    written = model.as_completed(_remembered(prompts, asked), batch_size=batch_size, speculate=speculate, **how)
    for number, generation in in_order(progress(written)):
        prompt = asked.popleft()
        if as_json:
            print_json(number, generation)
        else:
            print_under_its_number(model, number, shown(model, prompt) if echo else "", generation)
        note.add(generation)
    note.say()


def _remembered(prompts: Iterable[Prompt], asked: deque[Prompt]) -> Iterator[Prompt]:
    for prompt in prompts:
        asked.append(prompt)
        yield prompt


def print_under_its_number(model: Model, number: int, prompt: str, written: Generation) -> None:
    """A text of several."""
    text = written.text if model.tokenizer else " ".join(map(str, written.ids))
    out(f"==> {number + 1} <==\n{prompt}{text}\n")


def print_json(number: int, written: Generation) -> None:
    """A text as one line of JSON."""
    plain = (getattr(sys.__stdout__, "encoding", None) or "").lower().replace("-", "") != "utf8"
    fields = {"index": number, **asdict(written)}
    out(strict_json.dumps({k: v for k, v in fields.items() if v is not None}, ascii_only=plain) + "\n")


def in_order(written: Completed) -> Completed:
    """The same in the order of the numbers."""
    early: dict[int, Generation] = {}
    due = 0
    for number, text in written:
        early[number] = text
        while due in early:
            yield due, early.pop(due)
            due += 1


def shown(model: Model, prompt: Prompt) -> str:
    """A prompt as text."""
    if isinstance(prompt, str):
        return prompt
    return model.tokenizer.decode(prompt) if model.tokenizer else " ".join(map(str, prompt)) + " "


def progress(written: Completed) -> Completed:
    """The same, and how many are done on a terminal, where the texts themselves go elsewhere."""
    watched = sys.stderr.isatty() and not on_terminal()
    done = 0
    for done, item in enumerate(written, 1):
        if watched:
            print(f"\r{done} prompts", end="", file=sys.stderr, flush=True)
        yield item
    if watched and done:
        print(file=sys.stderr)
