"""Weights in the form OpenAI published: hparams.json and a TensorFlow checkpoint."""

import re
from contextlib import ExitStack
from dataclasses import replace

from arrayformer.core.architecture import Source
from arrayformer.core.checkpoint.bundle import BundleEntry, read_bundle
from arrayformer.core.checkpoint.config_file import model_from_openai, read_json_object
from arrayformer.core.checkpoint.weights import Reading, Stored, check_tensors, load_params
from arrayformer.core.errors import ModelFileError
from arrayformer.core.files.untrusted import ModelDirectory, ModelFile, shown
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import Params

HPARAMS = "hparams.json"

_STEM = re.compile(r'^\s*model_checkpoint_path:\s*"([A-Za-z0-9_][A-Za-z0-9._-]{0,200})"\s*$', re.ASCII | re.MULTILINE)


def openai_source(path: str) -> Source:
    """Where a weight lies in OpenAI's checkpoints: "blocks.0.ln_1.g" is "model/h0/ln_1/g"."""
    return Source("model/" + re.sub(r"^blocks\.(\d+)", r"h\1", path).replace(".", "/"))


def read_openai(directory: ModelDirectory, reading: Reading) -> tuple[GPT2, Params]:
    """The model and weights of a directory in OpenAI's form. Every tensor's CRC is checked."""
    model = model_from_openai(read_json_object(directory, HPARAMS), str(directory / HPARAMS))
    stem = _stem(directory)
    with ExitStack() as stack:
        index = read_bundle(stack.enter_context(directory.open(f"{stem}.index")))
        file = stack.enter_context(directory.open(f"{stem}.data-00000-of-00001"))
        named = {name: _stored(name, file, found) for name, found in index.items()}
        located = check_tensors(model, named, openai_source, directory, reading.ignore_extra)
        return model, load_params(model, located, reading)


def _stem(directory: ModelDirectory) -> str:
    """The name the checkpoint's files begin with, which the small text file `checkpoint` holds."""
    with directory.open("checkpoint") as file:
        text = file.read(0, min(file.size, 4096)).decode("utf-8", "replace")
    match = _STEM.search(text)
    if match is None:
        raise ModelFileError(
            f"{directory / 'checkpoint'}: names no file of this directory; "
            'OpenAI\'s begins with: model_checkpoint_path: "model.ckpt"'
        )
    return match[1]


def _stored(name: str, file: ModelFile, found: BundleEntry) -> Stored:
    entry = found.entry
    if entry.offset + entry.size > file.size:
        raise ModelFileError(
            f"{file.path}: tensor {shown(name)!r} ends at byte {entry.offset + entry.size}, the file at {file.size}; "
            "truncated, fetch it again"
        )
    # A matrix is stored as a convolution of width 1: [1, n_in, n_out].
    if name.endswith("/w") and len(entry.shape) == 3 and entry.shape[0] == 1:
        entry = replace(entry, shape=entry.shape[1:])
    return Stored(name, file, entry, found.crc)
