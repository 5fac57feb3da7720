"""What is no regular file, no safetensors, or changes while it is read."""

import gzip
import io
import os
import pickle
import socket
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.core.checkpoint.model_files import named, safetensors, write_model

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.errors import ModelFileError
from arrayformer.core.files import untrusted as files


def zipped() -> Any:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"x" * 100)
    return buffer.getvalue()


def npy() -> Any:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(100))
    return buffer.getvalue()


FOREIGN = {
    "HTML": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "HTML.*download it again"),
    "HTML after a blank line": (b"\n<html>\n</html>", "HTML"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "HTML or XML"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    "zip": (zipped(), "zip archive"),
    "pickle": (pickle.dumps(list(range(50)), protocol=2), "pickle.*could run code"),
    "pickle of protocol 4": (pickle.dumps(list(range(50)), protocol=4), "pickle.*could run code"),
    "GGUF": (b"GGUF\x03\0\0\0" + b"\0" * 50, "GGUF"),
    "npy": (npy(), "NumPy array"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "HDF5"),
    "gzip": (gzip.compress(safetensors(named())), "gzip"),
    "zstandard": (b"\x28\xb5\x2f\xfd" + b"\0" * 50, "zstandard"),
}


@pytest.mark.parametrize(("content", "message"), FOREIGN.values(), ids=FOREIGN)
def test_another_kind_of_file_under_the_name_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    model = write_model(tmp_path / "model", weights=content)

    with pytest.raises(ModelFileError, match=rf"model\.safetensors: not a safetensors file but .*{message}"):
        read_checkpoint(model)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pytorch_model.bin", "pytorch_model.bin, a PyTorch pickle, which could run code.*safe_serialization=True"),
        ("model.ckpt", "pickle"),
        ("tf_model.h5", "HDF5"),
        ("flax_model.msgpack", "Flax"),
        ("model-q4.gguf", r"GGUF: pass the file itself, for example model-q4\.gguf"),
        ("model.onnx", "ONNX"),
        ("README.md", "neither model.safetensors nor model.safetensors.index.json"),
    ],
)
def test_weights_in_another_form_are_refused_with_the_way_out(tmp_path: Path, name: str, message: str) -> None:
    model = write_model(tmp_path / "model")
    os.rename(model / "model.safetensors", model / name)

    with pytest.raises(ModelFileError, match=message):
        read_checkpoint(model)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


KINDS = {
    "directory": (os.mkdir, "is a directory"),
    "pipe": (os.mkfifo, "is a pipe"),
    "socket": (bind, "not a regular file"),
    "link to nowhere": (lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere, it says nowhere"),
    "link to itself": (lambda path: path.symlink_to(path.name), "its links lead in a circle"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "leads out of the model's directory, to /dev/zero"),
}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize(("make", "message"), KINDS.values(), ids=KINDS)
def test_what_is_no_regular_file_is_refused_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Any, message: str
) -> None:
    model = write_model(tmp_path / "model")
    (model / name).unlink()
    monkeypatch.chdir(model)  # a socket's path must be short
    make(model / name if make is not bind else name)

    with pytest.raises(ModelFileError, match=message) as raised:
        read_checkpoint(model)

    assert str(model / name) in str(raised.value)


def test_a_device_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path / "model")
    monkeypatch.setattr(files.ModelDirectory, "_open", lambda *_: os.open("/dev/zero", os.O_RDONLY))

    with pytest.raises(ModelFileError, match=r"config\.json: is a device, not a regular file"):
        read_checkpoint(model)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    (model / "model.safetensors").chmod(0)

    with pytest.raises(ModelFileError, match=r"model\.safetensors: cannot be opened: Permission denied"):
        read_checkpoint(model)


def test_an_error_of_the_disk_is_reported_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.FileIO):
        def readinto(self, target: Any) -> None:
            raise OSError(5, "Input/output error")

    model = write_model(tmp_path / "model")
    monkeypatch.setattr(os, "fdopen", lambda fd, *_, **__: Failing(fd))

    with pytest.raises(ModelFileError, match=r"cannot be read at byte 0: Input/output error"):
        read_checkpoint(model)


def during_the_read(monkeypatch: pytest.MonkeyPatch, act: Any) -> Any:
    """Calls `act` once, when the first tensor is read."""
    calls: list[int] = []
    read_into = files.ModelFile.read_into

    def spy(self: files.ModelFile, offset: int, target: memoryview) -> None:
        if self.path.name == "model.safetensors" and offset > 64 and not calls:
            calls.append(offset)
            act(self.path)
        read_into(self, offset, target)

    monkeypatch.setattr(files.ModelFile, "read_into", spy)
    return calls


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def write_to(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\0\0\0\0")
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(b"something else")
    os.replace(path.with_name("new"), path)


@pytest.mark.parametrize(
    ("act", "message"),
    [(truncate, "ends at byte .* it is being written or cut short"), (write_to, "changed while it was read")],
)
def test_a_file_that_changes_while_it_is_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Any, message: str
) -> None:
    model = write_model(tmp_path / "model")
    calls = during_the_read(monkeypatch, act)

    with pytest.raises(ModelFileError, match=message):
        read_checkpoint(model)

    assert calls


def test_a_file_that_is_replaced_while_it_is_read_is_still_read_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model")
    calls = during_the_read(monkeypatch, replace)

    _, params = read_checkpoint(model)

    assert calls
    np.testing.assert_array_equal(params["wte"], named()["transformer.wte.weight"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such directory"),
        (lambda path: path.write_bytes(b""), "is a file; pass the directory"),
        (lambda path: path.mkdir(), "neither config.json nor hparams.json"),
    ],
)
def test_what_is_no_models_directory_is_refused(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "model")

    with pytest.raises(ModelFileError, match=message):
        read_checkpoint(tmp_path / "model")


def test_a_link_that_leads_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    os.rename(model / "config.json", tmp_path / "config.json")
    (model / "config.json").symlink_to("../config.json")

    with pytest.raises(ModelFileError, match=r"config\.json: is a link that leads out of the model's directory"):
        read_checkpoint(model)


def test_no_file_is_left_open(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", weights=b"")
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []

    with pytest.raises(ModelFileError):
        read_checkpoint(model)

    after = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    assert len(after) == len(before)


def test_control_characters_and_long_names_are_shown_on_one_line() -> None:
    assert files.shown("a\nb\x1b[31m\u202e") == "a\\nb\\x1b[31m\\u202e"
    assert len(files.shown("x" * 10_000)) == 200
