"""`arrayformer conformance`: prove a backend, or name the first wrong tensor."""

import sys
from pathlib import Path

import click

from arrayformer.commands.seconds import SECONDS


@click.command()
@click.option("--backend", "name", help="A backend's name, or package.module:Class. Default: $ARRAYFORMER_BACKEND.")
@click.option("--level", type=click.IntRange(0, 5), help="Run levels 0 to this one (all).")
@click.option("--case", "cases", multiple=True, metavar="ID", help="Only this case; * stands for anything. Repeatable.")
@click.option("--quick", is_flag=True, help="Leave out what is at the sizes of real models; awards no level.")
@click.option("--coverage", is_flag=True, help="Print which sizes of real models the cases visit, and which not.")
@click.option(
    "--architecture", "architectures", multiple=True, metavar="NAME",
    help="Only this architecture, by its name or a model_type of it (all). Repeatable.",
)  # fmt: skip
@click.option("--device", help="Which of the backend's devices.")
@click.option("--dtype", help="Which of the backend's dtypes.")
@click.option("--list", "listing", is_flag=True, help="List the cases and what each one proves.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write results to a file.")
@click.option("--html", "html_file", type=click.Path(path_type=Path, dir_okay=False), help="Write a page to a file.")
@click.option(
    "--junit", "junit_file", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML to a file."
)
@click.option("--badge", is_flag=True, help="Print a line of Markdown for a README.")
@click.option(
    "--merge", type=click.Path(path_type=Path, exists=True, dir_okay=False), multiple=True, metavar="FILE",
    help="Run nothing: put results of --json runs on one page (--html). Repeatable.",
)  # fmt: skip
@click.option(
    "--xfails-file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Known bugs: a case id a line, then # and the reason.",
)  # fmt: skip
@click.option(
    "--artifacts", type=click.Path(path_type=Path, file_okay=False), default=Path("conformance-failures"),
    help="Where scripts that reproduce failures are written (conformance-failures).",
)  # fmt: skip
@click.option("--timeout", type=SECONDS, default=120.0, show_default=True, help="Seconds a case may take.")
def command(
    name: str | None, level: int | None, cases: tuple[str, ...], quick: bool, coverage: bool,
    architectures: tuple[str, ...], device: str | None,
    dtype: str | None, listing: bool, json_file: Path | None, html_file: Path | None, junit_file: Path | None,
    badge: bool, merge: tuple[Path, ...], xfails_file: Path | None, artifacts: Path, timeout: float,
) -> None:  # fmt: skip
    """Judge whether a backend computes transformers right.

    Runs the same cases as `pytest --pyargs arrayformer.conformance --arrayformer-backend NAME`. Ends with 0 where
    every case passed, was skipped or failed as known, with 1 where one did not, with 4 where the backend cannot be had.
    """
    from arrayformer.conformance.criterion.architectures import named
    from arrayformer.conformance.report import envelope, junit, terminal
    from arrayformer.conformance.run import session
    from arrayformer.core.files.atomic import check_writable

    chosen = named(architectures) if architectures else None
    if listing:
        terminal.list_cases(level, cases, chosen)
        return
    if coverage:
        sys.exit(terminal.coverage(name, device, dtype))
    for path in (json_file, html_file, junit_file):
        if path is not None:
            check_writable(path)
    if merge:
        runs = [envelope.read(path) for path in merge]
    else:
        runs = [session.run(
            name, device=device, dtype=dtype, level=level, patterns=cases, architectures=chosen, real=not quick,
            xfails_file=xfails_file, artifacts=artifacts, seconds=timeout, show=terminal.Progress(),
        )]  # fmt: skip
    for run in runs:
        terminal.summary(run)
        if badge:
            click.echo(envelope.badge(run))
    if json_file and not merge:
        envelope.write(runs[0], json_file)
    if junit_file:
        junit.write(runs, junit_file)
    if html_file:
        from arrayformer.conformance.report import page

        page.write(runs, html_file)
    if any(run.failed for run in runs):
        sys.exit(1)
