"""Whatever stands in a config.json: it describes a model, or one ConfigError says where and which key."""

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from tests.core.models.families import FAMILIES, LLAMA3, LONG, YARN, base, changed

from arrayformer.core.checkpoint import read_checkpoint, save_checkpoint
from arrayformer.core.checkpoint.config_file import model_from_hf
from arrayformer.core.errors import ConfigError, ModelFileError
from arrayformer.core.params import random_params

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

JUNK: list[Any] = [
    None, True, False, "x", "", "8", 0, -1, 1, 3, 7, 2.5, -0.0, 1e308, 1e-300, 10**90, [], [1], [[]], {}, {"a": []},
    ["full_attention"], [None, None, None], {"rope_type": []}, {"rope_type": "yarn"},
]  # fmt: skip

WHERE = "/somewhere/config.json"


def sources():
    """Configs to mangle: each architecture, and each kind of scaling."""
    yield from ((kind, base(kind)) for kind in FAMILIES)
    for scaling in (LLAMA3, YARN, {"rope_type": "linear", "factor": 2.0}):
        yield "llama", changed("llama", {"rope_scaling": scaling})
    yield "phi3", changed("phi3", {"rope_scaling": LONG})
    yield "qwen3", changed("qwen3", {"use_sliding_window": True, "layer_types": ["full_attention"] * 3})
    nested = {"full_attention": {**YARN, "rope_theta": 7.0}, "sliding_attention": {"rope_type": "default"}}
    yield "gemma3_text", changed("gemma3_text", {"rope_theta": None, "rope_parameters": nested})


SOURCES = list(sources())

# A key -> what else a message may speak of: our names for it, and what is made of it.
FIELDS = {
    "num_key_value_heads": "n_kv_head", "num_attention_heads": "heads", "layer_norm_eps": "layer_norm_epsilon",
    "hidden_activation": "hidden_act", "hidden_act": "activation_function", "use_sliding_window": "window",
    "num_hidden_layers": "layers", "rotary_pct": "channels", "rotary_emb_base": "rope_theta", "head_dim": "channels",
    "hidden_size": "head", "rope_parameters": "rope", "rope_scaling": "rope", "partial_rotary_factor": "channels",
}  # fmt: skip


def judged(keys, *names):
    """The model, or None after one error that names file and key."""
    try:
        return model_from_hf(keys, WHERE)
    except ConfigError as error:
        said = str(error)
        heads = said.replace("n_head ", "heads").replace("channels", "channels of heads")
        assert said.startswith(WHERE), said
        assert said.count(WHERE) == 1, said
        assert "\n" not in said
        assert len(said) < 700
        assert any(name in said or FIELDS.get(name, name) in heads for name in names), (names, said)
        return None


@pytest.mark.parametrize(("kind", "keys"), SOURCES, ids=lambda x: x if isinstance(x, str) else "")
def test_junk_under_any_key_is_one_error_that_names_file_and_key(kind, keys):
    for name in keys:
        for junk in JUNK:
            model = judged({**keys, name: junk}, name)
            if model is not None:
                model.rotations(16, 16)


@pytest.mark.parametrize(("kind", "keys"), SOURCES, ids=lambda x: x if isinstance(x, str) else "")
def test_junk_inside_a_scaling_is_one_error_that_names_file_and_key(kind, keys):
    for outer in {"rope_scaling", "rope_parameters"} & keys.keys():
        for path, inner in _objects(keys[outer]):
            for name in [*inner, "extra"]:
                for junk in JUNK:
                    mangled = json.loads(json.dumps(keys))
                    place = mangled[outer]
                    for step in path:
                        place = place[step]
                    place[name] = junk
                    model = judged(mangled, outer, name)
                    if model is not None:
                        model.rotations(16, 16)


def _objects(value, path=()):
    yield path, value
    for name, child in value.items():
        if isinstance(child, dict):
            yield from _objects(child, (*path, name))


CASES = {
    "heads": ("llama", {"num_key_value_heads": 4}, "n_head 6 is not a multiple of n_kv_head 4"),
    "an odd head": ("llama", {"head_dim": 15}, "15 channels of a head are rotated; it must be an even number"),
    "no window": ("mistral", {"sliding_window": 0}, "sliding_window is 0; it must be an integer from 1"),
    "a window below 0": ("gemma2", {"sliding_window": -4}, "sliding_window is -4; it must be an integer from 1"),
    "too few layer types": ("qwen2", {"layer_types": ["full_attention"]}, "layer_types has 1 names for 3 layers"),
    "an unknown layer type": ("qwen2", {"layer_types": ["full_attention", "x", "y"]}, "layer_types has 'x'"),
    "a scaling of nothing": ("llama", {"rope_scaling": {"rope_type": "llama3"}}, "lacks factor, low_freq_factor"),
    "a scaling of too much": ("llama", {"rope_scaling": {**YARN, "power": 2}}, "'power', which is not computed here"),
    "an absurd factor": ("llama", {"rope_scaling": {"type": "linear", "factor": -2}}, "factor of rope_type 'linear'"),
    "an absurd context": ("llama", {"rope_scaling": {**YARN, "original_max_position_embeddings": 1}}, "from 2"),
    "an unknown scaling": ("llama", {"rope_scaling": {"type": "ntk"}}, "rope_type is 'ntk'; it is one of default, lin"),
    "a short list": ("llama", {"rope_scaling": LONG}, "has 4 numbers, and 8 pairs"),
    "an unknown model": ("llama", {"model_type": "mamba"}, "model_type is 'mamba'; there are gemma2, gemma3_text, g"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_no_model_can_have_is_refused_with_what_was_needed(case):
    kind, change, says = CASES[case]

    with pytest.raises(ConfigError, match=r"config\.json: ") as caught:
        model_from_hf({**base(kind), **change}, WHERE)

    assert says in str(caught.value)


def test_an_unknown_model_type_says_how_a_plugin_adds_one():
    with pytest.raises(ConfigError, match=r"A plugin adds one through the hook register_models: docs/architectures.md"):
        model_from_hf({"model_type": "mamba"}, WHERE)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["yarn", "longrope", "silu", "full_attention", "gemma2", "llama", "rope_type"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["rope_type", "type", "factor", "rope_theta", "full_attention", "original_max_position_embeddings", "a"]
    ), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """A checkpoint of each source."""
    folder = tmp_path_factory.mktemp("models")
    for number, (_, keys) in enumerate(SOURCES):
        model = model_from_hf(keys, WHERE)
        save_checkpoint(folder / str(number), model, random_params(model.weights()))
    return folder


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_mangled_config_beside_right_weights_is_read_or_refused(directories, data):
    number = data.draw(st.integers(0, len(SOURCES) - 1))
    keys = dict(SOURCES[number][1])
    for name in data.draw(st.lists(st.sampled_from(sorted(keys)), min_size=1, max_size=3)):
        keys.pop(name, None) if data.draw(st.integers(0, 4)) == 0 else keys.update({name: data.draw(json_values)})
    (directories / str(number) / "config.json").write_text(json.dumps(keys))

    try:
        model, _ = read_checkpoint(directories / str(number))
    except ModelFileError:  # ConfigError is one
        return
    model.rotations(4, 4)
