"""`arrayformer evaluate`: measure a model by a protocol that has a name."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arrayformer.commands.model_options import load_model, model_options

if TYPE_CHECKING:
    from arrayformer.evaluate.protocols import Protocol
    from arrayformer.evaluate.result import Result


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
def command(name: str, list_all: bool, as_json: bool, expect: float | None, within: float, **said: Any) -> None:
    """Measure how well a model predicts a text.

    \b
    arrayformer evaluate --data story.txt
    arrayformer evaluate -m openai-community/gpt2 --protocol wikitext2-raw
    """
    from arrayformer.commands.writing import out
    from arrayformer.evaluate.protocols import find_protocol
    from arrayformer.evaluate.report import list_protocols, render

    if list_all:
        out(list_protocols(as_json) + "\n")
        return
    protocol = find_protocol(name)
    result = measure(protocol, said)
    out((json.dumps(result.as_dict(protocol)) if as_json else render(result, protocol)) + "\n")
    if expect is not None:
        check_expected(result, protocol, expect, within)


def measure(protocol: "Protocol", said: dict[str, Any]) -> "Result":
    """Read the data, which is the likeliest to be missing, then load the model and run."""
    from arrayformer.core.errors import InputError
    from arrayformer.evaluate.progress import progress_bar
    from arrayformer.evaluate.run import Options, evaluate
    from arrayformer.evaluate.source import read
    from arrayformer.whole_file import check_writable

    if said["state"] is not None:
        check_writable(said["state"])
    text = read(protocol.source, said["data"], offline=said["offline"])
    model = load_model(said)
    if model.tokenizer is None:
        raise InputError("this model has no tokenizer, so no text can be measured; it needs vocab.json and merges.txt")
    options = Options(said["batch_size"], said["stride"], said["limit"], said["state"])
    with progress_bar(protocol) as progress:
        return evaluate(
            model.engine, model.tokenizer, protocol, text, options, model=said["model"] or "fable", progress=progress
        )


def check_expected(result: "Result", protocol: "Protocol", expect: float, within: float) -> None:
    """Raises EvaluationFailure unless the figure is within `within` of `expect`."""
    from arrayformer.core.errors import EvaluationFailure
    from arrayformer.evaluate.result import UNITS

    figure = result.figure(protocol.measure)
    value = float("nan") if figure is None else figure.value
    if not abs(value - expect) <= within:
        unit = UNITS[protocol.measure]
        raise EvaluationFailure(f"{unit} is {value:.5g}, expected was {expect:.5g} within {within:g}")
