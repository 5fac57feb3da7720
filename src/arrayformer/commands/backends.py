"""`arrayformer backends`: which array libraries can run the model, and what a library needs to."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from arrayformer.commands.seconds import SECONDS
from arrayformer.core.files import strict_json

if TYPE_CHECKING:
    from arrayformer.backends.probe import Report


@click.command(short_help="List the array libraries that can run the model.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--check", is_flag=True, help="Try each, in a process of its own: devices, dtypes, state.")
@click.option("--timeout", type=SECONDS, default=60.0, show_default=True, help="Seconds for each.")
@click.option("--needs", is_flag=True, help="Print the functions and methods an array library needs to take part.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(names: tuple[str, ...], check: bool, timeout: float, needs: bool, as_json: bool) -> None:
    """List the array libraries that can run the model, or only those NAMEd.

    Reads package metadata only; --check imports and tries them.
    """
    if needs:
        show_needs(as_json)
        return
    from arrayformer.backends.registry import find_backend, list_backends

    infos = [find_backend(n) for n in names] if names else list_backends()
    rows: list[dict[str, Any]] = [asdict(i) for i in infos]
    if check:
        from arrayformer.commands.probing import checked

        # Those that cannot be asked for stay as they are listed.
        reports = checked([f"{r['name']}@{r['distribution']}" for r in rows if r["status"] in ASKABLE], timeout)
        rows = [merged(r, reports.get(f"{r['name']}@{r['distribution']}")) for r in rows]
    if as_json:
        click.echo(strict_json.dumps(rows, indent=2))
    else:
        show(rows, check)


ASKABLE = ("installed", "not installed", "duplicate")


def merged(row: dict[str, Any], report: "Report | None") -> dict[str, Any]:
    """What was listed, with what came of trying it."""
    if report is None:
        return row
    tried = asdict(report)
    return row | tried | {"status": tried.pop("state"), "library": tried["library"] or row["library"]}


def show(rows: list[dict[str, Any]], check: bool) -> None:
    """A table, and under it what is wrong with whom."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    table = Table(Column("backend", no_wrap=True), "from", "library", "state", box=None, pad_edge=False)
    for column in ("devices", "dtypes", "lacks") if check else ():
        table.add_column(column)
    for row in rows:
        origin = "built in" if row["builtin"] else f"{row['distribution']} {row['version']}"
        cells = [row["name"], origin, row["library"], row["status"]]
        if check:
            cells += [", ".join(row.get("devices", ())), ", ".join(row.get("dtypes", ())), lacking(row)]
        table.add_row(*map(escape, cells))
    console = Console(highlight=False)
    console.print(table)
    for row in rows:
        if row["error"]:
            message = f"\n{row['name']} ({row['distribution']} {row['version']}): {row['error']}"
            console.print(escape(message), soft_wrap=True)
    if not check:
        console.print("\nDevices, dtypes and whether they work: arrayformer backends --check")


def lacking(row: dict[str, Any]) -> str:
    """How many of the functions that the graph calls a library has not, and which."""
    lacks = row.get("lacks", [])
    return f"{len(lacks)} of {row['needs']}: {', '.join(lacks)}" if lacks else ""


def show_needs(as_json: bool) -> None:
    """The part of the array API standard that the graph uses."""
    from arrayformer.core.array_api import Namespace, functions, methods

    if as_json:
        click.echo(strict_json.dumps({"standard": "2024.12", "functions": functions(), "methods": methods()}, indent=2))
        return
    import inspect

    click.echo("# functions of the array API standard 2024.12 that the graph calls")
    for name in functions():
        click.echo(f"{name}{named(inspect.signature(getattr(Namespace, name)))}")
    click.echo("# methods of its arrays")
    click.echo("\n".join(methods()))


def named(signature: Any) -> str:
    """A signature without `self` and without types."""
    import inspect

    plain = [p.replace(annotation=p.empty) for p in list(signature.parameters.values())[1:]]
    return str(inspect.Signature(plain)).replace("Ellipsis", "...")
