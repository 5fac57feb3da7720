"""The part of docs/evaluation.md that follows from the registry.

`python -m arrayformer.evaluate.table docs/evaluation.md` writes it anew.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from arrayformer.core.files.atomic import write_whole
from arrayformer.evaluate.paper import ATTEMPTS, PAPER_NAMES, TABLE_3, Published
from arrayformer.evaluate.protocols import PROTOCOLS, Protocol

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"

# (protocol, size) -> what `arrayformer evaluate` printed for OpenAI's weights. Nothing is entered that was not run.
RUNS: dict[tuple[str, str], str] = {}

HUB = {
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
}

READY, UNKNOWN = "ready, needs weights and data", "not known to be reproducible"


def status(protocol: Protocol | None, size: str) -> str:
    """What we may say of a cell."""
    if protocol is None or not protocol.known:
        return UNKNOWN
    done = RUNS.get((protocol.name, size))
    return f"run: {done}" if done else READY


def others(published: tuple[Published, ...], size: str) -> str:
    """What others got for one size."""
    return (
        "; ".join(f"{p.figure} ({', '.join(filter(None, (p.how, p.source)))})" for p in published if p.size == size)
        or "-"
    )


def cell_rows() -> Iterator[tuple[str, ...]]:
    """One row for each cell of Table 3, and for each protocol that stands beside it."""
    for key, column in TABLE_3.items():
        protocols: list[Protocol | None] = [p for p in PROTOCOLS.values() if p.column == key] or [None]
        for size, paper_name in PAPER_NAMES.items():
            for protocol in protocols:
                command = f"`arrayformer evaluate -m {HUB[size]} --protocol {protocol.name}`" if protocol else "-"
                published = protocol.published if protocol else ATTEMPTS[key]
                yield (
                    f"{column.title}, {column.measure}", f"{size} ({paper_name})", column.figure(size), command,
                    others(published, size), status(protocol, size),
                )  # fmt: skip


def markdown() -> str:
    """The paper's table, cell by cell, and the protocols in words."""
    head = ("Cell", "Model (paper's name)", "Paper", "Command", "Published reproductions", "Our status")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(row)} |" for row in cell_rows()]
    lines += ["", "## The protocols", ""]
    for protocol in PROTOCOLS.values():
        lines += [f"### `{protocol.name}`: {protocol.title}", "", protocol.how.replace(". ", ".\n"), ""]
        lines += [f"Data: {protocol.source.name}; {protocol.source.where}.", ""]
    return "\n".join(lines)


def with_table(page: str) -> str:
    """`page` with the part between the marks made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{markdown()}\n{END}{after}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_whole(target, with_table(target.read_text(encoding="utf-8")))
