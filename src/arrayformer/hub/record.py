"""What is in the hub's cache, and what of it was checked: a record per commit, beside the library's own files.

The library's cache has a directory per repository: `blobs/` with the contents, `snapshots/<commit>/` with links
to them, `refs/<branch>` with commits. The record is `arrayformer/<commit>.json` there: name -> digest, size, time of
change.
"""

import hashlib
import os
import re
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from arrayformer.core.errors import DownloadError
from arrayformer.core.files import strict_json
from arrayformer.core.files.atomic import write_whole

_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_MAX_RECORD = 1 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


class Repository(NamedTuple):
    """A repository of the hub. `kind` is "model" or "dataset"."""

    id: str
    kind: str = "model"

    @property
    def folder(self) -> Path:
        """Its directory in the cache."""
        return Path(constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=self.id, repo_type=self.kind)


def snapshot(repo: Repository, commit: str) -> Path:
    """The directory with the files of one commit."""
    return repo.folder / "snapshots" / commit


def last_seen(repo: Repository, revision: str | None) -> str | None:
    """The commit a branch or tag led to when it was last fetched."""
    try:
        commit = (repo.folder / "refs" / (revision or "main")).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def digest(path: Path, like: str) -> str:
    """The digest of a file: its SHA-256 where `like` has 64 digits, git's SHA-1 of a blob where it has 40."""
    with path.open("rb") as file:
        return digest_of(file, like)


def digest_of(file: BufferedReader | BufferedRandom, like: str) -> str:
    """The same of an open file, from its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if len(like) == 64:
        return hashlib.file_digest(file, "sha256").hexdigest()
    git = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    return hashlib.file_digest(file, lambda: git).hexdigest()


def has_record(repo: Repository, commit: str) -> bool:
    """Whether all files of the commit were fetched and checked."""
    return _record(repo, commit) != {}


def write_record(repo: Repository, revision: str | None, commit: str, digests: dict[str, str]) -> None:
    """Remembers that the files of a commit have these digests, and that `revision` leads to it."""
    files = {name: [wanted, *_state(snapshot(repo, commit) / name)] for name, wanted in digests.items()}
    try:
        _write(repo.folder / "arrayformer" / f"{commit}.json", strict_json.dumps(files))
        if revision != commit:
            _write(repo.folder / "refs" / (revision or "main"), commit)
    except OSError:
        return  # a cache that cannot be written is checked in full the next time


def check_record(repo: Repository, commit: str, verify: bool = False) -> None:
    """Raises DownloadError where a cached file is not what was fetched.

    A file whose size and time of change are those recorded is read again only with `verify`. Where another program
    fetched the files there is no record, but their digests are the names of the blobs.
    """
    record = _record(repo, commit)
    for path in sorted(snapshot(repo, commit).iterdir()):
        wanted, *state = record.get(path.name) or [Path(os.path.realpath(path)).name, 0, 0]
        if not isinstance(wanted, str) or not _DIGEST.fullmatch(wanted) or (state == _state(path) and not verify):
            continue
        if digest(path, wanted) != wanted:
            raise DownloadError(
                f"{path}: is not what was fetched, its digest is not {wanted}; delete it and fetch it again"
            )


def _record(repo: Repository, commit: str) -> dict[str, list[object]]:
    try:
        with (repo.folder / "arrayformer" / f"{commit}.json").open("rb") as file:
            files = strict_json.parse(file.read(_MAX_RECORD).decode(), "the record", DownloadError)
    except (OSError, ValueError):  # DownloadError is one of the first kind
        return {}
    sound = isinstance(files, dict) and all(isinstance(entry, list) and len(entry) == 3 for entry in files.values())
    return files if sound and all((snapshot(repo, commit) / name).exists() for name in files) else {}


def _state(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
