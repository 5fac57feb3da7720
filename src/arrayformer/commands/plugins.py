"""`arrayformer plugins`: packages that offer backends, with what is wrong with them."""

from dataclasses import asdict
from typing import Any

import click

from arrayformer.commands.backends import ASKABLE, merged
from arrayformer.commands.seconds import SECONDS
from arrayformer.core.files import strict_json


@click.command(short_help="List the plugins, with what is wrong with them.")
@click.option("--check", "name", metavar="NAME", help="Try one thoroughly and show all that is known of it.")
@click.option("--timeout", type=SECONDS, default=60.0, show_default=True, help="Seconds for each.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str | None, timeout: float, as_json: bool) -> int:
    """List the packages that offer backends. Each is loaded in a process of its own, so none can do harm.

    Ends with 0; with --check NAME, with 4 where that backend does not work.
    """
    from arrayformer.backends.probe import check_backend
    from arrayformer.backends.registry import list_backends
    from arrayformer.commands.probing import checked

    if name is not None:
        report = asdict(check_backend(name, timeout=timeout))
        click.echo(strict_json.dumps(report, indent=2) if as_json else thoroughly(report))
        return 0 if report["state"] == "works" else 4
    rows: list[dict[str, Any]] = [asdict(i) for i in list_backends() if not i.builtin]
    reports = checked([key(r) for r in rows if r["status"] in ASKABLE], timeout, create=False)
    rows = [loaded(merged(r, reports.get(key(r)))) for r in rows]
    click.echo(strict_json.dumps(rows, indent=2) if as_json else "\n".join(map(briefly, rows)) or NONE)
    return 0


NONE = "no plugins are installed; docs/writing-a-backend.md shows how to write one"


def key(row: dict[str, Any]) -> str:
    """What the row's backend is asked for as."""
    return f"{row['name']}@{row['distribution']}"


def loaded(row: dict[str, Any]) -> dict[str, Any]:
    """A plugin was loaded, its backend not tried: the state says no more than that."""
    return row | {"status": "loads"} if row["status"] == "works" else row


def briefly(row: dict[str, Any]) -> str:
    """One plugin in a line, and under it what is wrong."""
    line = f"{row['name']:12} {row['status']:12} {row['distribution']} {row['version']} ({row['value']})"
    return line + "".join(f"\n    {part}" for part in row["error"].splitlines())


def thoroughly(report: dict[str, Any]) -> str:
    """Everything that is known, a field a line."""
    text = [f"{name}: {value}" for name, value in report.items() if value and name not in ("traceback", "output")]
    text += [f"\n{name}:\n{report[name].rstrip()}" for name in ("output", "traceback") if report[name]]
    return "\n".join(text)
