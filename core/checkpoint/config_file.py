"""config.json (Hugging Face) and hparams.json (OpenAI) as a model. Which key means what, the model's page says."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from arrayformer.core.architecture import Architecture
from arrayformer.core.errors import ConfigError
from arrayformer.core.files import strict_json
from arrayformer.core.files.untrusted import ModelDirectory
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.models.keys import Keys, said
from arrayformer.core.models.registry import find_model
from arrayformer.core.plugins.discovery import MODELS, available

M = TypeVar("M", bound=Architecture)

MAX_JSON = 1 << 20

# Endings of classes that give logits, or the stream that logits are made of; others have a head of another kind.
_DECODERS = ("ForCausalLM", "LMHeadModel", "Model")
_CLASS = re.compile(f"({'|'.join(_DECODERS)})$")


def read_json_object(directory: ModelDirectory, name: str) -> dict[str, Any]:
    """The JSON object in a file of at most MAX_JSON bytes. Raises ConfigError for anything else."""
    return strict_json.read_object(directory, name, MAX_JSON, ConfigError)


def read_config(directory: ModelDirectory) -> Architecture:
    """The model of a directory in Hugging Face's form. Raises ConfigError."""
    return model_from_hf(read_json_object(directory, "config.json"), str(directory / "config.json"))


def model_from_hf(keys: Mapping[str, Any], where: str) -> Architecture:
    """The model that the keys of a config.json describe; `where` begins the messages of ConfigError."""
    kind = _model_type(keys, where)
    try:
        page = find_model(kind)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    _check_classes(kind, keys.get("architectures") or [], where)
    return _built(page.from_hf, Keys(keys, where))


def model_from_openai(keys: Mapping[str, Any], where: str) -> GPT2:
    """The GPT-2 that the keys of an hparams.json describe; `where` begins the messages of ConfigError."""
    return _built(GPT2.from_openai, Keys(keys, where))


def _built(make: Callable[[Keys], M], keys: Keys) -> M:
    try:
        model = make(keys)
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith(keys.where) else f"{keys.where}: {error}") from None
    keys.check_rest()
    return model


def _model_type(keys: Mapping[str, Any], where: str) -> str:
    """What the file calls its kind of model. Old files of GPT-2 name only its class."""
    kind, classes = keys.get("model_type"), keys.get("architectures") or []
    if not isinstance(classes, list) or not all(isinstance(name, str) and name.endswith(_DECODERS) for name in classes):
        raise ConfigError(f"{where}: architectures {said(classes)}; what runs here are decoders: ...ForCausalLM")
    if kind is None and classes and all(name.startswith("GPT2") for name in classes):
        return "gpt2"
    if not isinstance(kind, str):
        raise ConfigError(f"{where}: model_type is {said(kind)}; it names an architecture, for example 'gpt2'")
    return kind


def _check_classes(kind: str, classes: list[str], where: str) -> None:
    """Raises ConfigError where the classes are of another architecture that is known here than the model_type."""
    others = {_plain(name) for name in available(MODELS)} - {_plain(kind)}
    if any(_plain(_CLASS.sub("", name)) in others for name in classes):
        raise ConfigError(
            f"{where}: model_type is {said(kind)}, but architectures {said(classes)} belong to another; "
            "correct the one that is wrong"
        )


def _plain(name: str) -> str:
    """ "GPTNeoX" and "gpt_neox" alike, and "Gemma3" as "gemma3_text"."""
    return name.lower().replace("_", "").removesuffix("text")
