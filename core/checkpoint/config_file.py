"""config.json (Hugging Face) and hparams.json (OpenAI) as a GPT2Config.

A key that changes numbers is honoured or refused. Keys that only matter to training, to other tools or to code
this project never runs are left alone.
"""

import warnings
from typing import Any

from arrayformer.core.errors import ConfigError
from arrayformer.core.files import strict_json
from arrayformer.core.files.untrusted import ModelDirectory, shown
from arrayformer.core.models.gpt2 import SWITCHES, GPT2Config

MAX_JSON = 1 << 20
MAX_ENDS = 1000

# Each size under all its names, with the largest value that is not taken for a mistake.
_SIZES = {
    "n_vocab": (("vocab_size", "n_vocab"), 10_000_000),
    "n_ctx": (("n_positions", "n_ctx", "max_position_embeddings"), 10_000_000),
    "n_embd": (("n_embd", "hidden_size"), 1_000_000),
    "n_head": (("n_head", "num_attention_heads"), 1_000_000),
    "n_layer": (("n_layer", "num_hidden_layers"), 10_000),
}

# What these do to a model this graph does not do; with the listed values they do nothing.
_REFUSED: dict[str, tuple[object, ...]] = {
    "add_cross_attention": (False, None),
    "is_encoder_decoder": (False, None),
    "quantization_config": (None,),
    "pruned_heads": (None, {}, []),
    "position_embedding_type": (None, "absolute"),
    "rope_scaling": (None,),
}

# Other families' names for what GPT-2 calls otherwise: Hugging Face ignores them, a reader would not.
_LOOKALIKES = {"hidden_act": "activation_function", "layer_norm_eps": "layer_norm_epsilon"}

# These name code to run, or places to fetch it from. Nothing is run and nothing is fetched.
_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")

_ARCHITECTURES = ("GPT2LMHeadModel", "GPT2Model")


def read_json_object(directory: ModelDirectory, name: str) -> dict[str, Any]:
    """The JSON object in a file of at most MAX_JSON bytes. Raises ConfigError for anything else."""
    return strict_json.read_object(directory, name, MAX_JSON, ConfigError)


def read_config(directory: ModelDirectory) -> GPT2Config:
    """The GPT2Config of a directory in Hugging Face's form. Raises ConfigError."""
    return config_from_hf(read_json_object(directory, "config.json"), str(directory / "config.json"))


def config_from_hf(keys: dict[str, Any], where: str) -> GPT2Config:
    """The GPT2Config of the keys of a config.json; `where` begins the messages of ConfigError."""
    _check_kind(keys, where)
    _check_refused(keys, where)
    fields: dict[str, Any] = _sizes(keys, where)
    fields["n_inner"] = None if keys.get("n_inner") is None else _size(keys["n_inner"], "n_inner", 4_000_000, where)
    fields |= {name: keys[name] for name in SWITCHES if name in keys}
    fields["activation_function"] = keys.get("activation_function", "gelu_new")
    fields["layer_norm_epsilon"] = keys.get("layer_norm_epsilon", 1e-5)
    for other, name in _LOOKALIKES.items():
        if other in keys and keys[other] != fields[name]:
            raise ConfigError(
                f"{where}: {other} is {shown(repr(keys[other]), 60)}, but GPT-2's key is {name}, "
                f"here {fields[name]!r}; write the one that is meant as {name} and remove {other}"
            )
    fields["eos_token_id"] = end_of_text(keys.get("eos_token_id", 50256), fields["n_vocab"], where)
    return _build(fields, where)


def config_from_openai(keys: dict[str, Any], where: str) -> GPT2Config:
    """The GPT2Config of the keys of an hparams.json; `where` begins the messages of ConfigError."""
    fields: dict[str, Any] = _sizes(keys, where)
    fields["eos_token_id"] = fields["n_vocab"] - 1  # OpenAI's tables end with <|endoftext|>
    return _build(fields, where)


def _build(fields: dict[str, Any], where: str) -> GPT2Config:
    try:
        return GPT2Config(**fields)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _check_kind(keys: dict[str, Any], where: str) -> None:
    kind, architectures = keys.get("model_type"), keys.get("architectures") or []
    known = isinstance(architectures, list) and all(name in _ARCHITECTURES for name in architectures)
    if not known:
        raise ConfigError(
            f"{where}: architectures {shown(repr(architectures), 100)}; "
            f"this project runs {' and '.join(_ARCHITECTURES)}"
        )
    if kind != "gpt2" and not (kind is None and architectures):
        raise ConfigError(f"{where}: model_type is {shown(repr(kind), 60)}; this project runs 'gpt2'")


def _check_refused(keys: dict[str, Any], where: str) -> None:
    for name, harmless in _REFUSED.items():
        if name in keys and not any(keys[name] == value and type(keys[name]) is type(value) for value in harmless):
            raise ConfigError(f"{where}: {name} is {shown(repr(keys[name]), 60)}, which this project does not compute")
    named = [name for name in _CODE if keys.get(name)]
    if named:
        warnings.warn(f"{where}: {', '.join(named)} ignored: a model's directory runs no code here", stacklevel=2)


def _sizes(keys: dict[str, Any], where: str) -> dict[str, int]:
    found = {field: _under_any_name(keys, names, most, where) for field, (names, most) in _SIZES.items()}
    missing = [" or ".join(_SIZES[field][0]) for field, size in found.items() if size is None]
    if missing:
        raise ConfigError(f"{where}: missing: {'; '.join(missing)}")
    return {field: size for field, size in found.items() if size is not None}


def _under_any_name(keys: dict[str, Any], names: tuple[str, ...], most: int, where: str) -> int | None:
    given = {name: _size(keys[name], name, most, where) for name in names if name in keys}
    if len(set(given.values())) > 1:
        both = " and ".join(f"{name} {size}" for name, size in given.items())
        raise ConfigError(f"{where}: {both} contradict each other: they are names of one thing")
    return next(iter(given.values()), None)


def _size(value: Any, name: str, most: int, where: str) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise ConfigError(f"{where}: {name} is {shown(repr(value), 60)}; it must be an integer from 1 to {most}")
    return value


def end_of_text(value: Any, n_vocab: int, where: str) -> int | tuple[int, ...] | None:
    """One id, several, or None where generation does not end by itself. Raises ConfigError for anything else."""
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(id) is int and id >= 0 for id in ids) or len(ids) > MAX_ENDS:
        raise ConfigError(
            f"{where}: eos_token_id is {shown(repr(value), 60)}; it must be an id, a list of ids, or null"
        )
    # Hugging Face writes its default, 50256, into configs of smaller vocabularies: such an id never comes.
    found = tuple(id for id in ids if id < n_vocab)
    return found if len(found) > 1 else found[0] if found else None
