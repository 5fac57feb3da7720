"""`arrayformer generate`: let a model write on."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from arrayformer.commands.model_options import model_options
from arrayformer.core.errors import InputError

DEFAULT_LENGTH = 200

MAX_INPUT = 1 << 24
"""Bytes of prompts that are read; more than any context holds."""

UNSAID = object()


@click.command(short_help="Let a model write on.")
@click.argument("text", metavar="[PROMPT]", required=False)
@click.option("-p", "--prompt", help="The prompt, where it would look like an option. '-' reads standard input.")
@click.option("--ids", "as_ids", is_flag=True, help="The prompt is ids, as `tokenize` prints them.")
@model_options
@click.option("--model_size", "model_size", help="picoGPT's name for --model, with --models_dir.")
@click.option(
    "-n",
    "--max-tokens",
    "--n_tokens_to_generate",
    "max_tokens",
    type=int,
    help=f"Tokens to write at most  [{DEFAULT_LENGTH}, or what the context has room for].",
)
@click.option("--temperature", type=float, default=0.0, help="0 always takes the likeliest token.", show_default=True)
@click.option("--top-k", type=int, help="Draw from the K likeliest tokens only.")
@click.option("--top-p", type=float, help="Draw from the likeliest tokens that reach this probability together.")
@click.option("--min-p", type=float, help="Draw from tokens at least this likely, as a part of the likeliest one's.")
@click.option("--repetition-penalty", type=float, default=1.0, help="Above 1 avoids what was said.", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed writes the same on every backend.")
@click.option("--stop", multiple=True, help="End before this string. May be given several times.")
@click.option("--ignore-eos", is_flag=True, help="Go on after the end of a text.")
@click.option(
    "--on-full",
    type=click.Choice(["error", "stop", "slide"]),
    help="Where the context ends: refuse at once, stop there, or forget the older half.  "
    "[error with --max-tokens, else stop]",
)
@click.option("--logprobs", type=int, help="With --json: log-probabilities, of so many alternatives too.")
@click.option(
    "--batch-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help='Prompts, one a line; in a .jsonl file each line is a JSON string, a list of ids, or an object with "prompt".',
)
@click.option("--batch-size", type=int, default=16, show_default=True, help="Prompts that are written together.")
@click.option("--speculate", is_flag=True, help="Guess tokens ahead from the text itself: faster where it repeats.")
@click.option("--echo", is_flag=True, help="Print the prompt too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per prompt, when it is done.")
def command(**said: Any) -> None:
    """Print what follows PROMPT, as it is written; '-' reads the prompt from standard input.

    Only the new text goes to standard output, followed by a line break; notes go to standard error, and only on
    a terminal. A line break at the end of standard input is no part of the prompt.
    """  # fmt: skip
    prompts = read_prompts(said.pop("text"), said.pop("prompt"), said["batch_file"])
    if said.pop("as_ids"):
        prompts = [parse_ids(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
    if said["logprobs"] is not None and not said["as_json"]:
        raise click.UsageError("--logprobs needs --json: there is no place for numbers in plain text")
    if said["max_tokens"] is None:
        said["max_tokens"], said["on_full"] = DEFAULT_LENGTH, said["on_full"] or "stop"
    if said["model_size"] and said["model"]:
        raise click.UsageError("--model and --model_size say the same: give one of them")
    if said["model_size"] or (said["models_dir"] and not said["model"]):  # with picoGPT's defaults
        said["model"], said["models_dir"] = said["model_size"] or "124M", said["models_dir"] or "models"

    from arrayformer.commands.writing import write

    write(prompts, said)


def read_prompts(text: str | None, prompt: str | None, batch_file: Path | None) -> list[str | list[int]]:
    """The prompts, wherever they were given. Raises UsageError unless that is exactly one place."""
    given = [p for p in (text, prompt) if p is not None]
    if len(given) + (batch_file is not None) != 1:
        what = "no prompt" if not given and batch_file is None else "more than one prompt"
        raise click.UsageError(f"{what}: give PROMPT, or --prompt, or --batch-file; '-' reads standard input")
    if batch_file is not None:
        return list(prompts_in(batch_file))
    return [without_line_break(read_text("-")) if given[0] == "-" else given[0]]


def parse_ids(text: str) -> list[int]:
    """Numbers between spaces, commas or brackets. Raises InputError for anything else."""
    words = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
    if wrong := next((w for w in words if not w.isdecimal() or not w.isascii() or len(w) > 18), None):
        raise InputError(f"{wrong!r:.60} is no id; ids are whole numbers, for example: 15496 11 995")
    return [int(w) for w in words]


def without_line_break(text: str) -> str:
    """`text` without the line break that echo and editors put at its end."""
    return text.removesuffix("\n").removesuffix("\r")


def prompts_in(path: Path) -> Iterator[str | list[int]]:
    """The prompts in a file, one a line; lines without anything are left out."""
    from arrayformer.core.files import strict_json

    # Not splitlines(): U+2028 and form feeds end no line of a text file, and may stand inside a JSON string.
    lines = [line.removesuffix("\r") for line in read_text(str(path)).split("\n")]
    numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise InputError(f"{path}: there is no prompt in this file; write one on each line")
    for n, line in numbered:
        if path.suffix != ".jsonl":
            yield line
            continue
        entry = strict_json.parse(line, f"{path}, line {n}", InputError)
        found = entry.get("prompt") if isinstance(entry, dict) else entry
        if not isinstance(found, str | list):
            raise InputError(f'{path}, line {n}: needed is a string, a list of ids, or an object with "prompt"')
        yield found


def read_text(where: str) -> str:
    """A file or standard input ("-") as UTF-8. Raises InputError for other bytes, and for too many."""
    name = "standard input" if where == "-" else where
    data = read_bytes(where)
    if len(data) > MAX_INPUT:
        raise InputError(f"{name}: more than {MAX_INPUT} bytes; no context holds that much")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}: byte {error.start} (0x{data[error.start]:02x}) is not UTF-8; convert the text to UTF-8 first"
        ) from None


def read_bytes(where: str) -> bytes:
    """At most one byte more than MAX_INPUT."""
    if where != "-":
        if Path(where).exists() and not Path(where).is_file():
            raise InputError(f"{where}: this is no regular file; '-' reads standard input")
        with open(where, "rb") as file:
            return file.read(MAX_INPUT + 1)
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("standard input is closed; give the prompt as an argument")
    if sys.stdin.isatty():
        click.echo("reading the prompt from the terminal; Ctrl-D ends it", err=True)
    return sys.stdin.buffer.read(MAX_INPUT + 1)
