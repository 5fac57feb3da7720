"""Coverage-guided fuzzing of the GGUF reader, with atheris.

    pip install atheris
    python tests/fuzz/fuzz_gguf.py CORPUS [-max_total_time=60] [-rss_limit_mb=2048]

CORPUS is a folder of inputs, filled with sound ones at the start. An input is a file. Either it is refused with a
documented error that is one line, or it is read: then its tensors lie inside it, apart from each other, every number
format gives its numbers, and the model and the tokenizer in it are made or refused. Anything else is a crash, and
atheris keeps the input.
"""

import contextlib
import importlib
import sys
import tempfile
import warnings
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
    from arrayformer.core.checkpoint.read import read_checkpoint
    from arrayformer.core.errors import ModelFileError, TokenizerError
    from arrayformer.core.files.untrusted import open_inside
    from arrayformer.tokenizer.alphabet import PRINTABLE
    from arrayformer.tokenizer.gguf import gguf_tokenizer


def one_block_of_each_format() -> File:
    """A tensor in each number format."""
    tensors = [
        Entry(form.name, (form.size,), number, bytes(range(form.block.itemsize))) for number, form in FORMATS.items()
    ]
    return File(KEYS, tensors)


def a_whole_model() -> File:
    """A llama of one layer with a tokenizer of bytes, its matrices in Q8_0 and its norms in F32."""
    sizes = {"block_count": 1, "context_length": 8, "embedding_length": 32, "feed_forward_length": 32,
             "attention.head_count": 2, "attention.head_count_kv": 1}  # fmt: skip
    tokens = [*PRINTABLE, "he", "<s>"]
    keys = [
        Key("general.architecture", "str", "llama"),
        *(Key(f"llama.{name}", "u32", n) for name, n in sizes.items()),
        Key("llama.rope.freq_base", "f32", 10000.0),
        Key("tokenizer.ggml.model", "str", "gpt2"),
        Key("tokenizer.ggml.pre", "str", "smollm"),
        Key("tokenizer.ggml.tokens", "array", ("str", tokens)),
        Key("tokenizer.ggml.token_type", "array", ("i32", [1] * 257 + [3])),
        Key("tokenizer.ggml.merges", "array", ("str", ["h e"])),
        Key("tokenizer.ggml.eos_token_id", "u32", 257),
    ]
    rows = {"token_embd": 258, "blk.0.attn_q": 32, "blk.0.attn_k": 16, "blk.0.attn_v": 16, "blk.0.attn_output": 32,
            "blk.0.ffn_gate": 32, "blk.0.ffn_up": 32, "blk.0.ffn_down": 32}  # fmt: skip
    block = b"\x00\x3c" + bytes(range(32))  # a scale of 1, and 32 numbers
    norms = ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")
    tensors = [Entry(f"{name}.weight", (32, n), 8, block * n) for name, n in rows.items()]
    return File(keys, [*tensors, *(Entry(f"{name}.weight", (32,), 0, b"\0\0\x80\x3f" * 32) for name in norms)])


ALIGNED = File([Key("general.alignment", "u32", 8), *KEYS], SOUND.tensors, alignment=8)
SEEDS = [
    SOUND.pack(), SOUND.with_(version=2).pack(), ALIGNED.pack(), one_block_of_each_format().pack(),
    a_whole_model().pack(),
]  # fmt: skip


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
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(directory) / "model.gguf"
        path.write_bytes(content)
        try:
            with open_inside(Path(directory), path.name) as file:
                gguf = read_gguf(file)
            check_tensors(gguf, content)
            if (tokenizer := gguf_tokenizer(gguf.metadata, str(path))) is not None:
                tokenizer.encode("hello 12")
            read_checkpoint(path)
        except (ModelFileError, TokenizerError) as error:
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
