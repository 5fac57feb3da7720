"""Output that meets devices, pipes, links, full disks and other people's files."""

import os
import re
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from arrayformer.core.errors import OutputError
from arrayformer.core.files import atomic
from arrayformer.core.files.atomic import check_writable, whole_folder, write_whole

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")


def kind(path: Path) -> int:
    return stat.S_IFMT(path.lstat().st_mode)


@root_only
@pytest.mark.parametrize("minor", [3, 5], ids=["null", "zero"])
def test_a_device_is_written_to_and_stays_one(tmp_path: Path, minor: int) -> None:
    device = tmp_path / "device"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, minor))

    check_writable(device)
    write_whole(device, "x" * 100_000)

    assert kind(device) == stat.S_IFCHR
    assert os.listdir(tmp_path) == ["device"]


@root_only
def test_a_device_that_is_full_is_an_error_and_stays(tmp_path: Path) -> None:
    device = tmp_path / "full"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 7))

    with pytest.raises(OutputError, match="full cannot be written: No space left"):
        write_whole(device, "x")

    assert kind(device) == stat.S_IFCHR


@root_only
def test_a_disk_is_refused_unopened(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    os.mknod(disk, 0o666 | stat.S_IFBLK, os.makedev(7, 200))

    for act in (check_writable, lambda path: write_whole(path, "x")):
        with pytest.raises(OutputError, match="it is a disk"):
            act(disk)


def test_a_pipe_that_somebody_reads_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    while not read and reader.is_alive():
        try:
            write_whole(pipe, "ü" * 200_000)
            break
        except OutputError:  # the reader is not there yet
            pass
    reader.join(10)

    assert read == ["ü".encode() * 200_000]
    assert kind(pipe) == stat.S_IFIFO


def test_a_pipe_that_nobody_reads_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OutputError, match="nobody reads from this pipe"):
        write_whole(tmp_path / "pipe", "x")


def test_a_socket_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")

    with pytest.raises(OutputError, match="it is a socket"):
        write_whole("socket", "x")
    assert kind(tmp_path / "socket") == stat.S_IFSOCK


@pytest.mark.parametrize("there", [True, False], ids=["file", "nothing"])
def test_a_link_is_neither_replaced_nor_followed(tmp_path: Path, there: bool) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    if there:
        target.write_text("mine")
    link.symlink_to("target")

    for act in (check_writable, lambda path: write_whole(path, "x")):
        with pytest.raises(OutputError, match="it is a link to target; name the file itself"):
            act(link)

    assert link.is_symlink()
    assert target.exists() == there
    assert not there or target.read_text() == "mine"


def test_no_temporary_name_can_be_foreseen_or_followed(tmp_path: Path, monkeypatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda n: "0" * 2 * n)  # an attacker who guesses it
    (tmp_path / f".arrayformer-{'0' * 16}.tmp").symlink_to(victim)

    with pytest.raises(OutputError, match="File exists"):
        write_whole(tmp_path / "report.json", "x")
    assert victim.read_text() == "mine"

    monkeypatch.undo()
    names = {atomic._secret_name() for _ in range(1000)}
    assert len(names) == 1000
    assert all(re.fullmatch(r"\.arrayformer-[0-9a-f]{16}\.tmp", name) for name in names)
    assert not any(str(os.getpid()) == part for name in names for part in name.split("."))


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path: Path) -> None:
    write_whole(tmp_path / ("x" * 255), "x")

    assert (tmp_path / ("x" * 255)).read_text() == "x"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_a_new_file_has_the_permissions_the_umask_leaves(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "new", b"x")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_an_old_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "old").chmod(mode)

    write_whole(tmp_path / "old", "new")

    assert (tmp_path / "old").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == mode


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, small_files) -> None:
    (tmp_path / "old").write_text("old")

    with small_files(4096), pytest.raises(OutputError, match="old cannot be written: File too large"):
        write_whole(tmp_path / "old", "x" * 10_000)

    assert (tmp_path / "old").read_text() == "old"
    assert os.listdir(tmp_path) == ["old"]


@pytest.mark.parametrize("name", [".", "missing/report"])
def test_a_place_that_cannot_hold_a_file_is_named_beforehand(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"is a folder|there is no folder"):
        check_writable(tmp_path / name)


def test_without_permission_it_is_said_beforehand(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "report").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, how: Path(path) != tmp_path)
    with pytest.raises(OutputError, match=f"no permission to write in {tmp_path}"):
        check_writable(tmp_path / "report")

    monkeypatch.setattr(os, "access", lambda path, how: Path(path) == tmp_path)
    with pytest.raises(OutputError, match="no permission to write to it"):
        check_writable(tmp_path / "report")


WRITE = "import sys; from arrayformer.core.files.atomic import *; print('first'); "


@pytest.mark.parametrize("name", ["stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("where", ["pipe", "file"])
def test_standard_output_by_name_is_written_behind_what_was_printed(tmp_path: Path, name: str, where: str) -> None:
    # A link as /dev/stdout is one: a writer that is broken must not break the machine's own.
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    name = str(tmp_path / name)
    code = f"{WRITE} check_writable({name!r}); write_whole({name!r}, 'second\\n'); print('third')"
    command = [sys.executable, "-c", code]
    if where == "pipe":
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    else:
        (tmp_path / "out").write_text("zeroth\n")
        with (tmp_path / "out").open("a") as sink:
            subprocess.run(command, check=True, stdout=sink)
        out = (tmp_path / "out").read_text().removeprefix("zeroth\n")

    assert out == "first\nsecond\nthird\n"
    assert (tmp_path / "stdout").is_symlink()
    assert set(os.listdir(tmp_path)) <= {"out", "stdout"}


@pytest.mark.parametrize("kind_of_place", ["link", "folder", "pipe"])
def test_a_folder_replaces_regular_files_only_and_looks_first(tmp_path: Path, kind_of_place: str) -> None:
    place = tmp_path / "model"
    place.mkdir()
    (place / "a").write_text("old")
    make = {"link": lambda p: p.symlink_to("elsewhere"), "folder": os.mkdir, "pipe": os.mkfifo}
    make[kind_of_place](place / "b")

    def write() -> None:
        with whole_folder(place) as folder:
            for name in "ab":
                (folder / name).write_text("new")

    with pytest.raises(OSError, match="b in it is no regular file, and is not replaced"):
        write()
    assert (place / "a").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["model"]


def test_nobody_else_can_look_into_a_folder_before_it_is_complete(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with whole_folder(tmp_path / "model") as folder:
            assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o777
    assert os.listdir(tmp_path) == ["model"]
