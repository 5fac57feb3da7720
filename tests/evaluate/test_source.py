import hashlib
import os
import tracemalloc
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arrayformer.core.errors import DataFileError, DownloadError
from arrayformer.evaluate import source
from arrayformer.evaluate.protocols import PROTOCOLS
from arrayformer.evaluate.source import Hub, Source, read

CONTENT = "héron\r\nline two\n".encode()
EXACT = Source("a text", "get it there", len(CONTENT), "sha256:" + hashlib.sha256(CONTENT).hexdigest(), "folder/a.txt")


def test_a_file_with_the_right_checksum_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(CONTENT)

    text = read(EXACT, tmp_path / "a.txt")

    assert text.text == "héron\r\nline two\n"
    assert (text.n_bytes, text.verified) == (len(CONTENT), True)


def test_a_zip_that_holds_the_file_will_do(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/a.txt", CONTENT)

    assert read(EXACT, tmp_path / "a.zip").n_bytes == len(CONTENT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"  \n ", "is empty"),
        (CONTENT + b"x", "has 18 bytes, a text has 17: get it there"),
        (CONTENT.replace(b"two", b"TWO"), "has the sha256 .* get it there"),
        (b"PK\x03\x04 broken", "a zip in which folder/a.txt cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_and_the_right_one_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)

    with pytest.raises(DataFileError, match=message):
        read(EXACT, tmp_path / "a.txt")


def test_text_that_is_not_utf8_is_refused_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc\xe9def")

    with pytest.raises(DataFileError, match="byte 3 is 0xe9"):
        read(PROTOCOLS["text"].source, tmp_path / "a.txt")


def test_the_end_of_a_file_begins_with_a_whole_character(tmp_path: Path) -> None:
    content = "ab€cd".encode()
    (tmp_path / "a.txt").write_bytes(content)

    text = read(Source("x", "", last=4), tmp_path / "a.txt")

    assert (text.text, text.n_bytes) == ("cd", 2)


@pytest.mark.parametrize("name", [n for n in PROTOCOLS if PROTOCOLS[n].source.hub is None])
def test_missing_data_says_where_to_get_it(name: str) -> None:
    with pytest.raises(DataFileError, match="pass --data"):
        read(PROTOCOLS[name].source, None)


def test_offline_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "download", lambda hub: pytest.fail("the network was asked"))

    with pytest.raises(DataFileError, match=r"wikitext-2-raw-v1\.zip"):
        read(PROTOCOLS["wikitext103"].source, None, offline=True)


def test_a_download_that_fails_is_one_line_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("arrayformer.hub.fetch.look_up", fail)

    with pytest.raises(DownloadError, match=r"no route\\nto host.*--data FILE"):
        source.download(Hub("a/b", "0" * 40, "c.txt"))


def test_what_was_fetched_is_checked_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes(b"something else")
    monkeypatch.setattr(source, "download", lambda hub: tmp_path / "c.txt")

    with pytest.raises(DataFileError, match="has 14 bytes"):
        read(replace(EXACT, hub=Hub("a/b", "0" * 40, "c.txt")), None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"gone\.txt cannot be read: No such file"):
        read(EXACT, tmp_path / "gone.txt")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (zipfile.ZIP_DEFLATED, r"folder/a\.txt in it has more than the [\d,]+ bytes it should; get it"),
        (zipfile.ZIP_LZMA, r"a zip in which folder/a\.txt cannot be read"),
        (zipfile.ZIP_BZIP2, r"a zip in which folder/a\.txt cannot be read"),
    ],
    ids=["deflate", "lzma", "bzip2"],
)
@pytest.mark.parametrize("size", [None, 17])
def test_a_zip_that_swells_is_refused_before_it_has(
    tmp_path: Path, monkeypatch: Any, method: int, message: str, size: Any
) -> None:
    monkeypatch.setattr(source, "MOST", 1 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("folder/a.txt", bytes(50 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError, match=message):
            read(replace(EXACT, n_bytes=size), tmp_path / "a.zip")

        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/a.txt", CONTENT)
    whole = (tmp_path / "a.zip").read_bytes()
    for place in range(len(whole)):
        (tmp_path / "a.zip").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(DataFileError):
            read(EXACT, tmp_path / "a.zip")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_what_may_never_end_is_not_read(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "a.txt")

    with pytest.raises(DataFileError, match=r"a\.txt is a pipe or a device"):
        read(EXACT, tmp_path / "a.txt")
