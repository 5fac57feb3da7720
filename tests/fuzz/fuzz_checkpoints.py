"""Coverage-guided fuzzing of the checkpoint readers, with atheris.

    pip install atheris
    python tests/fuzz/fuzz_checkpoints.py CORPUS [-max_total_time=60] [-rss_limit_mb=2048]

CORPUS is a folder of inputs, made and filled with sound ones where it is empty. The first byte of an input chooses the
reader, the rest is the file. Either it is refused with a documented error, or it is read; a safetensors file that is
read must be read by the safetensors library with the same table. Anything else is a crash, and atheris keeps the input.
"""

import contextlib
import importlib
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Optional, and without types. What is imported below is watched for coverage where this file is run.
atheris: Any = importlib.import_module("atheris") if __name__ == "__main__" else None

with atheris.instrument_imports(include=["arrayformer"]) if atheris else contextlib.nullcontext():
    from arrayformer.core.checkpoint.bundle import read_bundle
    from arrayformer.core.checkpoint.config_file import model_from_hf, model_from_openai, read_json_object
    from arrayformer.core.checkpoint.safetensors_file import read_table
    from arrayformer.core.checkpoint.shard_index import INDEX, read_index
    from arrayformer.core.errors import ModelFileError
    from arrayformer.core.files.untrusted import ModelDirectory, open_inside

FIXTURE = Path(__file__).parents[1] / "fixtures" / "openai_tiny"


def read_safetensors(directory: Path, content: bytes) -> None:
    """The table, held against the library's."""
    import safetensors

    deserialize: Callable[[bytes], list[tuple[str, Any]]] = safetensors.deserialize
    (directory / "file").write_bytes(content)
    with open_inside(directory, "file") as file:
        ours = {name: (entry.dtype, list(entry.shape), entry.size) for name, entry in read_table(file).items()}
    theirs = {name: (info["dtype"], list(info["shape"]), len(info["data"])) for name, info in deserialize(content)}
    if ours != theirs:
        raise AssertionError(f"{ours} != {theirs}")


def read_config(directory: Path, content: bytes) -> None:
    """A config.json."""
    (directory / "config.json").write_bytes(content)
    model_from_hf(read_json_object(ModelDirectory(directory), "config.json"), "config.json").weights()


def read_hparams(directory: Path, content: bytes) -> None:
    """An hparams.json."""
    (directory / "hparams.json").write_bytes(content)
    model_from_openai(read_json_object(ModelDirectory(directory), "hparams.json"), "hparams.json").weights()


def read_shards(directory: Path, content: bytes) -> None:
    """A model.safetensors.index.json."""
    (directory / INDEX).write_bytes(content)
    with ModelDirectory(directory) as opened:
        read_index(opened)


def read_tensor_bundle(directory: Path, content: bytes) -> None:
    """A model.ckpt.index."""
    (directory / "file").write_bytes(content)
    with open_inside(directory, "file") as file:
        read_bundle(file)


_TABLE = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
READERS: list[tuple[Callable[[Path, bytes], None], bytes]] = [
    (read_safetensors, len(_TABLE).to_bytes(8, "little") + _TABLE + bytes(4)),
    (read_config, b'{"model_type":"gpt2","vocab_size":9,"n_positions":7,"n_embd":6,"n_head":3,"n_layer":2}'),
    (read_hparams, (FIXTURE / "hparams.json").read_bytes()),
    (read_shards, b'{"weight_map":{"a":"model-00001-of-00001.safetensors"}}'),
    (read_tensor_bundle, (FIXTURE / "model.ckpt.index").read_bytes()),
]
SEEDS = [bytes([i]) + sound for i, (_, sound) in enumerate(READERS)]


def read_one_input(data: bytes) -> None:
    """Reads one input; raises only for what is a bug."""
    reader, _ = READERS[data[0] % len(READERS) if data else 0]
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings(), contextlib.suppress(ModelFileError):
        warnings.simplefilter("ignore")
        reader(Path(directory), data[1:])


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
