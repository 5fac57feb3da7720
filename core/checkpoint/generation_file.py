"""generation_config.json: at which ids a text ends.

transformers takes its defaults for sampling from this file too. Here what is not said is always the same, whatever the
model, so those keys are only held against the rules of the options they name: a temperature of -1 is refused, one of
0.7 is not used.
"""

from typing import Any

from arrayformer.core.checkpoint.config_file import read_json_object
from arrayformer.core.checks import check_whole
from arrayformer.core.errors import ConfigError, InputError
from arrayformer.core.files.untrusted import ModelDirectory
from arrayformer.core.generate.options import MAX_NEW_TOKENS, Ending, Sampling
from arrayformer.core.models.keys import end_of_text

GENERATION = "generation_config.json"

_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def read_end_of_text(directory: ModelDirectory, n_vocab: int) -> int | tuple[int, ...] | None:
    """The ids at which generation ends, where the directory has the file and the file says so; else None.

    Raises ConfigError for a file that is no JSON object, and for values that the options of their names refuse.
    """
    if not directory.has(GENERATION):
        return None
    keys, where = read_json_object(directory, GENERATION), str(directory / GENERATION)
    _check_options({name: value for name, value in keys.items() if value is not None}, where)
    return end_of_text(keys.get("eos_token_id"), n_vocab, where)


def _check_options(keys: dict[str, Any], where: str) -> None:
    said = {name: keys[name] for name in _SAMPLING if name in keys}
    if type(said.get("top_k")) is int and said["top_k"] == 0:  # transformers' way to say "all"
        del said["top_k"]
    try:
        Sampling(**said)
        Ending(keys.get("max_new_tokens"))
        check_whole("max_length", keys.get("max_length", 0), 0, MAX_NEW_TOKENS)
    except InputError as error:
        raise ConfigError(f"{where}: {error}") from None
