"""Every key that changes numbers is honoured as transformers honours it, or refused: none is passed over."""

import dataclasses

import numpy as np
import pytest
from tests.core.models.families import ALL, FAMILIES, base, changed, named

from arrayformer.core.checkpoint.config_file import model_from_hf
from arrayformer.core.errors import ConfigError
from arrayformer.core.models.keys import HARMLESS

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("error")]
peers = pytest.importorskip("tests.core.models.peers", reason="needs torch and transformers", exc_type=ImportError)


def as_transformers_says(keys):
    """The config.json that transformers writes for these keys."""
    given = {k: v for k, v in keys.items() if k != "model_type"}
    return peers.config_class(keys["model_type"])(**given).to_dict()


@pytest.mark.parametrize("kind", FAMILIES)
def test_no_field_of_transformers_configs_is_unknown_here(kind):
    config = peers.config_class(kind)(**{k: v for k, v in base(kind).items() if k != "model_type"})
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    keys = {**fields, **config.to_dict()}

    assert model_from_hf(keys, "keys") == model_from_hf(base(kind), "keys")  # and nothing is warned of


MANY_HEADS = {"num_attention_heads": 32, "hidden_size": 64}  # defaults are 4, 8 and 32


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_is_left_out_has_the_default_of_transformers(kind):
    for name in base(kind):
        keys = {**base(kind), **(MANY_HEADS if name == "num_key_value_heads" else {})}
        del keys[name]
        try:
            ours = model_from_hf(keys, "keys")
        except ConfigError as error:
            assert name in str(error)  # noqa: PT017  # sizes have no default here
            continue
        assert ours == model_from_hf(as_transformers_says(keys), "keys"), name


@pytest.mark.parametrize(("kind", "change"), [case for case in ALL if case[1]], ids=named)
def test_a_key_that_moves_the_logits_of_transformers_moves_ours(kind, change):
    ids = np.random.default_rng(1).integers(0, 97, (1, 40))
    before, after = changed(kind, {}), changed(kind, change)
    moved = not np.array_equal(peers.logits(peers.make(before), ids), peers.logits(peers.make(after), ids))

    # That the new logits are theirs, test_parity.py proves.
    assert (model_from_hf(before, "keys") != model_from_hf(after, "keys")) or not moved


OTHER = {bool: lambda x: not x, int: lambda x: x + 1, float: lambda x: x + 0.25}


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_is_called_harmless_changes_nothing(kind):
    config = peers.config_class(kind)()
    ids = np.arange(20)[None]
    truth = peers.logits(peers.make(base(kind)), ids)
    tried = 0
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in HARMLESS and type(value) in OTHER and not field.name.startswith(("return_", "output_")):
            keys = {**base(kind), field.name: OTHER[type(value)](value) if "token_id" not in field.name else 3}
            tried += 1
            assert np.array_equal(peers.logits(peers.make(keys), ids), truth), field.name

    assert tried >= 3


REFUSED = [
    ("llama", {"rope_scaling": {"rope_type": "mrope"}}, "rope_type"),
    ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "extra": 1}}, "extra"),
    ("llama", {"rope_scaling": {"rope_type": "yarn"}}, "factor"),
    ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "truncate": None}}, "truncate"),
    ("llama", {"rope_scaling": {"rope_type": "yarn", "type": "linear", "factor": 2.0}}, "type"),
    ("llama", {"rope_parameters": {"rope_theta": 7.0}, "rope_theta": 8.0}, "rope_theta"),
    ("llama", {"rope_parameters": {"rope_type": "default"},
               "rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_parameters"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ("llama", {"pretraining_tp": 2}, "pretraining_tp"),
    ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
    ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "architectures"),
    ("qwen2", {"layer_types": ["sliding_attention"] * 3}, "layer_types"),
    ("qwen3", {"layer_types": ["chunked_attention"] * 3}, "layer_types"),
    ("phi3", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_type"),
    ("phi3", {"rope_scaling": {"rope_type": "longrope", "original_max_position_embeddings": 16}},
     "original_max_position_embeddings"),
    ("gemma2", {"sliding_window": None}, "sliding_window"),
    ("gemma2", {"sliding_window_pattern": 3}, "sliding_window_pattern"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("gemma2", {"hidden_act": "silu"}, "hidden_act"),
    ("gemma3_text", {"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}, "rope_parameters"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
    ("gpt2", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "named_key"), REFUSED, ids=named)
def test_what_is_not_computed_is_refused_by_the_keys_name(kind, change, named_key):
    with pytest.raises(ConfigError, match=named_key):
        model_from_hf({**base(kind), **change}, "keys")
