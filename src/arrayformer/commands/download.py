"""`arrayformer download`: fetch a model, verified, so that it runs offline from then on."""

from pathlib import Path

import click


@click.command(short_help="Fetch a model, verified.")
@click.argument("model")
@click.option("--revision", help="Commit, tag or branch.  [main]")
@click.option("--offline", is_flag=True, help="Only say where it lies, and check it.")
@click.option("--verify", is_flag=True, help="Compare all digests again, also of files that look unchanged.")
def command(model: str, revision: str | None, offline: bool, verify: bool) -> None:
    """Fetch MODEL, a Hugging Face hub id or one of OpenAI's sizes, and print the directory it lies in.

    Each file is compared with the digest the hub lists for it. What is there already is not fetched again; nor is it
    read again, without --verify, as long as its size and time of change are those it had when it was compared.
    """
    from arrayformer.core.errors import InputError
    from arrayformer.hub.resolve import FABLE, resolve_model

    if model == FABLE or Path(model).is_dir():
        raise InputError(f"{model!r} is no model of the hub: there is nothing to fetch; pass a hub id, owner/name")
    click.echo(str(resolve_model(model, revision=revision, offline=offline, verify=verify)))
