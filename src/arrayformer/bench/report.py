"""What `bench` shows: a table, and a plot."""

import io
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arrayformer.bench.measure import Result, Timed
from arrayformer.core.errors import InputError, OutputError
from arrayformer.core.files.atomic import write_whole

if TYPE_CHECKING:
    from rich.console import RenderableType


def tables(result: Result) -> "list[RenderableType]":
    """Loading, speed, and the bounds, for a terminal."""
    from rich.table import Table

    loads = Table("backend", "version", "device", "dtype", title="loading", title_justify="left", box=None)
    for heading in ("load s", "first token s", "peak MB"):
        loads.add_column(heading, justify="right")
    for name, load in result.loads.items():
        peak = "" if load["peak_bytes"] is None else f"{load['peak_bytes'] / 1e6:.0f}"
        words = (name, load["version"], load["device"], load["dtype"])
        loads.add_row(*words, f"{load['load_s']:.2f}", f"{load['first_token_s']:.2f}", peak)
    speed = Table("what", "backend", title="speed", title_justify="left", box=None)
    for heading in ("tokens/s", "slowest", "fastest", "of the bound"):
        speed.add_column(heading, justify="right")
    for t in result.timed:
        speed.add_row(described(t), t.backend, f"{t.rate:.1f}", *(f"{x:.1f}" for x in t.spread), part(result, t))
    return [loads, speed, bounds_line(result)]


def described(t: Timed) -> str:
    """The task in words."""
    rows = f", {t.task.batch} rows" if t.task.batch > 1 else ""
    if t.task.kind == "prefill":
        return f"prefill {t.task.n_prompt}{rows}"
    return f"decode {t.task.n_prompt} + {t.task.n_new}{rows}"


def part(result: Result, t: Timed) -> str:
    """The fraction of the bound, or nothing."""
    fraction = result.fraction(t)
    return "" if fraction is None else f"{fraction:.2f}"


def bounds_line(result: Result) -> str:
    """What the machine can do, in words."""
    if result.bounds is None:
        return ""
    found = result.as_dict()["bounds"]
    return (
        f"bounds: one token's matrix-vector products {1e3 * found['decode_s']:.1f} ms "
        f"({found['bytes_per_s'] / 1e9:.1f} GB/s), matrix products {found['operations_per_s'] / 1e9:.0f} GFLOP/s, "
        f"NumPy float32 on {platform.processor() or platform.machine()}"
    )


def plot(result: Result, path: Path) -> None:
    """Tokens per second as bars with their spread, one panel for prefill and one for decode; the bound is a line.

    Raises InputError where matplotlib is missing, OutputError where the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("a plot needs matplotlib: pip install 'arrayformer[report]'") from error
    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2), ("prefill", "decode"), strict=True):
        draw_panel(axes, result, [t for t in result.timed if t.task.kind == kind])
        axes.set_title(f"{kind}, tokens/s")
    picture = io.BytesIO()
    try:
        figure.savefig(picture, format=path.suffix[1:] or None)
    except ValueError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
    write_whole(path, picture.getvalue())


def draw_panel(axes: Any, result: Result, timed: list[Timed]) -> None:
    """One group of bars for each task, one bar for each backend."""
    labels = list(dict.fromkeys(described(t) for t in timed))
    names = list(result.loads)
    for i, name in enumerate(names):
        own = [t for t in timed if t.backend == name]
        at = [labels.index(described(t)) + (i - (len(names) - 1) / 2) * 0.8 / len(names) for t in own]
        rates = [t.rate for t in own]
        below_above = [[t.rate - t.spread[0] for t in own], [t.spread[1] - t.rate for t in own]]
        axes.bar(at, rates, 0.8 / len(names), yerr=below_above, label=name, capsize=3)
    for t in timed:
        if bound := result.bound(t.task):
            at_task = labels.index(described(t))
            axes.plot([at_task - 0.45, at_task + 0.45], [bound, bound], color="black", linestyle=":")
    axes.set_xticks(range(len(labels)), labels, rotation=20)
    axes.legend()
