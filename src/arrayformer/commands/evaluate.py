"""`arrayformer evaluate`: measure a model by a protocol that has a name."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrayformer.commands.options import ModelOptions, model_options
from arrayformer.core.files import strict_json

if TYPE_CHECKING:
    from arrayformer.evaluate.protocols import Protocol
    from arrayformer.evaluate.result import Result
    from arrayformer.evaluate.run import Options


@click.command(short_help="Measure how well a model predicts a text.")
@click.option("--protocol", "name", default="text", show_default=True, help="How to measure; --list shows all.")
@click.option("--data", type=click.Path(path_type=Path), help="The text; without it, fetched from the hub.")
@model_options
@click.option("--stride", type=int, help="Tokens from one window to the next.  [the protocol's]")
@click.option("--batch-size", type=int, default=4, show_default=True, help="Windows read together.")
@click.option("--limit", type=int, help="Stop after so many windows; the figure is then no protocol's.")
@click.option("--state", type=click.Path(path_type=Path), help="Remember here how far it came; run again to go on.")
@click.option("--expect", type=float, help="Exit with 1 unless the protocol's figure is this.")
@click.option("--within", type=float, default=0.01, show_default=True, help="How far from --expect it may be.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--list", "list_all", is_flag=True, help="List the protocols and what is known of them.")
def command(
    name: str, data: Path | None, where: ModelOptions, stride: int | None, batch_size: int, limit: int | None,
    state: Path | None, expect: float | None, within: float, as_json: bool, list_all: bool,
) -> None:  # fmt: skip
    """Measure how well a model predicts a text.

    \b
    arrayformer evaluate --data story.txt
    arrayformer evaluate -m openai-community/gpt2 --protocol wikitext2-raw
    """
    from arrayformer.commands.output import alone_on_stdout, out
    from arrayformer.evaluate.protocols import find_protocol
    from arrayformer.evaluate.report import list_protocols, render
    from arrayformer.evaluate.run import Options

    if list_all:
        out(list_protocols(as_json) + "\n")
        return
    protocol = find_protocol(name)
    with alone_on_stdout():
        result = measure(protocol, data, where, Options(batch_size, stride, limit, state))
    out((strict_json.dumps(result.as_dict(protocol)) if as_json else render(result, protocol)) + "\n")
    if expect is not None:
        check_expected(result, protocol, expect, within)


def measure(protocol: "Protocol", data: Path | None, where: ModelOptions, options: "Options") -> "Result":
    """Read the data, which is the likeliest to be missing, then load the model and run."""
    from arrayformer.core.errors import InputError
    from arrayformer.core.files.atomic import check_writable
    from arrayformer.evaluate.progress import progress_bar
    from arrayformer.evaluate.run import evaluate
    from arrayformer.evaluate.source import read

    if options.state is not None:
        check_writable(options.state)
    text = read(protocol.source, data, offline=where.offline)
    model = where.load()
    if model.tokenizer is None:
        raise InputError("this model has no tokenizer, so no text can be measured; it needs vocab.json and merges.txt")
    with progress_bar(protocol) as progress:
        return evaluate(model.engine, model.tokenizer, protocol, text, options, model=where.name, progress=progress)


def check_expected(result: "Result", protocol: "Protocol", expect: float, within: float) -> None:
    """Raises EvaluationFailure unless the figure is within `within` of `expect`."""
    from arrayformer.core.errors import EvaluationFailure
    from arrayformer.evaluate.result import UNITS

    figure = result.figure(protocol.measure)
    value = float("nan") if figure is None else figure.value
    if not abs(value - expect) <= within:
        unit = UNITS[protocol.measure]
        raise EvaluationFailure(f"{unit} is {value:.5g}, expected was {expect:.5g} within {within:g}")
