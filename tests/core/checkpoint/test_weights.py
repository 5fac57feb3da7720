"""The tensors of a file are held against the config, and read exactly."""

import json
import math
import os
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from tests.core.checkpoint.model_files import CONFIG, PARAMS, TINY, named, packed, write_model
from tests.models import bytes_vocab

from arrayformer.api import load
from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.checkpoint.weights import row_major
from arrayformer.core.errors import ModelFileError, VocabularyError
from arrayformer.core.params import Weight, map_params, map_paths, random_params, walk

UNTIED = CONFIG | {"tie_word_embeddings": False}
HEAD = random_params(TINY.weights(), seed=8)["wte"]


def changed(**changes: Any) -> Any:
    """The sound tensors but for `changes`; None takes one away. Dots in names are written as __."""
    tensors = named() | {name.replace("__", "."): x for name, x in changes.items()}
    return {name: x for name, x in tensors.items() if x is not None}


def spoilt(name: str, index: Any, value: Any, dtype: Any = np.float32) -> Any:
    tensors = {key: x.astype(dtype) if dtype != "bfloat16" else bfloat16_bits(x) for key, x in named().items()}
    tensors[name] = tensors[name].copy()
    tensors[name][index] = value
    return tensors


def bfloat16_bits(x: Any) -> Any:
    """The upper half of each float32, as uint16."""
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def assert_same(params: Any, wanted: Any) -> None:
    for (path, x), (wanted_path, wanted_x) in zip(walk(params), walk(wanted), strict=True):
        assert path == wanted_path
        assert x.dtype == wanted_x.dtype
        assert x.flags.writeable
        np.testing.assert_array_equal(x, wanted_x, err_msg=path)


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_weights_are_read_with_a_prefix_and_without(tmp_path: Path, prefix: Any) -> None:
    config, params = read_checkpoint(write_model(tmp_path / "model", weights=named(prefix=prefix)))

    assert config == TINY
    assert_same(params, PARAMS)


def test_float16_stays_float16(tmp_path: Path) -> None:
    halves = map_params(lambda x: x.astype(np.float16), PARAMS)

    _, params = read_checkpoint(write_model(tmp_path / "model", weights=named(halves)))

    assert_same(params, halves)


def test_bfloat16_becomes_the_same_numbers_in_float32(tmp_path: Path) -> None:
    bits = map_params(lambda x: bfloat16_bits(x), PARAMS)

    _, params = read_checkpoint(write_model(tmp_path / "model", weights=named(bits)))

    assert_same(params, map_params(lambda x: (x.astype(np.uint32) << 16).view(np.float32), bits))


def test_a_tensor_larger_than_a_chunk_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arrayformer.core.checkpoint.weights.CHUNK", 16)
    bits = map_params(lambda x: bfloat16_bits(x), PARAMS)

    _, params = read_checkpoint(write_model(tmp_path / "a"))
    _, widened = read_checkpoint(write_model(tmp_path / "b", weights=named(bits)))

    assert_same(params, PARAMS)
    assert_same(widened, map_params(lambda x: (x.astype(np.uint32) << 16).view(np.float32), bits))


def by_column(weight: Weight) -> Literal["C", "F"]:
    return "F" if len(weight.shape) == 2 else "C"


@pytest.mark.parametrize("chunk", [16, 60, 1 << 20])
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "mixed"])
def test_each_dtype_is_read_into_the_order_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, chunk: int
) -> None:
    monkeypatch.setattr("arrayformer.core.checkpoint.weights.CHUNK", chunk)
    weights = {
        "bfloat16": lambda _, x: bfloat16_bits(x),
        "mixed": lambda path, x: x.astype(np.float16) if path == "wte" else x,
    }.get(kind, lambda _, x: x.astype(kind))
    model = write_model(tmp_path / "model", weights=named(map_paths(weights, PARAMS)))
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        _, wanted = read_checkpoint(model)
        _, params = read_checkpoint(model, order=by_column)

    assert_same(params, wanted)
    assert all(x.flags.f_contiguous for _, x in walk(params))


def test_mixed_dtypes_all_become_float32_with_a_warning(tmp_path: Path) -> None:
    half = PARAMS["wte"].astype(np.float16)
    model = write_model(tmp_path / "model", weights=changed(transformer__wte__weight=half))

    with pytest.warns(UserWarning, match="F16, F32; all become float32"):
        _, params = read_checkpoint(model)

    assert_same(params, PARAMS | {"wte": half.astype(np.float32)})


def test_an_untied_head_is_read(tmp_path: Path) -> None:
    _, params = read_checkpoint(write_model(tmp_path / "model", UNTIED, changed(lm_head__weight=HEAD)))

    assert_same(params, PARAMS | {"lm_head": HEAD})


def test_a_tied_head_that_repeats_wte_is_dropped(tmp_path: Path) -> None:
    _, params = read_checkpoint(write_model(tmp_path / "model", weights=changed(lm_head__weight=PARAMS["wte"])))

    assert_same(params, PARAMS)


def test_a_tied_head_alone_serves_as_wte(tmp_path: Path) -> None:
    tensors = changed(transformer__wte__weight=None, lm_head__weight=PARAMS["wte"])

    _, params = read_checkpoint(write_model(tmp_path / "model", weights=tensors))

    assert_same(params, PARAMS)


def test_the_masks_of_old_files_are_dropped(tmp_path: Path) -> None:
    masks: dict[str, np.ndarray] = {
        "transformer.h.0.attn.bias": np.ones((1, 1, 7, 7), np.uint8),
        "transformer.h.1.attn.masked_bias": np.asarray(-1e4, np.float32),
    }
    tensors = named() | masks

    _, params = read_checkpoint(write_model(tmp_path / "model", weights=tensors))

    assert_same(params, PARAMS)


@pytest.mark.parametrize(("dtype", "largest"), [("float32", 3.4028234663852886e38), ("float16", 65504.0)])
def test_the_largest_finite_weights_are_read(tmp_path: Path, dtype: str, largest: float) -> None:
    large = map_params(lambda x: np.full(x.shape, largest, dtype), PARAMS)

    _, params = read_checkpoint(write_model(tmp_path / "model", weights=named(large)))

    assert_same(params, large)


def test_the_largest_finite_bfloat16_is_read(tmp_path: Path) -> None:
    bits = map_params(lambda x: np.full(x.shape, 0xFF7F, np.uint16), PARAMS)

    _, params = read_checkpoint(write_model(tmp_path / "model", weights=named(bits)))

    assert params["wte"][0, 0] == np.float32(-3.3895313892515355e38)


def test_a_value_that_is_not_finite_is_found_in_any_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arrayformer.core.checkpoint.weights.CHUNK", 16)
    model = write_model(tmp_path / "model", weights=spoilt("transformer.wte.weight", (9, 4), np.nan))

    for order in (row_major, by_column):
        with pytest.raises(ModelFileError, match=r"wte.*at \[9, 4\] is not finite"):
            read_checkpoint(model, order=order)


BAD = {
    "T-01 missing": (CONFIG, changed(transformer__h__1__mlp__c_fc__bias=None), r"lack 1 tensor: h\.1\.mlp\.c_fc\.bias"),
    "T-01 all missing": (CONFIG, {}, r"lack 28 tensors: wte\.weight, .* and 18 more"),
    "T-01 untied head missing": (UNTIED, named(), r"lack 1 tensor: lm_head\.weight"),
    "T-02 extra": (CONFIG, changed(transformer__h__0__adapter__weight=HEAD), r"no part of this model.*adapter"),
    "T-02 classifier": (CONFIG, changed(score__weight=HEAD), r"no part of this model.*score\.weight"),
    "T-03 mixed prefixes": (CONFIG, changed(wpe__weight=HEAD), r"prefix 'transformer\.' and 'wpe\.weight' has not"),
    "T-06 head is not wte": (CONFIG, changed(lm_head__weight=HEAD), "differs from wte.*tie_word_embeddings"),
    "T-06 head of another shape": (CONFIG, changed(lm_head__weight=HEAD[:5]), "differs from wte"),
    "T-07 NaN": (CONFIG, spoilt("transformer.wte.weight", (3, 2), np.nan), r"wte.*at \[3, 2\] is not finite"),
    "T-07 infinity": (CONFIG, spoilt("transformer.ln_f.bias", 5, -np.inf), r"ln_f\.bias.*at \[5\]"),
    "T-07 infinite float16": (CONFIG, spoilt("transformer.ln_f.bias", 5, np.inf, np.float16), r"ln_f\.bias.*at \[5\]"),
    "T-07 bfloat16 NaN": (CONFIG, spoilt("transformer.wpe.weight", (6, 5), 0xFFC0, "bfloat16"), r"wpe.*at \[6, 5\]"),
    "S-20 float64": (CONFIG, spoilt("transformer.ln_f.bias", 0, 1, np.float64), "dtype F64 is not one of F32"),
    "C-14 depth": (CONFIG | {"n_layer": 3}, named(), "config.json says n_layer 3, the weights are of 2 blocks"),
    "C-14 vocabulary": (CONFIG | {"vocab_size": 12}, named(), r"wte.*shape \[11, 6\], the config asks for \[12, 6\]"),
    "T-16 context": (CONFIG | {"n_positions": 8}, named(), r"wpe.*shape \[7, 6\], the config asks for \[8, 6\]"),
    "C-14 n_inner": (CONFIG | {"n_inner": 12}, named(), r"mlp\.c_fc.*shape \[6, 24\], the config asks for \[6, 12\]"),
}  # fmt: skip


@pytest.mark.parametrize(("config", "weights", "message"), BAD.values(), ids=BAD)
def test_weights_that_do_not_fit_are_refused_naming_the_tensor(
    tmp_path: Path, config: Any, weights: Any, message: str
) -> None:
    model = write_model(tmp_path / "model", config, weights)

    with pytest.raises(ModelFileError, match=message) as raised:
        read_checkpoint(model)

    assert str(model) in str(raised.value)
    assert raised.value.exit_code == 3


def test_values_that_are_not_finite_can_be_let_in(tmp_path: Path) -> None:
    weights = spoilt("transformer.wte.weight", (3, 2), np.nan)

    _, params = read_checkpoint(write_model(tmp_path / "model", weights=weights), allow_nonfinite=True)

    np.testing.assert_array_equal(params["wte"], weights["transformer.wte.weight"])


def test_tensors_that_no_gpt2_has_can_be_left_out_with_a_warning(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", weights=changed(score__weight=HEAD))

    with pytest.warns(UserWarning, match=r"no part of this model: 1 tensor: score\.weight, left out"):
        _, params = read_checkpoint(model, ignore_extra=True)

    assert_same(params, PARAMS)


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [({}, "is not there"), ({"vocab.json": b"{}", "merges.txt": b""}, "cannot be read"), (None, "has 257 ids")],
    ids=["none", "broken", "sound"],
)
def test_vocabularies_that_disagree_are_named_with_all_three_sizes(tmp_path: Path, tokenizer: Any, said: str) -> None:
    model = write_model(tmp_path / "model", CONFIG | {"vocab_size": 12})
    sound = {"vocab.json": json.dumps(bytes_vocab("qq")).encode(), "merges.txt": b"q q\n"}
    for name, content in (sound if tokenizer is None else tokenizer).items():
        (model / name).write_bytes(content)

    with pytest.raises(VocabularyError, match="vocab_size 12, and wte has 11 rows") as raised:
        read_checkpoint(model)
    with pytest.raises(VocabularyError, match=f"vocab_size 12, and wte has 11 rows.*the tokenizer {said}") as loaded:
        load(model)

    assert str(loaded.value).startswith(str(raised.value))


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="needs to know how much memory there is")
def test_a_sparse_file_larger_than_the_memory_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    config = CONFIG | {"vocab_size": 10_000_000, "n_embd": 99_999}
    header, end = {}, 0
    for path, weight in walk(replace(TINY, n_vocab=10_000_000, n_embd=99_999).weights()):
        size = 4 * math.prod(weight.shape)
        header[TINY.hf_source(path).name] = {
            "dtype": "F32",
            "shape": list(weight.shape),
            "data_offsets": [end, end + size],
        }
        end += size
    model = write_model(tmp_path / "model", config, packed(header))
    try:
        os.truncate(model / "model.safetensors", (model / "model.safetensors").stat().st_size + end)
    except OSError:
        pytest.skip("this file system has no sparse files of 4 TB")

    with pytest.raises(ModelFileError, match=r"the weights need \d+\.\d GB, this machine has"):
        read_checkpoint(model)


@pytest.mark.parametrize("path", [path for path, _ in walk(PARAMS) if not path.startswith("blocks.1")])
def test_each_kind_of_tensor_is_refused_in_another_shape(tmp_path: Path, path: str) -> None:
    name = "transformer." + TINY.hf_source(path).name
    wrong = np.zeros((2, *named()[name].shape[1:]), np.float32)

    with pytest.raises(ModelFileError, match=rf"{re.escape(name)}.*shape \[2.*the config asks for"):
        read_checkpoint(write_model(tmp_path / "model", weights=named() | {name: wrong}))


def test_zero_weights_are_read_with_a_warning(tmp_path: Path) -> None:
    zeros = map_params(lambda x: np.zeros_like(x), PARAMS)
    model = write_model(tmp_path / "model", weights=named(zeros))

    with pytest.warns(UserWarning, match="every weight is zero"):
        _, params = read_checkpoint(model)

    assert_same(params, zeros)


def test_subnormal_weights_are_read_exactly(tmp_path: Path) -> None:
    tiny = map_params(lambda x: np.full_like(x, 1e-42), PARAMS)

    _, params = read_checkpoint(write_model(tmp_path / "model", weights=named(tiny)))

    assert_same(params, tiny)


@pytest.mark.parametrize("order", [row_major, by_column])
def test_weights_take_no_more_memory_than_their_file(tmp_path: Path, order: Any) -> None:
    import tracemalloc

    config = CONFIG | {"vocab_size": 1_000_000}
    wte = np.ones((1_000_000, 6), np.float32)
    model = write_model(tmp_path / "model", config, changed(transformer__wte__weight=wte))
    size = (model / "model.safetensors").stat().st_size
    tracemalloc.start()

    read_checkpoint(model, order=order)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * size
