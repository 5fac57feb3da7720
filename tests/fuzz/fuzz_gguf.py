"""Coverage-guided fuzzing of the GGUF reader, with atheris.

    pip install atheris
    python tests/fuzz/fuzz_gguf.py CORPUS [-max_total_time=60] [-rss_limit_mb=2048]

CORPUS is a folder of inputs, filled with sound ones at the start. An input is a file. Either it is refused with a
documented error that is one line, or it is read: then its tensors lie inside it, apart from each other, and every
number format gives its numbers. Anything else is a crash, and atheris keeps the input.
"""

import contextlib
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

# Optional, and without types. What is imported below is watched for coverage where this file is run.
atheris: Any = importlib.import_module("atheris") if __name__ == "__main__" else None
if atheris:
    sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["arrayformer"]) if atheris else contextlib.nullcontext():
    from tests.core.checkpoint.gguf_bytes import KEYS, SOUND, Entry, File, Key

    from arrayformer.core.checkpoint.gguf_blocks import FORMATS
    from arrayformer.core.checkpoint.gguf_file import Gguf, read_gguf
    from arrayformer.core.errors import ModelFileError
    from arrayformer.core.files.untrusted import open_inside


def one_block_of_each_format() -> File:
    """A tensor in each number format."""
    tensors = [
        Entry(form.name, (form.size,), number, bytes(range(form.block.itemsize))) for number, form in FORMATS.items()
    ]
    return File(KEYS, tensors)


ALIGNED = File([Key("general.alignment", "u32", 8), *KEYS], SOUND.tensors, alignment=8)
SEEDS = [SOUND.pack(), SOUND.with_(version=2).pack(), ALIGNED.pack(), one_block_of_each_format().pack()]


def check_tensors(gguf: Gguf, content: bytes) -> None:
    """What a file that is read must keep to."""
    end = 0
    for tensor in sorted(gguf.tensors.values(), key=lambda tensor: tensor.offset):
        if not end <= tensor.offset <= tensor.offset + tensor.size <= len(content):
            raise AssertionError(f"{tensor} lies outside, or over another")
        end = tensor.offset + tensor.size
        blocks = np.frombuffer(content, tensor.format.block, tensor.size // tensor.format.block.itemsize, tensor.offset)
        with np.errstate(all="ignore"):
            values = tensor.format.dequantize(blocks)
        if values.size != np.prod(tensor.shape) or values.dtype != np.float32:
            raise AssertionError(f"{tensor}: {values.shape} {values.dtype}")


def read_one_input(content: bytes) -> None:
    """Reads one file; raises only for what is a bug."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "model.gguf").write_bytes(content)
        try:
            with open_inside(Path(directory), "model.gguf") as file:
                check_tensors(read_gguf(file), content)
        except ModelFileError as error:
            if not str(error).isprintable() or len(str(error)) > 1000 + len(directory):
                raise AssertionError(f"no line anybody would read: {error}") from error


def main() -> None:
    """Fuzzes until stopped."""
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(SEEDS):
        (corpus / f"sound-{i}").write_bytes(seed)
    atheris.Setup(sys.argv, read_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
