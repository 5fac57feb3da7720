"""Reads the small files that somebody else wrote: bounded, regular files only, inside their directory."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from arrayformer.core.errors import TokenizerError

MAX_FILE = 64 << 20
"""Bytes; the largest tokenizer files in use have under 20 MiB."""

_SOMETHING_ELSE = {
    b"version https://git-lfs": "is a git-lfs pointer, not the file itself: run `git lfs pull`",
    b"<!": "is an HTML page, not the file itself: download it again",
    b"<html": "is an HTML page, not the file itself: download it again",
    b"PK\x03\x04": "is a zip archive: unpack it first",
    b"\x1f\x8b": "is gzip-compressed: unpack it first",
}


def read_text(path: Path) -> str:
    """The text of a UTF-8 file (a byte order mark is dropped). Raises TokenizerError, naming the file and the place."""
    data = _read(path)
    for start, what in _SOMETHING_ELSE.items():
        if data.startswith(start):
            raise TokenizerError(f"{path}: {what}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path}: not UTF-8 at byte {error.start} (0x{data[error.start]:02x})") from None


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object. Raises TokenizerError; a key that stands twice is refused too."""
    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=_once_each)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None
    except json.JSONDecodeError as error:
        raise TokenizerError(f"{path}: not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (RecursionError, ValueError) as error:  # nested too deep; a number of more than 4300 digits
        raise TokenizerError(f"{path}: not JSON that can be read: {str(error)[:200]}") from None
    if not isinstance(content, dict):
        raise TokenizerError(f"{path}: holds a JSON {type(content).__name__}; an object is needed")
    return content


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise TokenizerError(f"the key {twice[:60]!r} stands in it twice")
    return content


def _read(path: Path) -> bytes:
    _check_inside(path)
    try:
        # O_NONBLOCK: opening a FIFO would otherwise wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise TokenizerError(f"{path}: is not a regular file")
            if status.st_size > MAX_FILE:
                raise TokenizerError(f"{path}: {status.st_size} bytes; a tokenizer file has at most {MAX_FILE}")
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read: {error.strerror}") from None
    if not data:
        raise TokenizerError(f"{path}: the file is empty; is the download complete?")
    return data


def _check_inside(path: Path) -> None:
    # A link may lead to a neighbour, or into the blobs of the same Hugging Face cache entry
    # (models--name/snapshots/revision/file -> models--name/blobs/sum); not out of the model's directory.
    directory = path.parent.resolve()
    target = path.resolve()
    blobs = directory.parent.parent / "blobs" if directory.parent.name == "snapshots" else directory
    if not (target.is_relative_to(directory) or target.is_relative_to(blobs)):
        raise TokenizerError(f"{path}: is a link that leads out of the model's directory, to {target}")
