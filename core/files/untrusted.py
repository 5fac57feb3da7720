"""Opening what somebody else wrote: regular files inside the model's directory, read by position, never mapped."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from arrayformer.core.errors import ArrayformerError, ModelFileError
from arrayformer.core.files.kinds import kind_of

# Windows has none of the first three and needs the fourth.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _NO_LINK | getattr(os, "O_BINARY", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _NO_LINK

# Whether a name can be looked up in a directory that is open, wherever that lies by now.
_BY_DESCRIPTOR = {os.open, os.readlink, os.stat} <= os.supports_dir_fd and os.listdir in os.supports_fd

# Bytes of a file that is remembered.
_SMALL = 1 << 20

# As many as Linux follows.
_MAX_LINKS = 40


def shown(text: object, limit: int = 200) -> str:
    """`text` fit for one line of an error message: control characters escaped, at most `limit` characters."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)[: limit + 1])
    return line if len(line) <= limit else line[: limit - 3] + "..."


class ModelFile:
    """An open regular file of known size.

    Reads are exact: fewer bytes than asked for is an `error`, because the size was known beforehand.
    """

    def __init__(self, path: Path, fd: int, error: type[ArrayformerError] = ModelFileError) -> None:
        self.path = path
        self._error = error
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
                    raise self._error(
                        f"{self.path}: ends at byte {offset + done}, while {self.size} bytes were there when it was "
                        "opened: it is being written or cut short; try again when that has ended"
                    )
                done += got
        except OSError as error:
            raise self._error(f"{self.path}: cannot be read at byte {offset + done}: {error.strerror}") from error

    def read_all(self, most: int) -> bytes:
        """The whole file, of 1 to `most` bytes, as it was at one time. Raises the file's error for any other."""
        if self.size == 0:
            raise self._error(f"{self.path}: the file is empty (0 bytes); is the download complete?")
        if self.size > most:
            raise self._error(f"{self.path}: {self.size} bytes; at most {most} are read")
        data = self.read(0, self.size)
        self.check_unchanged()
        return data

    def check_unchanged(self) -> None:
        """Raises the file's error where it was written to since it was opened."""
        if self._stat() != self._state:
            raise self._error(f"{self.path}: changed while it was read; try again when nothing writes to it")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class _Folder(NamedTuple):
    """A directory that files may come from: its path without links, and its descriptor where the system has those."""

    path: str
    fd: int | None

    def link(self, name: str) -> str | None:
        """Where the link `name` leads; None for what is no link, or not there."""
        try:
            return os.readlink(self._at(name), dir_fd=self.fd)
        except OSError:
            return None

    def open(self, name: str, flags: int) -> int:
        """A descriptor of `name`, which is not followed if it has become a link."""
        fd = os.open(self._at(name), flags, dir_fd=self.fd)
        if not _NO_LINK and not os.path.samestat(os.fstat(fd), os.lstat(self._at(name))):
            os.close(fd)
            raise OSError(errno.ELOOP, "it became a link while it was opened")
        return fd

    def holds(self, name: str) -> bool:
        """Whether there is something of this name, be it a link that leads nowhere."""
        try:
            os.stat(self._at(name), dir_fd=self.fd, follow_symlinks=False)
        except (OSError, ValueError):
            return False
        return True

    def _at(self, name: str) -> str:
        return os.path.join(self.path, name) if self.fd is None else name


class ModelDirectory:
    """A model's directory, looked up once: a load that begins in it ends in it, whatever takes its name meanwhile.

    Links in it may lead to places inside of it, and out of a snapshot of the Hugging Face cache to the blobs of the
    same repository or to the store that all repositories of the cache share. What is opened is no link and lies in
    such a directory, which is open itself: no name is looked up a second time.

    path   the directory as the caller calls it; `directory / name` is for messages only
    error  what is raised where it cannot be opened
    """

    def __init__(self, path: str | Path, error: type[ArrayformerError] = ModelFileError) -> None:
        self.path = Path(path)
        self._stack = ExitStack()
        if not os.path.isdir(path):
            what = "is a file; pass the directory it lies in" if os.path.exists(path) else "no such directory"
            raise error(f"{path}: {what}")
        try:
            self._home = self._open_folder(os.path.realpath(path))
        except OSError as fault:
            raise error(f"{path}: cannot be opened: {fault.strerror}") from fault
        self._folders = {self._home.path: self._home}
        self._small: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def names(self) -> set[str]:
        """What is in it."""
        return set(os.listdir(self._home.path if self._home.fd is None else self._home.fd))

    def has(self, name: str) -> bool:
        """Whether there is something of this name: what cannot be opened is there too, and refused by `open`."""
        return self._home.holds(name)

    @contextmanager
    def open(self, name: str, error: type[ArrayformerError] = ModelFileError) -> Iterator[ModelFile]:
        """The regular file `name`, opened once. Raises `error` for any other, and for links that lead out."""
        path = self / name
        try:
            fd = self._open(name)
        except _OutsideError as fault:
            raise error(f"{path}: {fault}") from None
        except OSError as fault:
            raise error(f"{path}: {self._reason(name, fault)}") from fault
        try:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise error(f"{path}: is {_file_type(mode)}, not a regular file")
            file = ModelFile(path, fd, error)
        except BaseException:
            os.close(fd)
            raise
        try:
            yield file
        finally:
            file.close()

    def read(self, name: str, most: int, error: type[ArrayformerError] = ModelFileError) -> bytes:
        """The bytes of the file `name`, 1 to `most` of them. Raises `error`.

        A small file that is asked for again is what it was: model and tokenizer read the same config.json.
        """
        data = self._small.get(name)
        if data is None or len(data) > most:
            with self.open(name, error) as file:
                data = file.read_all(most)
        if len(data) <= _SMALL:
            self._small[name] = data
        return data

    def read_text(self, name: str, most: int, error: type[ArrayformerError] = ModelFileError) -> str:
        """The text of a UTF-8 file of at most `most` bytes, without a byte order mark.

        Raises `error` for what is no UTF-8, and for what is known to be another kind of file.
        """
        data = self.read(name, most, error)
        if kind := kind_of(data):
            raise error(f"{self / name}: is {kind}")
        return decode(data.removeprefix(b"\xef\xbb\xbf"), str(self / name), error)

    def _open(self, name: str) -> int:
        folder = self._home
        for _ in range(_MAX_LINKS):
            target = folder.link(name)
            if target is None:
                return folder.open(name, _FILE)
            place, name = os.path.split(os.path.join(folder.path, target))
            folder = self._folder(os.path.realpath(place), name)
        raise OSError(errno.ELOOP, "its links lead in a circle")

    def _folder(self, path: str, name: str) -> _Folder:
        """The open directory at `path`, which has no links, where a link of this directory may lead to `name` in it."""
        inside = path.startswith(os.path.join(self._home.path, ""))
        if path not in self._folders:
            if inside:
                parent, last = os.path.split(path)
                above = self._folder(parent, name)
                fd = None if above.fd is None else self._keep(above.open(last, _FOLDER))
                self._folders[path] = _Folder(path, fd)
            elif path in _blob_stores(self._home.path, name):
                self._folders[path] = self._open_folder(path)
            else:
                raise _OutsideError(
                    f"is a link that leads out of the model's directory, to {shown(os.path.join(path, name))}; put "
                    "the file itself there, or name the directory the file lies in"
                )
        return self._folders[path]

    def _open_folder(self, path: str) -> _Folder:
        return _Folder(path, self._keep(os.open(path, _FOLDER)) if _BY_DESCRIPTOR else None)

    def _keep(self, fd: int) -> int:
        self._stack.callback(os.close, fd)
        return fd

    def _reason(self, name: str, fault: OSError) -> str:
        if fault.errno == errno.ENOENT and self._home.link(name) is not None:
            return f"is a link that leads nowhere, it says {shown(self._home.link(name))}; fetch the file again"
        # A socket cannot be opened as a file; the system's words for that mislead.
        no_file = fault.errno == errno.ENXIO
        what = "it is a socket or a device, not a regular file" if no_file else fault.strerror or str(fault)
        return f"cannot be opened: {what}"


class _OutsideError(Exception):
    """A link that leads out of the directory."""


@contextmanager
def opened(
    directory: str | Path | ModelDirectory, error: type[ArrayformerError] = ModelFileError
) -> Iterator[ModelDirectory]:
    """`directory` itself where it is open already, else opened for the block. Raises `error`."""
    if isinstance(directory, ModelDirectory):
        yield directory
        return
    with ModelDirectory(directory, error) as found:
        yield found


@contextmanager
def open_inside(directory: Path | ModelDirectory, name: str) -> Iterator[ModelFile]:
    """The file `name` of a model's directory, see `ModelDirectory.open`."""
    with opened(directory) as found, found.open(name) as file:
        yield file


def decode(data: bytes, where: str, error: type[ArrayformerError] = ModelFileError) -> str:
    """UTF-8 bytes as text. Raises `error` naming the first byte that is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise error(f"{where}: not UTF-8 at byte {fault.start} (0x{data[fault.start]:02x})") from None


def _blob_stores(home: str, name: str) -> list[str]:
    """Where links out of a snapshot of the Hugging Face cache may lead: the blobs of its repository, or
    the store that repositories of one cache share, `blobs/<two digits>/<digest>`.
    """
    snapshots, repository = os.path.dirname(home), os.path.dirname(os.path.dirname(home))
    if os.path.basename(snapshots) != "snapshots":
        return []
    shared = os.path.join(os.path.dirname(repository), "blobs", name[:2])
    return [os.path.join(repository, "blobs"), shared]


def _file_type(mode: int) -> str:
    kinds: list[tuple[Any, str]] = [
        (stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe (FIFO)"), (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    ]  # fmt: skip
    return next((kind for is_kind, kind in kinds if is_kind(mode)), "something else")
