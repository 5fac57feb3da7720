"""`arrayformer models`: which architectures can be run and who brings them, and which models can be had."""

from dataclasses import asdict
from typing import Any

import click

from arrayformer.core.files import strict_json


@click.command(short_help="List architectures, and models that can be had.")
@click.option("--available", is_flag=True, help="List models that can be run without a download, or how to get them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(available: bool, as_json: bool) -> None:
    """List the architectures that can be run, with the package each comes from.

    Reads package metadata only. With --available, list models instead: what is in the package, what packages bring,
    and what the cache of the Hugging Face hub holds.
    """
    rows = _models() if available else _architectures()
    if as_json:
        click.echo(strict_json.dumps(rows, indent=2))
    elif available:
        _show_models(rows)
    else:
        _show_architectures(rows)


def _architectures() -> list[dict[str, Any]]:
    from arrayformer.core.checkpoint.gguf import MODEL_TYPES
    from arrayformer.core.models.registry import list_models

    gguf = {model_type: name for name, model_type in MODEL_TYPES.items()} | {"mistral": "llama"}
    fields = ("name", "distribution", "version", "value", "builtin", "status", "error")
    rows = []
    for info in list_models():
        row = {name: value for name, value in asdict(info).items() if name in fields}
        rows.append(row | {"gguf": gguf.get(info.name, "")})
    return rows


def _models() -> list[dict[str, Any]]:
    from arrayformer.core.models.registry import list_models
    from arrayformer.hub.available import available

    names = {info.name for info in list_models() if info.status == "installed"}
    return [asdict(model) | {"there": model.there} for model in available(names)]


def _show_architectures(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    table = Table(Column("architecture", no_wrap=True), "from", "in GGUF", "state", box=None, pad_edge=False)
    for row in rows:
        origin = "built in" if row["builtin"] else f"{row['distribution']} {row['version']}"
        table.add_row(*map(escape, (row["name"], origin, row["gguf"], row["status"])))
    console = Console(highlight=False)
    console.print(table)
    for row in rows:
        if row["error"]:
            console.print(escape(f"\n{row['name']} ({row['distribution']}): {row['error']}"), soft_wrap=True)
    console.print("\nModels that can be had: arrayformer models --available")


def _show_models(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    table = Table(Column("model", no_wrap=True), "architecture", "from", "state", box=None, pad_edge=False)
    for row in rows:
        state = "there" if row["there"] else f"not installed: {row['how_to_get']}"
        table.add_row(*map(escape, (row["name"], row["architecture"], row["source"], state)))
    console = Console(highlight=False)
    console.print(table)
    console.print("\nRun one: arrayformer generate -m MODEL PROMPT; fetch one of the hub: arrayformer download ID")
