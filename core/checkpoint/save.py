"""Writing a checkpoint that other tools read: Hugging Face's form, in one safetensors file."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from arrayformer.core.checkpoint.huggingface import hf_name
from arrayformer.core.checkpoint.shard_index import WEIGHTS
from arrayformer.core.errors import InputError, ModelFileError
from arrayformer.core.files import strict_json
from arrayformer.core.files.atomic import whole_folder
from arrayformer.core.models.gpt2 import GPT2Config
from arrayformer.core.params import Params, shapes, walk

DTYPES = ("float32", "float16", "bfloat16")


def save_checkpoint(
    path: Path, config: GPT2Config, params: Params, dtype: str = "float32", tokenizer_files: Mapping[str, bytes] = {}
) -> None:
    """Writes config and weights to a directory that this project, transformers and other tools read.

    path             the directory; one that exists keeps its other files
    params           nested as `shapes(config)` says; arrays of any library that NumPy can copy
    dtype            what the weights are rounded to (to nearest, ties to even): one of DTYPES
    tokenizer_files  file name -> content, written beside the weights

    Everything is written beside `path` and moved into place when it is complete: a new directory appears at once; in
    one that exists each file is replaced whole, and there is no config.json while old and new could be mixed: weights
    of one model never lie beside the config of another.
    Raises InputError for params that do not fit the config and values that `dtype` cannot hold, ModelFileError
    where the disk refuses.
    """
    path = Path(path)
    tensors = _rounded(config, params, dtype)
    _check_names(tokenizer_files)
    from safetensors import SafetensorError  # its import costs time that reading need not spend

    try:
        with whole_folder(path, last="config.json") as folder:
            _write_tensors(folder / WEIGHTS, tensors, dtype)
            for name, content in tokenizer_files.items():
                (folder / name).write_bytes(content)
            text = strict_json.dumps(_hf_config(config, dtype), indent=2) + "\n"
            (folder / "config.json").write_text(text, encoding="utf-8")
            # The library makes its file readable for the owner alone.
            shutil.copymode(folder / "config.json", folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


def _check_names(tokenizer_files: Mapping[str, bytes]) -> None:
    for name in tokenizer_files:
        if not name or Path(name).name != name or name in (WEIGHTS, "config.json"):
            raise InputError(f"tokenizer file {name!r}: pass a plain file name that is none of the checkpoint's own")


def _rounded(config: GPT2Config, params: Params, dtype: str) -> dict[str, np.ndarray]:
    """The weights by their names in the file, in `dtype` (bfloat16 as its 16 bits)."""
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    need, got = dict(walk(shapes(config))), dict(walk(params))
    if need.keys() != got.keys():
        odd = sorted(need.keys() ^ got.keys())
        raise InputError(f"the params do not fit the config: {odd[0]} is {'missing' if odd[0] in need else 'too many'}")
    tensors = {}
    for name, leaf in got.items():
        x = np.asarray(leaf)
        if x.shape != need[name]:
            raise InputError(f"{name}: the params have shape {list(x.shape)}, the config asks for {list(need[name])}")
        prefix = "" if name == "lm_head" else "transformer."
        tensors[prefix + hf_name(name)] = _round(name, x, dtype)
    return tensors


def _round(name: str, x: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(x, dtype="float16" if dtype == "float16" else "float32")
        out = _bfloat16_bits(x) if dtype == "bfloat16" else x
    if not np.isfinite(x).all() or (dtype == "bfloat16" and ((out & 0x7F80) == 0x7F80).any()):
        raise InputError(f"{name}: holds values that are not finite in {dtype}; save as float32, or look for the NaN")
    return out


def _bfloat16_bits(x: np.ndarray) -> np.ndarray:
    """The upper halves of float32 values, rounded to nearest, ties to even. Infinities stay, NaN is not handled."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _write_tensors(path: Path, tensors: Mapping[str, np.ndarray], dtype: str) -> None:
    from safetensors import TensorSpec, serialize_file

    little = {name: x.astype(x.dtype.newbyteorder("<"), copy=False) for name, x in tensors.items()}
    specs = {
        name: TensorSpec(dtype=dtype, shape=x.shape, data_ptr=x.ctypes.data, data_len=x.nbytes)
        for name, x in little.items()
    }
    serialize_file(specs, path, metadata={"format": "pt"})  # transformers asks for the metadata


def _hf_config(config: GPT2Config, dtype: str) -> dict[str, Any]:
    fields = config.as_dict()
    n_ctx = fields.pop("n_ctx")
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": fields.pop("n_vocab"),
        "n_positions": n_ctx,
        "n_ctx": n_ctx,
        **fields,
        "bos_token_id": config.eos_ids[0] if config.eos_ids else None,
        "torch_dtype": dtype,
    }
