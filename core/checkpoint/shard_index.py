"""model.safetensors.index.json: which tensor lies in which file, where the weights are in several."""

import re
from typing import Any

from arrayformer.core.errors import ModelFileError
from arrayformer.core.files import strict_json
from arrayformer.core.files.untrusted import ModelDirectory, shown

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

MAX_INDEX = 16 << 20
MAX_SHARDS = 1000

# A plain file name: no separators, no dot in front, no control characters.
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}\.safetensors", re.ASCII)


def read_index(directory: ModelDirectory) -> dict[str, set[str]]:
    """The names of the tensors in each shard, by the shard's file name.

    Names that could lead elsewhere are refused before anything is opened. Raises ModelFileError.
    """
    weight_map = _weight_map(directory)
    shards: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise ModelFileError(
                f"{directory / INDEX}: tensor {shown(tensor)!r} is said to lie in {shown(repr(shard), 100)}; "
                "a shard is a file of this directory whose name ends in .safetensors"
            )
        shards.setdefault(shard, set()).add(tensor)
    if len(shards) > MAX_SHARDS:
        raise ModelFileError(f"{directory / INDEX}: {len(shards)} shards; at most {MAX_SHARDS} are read")
    missing = sorted(shard for shard in shards if not directory.has(shard))
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise ModelFileError(
            f"{directory}: {len(missing)} of {len(shards)} shards are missing: {', '.join(missing[:10])}{more}"
        )
    return shards


def _weight_map(directory: ModelDirectory) -> dict[str, Any]:
    weight_map = strict_json.read_object(directory, INDEX, MAX_INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelFileError(f"{directory / INDEX}: has no weight_map, an object of tensor names and shards")
    return weight_map
