"""What is saved can be read, by this project and by others."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.models import tiny

from arrayformer.core.checkpoint import read_checkpoint, save_checkpoint
from arrayformer.core.errors import InputError, ModelFileError
from arrayformer.core.params import random_params, walk

TINY = tiny(n_vocab=11, n_ctx=7, n_embd=6, n_head=3, eos_token_id=10)
PARAMS = random_params(TINY.weights())
ODD = tiny(
    n_vocab=5, n_ctx=3, n_embd=4, n_head=1, n_layer=1, n_inner=7, activation_function="relu", layer_norm_epsilon=1e-3,
    scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True,
    tie_word_embeddings=False,
)  # fmt: skip


def bfloat16(x: Any) -> Any:
    """float32 values rounded to bfloat16, by way of their decimal-free definition in float64."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(np.float32)


@pytest.mark.parametrize("config", [TINY, ODD])
@pytest.mark.parametrize(
    ("dtype", "rounded"),
    [("float32", lambda x: x), ("float16", lambda x: x.astype(np.float16)), ("bfloat16", bfloat16)],
)
def test_a_saved_checkpoint_reads_back_as_it_was_but_for_rounding(
    tmp_path: Path, config: Any, dtype: Any, rounded: Any
) -> None:
    params = random_params(config.weights())

    save_checkpoint(tmp_path / "model", config, params, dtype, {"vocab.json": b"{}"})
    read_config, read_params = read_checkpoint(tmp_path / "model")

    assert read_config == config
    assert (tmp_path / "model" / "vocab.json").read_bytes() == b"{}"
    for (path, x), (read_path, read) in zip(walk(params), walk(read_params), strict=True):
        assert path == read_path
        assert read.dtype == rounded(x).dtype
        np.testing.assert_array_equal(read, rounded(x), err_msg=path)


def test_a_value_halfway_between_two_of_bfloat16_goes_to_the_even_one(tmp_path: Path) -> None:
    params = random_params(TINY.weights())
    params["wte"][0, :4] = [1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1 + 2**-8 + 2**-20]

    save_checkpoint(tmp_path / "model", TINY, params, "bfloat16")

    read = read_checkpoint(tmp_path / "model")[1]["wte"][0, :4]
    assert read.tolist() == [1.0, 1 + 2**-6, -1.0, 1 + 2**-7]


def test_saving_over_a_checkpoint_replaces_its_files_and_keeps_the_others(tmp_path: Path) -> None:
    model = tmp_path / "model"
    save_checkpoint(model, TINY, random_params(TINY.weights(), seed=1))
    (model / "MODEL_CARD.md").write_text("card")

    save_checkpoint(model, ODD, random_params(ODD.weights(), seed=2))

    config, params = read_checkpoint(model)
    assert config == ODD
    np.testing.assert_array_equal(params["wte"], random_params(ODD.weights(), seed=2)["wte"])
    assert {file.name for file in model.iterdir()} == {"MODEL_CARD.md", "config.json", "model.safetensors"}
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_no_config_lies_beside_weights_that_are_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    save_checkpoint(model, TINY, random_params(TINY.weights(), seed=1))
    there, replace = [], os.replace

    def watched(source: Path, target: Path) -> None:
        there.append((target.name, (model / "config.json").exists()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    save_checkpoint(model, TINY, PARAMS)

    assert there == [("model.safetensors", False), ("config.json", False)]
    assert (model / "config.json").exists()


def test_a_saved_file_may_be_read_by_whoever_may_read_its_neighbours(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", TINY, PARAMS)

    modes = {file.stat().st_mode for file in (tmp_path / "model").iterdir()}
    assert len(modes) == 1


def test_a_process_killed_while_it_saves_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    model = tmp_path / "model"
    save_checkpoint(model, TINY, PARAMS)
    code = (
        "import os, signal; os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from arrayformer.core.checkpoint import save_checkpoint\n"
        "from arrayformer.core.models.gpt2 import GPT2\n"
        "from arrayformer.core.params import random_params\n"
        "config = GPT2(n_vocab=3, n_ctx=3, n_embd=3, n_head=1, n_layer=1)\n"
        f"save_checkpoint({str(model)!r}, config, random_params(config.weights()))"
    )

    killed = subprocess.run([sys.executable, "-c", code], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert read_checkpoint(model)[0] == TINY


def wrong_shape() -> Any:
    params = random_params(TINY.weights())
    params["wpe"] = params["wpe"][:3]
    return params


def too_large() -> Any:
    params = random_params(TINY.weights())
    params["ln_f"]["b"][2] = 1e6
    return params


@pytest.mark.parametrize(
    ("params", "options", "message"),
    [
        (random_params(TINY.weights()), {"dtype": "float64"}, "float64"),
        (random_params(TINY.weights()), {"tokenizer_files": {"../vocab.json": b""}}, r"\.\./vocab\.json"),
        (random_params(TINY.weights()), {"tokenizer_files": {"config.json": b""}}, "config.json"),
        (random_params(ODD.weights()), {}, "blocks.1.attn.c_attn.b is missing"),
        (wrong_shape(), {}, r"wpe: the params have shape \[3, 6\], the config asks for \[7, 6\]"),
        (too_large(), {"dtype": "float16"}, "ln_f.b.*float16"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_leaves_nothing(
    tmp_path: Path, params: Any, options: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        save_checkpoint(tmp_path / "model", TINY, params, **options)

    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_in_the_middle_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    save_checkpoint(model, TINY, random_params(TINY.weights(), seed=1))
    monkeypatch.setattr(json, "dumps", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    with pytest.raises(ValueError, match="No space left"):
        save_checkpoint(model, TINY, random_params(TINY.weights(), seed=2))

    np.testing.assert_array_equal(read_checkpoint(model)[1]["wte"], random_params(TINY.weights(), seed=1)["wte"])
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("n", [0, 100, 2000])
def test_a_disk_that_fills_up_leaves_the_old_checkpoint(tmp_path: Path, small_files: Any, n: int) -> None:
    model = tmp_path / "model"
    save_checkpoint(model, TINY, random_params(TINY.weights(), seed=1))

    with small_files(n), pytest.raises(ModelFileError, match=r"model: cannot be written: .*File too large"):
        save_checkpoint(model, TINY, random_params(TINY.weights(), seed=2))
    with small_files(n), pytest.raises(ModelFileError, match="new: cannot be written"):
        save_checkpoint(tmp_path / "new", TINY, random_params(TINY.weights(), seed=2))

    np.testing.assert_array_equal(read_checkpoint(model)[1]["wte"], random_params(TINY.weights(), seed=1)["wte"])
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.mark.parity
@pytest.mark.parametrize("config", [TINY, ODD])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_transformers_loads_what_is_saved(tmp_path: Path, config: Any, dtype: Any) -> None:
    transformers = pytest.importorskip("transformers")
    params = random_params(config.weights())

    save_checkpoint(tmp_path / "model", config, params, dtype)
    model, report = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "model", output_loading_info=True)

    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    state = model.float().state_dict()
    read = read_checkpoint(tmp_path / "model")[1]
    w = read["blocks"][0]["attn"]["c_attn"]["w"]
    np.testing.assert_array_equal(state["transformer.h.0.attn.c_attn.weight"].numpy(), w)
    np.testing.assert_array_equal(state["lm_head.weight"].numpy(), read.get("lm_head", read["wte"]))
