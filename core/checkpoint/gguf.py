"""A model from a GGUF file: its config from the metadata, its weights dequantised one after the other."""

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from arrayformer.core.architecture import Architecture
from arrayformer.core.checkpoint.gguf_blocks import FORMATS
from arrayformer.core.checkpoint.gguf_file import Gguf, Tensor, Value, read_gguf
from arrayformer.core.checkpoint.safetensors_file import Entry
from arrayformer.core.checkpoint.weights import CHUNK, Located, Reading, Stored, check_memory, check_tensors, read_each
from arrayformer.core.errors import ConfigError, ModelFileError
from arrayformer.core.files.untrusted import ModelFile, open_inside, shown
from arrayformer.core.models.gguf_keys import GgufKeys
from arrayformer.core.models.registry import find_model
from arrayformer.core.packed import Packed
from arrayformer.core.packing import FROM_GGUF, from_blocks
from arrayformer.core.params import Params

MODEL_TYPES = {
    "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "phi3": "phi3", "gemma2": "gemma2", "gemma3": "gemma3_text",
    "olmo2": "olmo2", "gpt2": "gpt2", "gptneox": "gpt_neox",
}  # fmt: skip
"""What Hugging Face calls llama.cpp's architectures. A plugin's has the same name in both."""

MAX_NUMBERS = 1 << 16  # of a tensor that is no weight, as rope_freqs

_FORMATS = {form.name for form in FORMATS.values()}
_ENDS = ("eos", "eot", "eom")


def is_gguf(path: object) -> bool:
    """Whether a path is called as a GGUF file is, and is no directory."""
    return str(path).lower().endswith(".gguf") and not os.path.isdir(str(path))


@contextmanager
def open_gguf(path: Path) -> Iterator[Gguf]:
    """A GGUF file. A link to it may lead anywhere, because its user named the link. Raises ModelFileError."""
    real = Path(os.path.realpath(path))
    with open_inside(real.parent, real.name) as file:
        yield read_gguf(file)


def read_metadata(path: Path) -> dict[str, Value]:
    """The metadata of a GGUF file, in which its tokenizer and chat template are. Raises ModelFileError."""
    with open_gguf(path) as gguf:
        return gguf.metadata


def read_gguf_model(path: Path, reading: Reading) -> tuple[Architecture, Params]:
    """The model and weights of a GGUF file: float32, or packed as they are where `reading` says so.

    Memory is taken for the weights, and for a piece of one tensor. Raises ConfigError for metadata that describes no
    model this project runs, ModelFileError for any other fault of the file.
    """
    with open_gguf(path) as gguf:
        keys = _keys(gguf)
        model = _model(keys)
        _check_unknown(keys, reading.ignore_extra)
        file, tensors = gguf.file, {name: x for name, x in gguf.tensors.items() if name not in keys.no_weights}
        named = {name: _stored(file, tensor) for name, tensor in tensors.items()}
        located = check_tensors(model, named, model.gguf_source, file.path, reading.ignore_extra, _FORMATS)

        def read(place: Located) -> np.ndarray | Packed:
            tensor = tensors[place.source.name]
            return (
                read_packed(place, tensor)
                if _stays_packed(place, tensor, reading)
                else read_weight(place, tensor, reading)
            )

        check_memory(sum(_memory(x, tensors[x.source.name], reading) for x in located.values()), file.path)

        params = read_each(model, located, read, reading.progress)
        gguf.file.check_unchanged()
        return model, params


def _stored(file: ModelFile, tensor: Tensor) -> Stored:
    return Stored(tensor.name, file, Entry(tensor.format.name, tensor.shape, tensor.offset, tensor.size))


def _keys(gguf: Gguf) -> GgufKeys:
    """The keys under the architecture's name. Raises ConfigError for a file that holds no whole model."""
    where, keys = str(gguf.file.path), gguf.metadata
    architecture, kind, parts = (keys.get(name) for name in ("general.architecture", "general.type", "split.count"))
    if not isinstance(architecture, str):
        raise ConfigError(f"{where}: general.architecture is {shown(repr(architecture), 60)}; it must be a name")
    if kind is not None and kind != "model":
        raise ConfigError(f"{where}: general.type is {shown(repr(kind), 60)}; a file of type 'model' is needed")
    if parts is not None and parts not in (0, 1):
        raise ConfigError(f"{where}: is one of {shown(repr(parts), 60)} parts; merge them: llama-gguf-split --merge")
    prefix = f"{architecture}."
    own = {name.removeprefix(prefix): _plain(value) for name, value in keys.items() if name.startswith(prefix)}
    ends = [_plain(keys[name]) for end in _ENDS if (name := f"tokenizer.ggml.{end}_token_id") in keys]
    shapes = {name: tensor.shape for name, tensor in gguf.tensors.items()}
    return GgufKeys(architecture, own, shapes, lambda name: _numbers(gguf, name), ends, where)


def _plain(value: Value) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _model(keys: GgufKeys) -> Architecture:
    name = keys.architecture
    try:
        page = find_model(MODEL_TYPES.get(name, name))
    except ConfigError:
        keys.fail(
            f"general.architecture is {shown(repr(name), 60)}; {', '.join(MODEL_TYPES)} can be read, and what a plugin "
            "adds: docs/architectures.md"
        )
    try:
        return page.from_gguf(keys)
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith(keys.where) else f"{keys.where}: {error}") from None


def _check_unknown(keys: GgufKeys, ignore_extra: bool) -> None:
    """Raises ConfigError for keys of the architecture that its page does not know, or warns."""
    if not (unknown := keys.unknown()):
        return
    message = f"{keys.where}: not known here, and may change what is computed: {', '.join(map(shown, unknown[:10]))}"
    if not ignore_extra:
        raise ConfigError(f"{message}; --ignore-extra leaves it out")
    warnings.warn(f"{message}, left out", stacklevel=4)


def _numbers(gguf: Gguf, name: str) -> tuple[float, ...]:
    tensor = gguf.tensors[name]
    if len(tensor.shape) != 1 or tensor.shape[0] > MAX_NUMBERS:
        raise ModelFileError(f"{gguf.file.path}: tensor {name}: shape {list(tensor.shape)}; a short vector is needed")
    return tuple(x.item() for _, values in _pieces(gguf.file, tensor, (0, tensor.shape[0]), False) for x in values)


def _stays_packed(place: Located, tensor: Tensor, reading: Reading) -> bool:
    """Whether a weight can be used as the file has it: each output of a matrix, or each id of a table, in a row."""
    by_row = place.weight.role == "table" or (place.source.transposed and place.weight.role in ("column", "row"))
    kept = reading.packed and tensor.format.name in FROM_GGUF and len(tensor.shape) == 2
    return kept and by_row and place.source.add == 0.0


def _memory(place: Located, tensor: Tensor, reading: Reading) -> int:
    """Bytes that a weight takes."""
    n = math.prod(place.weight.shape)
    if _stays_packed(place, tensor, reading):
        return n // tensor.format.size * tensor.format.block.itemsize
    return 4 * n


def read_packed(located: Located, tensor: Tensor) -> Packed:
    """One weight as the file has it, its rows in the order the graph wants. Raises ModelFileError for odd scales."""
    first, last = located.rows
    n_block = tensor.shape[1] // tensor.format.size
    blocks = np.empty((last - first) * n_block, tensor.format.block)
    size = tensor.format.block.itemsize
    located.tensor.file.read_into(tensor.offset + first * n_block * size, blocks.view(np.uint8).data)
    for name in {"d", "m"} & set(blocks.dtype.names or ()):
        _check_finite(located.tensor.file, tensor, blocks[name].reshape(-1, n_block), first)
    packed = from_blocks(tensor.format.name, blocks, last - first)
    if located.source.view:
        order = np.arange(last - first).reshape(located.source.view).transpose(located.source.axes).reshape(-1)
        packed = packed.rows(order)
    return packed


def read_weight(located: Located, tensor: Tensor, reading: Reading) -> np.ndarray:
    """One weight, float32, its memory taken once and its tensor dequantised a piece at a time."""
    source, weight, rows = located.source, located.weight, located.rows
    order = reading.order(weight)
    if order == "K":
        order = "F" if source.transposed else "C"
    out = np.empty(weight.shape, np.float32, order)
    lines = out.T if source.transposed else out
    places = None
    if source.view:  # where each row of the file belongs
        places = np.argsort(np.arange(rows[1] - rows[0]).reshape(source.view).transpose(source.axes).reshape(-1))
    for start, values in _pieces(located.tensor.file, tensor, rows, reading.allow_nonfinite):
        stop = start + len(values)
        lines[slice(start, stop) if places is None else places[start:stop]] = values + np.float32(source.add)
    return out


def _pieces(
    file: ModelFile, tensor: Tensor, rows: tuple[int, int], allow_nonfinite: bool
) -> Iterator[tuple[int, np.ndarray]]:
    """Some rows of a matrix, or values of a vector, a piece at a time, with the place in them where it begins."""
    vector = len(tensor.shape) == 1
    first, last = (0, 1) if vector else rows
    n_row = tensor.shape[-1]
    size = n_row // tensor.format.size * tensor.format.block.itemsize  # bytes of a row
    step = max(1, CHUNK // (4 * n_row))
    buffer = np.empty(min(step, last - first) * size, np.uint8)
    for start in range(first, last, step):
        n = min(step, last - start)
        part = buffer[: n * size]
        file.read_into(tensor.offset + start * size, part.data)
        with np.errstate(all="ignore"):
            values = tensor.format.dequantize(part.view(tensor.format.block)).reshape(n, n_row)
        if not allow_nonfinite:
            _check_finite(file, tensor, values, start)
        yield (0, values[0, slice(*rows)]) if vector else (start - first, values)


def _check_finite(file: ModelFile, tensor: Tensor, values: np.ndarray, start: int) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    row, column = (int(i) for i in np.argwhere(~finite)[0])
    place = f"{column}" if len(tensor.shape) == 1 else f"{start + row}, {column}"
    raise ModelFileError(
        f"{file.path}: tensor {shown(tensor.name)!r}: the value at [{place}] is not finite (NaN or infinity); "
        "--allow-nonfinite loads it as it is"
    )
