"""Weights under Hugging Face's names, from one safetensors file or several."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from arrayformer.core.checkpoint.config_file import read_config
from arrayformer.core.checkpoint.generation_file import read_end_of_text
from arrayformer.core.checkpoint.safetensors_file import read_table
from arrayformer.core.checkpoint.shard_index import WEIGHTS, read_index
from arrayformer.core.checkpoint.weights import Stored, check_tensors, load_params, read_tensor, row_major
from arrayformer.core.errors import ConfigError, ModelFileError, TokenizerError
from arrayformer.core.files.untrusted import ModelDirectory, shown
from arrayformer.core.models.gpt2 import GPT2Config
from arrayformer.core.params import Order, Params

_PREFIX = "transformer."
_BARE = ("wte.", "wpe.", "h.", "ln_f.")
_HEAD = "lm_head.weight"
_LEAF = {"g": "weight", "w": "weight", "b": "bias"}

# The causal mask and the number that stood for minus infinity: older files carry them, nothing needs them.
_MASKS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")


def hf_name(path: str) -> str:
    """A weight's name in Hugging Face's files, without prefix: "blocks.0.ln_1.g" -> "h.0.ln_1.weight"."""
    parts = path.split(".")
    if parts[0] == "blocks":
        parts[0] = "h"
    return ".".join([*parts[:-1], _LEAF[parts[-1]]]) if parts[-1] in _LEAF else f"{path}.weight"


def read_huggingface(
    directory: ModelDirectory, *, allow_nonfinite: bool = False, ignore_extra: bool = False,
    order: Order = row_major,
) -> tuple[GPT2Config, Params]:  # fmt: skip
    """The config and weights of a directory in Hugging Face's form."""
    config = read_config(directory)
    if (end := read_end_of_text(directory, config.n_vocab)) is not None:
        config = replace(config, eos_token_id=end)
    with ExitStack() as stack:
        named = _without_prefix(_open(directory, stack), directory)
        _check_depth(config, named, directory)
        head = _take_tied_head(config, named)
        _check_vocabulary(config, named, directory)
        stored = check_tensors(config, named, hf_name, directory, ignore_extra)
        params = load_params(config, stored, allow_nonfinite, order)
        if head is not None:
            _check_equal(head, read_tensor(head, allow_nonfinite=allow_nonfinite), params["wte"])
        return config, params


def _open(directory: ModelDirectory, stack: ExitStack) -> dict[str, Stored]:
    """All tensors of the directory by name; the files stay open as long as `stack`."""
    if directory.has(WEIGHTS):
        return _open_file(directory, WEIGHTS, stack)
    tensors: dict[str, Stored] = {}
    for shard, names in read_index(directory).items():
        held = _open_file(directory, shard, stack)
        if held.keys() != names:
            odd = min(held.keys() ^ names)
            what = "holds it, the index says otherwise" if odd in held else "lacks it, the index says it is there"
            raise ModelFileError(f"{directory / shard}: tensor {shown(odd)!r}: this shard {what}")
        tensors |= held
    return tensors


def _open_file(directory: ModelDirectory, name: str, stack: ExitStack) -> dict[str, Stored]:
    file = stack.enter_context(directory.open(name))
    return {name: Stored(name, file, entry) for name, entry in read_table(file).items()}


def _without_prefix(tensors: Mapping[str, Stored], directory: ModelDirectory) -> dict[str, Stored]:
    """The tensors by name without `transformer.`, which all have or none, and without the masks."""
    prefixed = [name for name in tensors if name.startswith(_PREFIX)]
    bare = [name for name in tensors if name.startswith(_BARE)]
    if prefixed and bare:
        raise ModelFileError(
            f"{directory}: {shown(prefixed[0])!r} has the prefix {_PREFIX!r} and {shown(bare[0])!r} has not; "
            "all tensors have it or none"
        )
    named = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if not _MASKS.fullmatch(name)}


def _check_depth(config: GPT2Config, named: Mapping[str, Stored], directory: ModelDirectory) -> None:
    # First, because the list of what is missing would only say the same at length.
    numbers = {match[1] for name in named if (match := re.match(r"h\.(\d+)\.", name))}
    if numbers and len(numbers) != config.n_layer:
        raise ConfigError(
            f"{directory}: config.json says n_layer {config.n_layer}, the weights are of {len(numbers)} blocks"
        )


def _check_vocabulary(config: GPT2Config, named: Mapping[str, Stored], directory: ModelDirectory) -> None:
    """Raises ModelFileError with all three sizes of the vocabulary where config.json and wte disagree on it."""
    wte, wanted = named.get("wte.weight"), (config.n_vocab, config.n_embd)
    if wte is not None and len(wte.entry.shape) == 2 and wte.entry.shape[0] != config.n_vocab:
        raise ModelFileError(
            f"{wte.where}: the file has shape {list(wte.entry.shape)}, the config asks for {list(wanted)}: config.json "
            f"says vocab_size {config.n_vocab}, wte has {wte.entry.shape[0]} rows and the tokenizer "
            f"{_size_of_tokenizer(directory)}; take all three from one model"
        )


def _size_of_tokenizer(directory: ModelDirectory) -> str:
    from arrayformer.tokenizer import has_tokenizer, load_tokenizer

    try:
        return f"has {load_tokenizer(directory).n_vocab} ids" if has_tokenizer(directory) else "is not there"
    except TokenizerError:
        return "cannot be read"


def _take_tied_head(config: GPT2Config, named: dict[str, Stored]) -> Stored | None:
    """Takes a tied head out of `named`: it stands in for an absent wte, or is given back to be compared with it."""
    if not config.tie_word_embeddings or _HEAD not in named:
        return None
    head = named.pop(_HEAD)
    if "wte.weight" in named:
        return head
    named["wte.weight"] = head
    return None


def _check_equal(tensor: Stored, head: np.ndarray, wte: np.ndarray) -> None:
    if head.shape != wte.shape or not np.array_equal(head, wte, equal_nan=True):
        raise ModelFileError(
            f"{tensor.where}: differs from wte, while config.json ties the two; "
            'write "tie_word_embeddings": false into it where the head is meant to be its own'
        )
