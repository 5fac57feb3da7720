"""What is in the cache is taken from there, checked, and fetched again where it is damaged."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.core.checkpoint.model_files import named, safetensors
from tests.hub.hub_server import COMMIT, OTHER, WEIGHTS, Hub, flipped

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.errors import DownloadError
from arrayformer.hub.resolve import resolve_model


def test_a_model_is_fetched_at_the_commit_of_its_branch(hub: Hub, cache: Path) -> None:
    path = resolve_model("owner/tiny")

    assert path == cache / "models--owner--tiny" / "snapshots" / COMMIT
    assert {file.name for file in path.iterdir()} == {"config.json", "vocab.json", "merges.txt", "model.safetensors"}
    assert read_checkpoint(path)[0].n_vocab == 11
    assert not [request for request in hub.requests if "resolve/main" in request]


def test_every_file_that_says_how_text_becomes_ids_is_fetched(hub: Hub, cache: Path) -> None:
    said = {"tokenizer.json", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"}
    for name in (*said, "chat_template.jinja"):
        hub.files[name] = b"{}"

    path = resolve_model("owner/tiny")

    assert said | {"chat_template.jinja"} <= {file.name for file in path.iterdir()}
    assert "README.md" not in os.listdir(path)


def test_what_is_in_the_cache_is_not_fetched_again(hub: Hub, cache: Path) -> None:
    resolve_model("owner/tiny")
    hub.requests.clear()

    assert resolve_model("owner/tiny").name == COMMIT

    assert hub.requests == ["GET /api/models/owner/tiny"]


def test_a_commit_that_is_in_the_cache_needs_no_hub(hub: Hub, cache: Path) -> None:
    resolve_model("owner/tiny")
    hub.requests.clear()

    assert resolve_model("owner/tiny", revision=COMMIT).name == COMMIT

    assert hub.requests == []


def test_a_branch_that_moved_is_followed(hub: Hub, cache: Path) -> None:
    resolve_model("owner/tiny")
    hub.commit = OTHER

    assert resolve_model("owner/tiny").name == OTHER
    assert resolve_model("owner/tiny", revision=COMMIT).name == COMMIT


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_offline_takes_what_was_fetched_and_opens_no_socket(
    hub: Hub, cache: Path, request: pytest.FixtureRequest, revision: str | None
) -> None:
    resolve_model("owner/tiny")
    request.getfixturevalue("no_sockets")

    assert resolve_model("owner/tiny", revision=revision, offline=True).name == COMMIT


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_offline_says_what_is_not_there_and_how_to_fetch_it(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, no_sockets: None, by: Any
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", by == "environment")

    with pytest.raises(
        DownloadError, match=r"owner/tiny: not in the cache .*arrayformer download owner/tiny"
    ) as raised:
        resolve_model("owner/tiny", offline=by == "argument")

    assert raised.value.exit_code == 5


def test_without_a_network_a_branch_is_taken_as_last_seen(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_model("owner/tiny")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")

    with pytest.warns(UserWarning, match=f"cannot be reached; taking commit {COMMIT}"):
        assert resolve_model("owner/tiny").name == COMMIT


def test_shards_are_fetched_with_their_index(hub: Hub, cache: Path) -> None:
    half = {name: x for i, (name, x) in enumerate(named().items()) if i % 2}
    rest = {name: x for i, (name, x) in enumerate(named().items()) if not i % 2}
    one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    weight_map = dict.fromkeys(half, one) | dict.fromkeys(rest, two)
    del hub.files["model.safetensors"]
    hub.files |= {one: safetensors(half), two: safetensors(rest)}
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()

    config, _ = read_checkpoint(resolve_model("owner/tiny"))

    assert config.n_layer == 2


@pytest.mark.parametrize("offline", [False, True])
def test_a_cached_file_that_was_changed_is_found_out(hub: Hub, cache: Path, offline: bool) -> None:
    weights = resolve_model("owner/tiny") / "model.safetensors"
    os.truncate(weights, len(WEIGHTS) - 4)

    if offline:
        with pytest.raises(DownloadError, match=r"model\.safetensors: is not what was fetched.*delete it"):
            resolve_model("owner/tiny", offline=True)
    else:
        with pytest.warns(UserWarning, match="damaged since it was fetched"):
            assert (resolve_model("owner/tiny") / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("how", [{"offline": True}, {"revision": COMMIT}])
def test_a_change_that_left_size_and_time_alone_is_found_out_on_demand(hub: Hub, cache: Path, how: Any) -> None:
    weights = resolve_model("owner/tiny") / "model.safetensors"
    before = weights.stat()
    weights.write_bytes(flipped(WEIGHTS))
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert resolve_model("owner/tiny", **how)
    with pytest.raises(DownloadError, match=r"model\.safetensors: is not what was fetched"):
        resolve_model("owner/tiny", verify=True, **how)


def test_what_another_program_fetched_is_checked_by_the_names_of_the_blobs(hub: Hub, cache: Path) -> None:
    path = resolve_model("owner/tiny")
    shutil.rmtree(cache / "models--owner--tiny" / "arrayformer")
    assert resolve_model("owner/tiny", offline=True) == path
    os.truncate(path / "model.safetensors", 10)

    with pytest.raises(DownloadError, match="is not what was fetched"):
        resolve_model("owner/tiny", offline=True)


def fails_with(number: int) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "is full; make room, or set HF_HOME"), (errno.EROFS, "cannot be written .*Read-only")],
)
def test_a_full_or_closed_disk_is_said(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    monkeypatch.setattr(os, "mkdir", fails_with(number))

    with pytest.raises(DownloadError, match=f"the disk of the cache {cache} {message}"):
        resolve_model("owner/tiny")


def test_a_disk_that_fills_up_keeps_what_arrived_for_the_next_attempt(hub: Hub, cache: Path, small_files: Any) -> None:
    with small_files(4096), pytest.raises(DownloadError, match=r"cannot be written .File too large"):
        resolve_model("owner/tiny")

    assert not list(cache.rglob("model.safetensors"))
    assert (resolve_model("owner/tiny") / "model.safetensors").read_bytes() == WEIGHTS
    assert [request.split()[-1] for request in hub.requests if "bytes=" in request] == ["bytes=4096-"]


def test_too_little_room_is_said_before_anything_is_fetched(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 50))

    with pytest.raises(DownloadError, match=r"needs 0 MB in .*, where 0 MB are free; make room"):
        resolve_model("owner/tiny")

    assert hub.requests == ["GET /api/models/owner/tiny"]


def test_without_symbolic_links_files_are_copied(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "symlink", fails_with(errno.EPERM))

    path = resolve_model("owner/tiny")

    assert not (path / "model.safetensors").is_symlink()
    assert read_checkpoint(path)[0].n_layer == 2
    assert resolve_model("owner/tiny", offline=True) == path
