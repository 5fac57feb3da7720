"""Models from the Hugging Face Hub, each file checked against the digest the hub lists for it.

huggingface_hub does the transport: cache, repeated attempts, redirects, tokens, proxies. It compares sizes only, so a
flipped bit would pass. Here a branch is turned into a commit first, and what arrives has to have the SHA-256 (large
files) or the git hash (small files) that the hub lists for it at that commit. `download_limits` bounds what the hub may
do meanwhile, `download_resume` goes on with large files that an earlier attempt left unfinished.
"""

import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from arrayformer.core.checkpoint.shard_index import INDEX, WEIGHTS
from arrayformer.core.errors import DownloadError
from arrayformer.core.files.untrusted import shown
from arrayformer.hub.errors import explained, is_unreachable
from arrayformer.hub.limits import limits
from arrayformer.hub.record import (
    check_record,
    digest,
    has_record,
    last_seen,
    repository,
    snapshot,
    write_record,
)
from arrayformer.hub.resume import fetch_blob, left_over

# Besides the weights. A tokenizer comes as vocab.json and merges.txt, or as tokenizer.json.
_SMALL = (
    "config.json", "generation_config.json", "vocab.json", "merges.txt", "tokenizer.json", "added_tokens.json", INDEX,
)  # fmt: skip
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_FILE = 1 << 40
_MAX_LISTING = 8 << 20


@dataclass(frozen=True)
class _Listed:
    """A file as the hub lists it; `digest` is a SHA-256 (64 digits) or git's SHA-1 of a blob (40 digits)."""

    name: str
    size: int
    digest: str


def cached_snapshot(hub_id: str, revision: str | None, verify: bool = False) -> Path:
    """The directory of a model fetched before, checked again where a file changed since. Opens no connection.

    With `verify` every file is read and checked again.

    Raises DownloadError where it is not there or damaged.
    """
    commit = revision if revision is not None and _COMMIT.fullmatch(revision) else last_seen(hub_id, revision)
    if commit is None or not (snapshot(hub_id, commit) / "config.json").exists():
        which = hub_id if revision is None else f"{hub_id} --revision {revision}"
        raise DownloadError(
            f"{_named(hub_id, revision)}: not in the cache {constants.HF_HUB_CACHE}, and nothing is fetched offline; "
            f"fetch it once with: arrayformer download {which}"
        )
    check_record(hub_id, commit, verify)
    return snapshot(hub_id, commit)


def fetch_snapshot(hub_id: str, revision: str | None, verify: bool = False) -> Path:
    """The directory of a model at the hub, fetched where it is not in the cache yet.

    A commit that is complete in the cache is taken from there without asking the hub. Where the hub cannot be
    reached, a branch is taken as it was last seen, with a warning. Raises DownloadError.
    """
    pinned = revision is not None and bool(_COMMIT.fullmatch(revision)) and has_record(hub_id, revision)
    if constants.HF_HUB_OFFLINE or pinned:
        return cached_snapshot(hub_id, revision, verify)
    _warn_of_plain_http()
    with explained(_named(hub_id, revision)):
        try:
            with limits(_MAX_LISTING):
                info = huggingface_hub.HfApi().model_info(
                    hub_id, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
                )
        except Exception as error:
            seen = last_seen(hub_id, revision)
            if seen is None or not has_record(hub_id, seen) or not is_unreachable(error):
                raise
            warnings.warn(f"{hub_id}: the hub cannot be reached; taking commit {seen} from the cache", stacklevel=2)
            return cached_snapshot(hub_id, seen, verify)
        commit, files = _choose(hub_id, info)
        _check_space(hub_id, commit, files)
        with _progress_on_a_terminal():
            for file in files:
                _fetch(hub_id, commit, file)
    write_record(hub_id, revision, commit, {file.name: file.digest for file in files})
    return snapshot(hub_id, commit)


def _named(hub_id: str, revision: str | None) -> str:
    return hub_id if revision is None else f"{hub_id} at {revision}"


def _warn_of_plain_http() -> None:
    address = urlsplit(constants.ENDPOINT)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise DownloadError(
            f"HF_ENDPOINT is {shown(constants.ENDPOINT)}, which is no address that begins with https://"
        )
    if address.scheme != "https" and address.hostname not in ("localhost", "127.0.0.1", "::1"):
        warnings.warn(
            f"HF_ENDPOINT is {constants.ENDPOINT}: without https anybody on the way can change files and digests alike",
            stacklevel=3,
        )


def _choose(hub_id: str, info: Any) -> tuple[str, list[_Listed]]:
    """The commit, and the files of it that make up a model: weights in one file, or else in shards, and small ones."""
    commit, siblings = info.sha, {sibling.rfilename: sibling for sibling in info.siblings or ()}
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise DownloadError(f"{hub_id}: the hub names commit {shown(repr(commit), 100)}, which is no git commit")
    shards = [name for name in siblings if _SHARD.fullmatch(name)] if INDEX in siblings else []
    weights = [WEIGHTS] if WEIGHTS in siblings else sorted(shards)
    if "config.json" not in siblings or not weights:
        raise DownloadError(f"{hub_id}: {_what_is_missing(sorted(siblings))}")
    small = [name for name in _SMALL if name in siblings and not (name == INDEX and weights == [WEIGHTS])]
    return commit, [_listed(hub_id, siblings[name]) for name in [*small, *weights]]


def _what_is_missing(names: list[str]) -> str:
    if "config.json" not in names:
        return "the repository has no config.json, so it is no GPT-2 in Hugging Face's form"
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".ckpt", ".pth"))]
    what = f"but {shown(pickles[0])}, a pickle, which could run code when read" if pickles else "and no other weights"
    return (
        f"the repository has no {WEIGHTS} {what}; look for a revision with safetensors (often refs/pr/1), "
        "or convert it with transformers: save_pretrained(..., safe_serialization=True)"
    )


def _listed(hub_id: str, sibling: Any) -> _Listed:
    wanted, size = (sibling.lfs.sha256, sibling.lfs.size) if sibling.lfs else (sibling.blob_id, sibling.size)
    if not isinstance(wanted, str) or not (_SHA256 if sibling.lfs else _COMMIT).fullmatch(wanted):
        raise DownloadError(f"{hub_id}: the hub lists {sibling.rfilename} with digest {shown(repr(wanted), 100)}")
    if not isinstance(size, int) or not 0 <= size <= _MAX_FILE:
        raise DownloadError(f"{hub_id}: the hub lists {sibling.rfilename} with {shown(repr(size), 100)} bytes")
    return _Listed(sibling.rfilename, size, wanted)


def _check_space(hub_id: str, commit: str, files: list[_Listed]) -> None:
    needed = sum(_space(hub_id, file) for file in files if not (snapshot(hub_id, commit) / file.name).exists())
    place = repository(hub_id)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DownloadError(
            f"{hub_id}: needs {needed / 1e6:.0f} MB in {constants.HF_HUB_CACHE}, where {free / 1e6:.0f} MB are free; "
            "make room, or set HF_HOME to another place"
        )


def _space(hub_id: str, file: _Listed) -> int:
    """Bytes that fetching a file takes at most. What an earlier attempt left is copied, then deleted, then added to."""
    old = left_over(repository(hub_id) / "blobs" / file.digest, file.size)
    left = old[0][0] if old else 0
    return max(left, file.size - left)


@contextmanager
def _progress_on_a_terminal() -> Iterator[None]:
    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _fetch(hub_id: str, commit: str, file: _Listed) -> None:
    """Fetches a file unless it is in the cache, and checks it. What does not match is deleted."""
    path = snapshot(hub_id, commit) / file.name
    if path.exists():
        if digest(path, file.digest) == file.digest:
            return
        warnings.warn(f"{path}: damaged since it was fetched; fetching it again", stacklevel=2)
        _remove(path)
    _check_offer(hub_id, commit, file)
    large = len(file.digest) == 64
    verified = large and fetch_blob(hub_id, file.name, commit, file.size, file.digest)
    with limits(file.size):  # a small file is fetched here, a large one only gets its link
        huggingface_hub.hf_hub_download(hub_id, file.name, revision=commit)
    if not verified and (got := digest(path, file.digest)) != file.digest:
        size = path.stat().st_size
        _remove(path)
        raise DownloadError(
            f"{hub_id}: {file.name} arrived damaged, {size} of {file.size} bytes, digest {got} instead of "
            f"{file.digest}; it is deleted; try again"
        )


def _check_offer(hub_id: str, commit: str, file: _Listed) -> None:
    url = huggingface_hub.hf_hub_url(hub_id, file.name, revision=commit)
    with limits(file.size):
        etag = huggingface_hub.get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT).etag
    if etag != file.digest:  # the library makes a path of it
        raise DownloadError(
            f"{hub_id}: {file.name} is listed with digest {file.digest}, but offered with {shown(repr(etag), 100)}; "
            "try again, the repository may just have changed"
        )


def _remove(path: Path) -> None:
    """Deletes a cached file: the blob, and the link that leads to it."""
    Path(os.path.realpath(path)).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
