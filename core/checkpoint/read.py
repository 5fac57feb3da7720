"""Which form a directory has, and what is said where it has none."""

from pathlib import Path

from arrayformer.core.architecture import Architecture
from arrayformer.core.checkpoint.gguf import is_gguf, read_gguf_model
from arrayformer.core.checkpoint.huggingface import read_huggingface
from arrayformer.core.checkpoint.openai import HPARAMS, read_openai
from arrayformer.core.checkpoint.shard_index import INDEX, WEIGHTS
from arrayformer.core.checkpoint.weights import Progress, Reading, row_major, unseen
from arrayformer.core.errors import ModelFileError
from arrayformer.core.files.untrusted import ModelDirectory, opened
from arrayformer.core.params import Order, Params

# Names and endings of weights in other forms, and the way from there.
_FOREIGN = {
    ".bin": "a PyTorch pickle, which could run code when read",
    ".pt": "a PyTorch pickle, which could run code when read",
    ".pth": "a PyTorch pickle, which could run code when read",
    ".ckpt": "a PyTorch pickle, which could run code when read",
    ".pkl": "a pickle, which could run code when read",
    ".h5": "Keras' HDF5 form",
    ".msgpack": "Flax's form",
    ".onnx": "an ONNX graph",
    ".npz": "NumPy's form",
}


def read_checkpoint(
    path: str | Path | ModelDirectory, *, allow_nonfinite: bool = False, ignore_extra: bool = False,
    order: Order = row_major, packed: bool = False, progress: Progress = unseen,
) -> tuple[Architecture, Params]:  # fmt: skip
    """The model and weights in a model's directory, or in a GGUF file.

    path             a directory in Hugging Face's form (config.json and model.safetensors, or
                     model.safetensors.index.json and its shards) or in OpenAI's (hparams.json, checkpoint,
                     model.ckpt.*), or one that is open already; or a file that ends in .gguf
    allow_nonfinite  whether weights may hold NaN or infinity, to look into a model that has gone wrong
    ignore_extra     whether tensors that are no part of the model may lie beside the weights
    order            in which order of memory a weight is wanted, (`Backend.order`)
    packed           whether matrices of a GGUF file in 8 or 4 bits stay packed (`core.packed.Packed`)
    progress         is told after each weight how many numbers are read, and of how many
    returns  the model, and NumPy arrays nested as its `weights()` says: float32, or float16 where all weights
             are stored so. `lm_head` is there where the head is not tied to wte.

    Raises ConfigError for a config that describes no model or contradicts the weights, ModelFileError for any other
    fault of the files. Reads nothing else in the directory, and nothing outside of it.
    """
    reading = Reading(allow_nonfinite, ignore_extra, order, progress, packed)
    if not isinstance(path, ModelDirectory) and is_gguf(path):
        return read_gguf_model(Path(path), reading)
    with opened(path) as directory:
        names = directory.names()
        if "config.json" in names and (WEIGHTS in names or INDEX in names):
            return read_huggingface(directory, reading)
        if HPARAMS in names and "checkpoint" in names:
            return read_openai(directory, reading)
        raise ModelFileError(f"{path}: {_what_is_missing(names)}")


def _what_is_missing(names: set[str]) -> str:
    if found := sorted(name for name in names if is_gguf(name)):
        return f"holds no safetensors but GGUF: pass the file itself, for example {found[0]}"
    for name in sorted(names):
        if (kind := _FOREIGN.get(Path(name).suffix)) is not None:
            return (
                f"holds no safetensors but {name}, {kind}; convert it with transformers: "
                "AutoModelForCausalLM.from_pretrained(...).save_pretrained(..., safe_serialization=True)"
            )
    if "config.json" in names:
        return f"has config.json but neither {WEIGHTS} nor {INDEX}"
    return "is no model's directory: it has neither config.json nor hparams.json"
