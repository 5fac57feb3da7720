"""What `generate` prints: text as it comes, or JSON when it is done."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from arrayformer.api import Generation, Model, Prompt, completed
from arrayformer.commands.model_options import load_model
from arrayformer.core.generate.loop import generate
from arrayformer.core.generate.text import Row, Token

OPTIONS = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "stop", "ignore_eos", "logprobs",
)  # fmt: skip


def write(prompts: Sequence[Prompt], said: dict[str, Any]) -> None:
    """Load the model, write on after each prompt, print."""
    model = load_model(said)
    rows = model.rows(
        prompts, max_new_tokens=said["max_tokens"], on_full=said["on_full"] or "error",
        **{name: said[name] for name in OPTIONS},
    )  # fmt: skip
    drawn = generate(model.engine, rows, batch_size=said["batch_size"], speculate=said["speculate"])
    start = time.perf_counter()
    if said["as_json"]:
        write_json(completed(rows, drawn), len(rows))
    elif said["batch_file"] is not None:
        write_batch(model, prompts, completed(rows, drawn), said["echo"])
    else:
        write_text(model, prompts[0], rows[0], drawn, said["echo"])
    note(rows, time.perf_counter() - start)


def out(text: str) -> None:
    """Print now. A character that the terminal's encoding lacks becomes "?"."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()


def write_text(model: Model, prompt: Prompt, row: Row, drawn: Iterator[tuple[Row, Token | None]], echo: bool) -> None:
    """One text, piece by piece. After Ctrl-C what was held back goes out too."""
    if echo:
        out(shown(model, prompt))
    try:
        for _row, token in drawn:
            if token is not None:
                out(token.text if model.tokenizer else f"{token.id} ")
    except KeyboardInterrupt:
        out(row.gate.flush() + "\n")
        raise
    out(row.tail + "\n")


def write_batch(model: Model, prompts: Sequence[Prompt], written: Iterator[tuple[int, Generation]], echo: bool) -> None:
    """Each text under a line with its number, in the order of the prompts, as soon as those before it are out."""
    for i, text in in_order(written, len(prompts)):
        new = text.text if model.tokenizer else " ".join(map(str, text.ids))
        out(f"==> {i + 1} <==\n{shown(model, prompts[i]) if echo else ''}{new}\n")


def write_json(written: Iterator[tuple[int, Generation]], total: int) -> None:
    """Each text as one line of JSON, in the order of the prompts."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    for i, text in in_order(written, total):
        fields = {"index": i, **asdict(text)}
        out(json.dumps({k: v for k, v in fields.items() if v is not None}, ensure_ascii=plain) + "\n")


def in_order(written: Iterator[tuple[int, Generation]], total: int) -> Iterator[tuple[int, Generation]]:
    """The same in the order of the numbers."""
    early: dict[int, Generation] = {}
    due = 0
    for done, (number, text) in enumerate(written, 1):
        progress(done, total)
        early[number] = text
        while due in early:
            yield due, early.pop(due)
            due += 1


def shown(model: Model, prompt: Prompt) -> str:
    """A prompt as text."""
    if isinstance(prompt, str):
        return prompt
    return model.tokenizer.decode(prompt) if model.tokenizer else " ".join(map(str, prompt)) + " "


def progress(done: int, total: int) -> None:
    """How many prompts are done, on a terminal, where the texts themselves go elsewhere."""
    if total > 1 and sys.stderr.isatty() and not sys.stdout.isatty():
        sys.stderr.write(f"\r{done}/{total} prompts{chr(10) if done == total else ''}")
        sys.stderr.flush()


def note(rows: Sequence[Row], seconds: float) -> None:
    """How much was written and how fast, on a terminal."""
    if not sys.stderr.isatty():
        return
    n = sum(len(row.new_ids) for row in rows)
    drafted, accepted = (sum(getattr(row, name) for row in rows) for name in ("drafted", "accepted"))
    guessed = f", {accepted} of {drafted} guesses right" if drafted else ""
    print(f"[{n} tokens, {n / max(seconds, 1e-9):.0f} tokens/s{guessed}, {rows[-1].finish_reason}]", file=sys.stderr)
