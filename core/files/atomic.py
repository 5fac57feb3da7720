"""Writing files and folders whole or not at all, and never over what is no regular file.

What is written lies in its folder under a name that nobody can foresee until it is complete. A device, a pipe, or one
of this process's own open files (/dev/stdout) is written to, never replaced; a link is refused.
"""

import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from arrayformer.core.errors import OutputError

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | _BINARY
# A pipe that nobody reads is an error, not a reason to wait.
_THERE = os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | _BINARY


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file in one piece: whoever looks sees the old content or the new, never half of it.

    Text becomes UTF-8. A file that exists keeps its permissions; a device, a pipe or /dev/stdout is written to. Raises
    OutputError for a link, a block device, a folder, a file that is write-protected, and where the disk refuses.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    check_writable(path)
    try:
        if (number := _own_descriptor(path)) is not None:
            _write_to_own(number, data)
        elif path.exists() and not path.is_file():
            _write_to(os.open(path, _THERE), data)
        else:
            _replace_file(path, data)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {_reason(error)}") from error


def check_writable(path: str | Path) -> None:
    """Raises OutputError unless `write_whole` can write to `path`: asked before the work that fills it."""
    path = Path(path)
    if _own_descriptor(path) is not None:
        return
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):
        kind = 0
    if stat.S_ISDIR(kind):
        raise OutputError(f"{path} is a folder; name a file in it")
    if stat.S_ISBLK(kind) or stat.S_ISSOCK(kind):
        what = "a disk, which would lose what is on it" if stat.S_ISBLK(kind) else "a socket"
        raise OutputError(f"{path} cannot be written: it is {what}; name a file")
    if kind and not stat.S_ISREG(kind):
        _check_access(path, path, os.W_OK)
        return
    if path.is_symlink():
        raise OutputError(f"{path} cannot be written: it is a link to {os.readlink(path)}; name the file itself")
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent}; create it first")
    if kind:
        _check_access(path, path, os.W_OK)
    _check_access(path, path.parent, os.W_OK | os.X_OK)


@contextmanager
def whole_folder(path: Path, last: str | None = None) -> Iterator[Path]:
    """A folder whose content becomes that of `path` when the block ends without an error, and vanishes otherwise.

    A new `path` appears at once. In one that exists each file is replaced whole; the file `last` goes first and comes
    last, so that it never lies beside files it does not belong to. Raises OSError where the disk refuses, and where
    a file would take the place of what is no regular file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    private = path.parent / _secret_name()
    private.mkdir(mode=0o700)
    try:
        folder = private / "content"
        folder.mkdir()
        yield folder
        for file in folder.rglob("*"):
            _flush(file)
        if path.exists():
            _replace(folder, path, last)
        else:
            os.rename(folder, path)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _replace(folder: Path, path: Path, last: str | None) -> None:
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name == last)
    for entry in entries:
        target = path / entry.name
        if os.path.lexists(target) and not stat.S_ISREG(target.lstat().st_mode):
            raise OSError(errno.EEXIST, f"{entry.name} in it is no regular file, and is not replaced")
    if last is not None:
        (path / last).unlink(missing_ok=True)
    for entry in entries:
        os.replace(entry, path / entry.name)


def _flush(file: Path) -> None:
    if file.is_file():
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())


def _secret_name() -> str:
    return f".arrayformer-{secrets.token_hex(8)}.tmp"


def _replace_file(path: Path, data: bytes) -> None:
    beside = path.parent / _secret_name()
    try:
        fd = os.open(beside, _NEW, 0o666)  # less what the umask takes
        _keep_permissions(path, fd)
        _write_to(fd, data, to_disk=True)
        os.replace(beside, path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _keep_permissions(path: Path, fd: int) -> None:
    with suppress(OSError, AttributeError):  # there is none yet; Windows; another's file, which we may replace
        state = path.lstat()
        os.fchmod(fd, stat.S_IMODE(state.st_mode))
        os.fchown(fd, state.st_uid, state.st_gid)


def _write_to(fd: int, data: bytes, to_disk: bool = False) -> None:
    """Write everything to a descriptor, and close it."""
    with os.fdopen(fd, "wb", buffering=0) as file:
        if hasattr(os, "set_blocking"):
            os.set_blocking(fd, True)
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) or 0 :]
        if to_disk:
            os.fsync(fd)


def _write_to_own(number: int, data: bytes) -> None:
    """To an open file of our own, behind what was written to it already: opening it anew would begin at its start."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    blocking = os.get_blocking(number)
    try:
        _write_to(os.dup(number), data)
    finally:
        os.set_blocking(number, blocking)


def _own_descriptor(path: str | Path) -> int | None:
    """Which of this process's open files a path such as /dev/stdout or /dev/fd/3 stands for."""
    own = {os.path.realpath("/proc/self/fd"), os.path.realpath("/dev/fd")}
    name = os.path.abspath(path)
    for _ in range(8):
        folder, last = os.path.split(name)
        if os.path.realpath(folder) in own and last.isdecimal() and last.isascii():
            return int(last)
        try:
            name = os.path.join(folder, os.readlink(name))
        except (OSError, ValueError):
            return None
    return None


def _check_access(path: Path, what: Path, how: int) -> None:
    if not os.access(what, how):
        place = f"in {what}" if what != path else "to it"
        raise OutputError(f"{path} cannot be written: no permission to write {place}")


def _reason(error: OSError) -> str:
    return "nobody reads from this pipe" if error.errno == errno.ENXIO else error.strerror or str(error)
