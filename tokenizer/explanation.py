"""What `Tokenizer.explain` returns, and its rendering as text."""

from dataclasses import dataclass
from typing import NamedTuple


class Merge(NamedTuple):
    """One merge that was applied: its rank in the table, and the tokens after it."""

    rank: int
    tokens: list[str]


@dataclass(frozen=True)
class Piece:
    """One piece of the text on its way to ids."""

    text: str
    printable: str
    """Its bytes in the printable alphabet."""
    merges: list[Merge]
    """In the order in which they were applied."""
    tokens: list[str]
    ids: list[int]


@dataclass(frozen=True)
class Explanation:
    """Every stage of a text on its way to ids."""

    text: str
    pieces: list[Piece]

    @property
    def ids(self) -> list[int]:
        """The ids of the whole text, as `Tokenizer.encode` gives them."""
        return [id for piece in self.pieces for id in piece.ids]

    def __str__(self) -> str:
        """The rendering as text."""
        return render(self)


def render(explanation: Explanation) -> str:
    """The stages as lines of text, piece by piece."""
    lines = [f"text    {explanation.text!r}", f"pieces  {' '.join(repr(piece.text) for piece in explanation.pieces)}"]
    for piece in explanation.pieces:
        lines += ["", *_render_piece(piece)]
    lines += ["", f"ids     {' '.join(map(str, explanation.ids))}"]
    return "\n".join(lines)


def _render_piece(piece: Piece) -> list[str]:
    data = " ".join(f"{byte:02x}" for byte in piece.text.encode())
    lines = [f"piece   {piece.text!r}", f"  bytes   {data}", f"  letters {' '.join(piece.printable)}"]
    lines += [f"  merge {rank:>6}  {' '.join(tokens)}" for rank, tokens in piece.merges]
    lines.append("  ids     " + " ".join(f"{token}={id}" for token, id in zip(piece.tokens, piece.ids, strict=True)))
    return lines
