"""`arrayformer generate`: let a model write on."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click

from arrayformer.commands.options import ModelOptions, model_options, writing_options
from arrayformer.commands.prompts import parse_ids, prompts_in, read_text, without_line_break
from arrayformer.core.generate.options import Options

DEFAULT_LENGTH = 200
"""Tokens, where the context has room for so many."""


@click.command(short_help="Let a model write on.")
@click.argument("text", metavar="[PROMPT]", required=False)
@click.option("-p", "--prompt", help="The prompt, where it would look like an option. '-' reads standard input.")
@click.option("--ids", "as_ids", is_flag=True, help="The prompt is ids, as `tokenize` prints them.")
@model_options
@click.option("--model_size", "model_size", help="picoGPT's name for --model, with --models_dir.")
@writing_options
@click.option(
    "--batch-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help='Prompts, one a line; in a .jsonl file each line is a JSON string, a list of ids, or an object with "prompt".',
)
@click.option("--batch-size", type=int, default=16, show_default=True, help="Prompts that are written together.")
@click.option("--speculate", is_flag=True, help="Guess tokens ahead from the text itself: faster where it repeats.")
@click.option("--echo", is_flag=True, help="Print the prompt too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per prompt, when it is done.")
def command(
    text: str | None, prompt: str | None, as_ids: bool, where: ModelOptions, model_size: str | None, how: Options,
    batch_file: Path | None, batch_size: int, speculate: bool, echo: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print what follows PROMPT, as it is written; '-' reads the prompt from standard input.

    Only the new text goes to standard output, followed by a line break; notes go to standard error, and only on
    a terminal. A line break at the end of standard input is no part of the prompt.
    """
    prompts = read_prompts(text, prompt, batch_file)
    if as_ids:
        prompts = (parse_ids(prompt) if isinstance(prompt, str) else prompt for prompt in prompts)
    if how["logprobs"] is not None and not as_json:
        raise click.UsageError("--logprobs needs --json: there is no place for numbers in plain text")
    where, how = as_picogpt(where, model_size), with_length(how)

    from arrayformer.commands.output import alone_on_stdout
    from arrayformer.commands.writing import write_many, write_one

    with alone_on_stdout():
        model = where.load()
        if as_json or batch_file is not None:
            write_many(model, prompts, how, batch_size, speculate, echo=echo, as_json=as_json)
        else:
            write_one(model, next(iter(prompts)), how, speculate, echo)


def as_picogpt(where: ModelOptions, model_size: str | None) -> ModelOptions:
    """Which model picoGPT's flags mean, with its defaults. Raises UsageError for two models."""
    if model_size and where.model:
        raise click.UsageError("--model and --model_size say the same: give one of them")
    if model_size or (where.models_dir and not where.model):
        return replace(where, model=model_size or "124M", models_dir=where.models_dir or "models")
    return where


def with_length(how: Options) -> Options:
    """Where no length was said, a text ends after DEFAULT_LENGTH ids or where the context does."""
    if how["max_new_tokens"] is None:
        return {**how, "max_new_tokens": DEFAULT_LENGTH, "on_full": how["on_full"] or "stop"}
    return {**how, "on_full": how["on_full"] or "error"}


def read_prompts(text: str | None, prompt: str | None, batch_file: Path | None) -> Iterable[str | list[int]]:
    """The prompts, wherever they were given. Raises UsageError unless that is exactly one place."""
    given = [p for p in (text, prompt) if p is not None]
    if len(given) + (batch_file is not None) != 1:
        what = "no prompt" if not given and batch_file is None else "more than one prompt"
        raise click.UsageError(f"{what}: give PROMPT, or --prompt, or --batch-file; '-' reads standard input")
    if batch_file is not None:
        return prompts_in(batch_file)
    return [without_line_break(read_text("-")) if given[0] == "-" else given[0]]
