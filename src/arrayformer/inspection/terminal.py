"""An inspection on a terminal."""

import math
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from arrayformer.inspection.compare import Comparison
from arrayformer.inspection.content import token_text
from arrayformer.inspection.gather import Inspection
from arrayformer.tokenizer import Tokenizer

SURPRISING = 12.0
"""Bits from which on a token has the strongest colour."""


def visible(text: str) -> str:
    """Text in which nothing hides and nothing steers the terminal: spaces at the ends as dots, controls as signs."""
    signs = {"\n": "↵", "\t": "⇥"}
    ink = text.strip(" ")
    before, after = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    body = "".join(c if c.isprintable() else signs.get(c, f"\\x{ord(c):02x}") for c in ink)
    return "·" * before + body + ("·" * after if ink else "")


def coloured(found: Inspection, tokenizer: Tokenizer | None) -> Text:
    """The text, each token in the colour of its surprise."""
    line = Text()
    for id, loss in zip(found.ids, found.loss, strict=True):
        share = 0.0 if loss != loss else min(1.0, loss / math.log(2) / SURPRISING)
        words = token_text(tokenizer, id)
        safe = "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in words)
        red, green, blue = (round(a + share * (b - a)) for a, b in ((255, 232), (255, 106), (255, 32)))
        line.append(safe, style=f"black on rgb({red},{green},{blue})" if share else "")
    return line


def token_table(found: Inspection, tokenizer: Tokenizer | None, shown: int = 3) -> Table:
    """One row for each token: its surprise, and what the model expects after it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("place", "id", "token", "bits", "choice"):
        table.add_column(name, justify="left" if name == "token" else "right", no_wrap=True)
    table.add_column("expected next", no_wrap=True, overflow="ellipsis")
    for i, id in enumerate(found.ids):
        loss = found.loss[i]
        expected = likeliest(found.next_ids[i][:shown], found.next_probs[i][:shown], tokenizer)
        bits, choice = ("", "") if loss != loss else (f"{loss / math.log(2):.2f}", f"{found.rank[i] + 1:,}")
        table.add_row(str(i + 1), str(id), Text(visible(token_text(tokenizer, id))), bits, choice, Text(expected))
    return table


def likeliest(ids: Any, probs: Any, tokenizer: Tokenizer | None) -> str:
    """`·the 12 %  ·a 9 %`"""
    return "  ".join(f"{visible(token_text(tokenizer, int(id)))} {p:.0%}" for id, p in zip(ids, probs, strict=True))


def lens_table(found: Inspection, tokenizer: Tokenizer | None) -> Table:
    """What each layer expects after the last token."""
    table = Table(box=None, pad_edge=False, header_style="bold", title="after the last token", title_justify="left")
    table.add_column("layer", no_wrap=True)
    table.add_column("expected next", no_wrap=True, overflow="ellipsis")
    table.add_column("norm", justify="right")
    for layer in range(len(found.lens_ids)):
        name = "embedding" if layer == 0 else str(layer - 1)
        expected = likeliest(found.lens_ids[layer][-1], found.lens_probs[layer][-1], tokenizer)
        table.add_row(name, Text(expected), f"{found.residual[layer][-1]:.1f}")
    return table


def comparison_lines(found: Inspection, other: Comparison) -> Text:
    """Where two backends are furthest apart."""
    worst = max(other.steps, key=lambda step: step.largest / step.scale if step.scale else step.largest)
    relative = worst.largest / worst.scale if worst.scale else worst.largest
    return Text(
        f"{found.backend} and {other.backend}: the same likeliest token at {other.same_top} of {other.n} places; "
        f"furthest apart at {worst.name}, {relative:.1e} of its root mean square, at token {worst.token + 1}"
    )


def rendered(
    found: Inspection, tokenizer: Tokenizer | None, model: str, comparison: Comparison | None = None,
    console: Console | None = None,
) -> str:  # fmt: skip
    """The text, the tokens and the layers as standard output should show them: with colours on a terminal."""
    console = console or Console(highlight=False)
    facts = f"{model} on {found.backend} ({found.device}, {found.dtype}): {len(found.ids)} tokens, "
    parts: list[Any] = [Text(facts + f"perplexity {found.perplexity:.1f}"), Text(), coloured(found, tokenizer), Text()]
    parts += [token_table(found, tokenizer), Text(), lens_table(found, tokenizer)]
    if comparison is not None:
        parts += [Text(), comparison_lines(found, comparison)]
    with console.capture() as captured:
        console.print(Group(*parts))
    return captured.get()
