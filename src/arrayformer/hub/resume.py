"""A large file on its way into the hub's cache: gone on with where it stopped, verified before it has its name there.

huggingface_hub writes each attempt into a temporary file of its own and deletes it at the end, because on file systems
that only pretend to lock two processes would write into one. So it goes on after a broken connection, but not after an
attempt that was killed. Here an attempt begins with a copy of what is left of an earlier one: a copy, because that
attempt may be running still. Whatever was mixed up, only a file with the right SHA-256 gets its name.
"""

import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

from arrayformer.core.errors import DownloadError
from arrayformer.hub.limits import limits
from arrayformer.hub.record import repository


def left_over(blob: Path, size: int) -> list[tuple[int, Path]]:
    """What earlier attempts at a blob of `size` bytes left, and how many bytes of it can be used, the most first."""
    found = []
    for path in blob.parent.glob(f"{blob.name}.*.incomplete"):
        with suppress(FileNotFoundError):
            length = path.stat().st_size
            found.append((length if length <= size else 0, path))
    return sorted(found, reverse=True)


def fetch_blob(hub_id: str, name: str, commit: str, size: int, sha256: str) -> bool:
    """Fetches a file of `size` bytes into `blobs/<sha256>` of the cache, unless one is there; whether it did.

    Another process that fetches it is waited for, where the file system locks. What arrived is kept when the transfer
    fails. Raises DownloadError for other bytes than `sha256` says, and what huggingface_hub raises.
    """
    blob = repository(hub_id) / "blobs" / sha256
    lock = Path(constants.HF_HUB_CACHE).expanduser() / ".locks" / repository(hub_id).name / f"{sha256}.lock"
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    url = huggingface_hub.hf_hub_url(hub_id, name, revision=commit)
    with WeakFileLock(lock):
        goes_on = True
        while not blob.exists():
            part = blob.with_name(f"{sha256}.{secrets.token_hex(4)}.incomplete")
            begun = goes_on and _take_over(blob, part, size)
            got = _fetch_part(part, url, name, size)
            if got == sha256 and _put(part, blob):
                return True
            part.unlink(missing_ok=True)
            if got != sha256 and not begun:
                raise DownloadError(
                    f"{hub_id}: {name} arrived damaged, digest {got} instead of {sha256}; it is deleted; try again"
                )
            goes_on = False
    return False


def _take_over(blob: Path, part: Path, size: int) -> bool:
    """Begins `part` with the most that is left of earlier attempts, and deletes those; whether there was anything."""
    for length, old in left_over(blob, size):
        with suppress(FileNotFoundError):
            if length and not part.exists():
                shutil.copyfile(old, part)
            old.unlink()
    return part.exists()


def _fetch_part(part: Path, url: str, name: str, size: int) -> str:
    """Fetches what `part` lacks; returns the SHA-256 of the whole."""
    try:
        part.touch()
        with part.open("r+b") as file:
            start = file.seek(0, os.SEEK_END)
            with limits(size):
                http_get(
                    url, file, resume_size=start, headers=build_hf_headers(), expected_size=size,
                    displayed_filename=name,
                )  # fmt: skip
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    finally:
        with suppress(OSError):
            if part.stat().st_size == 0:
                part.unlink()


def _put(part: Path, blob: Path) -> bool:
    """Whether the part could be given its name: it is gone where another process took it for left over."""
    try:
        os.replace(part, blob)
    except FileNotFoundError:
        return False
    return True
