"""What somebody who can rename, link and write in a model's directory while it is read gets out of it: nothing."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.core.checkpoint.model_files import CONFIG, PARAMS, TINY, named, write_model

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.errors import ConfigError, ModelFileError, TokenizerError
from arrayformer.core.files import strict_json, untrusted
from arrayformer.core.files.untrusted import ModelDirectory
from arrayformer.core.params import random_params
from arrayformer.tokenizer import load_tokenizer
from arrayformer.tokenizer.alphabet import BYTE_ORDER, PRINTABLE

OTHER = random_params(TINY.weights(), seed=4)
VOCAB = {PRINTABLE[byte]: id for id, byte in enumerate(BYTE_ORDER)} | {"he": 256}


@pytest.fixture(params=["by descriptor", "by path"])
def way(request, monkeypatch):
    """As on systems that can open a name relative to a descriptor, and as on those that cannot (Windows)."""
    if request.param == "by path":
        monkeypatch.setattr(untrusted, "_BY_DESCRIPTOR", False)
    return request.param


def write_tokenizer(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "vocab.json").write_text(json.dumps(VOCAB))
    (directory / "merges.txt").write_text("h e\n")
    return directory


def test_a_directory_that_is_swapped_during_a_load_is_not_mixed(tmp_path: Path, monkeypatch) -> None:
    model = write_tokenizer(write_model(tmp_path / "model"))
    write_model(tmp_path / "other", {**CONFIG, "n_head": 2}, named(OTHER))
    opened: list[str] = []
    open_file = ModelDirectory.open

    def swap_after_the_first(self: ModelDirectory, name: str, *error: Any) -> Any:
        if len(opened) == 1:
            model.rename(tmp_path / "away")
            (tmp_path / "other").rename(model)
        opened.append(name)
        return open_file(self, name, *error)

    monkeypatch.setattr(ModelDirectory, "open", swap_after_the_first)
    with ModelDirectory(model) as directory:
        config, params = read_checkpoint(directory)
        tokenizer = load_tokenizer(directory)  # the other model has none

    assert len(opened) >= 4
    assert config.n_head == 3
    assert (params["wte"] == PARAMS["wte"]).all()
    assert tokenizer.n_vocab == 257


@pytest.mark.parametrize("name", ["vocab.json", "config.json"])
def test_a_file_that_becomes_a_link_after_it_was_looked_at_is_not_followed(way, tmp_path, monkeypatch, name) -> None:
    model = write_tokenizer(write_model(tmp_path / "model"))
    outside = tmp_path / name
    (model / name).rename(outside)
    (model / "inside.json").write_text("{}")
    link = untrusted._Folder.link

    def flip(self: Any, asked: str) -> str | None:
        found = link(self, asked)
        if asked == "inside.json":  # the name the link gave, looked at and found to be a file
            (model / asked).unlink()
            (model / asked).symlink_to(outside)
        return found

    (model / name).symlink_to("inside.json")
    monkeypatch.setattr(untrusted._Folder, "link", flip)

    load, error = (load_tokenizer, TokenizerError) if name == "vocab.json" else (read_checkpoint, ModelFileError)
    with pytest.raises(error, match=rf"{name}: "):
        load(model)


def test_where_nothing_is_opened_by_descriptor_a_name_that_became_a_link_is_found_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(untrusted, "_BY_DESCRIPTOR", False)
    monkeypatch.setattr(untrusted, "_NO_LINK", 0)
    monkeypatch.setattr(untrusted, "_FILE", os.O_RDONLY)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").symlink_to("../secret")
    monkeypatch.setattr(untrusted._Folder, "link", lambda *_: None)

    with ModelDirectory(tmp_path / "model") as directory, pytest.raises(ModelFileError, match="became a link"):
        directory.read("config.json", 100)


@pytest.mark.parametrize("links", ["relative", "absolute"])
def test_links_into_the_blobs_of_the_cache_are_followed_alike_for_all_files(way, tmp_path: Path, links: str) -> None:
    blobs, shared = tmp_path / "models--a--b" / "blobs", tmp_path / "blobs" / "ab"
    model = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    for folder in (blobs, shared, model):
        folder.mkdir(parents=True)
    write_tokenizer(write_model(model))
    for number, path in enumerate(sorted(model.iterdir())):
        # As huggingface_hub does it: a link to the repository's blob, which is a link into the store all share.
        digest = f"ab{number:062}"
        path.rename(shared / digest)
        (blobs / f"etag{number}").symlink_to(os.path.relpath(shared / digest, blobs))
        target = blobs / f"etag{number}"
        path.symlink_to(target if links == "absolute" else os.path.relpath(target, model))

    assert read_checkpoint(model)[0].n_head == 3
    assert load_tokenizer(model).n_vocab == 257


def test_links_may_lead_into_folders_of_the_directory(way, tmp_path: Path) -> None:
    model = write_tokenizer(tmp_path / "model")
    (model / "files" / "deep").mkdir(parents=True)
    (model / "vocab.json").rename(model / "files" / "deep" / "vocab.json")
    (model / "vocab.json").symlink_to("files/deep/vocab.json")

    assert load_tokenizer(model).n_vocab == 257


@pytest.mark.parametrize(
    "target", ["../vocab.json", "files/../../vocab.json", "folder/vocab.json", "../model2/x", ".."]
)
def test_links_out_of_the_directory_are_refused(way, tmp_path: Path, target: str) -> None:
    model = write_tokenizer(tmp_path / "model")
    write_tokenizer(tmp_path / "elsewhere")
    (model / "vocab.json").rename(tmp_path / "vocab.json")
    (model / "files").mkdir()
    (model / "folder").symlink_to(tmp_path / "elsewhere")
    (model / "vocab.json").symlink_to(target)

    with pytest.raises(TokenizerError, match=r"vocab\.json: is (a link that leads out|a directory)"):
        load_tokenizer(model)


def test_links_in_a_circle_are_an_error_of_the_file(way, tmp_path: Path) -> None:
    model = write_tokenizer(tmp_path / "model")
    (model / "vocab.json").unlink()
    (model / "vocab.json").symlink_to("b")
    (model / "b").symlink_to("vocab.json")

    with pytest.raises(TokenizerError, match=r"vocab\.json: cannot be opened: its links lead in a circle"):
        load_tokenizer(model)


def test_a_directory_leaves_no_descriptor_open(tmp_path: Path) -> None:
    model = write_tokenizer(tmp_path / "model")
    (model / "a" / "b").mkdir(parents=True)
    (model / "vocab.json").rename(model / "a" / "b" / "v")
    (model / "vocab.json").symlink_to("a/b/v")
    before = sorted(os.listdir("/proc/self/fd"))

    load_tokenizer(model)

    assert sorted(os.listdir("/proc/self/fd")) == before


def test_each_file_is_opened_once(tmp_path: Path, monkeypatch) -> None:
    model = write_tokenizer(write_model(tmp_path / "model"))
    names: list[str] = []
    really = os.open

    def spy(name: str, *flags: Any, **where: Any) -> int:
        names.append(os.path.basename(name))
        return really(name, *flags, **where)

    monkeypatch.setattr(os, "open", spy)

    with ModelDirectory(model) as directory:
        read_checkpoint(directory)
        load_tokenizer(directory)

    assert sorted(names) == ["config.json", "merges.txt", "model", "model.safetensors", "vocab.json"]


def test_a_small_file_that_is_asked_for_again_is_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("before")
    with ModelDirectory(tmp_path) as directory:
        directory.read("config.json", 100)
        (tmp_path / "config.json").write_text("something else")

        assert directory.read("config.json", 100) == b"before"
        with pytest.raises(ModelFileError, match="at most 3 are read"):
            directory.read("config.json", 3)


@pytest.mark.parametrize(
    "text", ['{"a": 1e999}', '{"a": -1e400}', '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": ' + "9" * 200 + "}"]
)
def test_what_other_parsers_would_read_otherwise_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)

    with ModelDirectory(tmp_path) as directory, pytest.raises(ConfigError, match=r"config\.json: "):
        strict_json.read_object(directory, "config.json", 1 << 20, ConfigError)


def test_the_number_of_values_is_bounded_before_they_are_made() -> None:
    with pytest.raises(ModelFileError, match="x: more than 10 values"):
        strict_json.parse("[" + ",".join(["[]"] * 10) + "]", "x", most_values=10)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": float("inf"), "b": [float("nan"), 1.5]}, '{"a": null, "b": [null, 1.5]}'),
        ("a\ud800b", r'"a\ufffdb"'),
        ({"\udcff": ("\U0001f600", None, True)}, r'{"\ufffd": ["\ud83d\ude00", null, true]}'),
    ],
)
def test_what_is_written_is_read_back_by_a_strict_parser(value: Any, text: str) -> None:
    written = strict_json.dumps(value)

    assert written == text
    strict_json.parse(written, "what was written")
    strict_json.dumps(value, ascii_only=False).encode("utf-8")
