"""Results as one HTML file that needs no network: a matrix of backends and cases, errors by layer, what went wrong."""

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from arrayformer.conformance.report.plot import Line, log_plot
from arrayformer.conformance.run.case import LEVELS, all_cases
from arrayformer.conformance.run.result import Result
from arrayformer.conformance.run.session import Run
from arrayformer.core.files.atomic import write_whole

MARKS = {
    "passed": "✓", "failed": "✗", "error": "!", "timeout": "∞", "skipped": "–", "xfailed": "×", "xpassed": "?",
}  # fmt: skip


def write(runs: Sequence[Run], path: Path) -> None:
    """Write the page."""
    write_whole(path, render(runs))


def render(runs: Sequence[Run]) -> str:
    """The page."""
    import jinja2  # 40 ms that a run without a page need not spend

    template = files("arrayformer.conformance.report").joinpath("page.html").read_text(encoding="utf-8")
    made = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    return made.render(
        runs=runs, levels=matrix(runs), plots=[(run, plots(run)) for run in runs], wrong=wrong(runs), marks=MARKS,
        level_names=LEVELS, tiny=tiny,
    )  # fmt: skip


def tiny(value: float) -> str:
    """A number in few characters."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.2f}" if 0.01 <= abs(value) < 100 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")


def matrix(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Per level its name, per case its title and one cell for each run."""
    by_run = [{r.id: r for r in run.results} for run in runs]
    seen = dict.fromkeys(id for results in by_run for id in results)
    proves = {id: case.proves for id, case in all_cases().items()}
    levels = []
    for level, name in enumerate(LEVELS):
        ids = [id for id in seen if id.startswith(f"L{level}-")]
        rows = [
            {"id": id, "title": next(r[id].title for r in by_run if id in r), "proves": proves.get(id, ""),
             "cells": [r.get(id) for r in by_run]}
            for id in ids
        ]  # fmt: skip
        if rows:
            levels.append({"number": level, "name": name, "rows": rows})
    return levels


def plots(run: Run) -> list[dict[str, str]]:
    """SVG figures of one run: R inside the graph, step by step, and R of each case."""
    found = []
    for result in run.results:
        for mode, series in result.series.items():
            points = [(label, float(value)) for label, value, _ in series]
            limit = float(series[0][2]) if series else 1.0
            title = f"{result.id}: error of each tensor, {mode}"
            found.append({"title": title, "svg": log_plot([Line("R", points)], limit, "R, in honest NumPy runs")})
    ratios = [(r.id, m.value / m.limit * 8) for r in run.results for m in r.metrics if m.name == "R" and m.limit]
    if ratios:
        svg = log_plot([Line("R", ratios)], 8.0, "largest R (limit drawn at 8)")
        found.append({"title": "largest error of the logits in each case", "svg": svg})
    return found


def wrong(runs: Sequence[Run]) -> list[tuple[Run, list[Result]]]:
    """What has to be explained."""
    kinds = ("failed", "error", "timeout", "xfailed", "xpassed")
    found = [(run, [r for r in run.results if r.outcome in kinds]) for run in runs]
    return [(run, results) for run, results in found if results]
