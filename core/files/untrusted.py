"""Opening what somebody else wrote: regular files inside the model's directory, read by position, never mapped."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from arrayformer.core.errors import ModelFileError

# Windows has neither flag and needs the third.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

_KINDS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"GGUF", "a GGUF file; convert it back to safetensors"),
    (b"PK\x03\x04", "a zip archive (PyTorch's .bin or NumPy's .npz); convert it to safetensors"),
    (b"\x93NUMPY", "a NumPy array; save the weights as safetensors"),
    (b"\x89HDF", "an HDF5 file (Keras); convert it to safetensors"),
    (b"\x1f\x8b", "gzip data; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstandard data; unpack it first"),
    (b"\xfd7zXZ", "xz data; unpack it first"),
    (b"BZh", "bzip2 data; unpack it first"),
)


def shown(text: object, limit: int = 200) -> str:
    """`text` fit for one line of an error message: control characters escaped, at most `limit` characters."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)[: limit + 1])
    return line if len(line) <= limit else line[: limit - 3] + "..."


def kind_of(head: bytes) -> str | None:
    """What a file beginning with `head` really is, where that is a known mistake."""
    for magic, kind in _KINDS:
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "an HTML or XML page, perhaps a login page or an error page saved in the file's place; download it again"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle, which could run code when read; convert it to safetensors"
    return None


class ModelFile:
    """An open regular file of known size.

    Reads are exact: fewer bytes than asked for is a ModelFileError, because the size was known beforehand.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._file = os.fdopen(fd, "rb", buffering=0)
        self._state = self._stat()
        self.size = self._state[0]

    def _stat(self) -> tuple[int, int]:
        state = os.fstat(self._file.fileno())
        return state.st_size, state.st_mtime_ns

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`. The caller has compared both with `self.size`."""
        data = bytearray(size)
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fills `target`, a writable view of bytes, from `offset` on."""
        done = 0
        try:
            self._file.seek(offset)
            while done < len(target):
                got = self._file.readinto(target[done:])
                if not got:
                    raise ModelFileError(
                        f"{self.path}: ends at byte {offset + done}, while {self.size} bytes were there when it was "
                        "opened: it is being written or cut short; try again when that has ended"
                    )
                done += got
        except OSError as error:
            raise ModelFileError(f"{self.path}: cannot be read at byte {offset + done}: {error.strerror}") from error

    def check_unchanged(self) -> None:
        """Raises ModelFileError where the file was written to since it was opened."""
        if self._stat() != self._state:
            raise ModelFileError(f"{self.path}: changed while it was read; try again when nothing writes to it")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


@contextmanager
def open_inside(directory: Path, name: str) -> Iterator[ModelFile]:
    """The file `name` of a model directory, opened once.

    Links may lead to places inside the directory, and out of a snapshot of the Hugging Face cache to the blobs
    of the same repository. Raises ModelFileError for anything else, and for what is not a regular file.
    """
    path = directory / name
    real = _resolve_inside(directory, path)
    try:
        fd = os.open(real, _FLAGS)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be opened: {_reason(error)}") from error
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise ModelFileError(f"{path}: is {_file_type(mode)}, not a regular file")
        file = ModelFile(path, fd)
    except BaseException:
        os.close(fd)
        raise
    try:
        yield file
    finally:
        file.close()


def _resolve_inside(directory: Path, path: Path) -> str:
    real, home = os.path.realpath(path), os.path.realpath(directory)
    if not any(os.path.dirname(real) == place for place in (home, *_blob_stores(home, real))):
        raise ModelFileError(
            f"{path}: is a link out of the model's directory; put the file itself there, "
            "or name the directory the file lies in"
        )
    return real


def _blob_stores(home: str, real: str) -> list[str]:
    """Where links out of a snapshot of the Hugging Face cache may lead: the blobs of its repository, or
    the store that repositories of one cache share, `blobs/<two digits>/<digest>`.
    """
    snapshots, repository = os.path.dirname(home), os.path.dirname(os.path.dirname(home))
    if os.path.basename(snapshots) != "snapshots":
        return []
    shared = os.path.join(os.path.dirname(repository), "blobs", os.path.basename(real)[:2])
    return [os.path.join(repository, "blobs"), shared]


def _reason(error: OSError) -> str:
    # A socket cannot be opened as a file; the system's words for that mislead.
    return "it is a socket or a device, not a regular file" if error.errno == 6 else error.strerror or str(error)


def _file_type(mode: int) -> str:
    kinds: list[tuple[Any, str]] = [
        (stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe (FIFO)"), (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    ]  # fmt: skip
    return next((kind for is_kind, kind in kinds if is_kind(mode)), "something else")
