"""Models and data from the Hugging Face Hub, each file checked against the digest the hub lists for it.

huggingface_hub does the transport: repeated attempts, redirects, tokens, proxies. It compares sizes only, so a flipped
bit would pass, and hands large files to hf_xet, which none of our limits reach. Here a branch is turned into a commit
first, and what arrives has to have the SHA-256 (large files) or the git hash (small files) that the hub lists for it at
that commit. `limits` bounds what the hub may do meanwhile, `resume` goes on with files that an earlier attempt left
unfinished. The cache has huggingface_hub's own layout.
"""

import os
import secrets
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from arrayformer.core.errors import DownloadError
from arrayformer.core.files.untrusted import shown
from arrayformer.hub.errors import explained, is_unreachable
from arrayformer.hub.listing import COMMIT, list_model, look_up
from arrayformer.hub.record import (
    Repository,
    check_record,
    digest,
    has_record,
    last_seen,
    snapshot,
    write_record,
)
from arrayformer.hub.resume import Listed, fetch_blob, left_over


def cached_snapshot(hub_id: str, revision: str | None, verify: bool = False) -> Path:
    """The directory of a model fetched before, checked again where a file changed since. Opens no connection.

    With `verify` every file is read and checked again.

    Raises DownloadError where it is not there or damaged.
    """
    repo = Repository(hub_id)
    with explained(_named(hub_id, revision)):
        commit = revision if revision is not None and COMMIT.fullmatch(revision) else last_seen(repo, revision)
        if commit is None or not (snapshot(repo, commit) / "config.json").exists():
            which = hub_id if revision is None else f"{hub_id} --revision {revision}"
            raise DownloadError(
                f"{_named(hub_id, revision)}: not in the cache {constants.HF_HUB_CACHE}, and nothing is fetched "
                f"offline; fetch it once with: arrayformer download {which}"
            )
        check_record(repo, commit, verify)
        return snapshot(repo, commit)


def fetch_snapshot(hub_id: str, revision: str | None, verify: bool = False) -> Path:
    """The directory of a model at the hub, fetched where it is not in the cache yet.

    A commit that is complete in the cache is taken from there without asking the hub. Where the hub cannot be
    reached, a branch is taken as it was last seen, with a warning. Raises DownloadError.
    """
    repo = Repository(hub_id)
    pinned = revision is not None and bool(COMMIT.fullmatch(revision)) and has_record(repo, revision)
    if constants.HF_HUB_OFFLINE or pinned:
        return cached_snapshot(hub_id, revision, verify)
    with explained(_named(hub_id, revision)):
        _check_endpoint()
        try:
            commit, files = list_model(repo, revision)
        except Exception as error:
            seen = last_seen(repo, revision)
            if seen is None or not has_record(repo, seen) or not is_unreachable(error):
                raise
            warnings.warn(f"{hub_id}: the hub cannot be reached; taking commit {seen} from the cache", stacklevel=2)
            return cached_snapshot(hub_id, seen, verify)
        _check_space(repo, commit, files)
        with _progress_on_a_terminal():
            for file in files:
                _fetch(repo, commit, file)
        write_record(repo, revision, commit, {file.name: file.digest for file in files})
    return snapshot(repo, commit)


def fetch_data(hub_id: str, commit: str, name: str, most: int) -> Path:
    """One file of a data set at a commit, of at most `most` bytes, from the hub or from the cache.

    Raises DownloadError; what the file is worth, the caller's own checksum says.
    """
    repo = Repository(hub_id, "dataset")
    with explained(f"{name} of {hub_id}"):
        path = snapshot(repo, commit) / name
        if path.exists():
            return path
        if constants.HF_HUB_OFFLINE:
            raise DownloadError(f"{name} of {hub_id}: not in the cache {constants.HF_HUB_CACHE}")
        _check_endpoint()
        file = look_up(repo, commit, name, most)
        _check_space(repo, commit, [file])
        with _progress_on_a_terminal():
            _fetch(repo, commit, file)
    return path


def _named(hub_id: str, revision: str | None) -> str:
    return hub_id if revision is None else f"{hub_id} at {revision}"


def _check_endpoint() -> None:
    try:
        address = urlsplit(constants.ENDPOINT)
        host = address.hostname
    except ValueError:
        host = None
    if not host or address.scheme not in ("http", "https"):
        raise DownloadError(
            f"HF_ENDPOINT is {shown(constants.ENDPOINT)}, which is no address that begins with https://"
        )
    if address.scheme != "https" and host not in ("localhost", "127.0.0.1", "::1"):
        warnings.warn(
            f"HF_ENDPOINT is {constants.ENDPOINT}: without https anybody on the way can change files and digests alike",
            stacklevel=3,
        )


def _check_space(repo: Repository, commit: str, files: list[Listed]) -> None:
    needed = sum(_space(repo, file) for file in files if not (snapshot(repo, commit) / file.name).exists())
    place = repo.folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DownloadError(
            f"{repo.id}: needs {needed / 1e6:.0f} MB in {constants.HF_HUB_CACHE}, where {free / 1e6:.0f} MB are free; "
            "make room, or set HF_HOME to another place"
        )


def _space(repo: Repository, file: Listed) -> int:
    """Bytes that fetching a file takes at most. What an earlier attempt left is copied, then deleted, then added to."""
    old = left_over(repo.folder / "blobs" / file.digest, file.size)
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


def _fetch(repo: Repository, commit: str, file: Listed) -> None:
    """Fetches a file unless it is in the cache, and checks it. What does not match is deleted."""
    path = snapshot(repo, commit) / file.name
    if path.exists():
        if digest(path, file.digest) == file.digest:
            return
        warnings.warn(f"{path}: damaged since it was fetched; fetching it again", stacklevel=2)
        Path(os.path.realpath(path)).unlink(missing_ok=True)
    _link(fetch_blob(repo, commit, file), path)


def _link(blob: Path, path: Path) -> None:
    """Puts a link to the blob at `path`, or the blob itself where the system has no links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        beside.symlink_to(os.path.relpath(blob, path.parent))
    except OSError:
        beside = blob
    with suppress(FileNotFoundError):  # another process was faster
        os.replace(beside, path)
