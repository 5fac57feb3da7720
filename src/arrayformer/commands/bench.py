"""`arrayformer bench`: measure speed, beside the bounds of this machine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrayformer.core.files import strict_json

if TYPE_CHECKING:
    from arrayformer.bench.measure import Result, Told

SIZES = ("124M", "355M", "774M", "1558M")


def counts(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """ "16,512" -> (16, 512)"""
    try:
        numbers = tuple(int(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise click.BadParameter(f"{value!r} is no list of whole numbers from 1 up, like 16,512")
    return numbers


@click.command(short_help="Measure speed, beside the bounds of this machine.")
@click.option(
    "--backend", "backends", multiple=True, help="A backend; repeat to compare.  [$ARRAYFORMER_BACKEND, or numpy]"
)
@click.option("-m", "--model", help="A directory or a model that comes along.  [fable]")
@click.option("--random-weights", type=click.Choice(SIZES), help="Random weights of this size: no download.")
@click.option("--device", help="Where to compute, for example cpu or cuda:0.")
@click.option("--dtype", help="Of the weights.")
@click.option("--prompt-lengths", callback=counts, default="16,128", show_default=True, help="Ids in a prompt.")
@click.option("--new-tokens", type=click.IntRange(min=1), default=32, show_default=True, help="Ids to decode.")
@click.option("--batch-sizes", callback=counts, default="1,8", show_default=True, help="Rows that decode together.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Each backend in turn, so often."
)
@click.option("--bounds/--no-bounds", default=True, help="Measure what the BLAS alone could do.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw a picture into this file (.png, .svg, .pdf).")
def command(
    backends: tuple[str, ...], model: str | None, random_weights: str | None, device: str | None, dtype: str | None,
    prompt_lengths: tuple[int, ...], new_tokens: int, batch_sizes: tuple[int, ...], rounds: int, bounds: bool,
    as_json: bool, plot: Path | None,
) -> None:  # fmt: skip
    """Measure loading, prefill and decode, each backend in a process of its own, in turn.

    \b
    arrayformer bench
    arrayformer bench --random-weights 124M --backend numpy --backend jax --prompt-lengths 16,512
    """
    if model and random_weights:
        raise click.UsageError("--model and --random-weights exclude each other: leave one of them out")
    from arrayformer.backends.registry import default_backend_name
    from arrayformer.bench.measure import bench, tasks
    from arrayformer.core.files.atomic import check_writable

    if plot is not None:
        check_writable(plot)
    with telling() as tell:
        result = bench(
            backends or (default_backend_name(),), tasks(prompt_lengths, batch_sizes, new_tokens), rounds=rounds,
            model=model, random_weights=random_weights, device=device, dtype=dtype, bounds=bounds, tell=tell,
        )  # fmt: skip
    show(result, as_json)
    if plot is not None:
        from arrayformer.bench.report import plot as draw

        draw(result, plot)


def show(result: "Result", as_json: bool) -> None:
    """Print what was found."""
    if as_json:
        click.echo(strict_json.dumps(result.as_dict(), indent=2))
        return
    from rich.console import Console

    from arrayformer.bench.report import tables

    console = Console(width=None if sys.stdout.isatty() else 120)
    for table in tables(result):
        console.print(table, highlight=False)


@contextmanager
def telling() -> Iterator["Told"]:
    """Says on stderr what is being measured, where somebody is looking."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield lambda what: status.update(what)
