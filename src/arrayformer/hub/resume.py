"""A file on its way into the hub's cache: gone on with where it stopped, verified before it has its name there.

huggingface_hub writes each attempt into a temporary file of its own and deletes it at the end, because on file systems
that only pretend to lock two processes would write into one. So it goes on after a broken connection, but not after an
attempt that was killed. Here an attempt begins with a copy of what is left of an earlier one: a copy, because that
attempt may be running still. Whatever was mixed up, only a file with the right digest gets its name.
"""

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

from arrayformer.core.errors import DownloadError
from arrayformer.hub.limits import limits
from arrayformer.hub.record import Repository, digest, digest_of

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Listed:
    """A file as the hub lists it; `digest` is a SHA-256 (64 digits) or git's SHA-1 of a blob (40 digits)."""

    name: str
    size: int
    digest: str


def left_over(blob: Path, size: int) -> list[tuple[int, Path]]:
    """What earlier attempts at a blob of `size` bytes left, and how many bytes of it can be used, the most first."""
    found = []
    for path in blob.parent.glob(f"{blob.name}.*.incomplete"):
        with suppress(FileNotFoundError):
            length = path.stat().st_size
            found.append((length if length <= size else 0, path))
    return sorted(found, reverse=True)


def fetch_blob(repo: Repository, commit: str, file: Listed) -> Path:
    """Fetches a file into `blobs/<digest>` of the cache, unless it is there; the path of the blob, which is verified.

    Another process that fetches it is waited for, where the file system locks. What arrived is kept when the transfer
    fails. Raises DownloadError for other bytes than the digest says, and what huggingface_hub raises.
    """
    blob = repo.folder / "blobs" / file.digest
    lock = Path(constants.HF_HUB_CACHE).expanduser() / ".locks" / repo.folder.name / f"{file.digest}.lock"
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists() and digest(blob, file.digest) != file.digest:
            blob.unlink()
        goes_on = True
        while not blob.exists():
            part = blob.with_name(f"{file.digest}.{secrets.token_hex(4)}.incomplete")
            begun = goes_on and _take_over(blob, part, file.size)
            got = _fetch_part(part, repo, commit, file)
            if got == file.digest and _put(part, blob):
                break
            part.unlink(missing_ok=True)
            if got != file.digest and not begun:
                raise DownloadError(
                    f"{repo.id}: {file.name} arrived damaged, digest {got} instead of {file.digest}; it is deleted; "
                    "try again"
                )
            goes_on = False
    return blob


def _take_over(blob: Path, part: Path, size: int) -> bool:
    """Begins `part` with the most that is left of earlier attempts, and deletes those; whether there was anything."""
    for length, old in left_over(blob, size):
        with suppress(FileNotFoundError):
            if length and not part.exists():
                shutil.copyfile(old, part)
            old.unlink()
    return part.exists()


def _fetch_part(part: Path, repo: Repository, commit: str, file: Listed) -> str:
    """Fetches what `part` lacks; returns the digest of the whole."""
    url = huggingface_hub.hf_hub_url(repo.id, file.name, repo_type=repo.kind, revision=commit)
    try:
        # Made anew where another process has just taken it for left over.
        with os.fdopen(os.open(part, _FLAGS, 0o666), "r+b") as target:
            start = target.seek(0, os.SEEK_END)
            with limits(file.size):
                http_get(
                    url, target, resume_size=start, headers=build_hf_headers(), expected_size=file.size,
                    displayed_filename=file.name,
                )  # fmt: skip
            target.flush()
            os.fsync(target.fileno())
            return digest_of(target, file.digest)
    finally:
        with suppress(OSError):
            if part.stat().st_size == 0 and file.size:
                part.unlink()


def _put(part: Path, blob: Path) -> bool:
    """Whether the part could be given its name: it is gone where another process took it for left over."""
    try:
        os.replace(part, blob)
    except FileNotFoundError:
        return False
    return True
