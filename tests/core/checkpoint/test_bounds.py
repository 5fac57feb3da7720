"""Where the bounds of the checkpoint readers lie: what just fits, and what is one too many."""

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from tests.core.checkpoint.model_files import CONFIG, named, packed, safetensors, table, write_model

from arrayformer.core.checkpoint import openai, read_checkpoint, weights
from arrayformer.core.checkpoint.bundle import BundleEntry
from arrayformer.core.checkpoint.config_file import model_from_hf
from arrayformer.core.checkpoint.safetensors_file import ITEM_SIZES, Entry, read_table
from arrayformer.core.errors import ConfigError, ModelFileError
from arrayformer.core.files.untrusted import ModelFile, open_inside


@pytest.mark.parametrize(
    ("keys", "most"),
    [
        (("vocab_size",), 10**7),
        (("n_positions",), 10**7),
        (("n_embd", "n_head"), 10**6),
        (("n_layer",), 10**4),
        (("n_inner",), 4 * 10**6),
    ],
)
def test_a_size_reaches_to_its_bound_and_not_beyond(keys: tuple[str, ...], most: int) -> None:
    model_from_hf(CONFIG | dict.fromkeys(keys, most), "here")

    for key in keys:
        with pytest.raises(ConfigError, match=f"{key} is {most + 1}; it must be an integer from 1 to {most}$"):
            model_from_hf(CONFIG | dict.fromkeys(keys, most) | {key: most + 1}, "here")


def test_the_first_id_may_end_a_text() -> None:
    assert model_from_hf(CONFIG | {"eos_token_id": 0}, "here").eos_token_id == 0


def entry_of(tmp_path: Path, content: bytes) -> dict[str, Entry]:
    (tmp_path / "x.safetensors").write_bytes(content)
    with open_inside(tmp_path, "x.safetensors") as file:
        return read_table(file)


def one(shape: list[int], dtype: str = "F32", size: int = 4) -> bytes:
    return packed({"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}, bytes(size))


@pytest.mark.parametrize("dtype", ITEM_SIZES)
def test_a_value_has_the_bytes_its_name_says(tmp_path: Path, dtype: str) -> None:
    bits = re.match(r"[A-Z]+(\d+)", dtype)
    size = int(bits[1]) // 8 if bits else 1

    assert entry_of(tmp_path, one([3], dtype, 3 * size))["x"].size == 3 * size
    with pytest.raises(ModelFileError, match=f"of {dtype} needs {3 * size}"):
        entry_of(tmp_path, one([3], dtype, 3 * size + 1))


def test_a_shape_has_at_most_32_sizes(tmp_path: Path) -> None:
    assert len(entry_of(tmp_path, one([1] * 32))["x"].shape) == 32
    with pytest.raises(ModelFileError, match="is not a list of sizes"):
        entry_of(tmp_path, one([1] * 33))


@pytest.mark.parametrize(("length", "said"), [(2, None), (3, "header length 3, but only 2 bytes follow")])
def test_a_header_ends_with_the_file_at_the_latest(tmp_path: Path, length: int, said: str | None) -> None:
    if said is None:
        assert entry_of(tmp_path, packed(b"{}", length=length)) == {}
    else:
        with pytest.raises(ModelFileError, match=said):
            entry_of(tmp_path, packed(b"{}", length=length))


@pytest.mark.parametrize(("length", "fits"), [(200, True), (201, False)])
def test_a_name_has_at_most_200_characters(tmp_path: Path, length: int, fits: bool) -> None:
    tensors = {"n" * length: np.zeros(2, np.float32)}
    content = packed(table(tensors), bytes(8))

    if fits:
        assert list(entry_of(tmp_path, content)) == ["n" * length]
    else:
        with pytest.raises(ModelFileError, match="a name of 201 characters; 1 to 200"):
            entry_of(tmp_path, content)


def test_weights_that_change_while_they_are_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = write_model(tmp_path / "model"), weights.read_tensor

    def written_to_meanwhile(*args: Any, **options: Any) -> Any:
        os.utime(model / "model.safetensors", (1, 1))
        return read(*args, **options)

    monkeypatch.setattr(weights, "read_tensor", written_to_meanwhile)

    with pytest.raises(ModelFileError, match="changed while it was read"):
        read_checkpoint(model)


@pytest.mark.parametrize("place", [0, 4095, 4096, 9999])
def test_one_value_anywhere_is_enough(place: int) -> None:
    x = np.zeros((100, 100), np.float32)
    assert not weights._has_value(x)

    x.reshape(-1)[place] = 1e-30

    assert weights._has_value(x)


def test_weights_that_are_all_zero_are_read_with_a_warning(tmp_path: Path) -> None:
    zeros = {name: np.zeros_like(x) for name, x in named().items()}
    zeros["transformer.ln_f.weight"] += 1
    model = write_model(tmp_path / "model", weights=zeros)

    with pytest.warns(UserWarning, match="every weight is zero"):
        read_checkpoint(model)


def test_a_single_tensor_with_a_prefix_is_named(tmp_path: Path) -> None:
    tensors = named(prefix="")
    tensors["transformer.wpe.weight"] = tensors.pop("wpe.weight")
    model = write_model(tmp_path / "model", weights=safetensors(tensors))

    with pytest.raises(ModelFileError, match=r"'transformer\.wpe\.weight' has the prefix 'transformer\.' and 'wte"):
        read_checkpoint(model)


@pytest.mark.parametrize(
    ("name", "stored", "read"),
    [
        ("model/h0/mlp/c_fc/w", (1, 3, 4), (3, 4)),
        ("model/h0/mlp/c_fc/w", (2, 3, 4), (2, 3, 4)),
        ("model/h0/mlp/c_fc/w", (3, 4), (3, 4)),
        ("model/h0/mlp/c_fc/w", (1, 4), (1, 4)),
        ("model/ln_f/b", (1,), (1,)),
        ("model/wpe", (1, 2, 3), (1, 2, 3)),
    ],
)
def test_only_matrices_are_stored_as_convolutions(name: str, stored: Any, read: Any) -> None:
    file = cast(ModelFile, SimpleNamespace(size=1000, path=Path("x.data")))

    found = openai._stored(name, file, BundleEntry(Entry("F32", stored, 0, 48), 7))

    assert (found.entry.shape, found.name, found.crc) == (read, name, 7)
    assert openai._stored(name, file, BundleEntry(Entry("F32", stored, 952, 48), 7)).entry.offset == 952
    with pytest.raises(ModelFileError, match="ends at byte 1001, the file at 1000"):
        openai._stored(name, file, BundleEntry(Entry("F32", stored, 953, 48), 7))
