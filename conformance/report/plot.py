"""A plot on a logarithmic axis, as SVG text: no library, no script, scales with the page."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 250, 46, 8, 10, 66


@dataclass(frozen=True)
class Line:
    """label -> value, in the order in which they are drawn."""

    name: str
    points: Sequence[tuple[str, float]]


def log_plot(lines: Sequence[Line], limit: float, axis: str) -> str:
    """Points joined by lines, a dashed line at `limit`, a tick at every power of ten. Values of 0 lie on the floor."""
    values = [v for line in lines for _, v in line.points if v > 0 and math.isfinite(v)]
    low = math.floor(math.log10(min([*values, limit, 0.1])))
    high = math.ceil(math.log10(max([*values, limit]) * 1.5))
    n = max(len(line.points) for line in lines)

    def x(i: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (i + 0.5) / n

    def y(value: float) -> float:
        at = high if not math.isfinite(value) else math.log10(max(value, 10.0**low))
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - at) / max(1, high - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(axis)}">']
    step = max(1, (high - low) // 6)
    for power in range(low, high + 1, step):
        at = y(10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{at + 4:.1f}" text-anchor="end">{label(power)}</text>')
    at = y(limit)
    parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
    parts.append(f'<text class="limit" x="{WIDTH - RIGHT}" y="{at - 4:.1f}" text-anchor="end">limit {limit:g}</text>')
    for line in lines:
        path = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, (_, v) in enumerate(line.points))
        parts.append(f'<polyline class="line" points="{path}"/>')
        for i, (name, value) in enumerate(line.points):
            kind = "dot" if value <= limit else "dot bad"
            parts.append(
                f'<circle class="{kind}" cx="{x(i):.1f}" cy="{y(value):.1f}" r="{3 if n < 60 else 2}">'
                f"<title>{html.escape(name)}: {value:.3g}</title></circle>"
            )
        every = -(-n // 24)
        for i, (name, _) in enumerate(line.points):
            if i % every == 0:
                at = HEIGHT - BOTTOM + 10
                parts.append(
                    f'<text class="name" transform="translate({x(i) + 3:.1f} {at}) rotate(-48)" text-anchor="end">'
                    f"{html.escape(name[-16:])}</text>"
                )
    return "".join(parts) + "</svg>"


def label(power: int) -> str:
    """A power of ten as text."""
    return f"{10.0**power:g}" if -3 <= power <= 4 else f"1e{power}"
