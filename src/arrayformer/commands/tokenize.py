"""`arrayformer tokenize`: text to ids, ids to text, and every step between."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrayformer.commands.prompts import parse_ids, read_text
from arrayformer.core.files import strict_json

if TYPE_CHECKING:
    from arrayformer.tokenizer import Tokenizer


@click.command(short_help="Turn text into ids, or back, and show how.")
@click.argument("text", nargs=-1, required=True)
@click.option("-m", "--model", help="Whose tokenizer; a directory, a GGUF file or a hub id.  [GPT-2's table]")
@click.option("--models_dir", "--models-dir", "models_dir", help="Where picoGPT's models lie.")
@click.option("--revision", help="Commit, tag or branch of a hub id.")
@click.option("--offline", is_flag=True, help="Do without the network.")
@click.option("--decode", is_flag=True, help="TEXT is ids; print their text.")
@click.option("--explain", is_flag=True, help="Show every step from text to ids.")
@click.option("--special", is_flag=True, help="Let <|endoftext|> in the text be the special token.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    text: tuple[str, ...], model: str | None, models_dir: str | None, revision: str | None, offline: bool,
    decode: bool, explain: bool, special: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print the ids of TEXT; '-' reads standard input, as it is. Works without a network."""
    from arrayformer.commands.output import out

    tokenizer = find(model, models_dir, revision, offline)
    whole = read_text("-") if text == ("-",) else " ".join(text)
    if decode:
        ids = parse_ids(whole)
        written = tokenizer.decode(ids)
        out((strict_json.dumps({"ids": ids, "text": written}) if as_json else written) + "\n")
    elif explain:
        explanation = tokenizer.explain(whole)
        out((strict_json.dumps([vars(piece) for piece in explanation.pieces]) if as_json else str(explanation)) + "\n")
    else:
        ids = tokenizer.encode(whole, allowed_special=tokenizer.special_tokens if special else ())
        tokens = [tokenizer.token(id) for id in ids] if as_json else []
        out((strict_json.dumps({"ids": ids, "tokens": tokens}) if as_json else " ".join(map(str, ids))) + "\n")


def find(model: str | None, models_dir: str | None, revision: str | None, offline: bool) -> "Tokenizer":
    """The tokenizer of a model, or GPT-2's."""
    from arrayformer.tokenizer import gpt2_tokenizer, load_tokenizer

    if model is None:
        return gpt2_tokenizer()
    from arrayformer.hub.resolve import resolve_model

    where = resolve_model(model, revision=revision, offline=offline, models_dir=models_dir)
    return load_tokenizer(where) if where.is_dir() else _of_gguf(where)


def _of_gguf(path: Path) -> "Tokenizer":
    from arrayformer.core.checkpoint.gguf import read_metadata
    from arrayformer.core.errors import TokenizerError
    from arrayformer.tokenizer.gguf import gguf_tokenizer

    tokenizer = gguf_tokenizer(read_metadata(path), str(path))
    if tokenizer is None:
        raise TokenizerError(f"{path}: has no tokenizer; take the model in Hugging Face's form")
    return tokenizer
