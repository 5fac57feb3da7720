"""What `generate` prints: text as it comes, or JSON when it is done."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

from arrayformer.api import Model, Prompt, finished
from arrayformer.commands.model_options import load_model
from arrayformer.core.generate import generate
from arrayformer.core.row import Row, Token

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
        write_json(rows, drawn)
    elif said["batch_file"] is not None:
        write_batch(model, prompts, rows, drawn, said["echo"])
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


def write_batch(
    model: Model, prompts: Sequence[Prompt], rows: Sequence[Row], drawn: Iterator[tuple[Row, Token | None]], echo: bool
) -> None:
    """Each text under a line with its number, in the order of the prompts, as soon as those before it are out."""
    for i, row, tokens in in_order(rows, drawn):
        ids = " ".join(str(token.id) for token in tokens)
        text = finished(row, tokens).text if model.tokenizer else ids
        out(f"==> {i + 1} <==\n{shown(model, prompts[i]) if echo else ''}{text}\n")


def write_json(rows: Sequence[Row], drawn: Iterator[tuple[Row, Token | None]]) -> None:
    """Each text as one line of JSON, in the order of the prompts."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    for i, row, tokens in in_order(rows, drawn):
        fields = {"index": i, **asdict(finished(row, tokens))}
        out(json.dumps({k: v for k, v in fields.items() if v is not None}, ensure_ascii=plain) + "\n")


def in_order(
    rows: Sequence[Row], drawn: Iterator[tuple[Row, Token | None]]
) -> Iterator[tuple[int, Row, list[Token]]]:
    """Each row that has ended, with its number and its tokens, in the order of `rows`."""
    tokens: dict[Row, list[Token]] = {row: [] for row in rows}
    due = 0
    for row, token in chain([(rows[0], None)], drawn):  # the first row may have ended before anything is drawn
        if token is not None:
            tokens[row].append(token)
        while due < len(rows) and is_complete(rows[due], tokens[rows[due]]):
            progress(due + 1, len(rows))
            yield due, rows[due], tokens[rows[due]]
            due += 1


def is_complete(row: Row, tokens: Sequence[Token]) -> bool:
    """Whether `tokens` are all that `row` drew: rows of one batch may have ended before their ids come out."""
    return row.finish_reason is not None and len(tokens) == len(row.new_ids)


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
