"""What the hub says a repository holds: read as any other file of a stranger."""

import re
from typing import Any
from urllib.parse import quote

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

from arrayformer.core.checkpoint.shard_index import INDEX, MAX_SHARDS, WEIGHTS
from arrayformer.core.errors import DownloadError
from arrayformer.core.files import strict_json
from arrayformer.core.files.untrusted import shown
from arrayformer.hub.limits import limits
from arrayformer.hub.record import Repository
from arrayformer.hub.resume import Listed

# Besides the weights. A tokenizer comes as vocab.json and merges.txt, or as tokenizer.json.
_SMALL = (
    "config.json", "generation_config.json", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
    "added_tokens.json", "special_tokens_map.json", "chat_template.jinja", INDEX,
)  # fmt: skip
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)

_MAX_FILE = 1 << 40
_MAX_SMALL = 64 << 20
_MAX_LISTING = 8 << 20
_MAX_HEAD = 1 << 20
_MAX_VALUES = 500_000


def list_model(repo: Repository, revision: str | None) -> tuple[str, list[Listed]]:
    """The commit of a revision, and the files of it that make up a model.

    Raises DownloadError for an answer that is no sound listing, and what huggingface_hub raises.
    """
    path = f"{constants.ENDPOINT}/api/models/{repo.id}"
    path += "" if revision is None else f"/revision/{quote(revision, safe='')}"
    with limits(_MAX_LISTING):
        answer = huggingface_hub.get_session().get(
            path, params={"blobs": True}, headers=build_hf_headers(), timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
        hf_raise_for_status(answer)
    where = f"{repo.id}: {constants.ENDPOINT} gave an answer that is not the hub's; a login page, perhaps"
    text = answer.content.decode("utf-8", "replace")
    return _choose(repo.id, strict_json.parse(text, where, DownloadError, _MAX_VALUES))


def look_up(repo: Repository, commit: str, name: str, most: int) -> Listed:
    """One file of a commit, of at most `most` bytes, by the headers of its address. Raises as `list_model`."""
    url = huggingface_hub.hf_hub_url(repo.id, name, repo_type=repo.kind, revision=commit)
    with limits(_MAX_HEAD):
        found = huggingface_hub.get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    large = len(found.etag or "") == 64
    return _checked(repo.id, name, found.etag, found.size, large, most)


def _choose(hub_id: str, info: Any) -> tuple[str, list[Listed]]:
    """The commit, and the files that make up a model: weights in one file, or else in shards, and small ones."""
    commit, siblings = _siblings(hub_id, info)
    shards = [name for name in siblings if _SHARD.fullmatch(name)] if INDEX in siblings else []
    weights = [WEIGHTS] if WEIGHTS in siblings else sorted(shards)
    if "config.json" not in siblings or not weights:
        raise DownloadError(f"{hub_id}: {_what_is_missing(sorted(siblings))}")
    if len(weights) > MAX_SHARDS:
        raise DownloadError(f"{hub_id}: the hub lists {len(weights)} shards; at most {MAX_SHARDS} are read")
    small = [name for name in _SMALL if name in siblings and not (name == INDEX and weights == [WEIGHTS])]
    return commit, [_listed(hub_id, siblings[name]) for name in [*small, *weights]]


def _siblings(hub_id: str, info: Any) -> tuple[str, dict[str, dict[str, Any]]]:
    commit = info.get("sha") if isinstance(info, dict) else None
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise DownloadError(f"{hub_id}: the hub names commit {shown(repr(commit), 100)}, which is no git commit")
    found = info.get("siblings") or []
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise DownloadError(f"{hub_id}: the hub's list of files is {shown(repr(found), 100)}, not a list of objects")
    return commit, {entry["rfilename"]: entry for entry in found if isinstance(entry.get("rfilename"), str)}


def _what_is_missing(names: list[str]) -> str:
    if "config.json" not in names:
        return "the repository has no config.json, so it is no GPT-2 in Hugging Face's form"
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".ckpt", ".pth"))]
    what = f"but {shown(pickles[0])}, a pickle, which could run code when read" if pickles else "and no other weights"
    return (
        f"the repository has no {WEIGHTS} {what}; look for a revision with safetensors (often refs/pr/1), "
        "or convert it with transformers: save_pretrained(..., safe_serialization=True)"
    )


def _listed(hub_id: str, entry: dict[str, Any]) -> Listed:
    name, lfs = entry["rfilename"], entry.get("lfs")
    most = _MAX_SMALL if name in _SMALL else _MAX_FILE
    if isinstance(lfs, dict):
        return _checked(hub_id, name, lfs.get("sha256"), lfs.get("size"), True, most)
    return _checked(hub_id, name, entry.get("blobId"), entry.get("size"), False, most)


def _checked(hub_id: str, name: str, wanted: Any, size: Any, large: bool, most: int) -> Listed:
    if not isinstance(wanted, str) or not (_SHA256 if large else COMMIT).fullmatch(wanted):
        raise DownloadError(f"{hub_id}: the hub lists {name} with digest {shown(repr(wanted), 100)}")
    if type(size) is not int or not 0 <= size <= most:
        raise DownloadError(
            f"{hub_id}: the hub lists {name} with {shown(repr(size), 100)} bytes; 0 to {most} are fetched"
        )
    return Listed(name, size, wanted)
