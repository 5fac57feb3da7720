"""Weights in several files: each shard is a file of the directory and holds what the index says."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.core.checkpoint.model_files import PARAMS, named, safetensors, write_model

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.errors import ModelFileError
from arrayformer.core.params import walk

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
NAMES = list(named())
SHARD_OF = {name: ONE if i % 2 else TWO for i, name in enumerate(NAMES)}


def write_shards(directory: Path, index: Any = None) -> Any:
    """A sound model in two shards, whose index is `index`: a value, or the bytes of the file."""
    write_model(directory)
    (directory / "model.safetensors").unlink()
    for shard in (ONE, TWO):
        tensors = {name: x for name, x in named().items() if SHARD_OF[name] == shard}
        (directory / shard).write_bytes(safetensors(tensors))
    index = {"weight_map": SHARD_OF} if index is None else index
    content = index if isinstance(index, bytes) else json.dumps(index).encode()
    (directory / "model.safetensors.index.json").write_bytes(content)
    return directory


def moved(shard: Any) -> Any:
    """An index in which the first tensor lies in `shard`."""
    return {"weight_map": SHARD_OF | {NAMES[0]: shard}}


def assert_read(directory: Path) -> None:
    _, params = read_checkpoint(directory)
    for (_, x), (path, wanted) in zip(walk(params), walk(PARAMS), strict=True):
        np.testing.assert_array_equal(x, wanted, err_msg=path)


@pytest.mark.parametrize("metadata", [{}, {"metadata": {"total_size": -1}}, {"metadata": {"total_size": 1}}])
def test_shards_are_read_whatever_total_size_says(tmp_path: Path, metadata: Any) -> None:
    assert_read(write_shards(tmp_path / "model", metadata | {"weight_map": SHARD_OF}))


BAD = {
    "I-01 out of the directory": (moved("../../etc/passwd"), "'../../etc/passwd'.*a file of this directory"),
    "I-01 a safetensors outside": (moved("../model.safetensors"), "a file of this directory"),
    "I-02 absolute": (moved("/etc/passwd"), "'/etc/passwd'"),
    "I-02 absolute safetensors": (moved("/tmp/model.safetensors"), "a file of this directory"),
    "I-04 subdirectory": (moved("a/b.safetensors"), "a file of this directory"),
    "I-04 backslash": (moved("a\\b.safetensors"), "a file of this directory"),
    "I-05 pickle": (moved("pytorch_model.bin"), "'pytorch_model.bin'"),
    "I-05 no extension": (moved("model"), "'model'"),
    "I-09 empty": (moved(""), "a file of this directory"),
    "I-09 dot": (moved("."), "a file of this directory"),
    "I-09 dots": (moved(".."), "a file of this directory"),
    "I-09 hidden": (moved("..safetensors"), "a file of this directory"),
    "I-09 NUL": (moved("a\0.safetensors"), "a file of this directory"),
    "I-09 newline": (moved("a\n.safetensors"), "a file of this directory"),
    "I-09 newline at the end": (moved(ONE + "\n"), "a file of this directory"),
    "I-09 5,000 characters": (moved("x" * 5000 + ".safetensors"), "a file of this directory"),
    "I-10 missing shard": (moved("model-00003-of-00003.safetensors"), "1 of 3 shards are missing: model-00003"),
    "I-12 not an object": ([SHARD_OF], "holds a JSON list"),
    "I-12 no weight_map": ({}, "no weight_map"),
    "I-12 weight_map is a list": ({"weight_map": NAMES}, "no weight_map"),
    "I-12 weight_map is empty": ({"weight_map": {}}, "no weight_map"),
    "I-12 not a string": (moved(1), "is said to lie in 1"),
    "I-12 a list": (moved([ONE]), "is said to lie in"),
    "I-13 duplicate key": (
        json.dumps({"weight_map": SHARD_OF}).replace("{", '{"weight_map": {}, ', 1).encode(),
        "'weight_map' stands there twice",
    ),
    "I-15 100,000 shards": ({"weight_map": {str(i): f"{i}.safetensors" for i in range(100_000)}}, "100000 shards"),
    "I-17 too long": (b" " * ((16 << 20) + 1), "at most 16777216 are read"),
    "the other shard": (moved(SHARD_OF[NAMES[1]]), f"{NAMES[0]}.*this shard (lacks|holds) it"),
    "a tensor nobody knows": ({"weight_map": SHARD_OF | {"x": ONE}}, "'x': this shard lacks it"),
    "a tensor left out": ({"weight_map": {k: v for k, v in SHARD_OF.items() if k != NAMES[0]}}, "this shard holds it"),
}  # fmt: skip


@pytest.mark.parametrize(("index", "message"), BAD.values(), ids=BAD)
def test_a_bad_index_is_refused_before_anything_else_is_opened(tmp_path: Path, index: Any, message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors(named()))
    model = write_shards(tmp_path / "model", index)

    with pytest.raises(ModelFileError, match=message) as raised:
        read_checkpoint(model)

    assert str(model) in str(raised.value)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000


def test_a_shard_that_is_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    model = write_shards(tmp_path / "model")
    os.rename(model / ONE, tmp_path / "elsewhere.safetensors")
    (model / ONE).symlink_to(tmp_path / "elsewhere.safetensors")

    with pytest.raises(ModelFileError, match=f"{ONE}: is a link that leads out of the model's directory"):
        read_checkpoint(model)


@pytest.mark.parametrize("blobs", ["models--a--b/blobs", "blobs/ab"], ids=["of the repository", "shared by the cache"])
def test_a_shard_that_is_a_link_to_a_blob_of_the_hugging_face_cache_is_read(tmp_path: Path, blobs: Any) -> None:
    (tmp_path / "models--a--b" / "snapshots").mkdir(parents=True)
    (tmp_path / blobs).mkdir(parents=True)
    model = write_shards(tmp_path / "models--a--b" / "snapshots" / ("0" * 40))
    os.rename(model / ONE, tmp_path / blobs / ("ab" * 32))
    (model / ONE).symlink_to(os.path.relpath(tmp_path / blobs / ("ab" * 32), model))

    assert_read(model)


def test_a_link_to_blobs_of_another_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models--a--b" / "snapshots").mkdir(parents=True)
    (tmp_path / "models--c--d" / "blobs").mkdir(parents=True)
    model = write_shards(tmp_path / "models--a--b" / "snapshots" / ("0" * 40))
    os.rename(model / ONE, tmp_path / "models--c--d" / "blobs" / ("ab" * 32))
    (model / ONE).symlink_to(tmp_path / "models--c--d" / "blobs" / ("ab" * 32))

    with pytest.raises(ModelFileError, match="is a link that leads out of the model's directory"):
        read_checkpoint(model)


def test_a_directory_may_itself_be_reached_by_a_link(tmp_path: Path) -> None:
    write_shards(tmp_path / "model")
    (tmp_path / "link").symlink_to(tmp_path / "model")

    assert_read(tmp_path / "link")
