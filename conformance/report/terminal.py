"""Results on the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from arrayformer.conformance.run.case import LEVELS, select
from arrayformer.conformance.run.result import BAD, OUTCOMES, Result
from arrayformer.conformance.run.session import Run

STYLES = {
    "passed": "green", "failed": "bold red", "error": "bold red", "timeout": "bold red",
    "skipped": "dim", "xfailed": "yellow", "xpassed": "bold yellow",
}  # fmt: skip


class Progress:
    """A bar while cases run, on a terminal; failures are shown as they come."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar: Bar | None = None
        self.task: Any = None

    def __call__(self, done: int, of: int, result: Result) -> None:
        """One more case is done."""
        if self.bar is None and self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self.bar = Bar(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task("", total=of)
            self.bar.start()
        if result.outcome in BAD:
            self.console.print(f"[{STYLES[result.outcome]}]{result.outcome}[/] {escape(result.id)}")
        if self.bar is not None:
            self.bar.update(self.task, completed=done, description=escape(result.id))
            if done == of:
                self.bar.stop()


def list_cases(level: int | None, patterns: Sequence[str], architectures: tuple[str, ...] | None = None) -> None:
    """Each case with what it proves."""
    table = Table("case", "what it checks", box=None, pad_edge=False)
    for case in select(level, patterns, architectures):
        table.add_row(f"[bold]{escape(case.id)}[/]", f"{escape(case.title)} [dim]{escape(case.proves)}[/]")
    Console().print(table)


def coverage(name: str | None, device: str | None = None, dtype: str | None = None) -> int:
    """Run the suite on a backend and print which sizes of real models it visited. Returns 1 where some are missing."""
    from arrayformer.backends.registry import default_backend_name
    from arrayformer.conformance.coverage import survey
    from arrayformer.conformance.run.spec import BackendSpec

    visits, _ = survey.survey(BackendSpec(name or default_backend_name(), device, dtype).make, Progress())
    found = survey.coverage(visits)
    lines = Table("function", "size", "boundaries", "visited", "excused", "", box=None, header_style="dim")
    for function, axis, *numbers, notes in survey.table(found):
        lines.add_row(escape(function), escape(axis), *map(str, numbers), escape(notes))
    console = Console()
    console.print(lines)
    console.print(found.sentence, highlight=False)
    return int(bool(found.missing))


def summary(run: Run) -> None:
    """What the run found, in full where something is wrong."""
    console = Console()
    about = run.environment
    console.print(
        f"\n[bold]{escape(run.label)}[/]  {about['library']} {about['version']}, judged as {about['precision']}, "
        f"arrayformer {about['arrayformer']}, Python {about['python']}",
        highlight=False,
    )
    for result in run.results:
        if result.outcome in (*BAD, "xfailed"):
            explain(console, result)
    console.print(levels(run))
    if len(run.levels) > 1:
        console.print("; ".join(f"{name}: {said(level)}" for name, level in run.levels.items()), highlight=False)
    counts = "  ".join(f"{run.count(o)} {o}" for o in OUTCOMES if run.count(o))
    verdict = "no level" if run.level is None else f"level {run.level} ({LEVELS[run.level]})"
    console.print(
        f"{counts}  in {run.seconds:.1f} s;  awarded: [bold]{verdict if run.whole else 'not judged'}[/]",
        highlight=False,
    )


def said(level: int | None) -> str:
    """A level in words."""
    return "no level" if level is None else f"level {level}"


def explain(console: Console, result: Result) -> None:
    """One result that is not a pass."""
    style = STYLES[result.outcome]
    console.print(f"[{style}]{result.outcome}[/] [bold]{escape(result.id)}[/] {escape(result.title)}", highlight=False)
    lines = [result.message]
    if result.divergence:
        lines.append(str(result.divergence["sentence"]))
    lines += [f"reproduce: python {file}" for file in result.files if file.endswith(".py")]
    if result.reason and result.outcome == "xfailed":
        lines.append(f"known: {result.reason}")
    if result.traceback:
        lines.append(result.traceback.strip())
    for line in lines:
        console.print("    " + escape(line).replace("\n", "\n    "), highlight=False)


def levels(run: Run) -> Table:
    """One row for each level, with the largest R against its limit."""
    table = Table("level", "", "passed", "skipped", "wrong", "worst R / limit", box=None, header_style="dim")
    for level, name in enumerate(LEVELS):
        results = [r for r in run.results if r.level == level]
        if not results:
            continue
        ratios = [(m.value, m.limit) for r in results for m in r.metrics if m.name == "R" and m.limit]
        value, limit = max(ratios, key=lambda x: x[0] / x[1], default=(None, None))
        wrong = [r for r in results if r.outcome not in ("passed", "skipped")]
        table.add_row(
            str(level), name, str(sum(r.outcome == "passed" for r in results)),
            str(sum(r.outcome == "skipped" for r in results)),
            f"[red]{len(wrong)}[/]" if wrong else "0", "" if value is None else f"{value:.2f} / {limit:g}",
        )  # fmt: skip
    return table
