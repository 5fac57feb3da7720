"""Weights under Hugging Face's names, from one safetensors file or several."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from arrayformer.core.architecture import Architecture
from arrayformer.core.checkpoint.config_file import read_config
from arrayformer.core.checkpoint.generation_file import read_end_of_text
from arrayformer.core.checkpoint.safetensors_file import read_table
from arrayformer.core.checkpoint.shard_index import WEIGHTS, read_index
from arrayformer.core.checkpoint.weights import Reading, Stored, check_tensors, load_params, read_tensor
from arrayformer.core.errors import ConfigError, ModelFileError, VocabularyError
from arrayformer.core.files.untrusted import ModelDirectory, shown
from arrayformer.core.params import Params, walk


def read_huggingface(directory: ModelDirectory, reading: Reading) -> tuple[Architecture, Params]:
    """The model and weights of a directory in Hugging Face's form."""
    model = read_config(directory)
    if (end := read_end_of_text(directory, model.n_vocab)) is not None:
        model = replace(model, eos_token_id=end)  # type: ignore[type-var]  # a page is a dataclass
    with ExitStack() as stack:
        named = _without_prefix(model, _open(directory, stack), directory)
        _check_depth(model, named, directory)
        head = _take_tied_head(model, named)
        _check_vocabulary(model, named)
        located = check_tensors(model, named, model.hf_source, directory, reading.ignore_extra)
        params = load_params(model, located, reading)
        if head is not None:
            _check_equal(head, read_tensor(head, allow_nonfinite=reading.allow_nonfinite), params["wte"])
        return model, params


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


def _without_prefix(model: Architecture, tensors: Mapping[str, Stored], directory: ModelDirectory) -> dict[str, Stored]:
    """The tensors by name without the prefix, which all have or none, and without what is computed anew."""
    prefix, heads = model.hf_prefix, model.hf_heads
    own = {model.hf_source(path).name for path, _ in walk(model.weights())} - set(heads)
    prefixed = [name for name in tensors if name.startswith(prefix)]
    bare = [name for name in tensors if name in own]
    if prefixed and bare:
        raise ModelFileError(
            f"{directory}: {shown(prefixed[0])!r} has the prefix {prefix!r} and {shown(bare[0])!r} has not; "
            "all tensors have it or none"
        )
    named = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    if heads[0] not in named and (other := next((head for head in heads if head in named), None)):
        named[heads[0]] = named.pop(other)
    return {name: tensor for name, tensor in named.items() if not re.fullmatch(model.hf_ignored, name)}


def _check_depth(model: Architecture, named: Mapping[str, Stored], directory: ModelDirectory) -> None:
    # First, because the list of what is missing would only say the same at length.
    first = next(path for path, _ in walk(model.weights()) if path.startswith("blocks.0."))
    stem = re.escape(model.hf_source(first).name.partition(".0.")[0])
    numbers = {match[1] for name in named if (match := re.match(rf"{stem}\.(\d+)\.", name))}
    if numbers and len(numbers) != model.n_layer:
        raise ConfigError(
            f"{directory}: config.json says n_layer {model.n_layer}, the weights are of {len(numbers)} blocks"
        )


def _check_vocabulary(model: Architecture, named: Mapping[str, Stored]) -> None:
    """Raises VocabularyError where config.json and wte disagree on the size of the vocabulary."""
    wte, wanted = named.get(model.hf_source("wte").name), (model.n_vocab, model.n_embd)
    if wte is not None and len(wte.entry.shape) == 2 and wte.entry.shape[0] != model.n_vocab:
        raise VocabularyError(
            f"{wte.where}: the file has shape {list(wte.entry.shape)}, the config asks for {list(wanted)}: config.json "
            f"says vocab_size {model.n_vocab}, and wte has {wte.entry.shape[0]} rows; "
            "take config, weights and tokenizer from one model"
        )


def _take_tied_head(model: Architecture, named: dict[str, Stored]) -> Stored | None:
    """Takes a tied head out of `named`: it stands in for an absent wte, or is given back to be compared with it."""
    name, wte = model.hf_heads[0], model.hf_source("wte").name
    if "lm_head" in model.weights() or name not in named:
        return None
    head = named.pop(name)
    if wte in named:
        return head
    named[wte] = head
    return None


def _check_equal(tensor: Stored, head: np.ndarray, wte: np.ndarray) -> None:
    if head.shape != wte.shape or not np.array_equal(head, wte, equal_nan=True):
        raise ModelFileError(
            f"{tensor.where}: differs from wte, while config.json ties the two; "
            'write "tie_word_embeddings": false into it where the head is meant to be its own'
        )
