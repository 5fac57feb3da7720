"""A bar on stderr while a model is loaded, where somebody is looking and has to wait."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

PATIENCE = 2.0
"""Seconds that loading may take before there is a bar."""


@contextmanager
def loading_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """What to call with how many numbers are read, and of how many.

    It shows nothing in the first seconds, and never where stderr is no terminal.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    began = time.monotonic()
    bars: list[Bar] = []

    def show(done: int, total: int) -> None:
        if not bars and time.monotonic() - began >= PATIENCE:
            bars.append(_bar(name))
        for bar in bars:
            bar.update(bar.task_ids[0], completed=done, total=total)

    try:
        yield show
    finally:
        for bar in bars:
            bar.stop()


def _bar(name: str) -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("loading {task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    bar.add_task(name)
    bar.start()
    return bar
