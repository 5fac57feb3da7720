"""Where a protocol's text comes from, and whether it is the text it should be."""

import hashlib
import io
import os
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from arrayformer.core.errors import DataFileError, DownloadError

MOST = 256 << 20
"""Bytes of a file that is fetched, or of the member of a zip."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Hub:
    """A file in a data set on the Hugging Face hub, at a fixed revision."""

    repo: str
    revision: str
    filename: str


@dataclass(frozen=True)
class Source:
    """A text with a checksum.

    name      what it is called
    where     how somebody without it gets it
    n_bytes   its size; None for any file
    checksum  "sha256:..." or "md5:..." of the file, as its publishers or mirrors state it
    member    its name inside a zip
    hub       where huggingface_hub finds it
    last      only this many bytes at the end are read (the standard test split of text8 and enwik8)
    """

    name: str
    where: str
    n_bytes: int | None = None
    checksum: str | None = None
    member: str | None = None
    hub: Hub | None = None
    last: int | None = None


@dataclass(frozen=True)
class Text:
    """What was read.

    text      the text
    n_bytes   its length in UTF-8
    sha256    of the bytes it was read from
    verified  whether those are the bytes the protocol names (a protocol for any file verifies nothing)
    origin    the file, or the address
    """

    text: str
    n_bytes: int
    sha256: str
    verified: bool
    origin: str


def read(source: Source, path: Path | None, *, offline: bool = False) -> Text:
    """The text of `source`, from `path` or else from the hub.

    Raises DataFileError for a file that is missing, not UTF-8, empty, or of another size or checksum than the
    source names, and DownloadError where the hub cannot be reached.
    """
    if path is None:
        if source.hub is None or offline:
            raise DataFileError(f"the data of {source.name} is not here: {source.where}")
        path = download(source.hub)
        origin = f"{source.hub.repo}/{source.hub.filename} at {source.hub.revision[:12]}"
    else:
        origin = str(path)
    content = open_member(read_bytes(path), source, path)
    check(content, source, path)
    used = content if source.last is None else whole_characters(content[-source.last :])
    text = decode(used, path)
    return Text(text, len(used), hashlib.sha256(content).hexdigest(), source.checksum is not None, origin)


def read_bytes(path: Path) -> bytes:
    """The file's bytes. Raises DataFileError for what is no regular file, too, which might never end."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DataFileError(f"{path} is a pipe or a device; needed is a regular file, whose end is known")
            return file.read()
    except OSError as error:
        raise DataFileError(f"{path} cannot be read: {error.strerror or error}") from error


def open_member(content: bytes, source: Source, path: Path) -> bytes:
    """The member of a zip where `content` is one, else `content`. Raises DataFileError for a zip without it.

    No more is unpacked than the member should have: a zip of megabytes may hold gigabytes.
    """
    if source.member is None or not content.startswith(b"PK\x03\x04"):
        return content
    most = MOST if source.n_bytes is None else source.n_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            member = archive.getinfo(source.member)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise NotImplementedError  # the others are unpacked without a limit
            with archive.open(member) as opened:
                unpacked = opened.read(most + 1)
    except (KeyError, ValueError, EOFError, OSError, *_DAMAGED) as error:
        raise DataFileError(f"{path}: a zip in which {source.member} cannot be read; {source.where}") from error
    if len(unpacked) > most:
        raise DataFileError(f"{path}: {source.member} in it has more than the {most:,} bytes it should; {source.where}")
    return unpacked


def check(content: bytes, source: Source, path: Path) -> None:
    """Raises DataFileError unless `content` is what `source` names."""
    if not content.strip():
        raise DataFileError(f"{path} is empty: there is nothing to measure")
    if source.n_bytes is not None and len(content) != source.n_bytes:
        raise DataFileError(
            f"{path} has {len(content):,} bytes, {source.name} has {source.n_bytes:,}: {source.where}; "
            "to measure another file use --protocol text"
        )
    if source.checksum is not None:
        method, _, wanted = source.checksum.partition(":")
        got = hashlib.new(method, content, usedforsecurity=False).hexdigest()
        if got != wanted:
            raise DataFileError(
                f"{path} has the {method} {got}, {source.name} has {wanted}: {source.where}; "
                "to measure another file use --protocol text"
            )


def whole_characters(content: bytes) -> bytes:
    """`content` without the bytes at its start that continue a character cut off before it."""
    start = 0
    while start < min(3, len(content)) and content[start] & 0xC0 == 0x80:
        start += 1
    return content[start:]


def decode(content: bytes, path: Path) -> str:
    """UTF-8 as it stands: no line end is changed. Raises DataFileError naming the first byte that is not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{path} is not UTF-8: byte {error.start:,} is 0x{content[error.start]:02x}; convert it first (iconv)"
        ) from error


def download(hub: Hub) -> Path:
    """The file from the hub, or from the cache of earlier downloads. Raises DownloadError."""
    from arrayformer.hub.fetch import fetch_data  # huggingface_hub costs 0.2 s

    try:
        return fetch_data(hub.repo, hub.revision, hub.filename, MOST)
    except DownloadError as error:
        raise DownloadError(f"{error}; or download it yourself and pass --data FILE") from error
