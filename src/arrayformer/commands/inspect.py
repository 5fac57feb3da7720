"""`arrayformer inspect`: what a model does with a text, as a page, as data or on the terminal."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrayformer.commands.options import ModelOptions, model_options
from arrayformer.commands.prompts import read_text
from arrayformer.core.files import strict_json

if TYPE_CHECKING:
    from arrayformer.api import Model
    from arrayformer.inspection.compare import Comparison
    from arrayformer.inspection.gather import Inspection


@click.command(short_help="Look into a forward pass.")
@click.argument("text", nargs=-1)
@click.option("-p", "--prompt", help="The text, in the place of TEXT.")
@model_options
@click.option("--html", type=click.Path(path_type=Path), help="Write one page that needs no network.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, arrays and all.")
@click.option("--top-k", type=int, default=10, show_default=True, help="How many next tokens are shown for each token.")
@click.option("--compare-backend", metavar="BACKEND", help="Show where this backend computes something else.")
def command(
    text: tuple[str, ...], prompt: str | None, where: ModelOptions, html: Path | None, as_json: bool, top_k: int,
    compare_backend: str | None,
) -> None:  # fmt: skip
    """Show what a model expects after each token of TEXT, where it looks, and how layer after layer makes up its mind.

    \b
    arrayformer inspect "Once upon a time" --html page.html
    """
    from arrayformer.commands.output import alone_on_stdout
    from arrayformer.core.files.atomic import check_writable
    from arrayformer.inspection.gather import check_text, inspect

    if html is not None:
        check_writable(html)
    words = wanted(text, prompt)
    with alone_on_stdout():
        model = where.load()
        ids = check_text(model.engine, encoded(model, words))
        found = inspect(model.engine, ids, top_k)
        comparison = compare_with(model, ids, where, compare_backend) if compare_backend else None
    show(found, model, where.name, comparison, html, as_json)


def wanted(text: tuple[str, ...], prompt: str | None) -> str:
    """The text that was asked for; '-' is standard input. Raises InputError for none, or two."""
    from arrayformer.core.errors import InputError

    if text and prompt is not None:
        raise InputError("the text was given twice, once with --prompt; give it once")
    words = prompt if prompt is not None else " ".join(text)
    words = read_text("-") if words == "-" else words
    if not words:
        raise InputError('no text: pass some, for example: arrayformer inspect "Once upon a time"')
    return words


def encoded(model: "Model", text: str) -> list[int]:
    """The ids of the text. Raises InputError for a model without a tokenizer."""
    from arrayformer.core.errors import InputError

    if model.tokenizer is None:
        raise InputError("this model has no tokenizer, so no text can be inspected; it needs vocab.json and merges.txt")
    return model.tokenizer.encode(text)


def compare_with(model: "Model", ids: list[int], where: ModelOptions, backend: str) -> "Comparison":
    """The same model on another backend, beside this one."""
    from arrayformer.inspection.compare import compare

    other = replace(where, backend=backend, device=None, dtype=None, mesh=None).load()
    return compare(model.engine, other.engine, ids)


def show(
    found: "Inspection", model: "Model", name: str, comparison: "Comparison | None", html: Path | None, as_json: bool
) -> None:
    """Write the page, print JSON, or else the terminal's view."""
    from arrayformer.commands.output import out
    from arrayformer.inspection import content

    if html is not None:
        from arrayformer.core.files.atomic import write_whole
        from arrayformer.inspection.html import render_page

        page = content.for_page(found, model.tokenizer, Path(name).name, model.config, comparison)
        text = render_page(page).encode("utf-8")
        write_whole(html, text)
        click.echo(f"{html}: {len(text) / 1e6:.1f} MB; open it in a browser", err=True)
    if as_json:
        out(strict_json.dumps(content.as_json(found, model.tokenizer, name, comparison)) + "\n")
    elif html is None:
        from arrayformer.inspection.terminal import rendered

        out(rendered(found, model.tokenizer, name, comparison))
