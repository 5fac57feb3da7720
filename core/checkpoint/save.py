"""Writing a checkpoint that other tools read: Hugging Face's form, in one safetensors file."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from arrayformer.core.architecture import Architecture, Source
from arrayformer.core.checkpoint.shard_index import WEIGHTS
from arrayformer.core.errors import ConfigError, InputError, ModelFileError
from arrayformer.core.files import strict_json
from arrayformer.core.files.atomic import whole_folder
from arrayformer.core.models.keys import Keys
from arrayformer.core.params import Params, walk

DTYPES = ("float32", "float16", "bfloat16")


def save_checkpoint(
    path: Path, config: Architecture, params: Params, dtype: str = "float32", tokenizer_files: Mapping[str, bytes] = {}
) -> None:
    """Writes config and weights to a directory that this project, transformers and other tools read.

    path             the directory; one that exists keeps its other files
    params           nested as `config.weights()` says; arrays of any library that NumPy can copy
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
            text = strict_json.dumps(_keys(config, dtype), indent=2) + "\n"
            (folder / "config.json").write_text(text, encoding="utf-8")
            # The library makes its file readable for the owner alone.
            shutil.copymode(folder / "config.json", folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


def _check_names(tokenizer_files: Mapping[str, bytes]) -> None:
    for name in tokenizer_files:
        if not name or Path(name).name != name or name in (WEIGHTS, "config.json"):
            raise InputError(f"tokenizer file {name!r}: pass a plain file name that is none of the checkpoint's own")


def _rounded(model: Architecture, params: Params, dtype: str) -> dict[str, np.ndarray]:
    """The tensors by their names in the file, in `dtype` (bfloat16 as its 16 bits)."""
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    need, got = dict(walk(model.weights())), dict(walk(params))
    if need.keys() != got.keys():
        odd = sorted(need.keys() ^ got.keys())
        raise InputError(f"the params do not fit the config: {odd[0]} is {'missing' if odd[0] in need else 'too many'}")
    parts: dict[str, list[tuple[int, np.ndarray]]] = {}
    for path, leaf in got.items():
        x, source = np.asarray(leaf), model.hf_source(path)
        if x.shape != need[path].shape:
            wanted = list(need[path].shape)
            raise InputError(f"{path}: the params have shape {list(x.shape)}, the config asks for {wanted}")
        name = source.name if source.name in model.hf_heads else model.hf_prefix + source.name
        first = source.part[0] if source.part else 0
        parts.setdefault(name, []).append((first, _round(path, _as_stored(x, source), dtype)))
    return {name: _joined(found) for name, found in parts.items()}


def _as_stored(x: np.ndarray, source: Source) -> np.ndarray:
    """A weight as its tensor holds it: `checkpoint.weights` undone."""
    x = x.T if source.transposed else x
    if source.view:
        shape = tuple(source.view[axis] for axis in source.axes)
        inner = tuple(range(len(shape), len(shape) + x.ndim - 1))
        back = tuple(int(axis) for axis in np.argsort(source.axes))
        x = x.reshape(shape + x.shape[1:]).transpose(back + inner).reshape(x.shape)
    return x - x.dtype.type(source.add) if source.add else x


def _joined(parts: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """The parts of one tensor, by their first rows."""
    arrays = [x for _, x in sorted(parts, key=lambda part: part[0])]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


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


def _keys(model: Architecture, dtype: str) -> dict[str, Any]:
    """The keys of config.json. Raises ConfigError where read back they would describe another model."""
    keys = {**model.to_hf(), "torch_dtype": dtype}
    if type(model).from_hf(Keys(keys, "config.json")) != model:
        raise ConfigError(f"config.json of model_type {keys['model_type']!r} has no keys that say {model}")
    return keys
