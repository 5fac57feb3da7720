"""A bar on stderr with the running figure, where somebody is looking."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from arrayformer.evaluate.protocols import Protocol
from arrayformer.evaluate.report import short
from arrayformer.evaluate.result import Result
from arrayformer.evaluate.run import Progress


@contextmanager
def progress_bar(protocol: Protocol) -> Iterator[Progress | None]:
    """What to call with each result so far; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(protocol.name, total=None)

        def show(result: Result) -> None:
            bar.update(task, completed=result.totals.windows, total=result.windows, description=short(result, protocol))

        yield show
