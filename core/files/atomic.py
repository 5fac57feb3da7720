"""Writing the files of a folder whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(path: Path, last: str | None = None) -> Iterator[Path]:
    """A folder whose content becomes that of `path` when the block ends without an error, and vanishes otherwise.

    A new `path` appears at once. In one that exists each file is replaced whole; the file `last` goes first and comes
    last, so that it never lies beside files it does not belong to. Raises OSError where the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent / f".{path.name}.{secrets.token_hex(8)}.tmp"
    folder.mkdir()
    try:
        yield folder
        for file in folder.rglob("*"):
            _flush(file)
        if path.exists():
            _replace(folder, path, last)
        else:
            os.rename(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(folder: Path, path: Path, last: str | None) -> None:
    if last is not None:
        (path / last).unlink(missing_ok=True)
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == last):
        os.replace(entry, path / entry.name)


def _flush(file: Path) -> None:
    if file.is_file():
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
