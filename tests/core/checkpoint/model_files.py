"""A small model's files, sound until a test breaks them."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from tests.models import tiny

from arrayformer.core.params import Params, random_params, walk

SIZES: dict[str, Any] = {"vocab_size": 11, "n_positions": 7, "n_embd": 6, "n_head": 3, "n_layer": 2}
CONFIG: dict[str, Any] = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], **SIZES}
TINY = tiny(n_vocab=11, n_ctx=7, n_embd=6, n_head=3)
PARAMS: Params = random_params(TINY.weights(), seed=3)

DTYPES = {"float32": "F32", "float16": "F16", "uint16": "BF16", "float64": "F64", "uint8": "U8", "int64": "I64"}


def named(params: Params = PARAMS, prefix: str = "transformer.") -> dict[str, np.ndarray]:
    """The weights under Hugging Face's names."""
    return {(prefix if path != "lm_head" else "") + TINY.hf_source(path).name: x for path, x in walk(params)}


def table(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The header that describes `tensors` laid end to end. A uint16 array stands for bfloat16."""
    header, end = {}, 0
    for name, x in tensors.items():
        offsets = [end, end + x.nbytes]
        header[name] = {"dtype": DTYPES[x.dtype.name], "shape": list(x.shape), "data_offsets": offsets}
        end += x.nbytes
    return header


def packed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of a header (JSON, or its text) and data, with a length that may lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def data_of(tensors: dict[str, np.ndarray]) -> bytes:
    """The tensors' bytes laid end to end."""
    return b"".join(x.tobytes() for x in tensors.values())


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """A sound safetensors file."""
    return packed(table(tensors), data_of(tensors))


def write_model(directory: Path, config: Any = CONFIG, weights: bytes | dict[str, np.ndarray] | None = None) -> Path:
    """A directory in Hugging Face's form; `config` is its keys, or the bytes of config.json."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_bytes(config if isinstance(config, bytes) else json.dumps(config).encode())
    tensors = named() if weights is None else weights
    content = tensors if isinstance(tensors, bytes) else safetensors(tensors)
    (directory / "model.safetensors").write_bytes(content)
    return directory
