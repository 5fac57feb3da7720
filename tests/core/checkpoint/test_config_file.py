"""A config.json is honoured or refused, key by key."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.core.checkpoint.model_files import CONFIG, SIZES, TINY, write_model

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.checkpoint.config_file import model_from_hf, model_from_openai
from arrayformer.core.errors import ConfigError
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.ops import ACTIVATIONS


def without(*names: Any) -> Any:
    return {key: value for key, value in CONFIG.items() if key not in names}


BAD_FILES = {
    "C-01 empty": (b"", "0 bytes"),
    "C-01 not JSON": (b"n_layer: 2", "not JSON at line 1"),
    "C-01 not an object": (b"[1]", "holds a JSON list; an object is needed"),
    "C-02 too long": (b" " * (1 << 20) + b"{}", "1048578 bytes"),
    "C-02 nested too deeply": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "C-02 integer of 5,000 digits": (b'{"n_layer": ' + b"1" * 5000 + b"}", "5000 digits"),
    "C-04 duplicate key": (b'{"n_layer": 2, "n_layer": 3}', "'n_layer' stands there twice"),
    "C-16 not UTF-8": (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
    "C-16 UTF-16": (json.dumps(CONFIG).encode("utf-16"), "not UTF-8 at byte 0"),
    "NaN": (b'{"layer_norm_epsilon": NaN}', "NaN is not a JSON number"),
}

BAD_KEYS = {
    "C-05 n_layer missing": (without("n_layer"), "missing: n_layer or num_hidden_layers"),
    "C-05 two missing": (without("vocab_size", "n_head"), "vocab_size or n_vocab; n_head or num_attention_heads"),
    "C-06 zero": (CONFIG | {"n_layer": 0}, "n_layer is 0; it must be an integer from 1"),
    "C-06 negative": (CONFIG | {"n_head": -3}, "n_head is -3"),
    "C-06 float": (CONFIG | {"n_embd": 6.0}, "n_embd is 6.0"),
    "C-06 string": (CONFIG | {"n_layer": "2"}, "n_layer is '2'"),
    "C-06 true": (CONFIG | {"n_layer": True}, "n_layer is True"),
    "C-06 null": (CONFIG | {"n_layer": None}, "n_layer is None"),
    "C-07 a trillion layers": (CONFIG | {"n_layer": 10**12}, "n_layer is 1000000000000"),
    "C-07 a width of a billion": (CONFIG | {"n_embd": 10**9}, "n_embd is 1000000000"),
    "C-08 heads do not divide": (CONFIG | {"n_head": 4}, "n_embd 6 is not a multiple of n_head 4"),
    "C-10 unknown activation": (CONFIG | {"activation_function": "mish"}, "'mish' is not one of gelu_new, gelu"),
    "C-10 activation is a list": (CONFIG | {"activation_function": ["gelu"]}, "activation_function|unhashable"),
    "C-11 another family": (CONFIG | {"model_type": "llama"}, "model_type is 'llama'"),
    "C-11 a family nobody has": (CONFIG | {"model_type": "rwkv"}, "model_type is 'rwkv'; there are .*gpt2, "),
    "C-11 another architecture": (CONFIG | {"architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM"),
    "C-11 architectures is a string": (CONFIG | {"architectures": "GPT2Model"}, "architectures"),
    "C-11 nothing says GPT-2": (SIZES, "model_type is None"),
    "C-12 cross attention": (CONFIG | {"add_cross_attention": True}, "add_cross_attention is True"),
    "C-12 cross attention as a number": (CONFIG | {"add_cross_attention": 0}, "add_cross_attention is 0"),
    "C-12 quantized": (CONFIG | {"quantization_config": {"bits": 4}}, "quantization_config"),
    "C-12 pruned heads": (CONFIG | {"pruned_heads": {"0": [1]}}, "pruned_heads"),
    "C-12 n_inner 0": (CONFIG | {"n_inner": 0}, "n_inner is 0"),
    "switch is a string": (CONFIG | {"scale_attn_weights": "false"}, "scale_attn_weights is 'false'"),
    "switch is null": (CONFIG | {"tie_word_embeddings": None}, "tie_word_embeddings is None"),
    "switch is a number": (CONFIG | {"reorder_and_upcast_attn": 1}, "reorder_and_upcast_attn is 1"),
    "epsilon 0": (CONFIG | {"layer_norm_epsilon": 0}, "layer_norm_epsilon is 0"),
    "epsilon negative": (CONFIG | {"layer_norm_epsilon": -1e-5}, "layer_norm_epsilon"),
    "epsilon is a string": (CONFIG | {"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon is '1e-5'"),
    "epsilon true": (CONFIG | {"layer_norm_epsilon": True}, "layer_norm_epsilon is True"),
    "names of one size contradict": (CONFIG | {"hidden_size": 12}, "n_embd 6 and hidden_size 12"),
    "n_ctx contradicts": (CONFIG | {"n_ctx": 8}, "n_positions 7 and n_ctx 8"),
    "another family's epsilon": (CONFIG | {"layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-06.*layer_norm_epsilon"),
    "another family's activation": (CONFIG | {"hidden_act": "silu"}, "hidden_act is 'silu'"),
    "end of text is negative": (CONFIG | {"eos_token_id": -1}, "eos_token_id is -1"),
    "end of text is a string": (CONFIG | {"eos_token_id": "10"}, "eos_token_id is '10'"),
}


@pytest.mark.parametrize(("config", "message"), (BAD_FILES | BAD_KEYS).values(), ids=BAD_FILES | BAD_KEYS)
def test_a_bad_config_is_refused_naming_file_and_key(tmp_path: Path, config: Any, message: str) -> None:
    model = write_model(tmp_path / "model", config)

    with pytest.raises(ConfigError, match=message) as raised:
        read_checkpoint(model)

    assert str(model / "config.json") in str(raised.value)
    assert raised.value.exit_code == 3
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ({"n_inner": None}, "inner", 24),
        ({"n_inner": 5}, "inner", 5),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon", 1e-6),
        ({"scale_attn_weights": False}, "scale_attn_weights", False),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx", True),
        ({"reorder_and_upcast_attn": True}, "reorder_and_upcast_attn", True),
        ({"tie_word_embeddings": False}, "tie_word_embeddings", False),
        ({"eos_token_id": 10}, "eos_token_id", 10),
        ({"eos_token_id": [9]}, "eos_token_id", 9),
        ({"eos_token_id": None}, "eos_token_id", None),
        ({"eos_token_id": 50256}, "eos_token_id", None),
        ({"architectures": None}, "n_layer", 2),
        ({"add_cross_attention": False, "quantization_config": None, "pruned_heads": {}}, "n_layer", 2),
        ({"hidden_act": "gelu_new", "resid_pdrop": 0.1, "use_cache": True, "summary_type": "first"}, "n_layer", 2),
        *(({"activation_function": name}, "activation_function", name) for name in ACTIVATIONS),
    ],
)
def test_each_key_that_changes_the_model_is_honoured(keys: dict[str, Any], field: Any, value: Any) -> None:
    config = model_from_hf(CONFIG | keys, "config.json")

    assert getattr(config, field) == value


def test_sizes_are_read_under_all_their_names() -> None:
    keys = {
        "architectures": ["GPT2Model"], "n_vocab": 11, "n_ctx": 7, "max_position_embeddings": 7, "hidden_size": 6,
        "num_attention_heads": 3, "num_hidden_layers": 2,
    }  # fmt: skip

    assert model_from_hf(keys, "here") == model_from_hf(CONFIG, "there")


def test_keys_that_name_code_are_ignored_with_one_warning_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w')")
    keys = {"auto_map": {"AutoModel": "evil.Model"}, "trust_remote_code": True, "_name_or_path": "../../etc/passwd"}
    model = write_model(tmp_path / "model", CONFIG | keys)
    (model / "evil.py").write_text("open('ran', 'w')")

    with pytest.warns(UserWarning, match="auto_map, trust_remote_code ignored") as warned:
        config, _ = read_checkpoint(model)

    assert len(warned) == 1
    assert not hasattr(config, "auto_map")
    assert not (tmp_path / "ran").exists()


def test_keys_that_nobody_asked_for_are_named_in_one_warning() -> None:
    with pytest.warns(
        UserWarning, match=r"^config\.json: not known here, and ignored: 'attn_logit_cap', 'n_expert'$"
    ) as warned:
        model_from_hf(CONFIG | {"n_expert": 8, "attn_logit_cap": 30.0, "use_cache": True}, "config.json")

    assert len(warned) == 1


def test_keys_that_are_known_give_no_warning() -> None:
    with warnings.catch_warnings(action="error"):
        model_from_hf(CONFIG | {"resid_pdrop": 0.1, "torch_dtype": "float32", "reorder_and_upcast_attn": None}, "")


def test_a_byte_order_mark_before_the_config_is_skipped(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", b"\xef\xbb\xbf" + json.dumps(CONFIG).encode())

    assert read_checkpoint(model)[0].n_layer == 2


def test_settings_of_other_tools_change_nothing(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    (model / ".arrayformer.toml").write_text("n_layer = 99")
    (model / ".env").write_text("ARRAYFORMER_BACKEND=evil")

    assert read_checkpoint(model)[0] == model_from_hf(CONFIG, "")


ENDS = {
    "one": ({"eos_token_id": 3}, 3),
    "several": ({"eos_token_id": [3, 4]}, (3, 4)),
    "several, of which the model has one": ({"eos_token_id": [3, 50256]}, 3),
    "none the model has": ({"eos_token_id": 50256}, 9),
    "not said": ({"_from_model_config": True, "transformers_version": "5.0"}, 9),
    "null": ({"eos_token_id": None, "max_length": None, "temperature": None}, 9),
    "sampling of another": ({"do_sample": True, "temperature": 0.7, "top_k": 0, "top_p": 1.0, "max_length": 50}, 9),
}


@pytest.mark.parametrize(("generation", "wanted"), ENDS.values(), ids=ENDS)
def test_generation_config_says_where_a_text_ends_and_nothing_else(
    tmp_path: Path, generation: Any, wanted: Any
) -> None:
    model = write_model(tmp_path / "model", CONFIG | {"eos_token_id": 9})
    (model / "generation_config.json").write_text(json.dumps(generation))

    assert read_checkpoint(model)[0] == replace(TINY, eos_token_id=wanted)


BAD_GENERATION = {
    "C-17 temperature": ({"temperature": -1}, "temperature is -1"),
    "C-17 length": ({"max_length": 10**12}, "max_length is 1000000000000"),
    "C-17 new tokens": ({"max_new_tokens": "5"}, "max_new_tokens is '5'"),
    "C-17 top-p": ({"top_p": 2}, "top_p is 2"),
    "C-17 end of text": ({"eos_token_id": "x"}, "eos_token_id is 'x'"),
    "C-17 ends of text": ({"eos_token_id": [1, -1]}, r"eos_token_id is \[1, -1\]"),
    "C-17 not an object": ([1], "holds a JSON list; an object is needed"),
}


@pytest.mark.parametrize(("generation", "message"), BAD_GENERATION.values(), ids=BAD_GENERATION)
def test_a_silly_generation_config_is_refused(tmp_path: Path, generation: Any, message: str) -> None:
    model = write_model(tmp_path / "model")
    (model / "generation_config.json").write_text(json.dumps(generation))

    with pytest.raises(ConfigError, match=rf"generation_config\.json: .*{message}"):
        read_checkpoint(model)


def test_a_text_may_end_at_several_ids() -> None:
    config = model_from_hf(CONFIG | {"eos_token_id": [9, 10, 50256]}, "")

    assert config.eos_token_id == config.eos_ids == (9, 10)


BAD_CONFIGS: dict[str, Any] = {
    "n_vocab": True, "n_ctx": 0, "n_embd": 6.0, "n_head": 4, "n_layer": -1, "n_inner": 0,
    "activation_function": ["gelu"], "layer_norm_epsilon": float("nan"), "scale_attn_weights": 1,
    "tie_word_embeddings": None, "eos_token_id": 11,
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_config_made_by_hand_is_checked_too(name: str) -> None:
    sizes = {"n_vocab": 11, "n_ctx": 7, "n_embd": 6, "n_head": 3, "n_layer": 2}

    with pytest.raises(ConfigError, match=name):
        GPT2(**(sizes | {name: BAD_CONFIGS[name]}))


def test_openai_sizes_are_read_and_the_last_id_ends_a_text() -> None:
    hparams = {"n_vocab": 259, "n_ctx": 16, "n_embd": 8, "n_head": 2, "n_layer": 2}

    config = model_from_openai(hparams, "hparams.json")

    assert config.as_dict().items() >= hparams.items()
    assert (config.eos_token_id, config.activation_function) == (258, "gelu_new")


def test_openai_sizes_that_are_missing_are_named() -> None:
    with pytest.raises(ConfigError, match=r"hparams.json: missing: n_head"):
        model_from_openai({"n_vocab": 259, "n_ctx": 16, "n_embd": 8, "n_layer": 2}, "hparams.json")
