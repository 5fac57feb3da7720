"""Models by name: in the package, in a directory, at a hub that may misbehave."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from tests.core.checkpoint.model_files import CONFIG, named, safetensors
from tests.hub.hub_server import COMMIT, OTHER, Fault, Hub, serving, sha256

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.errors import DownloadError, InputError, ModelFileError
from arrayformer.hub import limits as download_limits
from arrayformer.hub import resume as download_resume
from arrayformer.hub.limits import BeyondLimitsError
from arrayformer.hub.resolve import resolve_model

WEIGHTS = safetensors(named())
FILES = {
    "config.json": json.dumps(CONFIG).encode(),
    "vocab.json": b'{"a": 0}',
    "merges.txt": b"#version: 0.2\n",
    "model.safetensors": WEIGHTS,
    "README.md": b"not wanted",
    "pytorch_model.bin": b"never fetched",
    "modeling_evil.py": b"never fetched",
}


@pytest.fixture
def hub() -> Any:
    with serving(dict(FILES)) as server:
        yield server


@pytest.fixture
def cache(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty cache, and huggingface_hub turned to the hub on this machine, without long waits."""
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DOWNLOAD_TIMEOUT": 1,
        "HF_HUB_ETAG_TIMEOUT": 1,
        "DOWNLOAD_CHUNK_SIZE": 1000,
        "HF_TOKEN_PATH": str(tmp_path / "token"),
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return tmp_path / "cache"


def blobs(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("models--owner--tiny/blobs/*"))


def test_a_model_is_fetched_at_the_commit_of_its_branch(hub: Hub, cache: Path) -> None:
    path = resolve_model("owner/tiny")

    assert path == cache / "models--owner--tiny" / "snapshots" / COMMIT
    assert {file.name for file in path.iterdir()} == {"config.json", "vocab.json", "merges.txt", "model.safetensors"}
    assert read_checkpoint(path)[0].n_vocab == 11
    assert not [request for request in hub.requests if "resolve/main" in request]


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


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


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


def flipped(content: bytes) -> Any:
    return content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]


ONCE = {
    "H-01 cut at 0 %": Fault("get", cut=0.0, times=1),
    "H-01 cut at 1 %": Fault("get", cut=0.01, times=1),
    "H-01 cut at 50 %": Fault("get", cut=0.5, times=1),
    "H-01 cut at 99 %": Fault("get", cut=0.99, times=1),
    "H-01 cut twice": Fault("get", cut=0.5, times=2),
    "H-07 range ignored": Fault("get", cut=0.5, headers={"X-Ignore-Range": "1"}, times=2),
    "H-08 429 once": Fault("get", 429, headers={"Retry-After": "1"}, times=1),
    "H-21 stalls": Fault("get", stall=1.5, times=1),
}


@pytest.mark.parametrize("fault", ONCE.values(), ids=ONCE)
def test_a_passing_fault_is_overcome(hub: Hub, cache: Path, fault: Fault) -> None:
    hub.fault = fault

    path = resolve_model("owner/tiny")

    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert not list(cache.rglob("*.incomplete"))


def test_a_transfer_that_broke_off_is_resumed_where_it_stopped(hub: Hub, cache: Path) -> None:
    hub.fault = Fault("get", cut=0.5, times=1)

    resolve_model("owner/tiny")

    asked = [request.split()[-1] for request in hub.requests if "bytes=" in request]
    assert asked == [f"bytes={len(WEIGHTS) // 2 // 1000 * 1000}-"]


HTML = b"<html>Sign in to the network</html>"
FOREVER = {
    "H-01 cut at 50 % always": (Fault("get", cut=0.5), "broke off|ended early"),
    "H-02 short": (Fault("get", change=lambda c: c[:-100]), "ended early|of .* bytes"),
    "H-03 long": (Fault("get", change=lambda c: c + b"x" * 100), "more than the 7250 bytes it announced"),
    "H-04 flipped bit": (Fault("get", change=flipped), "model.safetensors arrived damaged.*it is deleted"),
    "H-06 another etag": (Fault("head", headers={"X-Linked-Etag": '"' + "0" * 64 + '"'}), "is listed with digest"),
    "H-08 api 401": (Fault("api", 401), r"no such repository, or it is private \(401\).*HF_TOKEN"),
    "H-08 api 403": (Fault("api", 403), r"access is refused \(403\)"),
    "H-08 api 404": (Fault("api", 404), r"no such repository or file \(404\)"),
    "H-08 api 429": (Fault("api", 429, headers={"Retry-After": "77"}), r"too many requests \(429\); try again in 77 s"),
    "H-08 api 503": (Fault("api", 503), r"trouble of its own \(503\)"),
    "H-08 api 418": (Fault("api", 418), "answered with the status 418"),
    "H-08 file 401": (Fault("get", 401), r"\(401\)"),
    "H-08 file 403": (Fault("get", 403), r"\(403\)"),
    "H-08 file 404": (Fault("get", 404), r"\(404\)"),
    "H-08 file 416": (Fault("get", 416), r"\(416\): the file changed"),
    "H-08 file 500": (Fault("get", 500), r"\(500\)"),
    "H-10 redirect loop": (
        Fault("get", 302, headers={"Location": f"/owner/tiny/resolve/{COMMIT}/model.safetensors"}),
        "redirects in circles",
    ),
    "H-09 redirect to a file": (Fault("get", 302, headers={"Location": "file:///etc/passwd"}), "no http address"),
    "H-11 login page": (Fault("api", change=HTML), "not the hub's.*login page"),
    "H-11 login page for a file": (Fault("get", change=lambda c: HTML.ljust(len(c))), "arrived damaged"),
    "H-15 etag is a path": (Fault("head", headers={"X-Linked-Etag": '"../../../../x"'}), r"offered with '\.\./"),
    "H-21 stalls": (Fault("api", change=b"{", headers={"Content-Length": "100"}), "broke off|cannot be reached"),
    "H-21 crawls": (Fault("get", crawl=0.02), r"the hub sent \d+ bytes in \d+ seconds: stalled; try again, .* is kept"),
    "H-03 endless": (Fault("get", endless=True), "sends more than the [0-9]+ bytes it announced"),
    "H-03 endless listing": (Fault("api", change=b"[" * (9 << 20)), "sends more than the 8388608 bytes"),
    "H-08 wait a year": (Fault("get", 429, headers={"Retry-After": "31536000"}), "try again in 31536000 seconds"),
    "H-08 wait a year, newly said": (Fault("get", 429, headers={"RateLimit": '"api";r=0;t=31536000'}), "in 31536000 s"),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "message"), FOREVER.values(), ids=FOREVER)
def test_a_lasting_fault_is_one_clear_error_and_leaves_no_weights(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, message: str
) -> None:
    monkeypatch.setattr(download_limits, "WINDOW", 0.5)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.fault = fault

    with pytest.raises(DownloadError, match=message) as raised:
        resolve_model("owner/tiny")

    assert str(raised.value).startswith("owner/tiny: ")
    assert "hf_secret" not in str(raised.value)
    assert str(raised.value).isprintable()
    assert not list(cache.rglob("model.safetensors"))
    assert not [name for name in blobs(cache) if len(name) == 64]
    hub.fault = None
    assert read_checkpoint(resolve_model("owner/tiny"))[0].n_layer == 2
    assert not list(cache.rglob("*.incomplete"))


LISTINGS = {
    "H-15 commit is a path": ({"sha": "../../x"}, "names commit '../../x'"),
    "H-15 no commit": ({"sha": None}, "names commit None"),
    "H-15 digest is a path": (
        {"siblings": [{"rfilename": "config.json", "size": 1, "blobId": "../x"}, {"rfilename": "model.safetensors"}]},
        "config.json with digest '../x'",
    ),
    "no files": ({"siblings": []}, "no config.json"),
    "P-06 pickles only": (
        {"siblings": [{"rfilename": "config.json"}, {"rfilename": "pytorch_model.bin"}]},
        r"no model.safetensors but pytorch_model.bin, a pickle.*refs/pr/1.*safe_serialization=True",
    ),
    "index without shards": (
        {"siblings": [{"rfilename": "config.json"}, {"rfilename": "model.safetensors.index.json"}]},
        "no model.safetensors and no other weights",
    ),
    "size is negative": (
        {"siblings": [{"rfilename": "config.json", "size": -1, "blobId": COMMIT}, {"rfilename": "model.safetensors"}]},
        "config.json with -1 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("listed", "message"), LISTINGS.values(), ids=LISTINGS)
def test_a_listing_that_makes_no_sense_is_refused_before_a_file_is_fetched(
    hub: Hub, cache: Path, listed: Any, message: str
) -> None:
    hub.listed = listed

    with pytest.raises(DownloadError, match=message):
        resolve_model("owner/tiny")

    assert hub.requests == ["GET /api/models/owner/tiny"]


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


def test_a_revision_that_is_not_there_is_said(hub: Hub, cache: Path) -> None:
    with pytest.raises(DownloadError, match=r"owner/tiny at v9: there is no such revision \(404\)"):
        resolve_model("owner/tiny", revision="v9")


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


@pytest.mark.parametrize("address", ["foo", "file:///tmp", "https://", "ftp://huggingface.co"])
def test_an_endpoint_that_is_no_address_is_said(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, address: Any
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)

    with pytest.raises(DownloadError, match=r"HF_ENDPOINT is .*, which is no address"):
        resolve_model("owner/tiny")


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
    monkeypatch.setattr(os, "makedirs", fails_with(number))

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


def test_plain_http_to_another_machine_is_warned_of(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://mirror.invalid")

    with (
        pytest.warns(UserWarning, match=r"HF_ENDPOINT is http://mirror\.invalid: without https"),
        pytest.raises(DownloadError),
    ):
        resolve_model("owner/tiny")


def test_without_symbolic_links_files_are_copied(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.are_symlinks_supported", lambda *_: False)

    path = resolve_model("owner/tiny")

    assert not (path / "model.safetensors").is_symlink()
    assert read_checkpoint(path)[0].n_layer == 2
    assert resolve_model("owner/tiny", offline=True) == path


# Other processes.

FETCH = "from arrayformer.hub.resolve import resolve_model; print(resolve_model('owner/tiny'))"


def start(hub: Hub, home: Any, code: Any = FETCH) -> Any:
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    env |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_HUB_DOWNLOAD_TIMEOUT": "20", "HF_HUB_OFFLINE": ""}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(ready: Any) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_processes_at_once_both_end_with_the_whole_file_and_draw_no_bar_into_a_pipe(
    hub: Hub, tmp_path: Path
) -> None:
    no_lock = "import fcntl; fcntl.flock = lambda *_: None; " + FETCH  # as file systems do that only pretend to lock
    hub.fault = Fault("get", stall=0.5)

    processes = [start(hub, tmp_path, no_lock) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], outputs
    assert not [err for _, err in outputs if "%|" in err]
    paths = {Path(out.strip()) for out, _ in outputs}
    assert len(paths) == 1
    assert (paths.pop() / "model.safetensors").read_bytes() == WEIGHTS


SMALL_CHUNKS = "from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = 10_000; "


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_process_ended_in_the_middle_leaves_nothing_that_looks_whole_and_the_next_goes_on(
    hub: Hub, tmp_path: Path, number: int
) -> None:
    hub.files["model.safetensors"] = weights = bytes(range(256)) * 400
    hub.fault = Fault("get", stall=30)
    process = start(hub, tmp_path, SMALL_CHUNKS + FETCH)
    wait_until(lambda: any(path.stat().st_size for path in tmp_path.rglob("*.incomplete")))
    process.send_signal(number)
    process.communicate(timeout=60)
    hub.fault = None

    assert process.returncode != 0
    assert not list(tmp_path.rglob("model.safetensors"))
    [part] = tmp_path.rglob("*.incomplete")
    asked = f"bytes={part.stat().st_size}-"
    out, err = start(hub, tmp_path).communicate(timeout=120)
    assert (Path(out.strip()) / "model.safetensors").read_bytes() == weights, err
    assert [request.split()[-1] for request in hub.requests if "bytes=" in request] == [asked]
    assert not list(tmp_path.rglob("*.incomplete"))


def leave(cache: Path, content: bytes, name: str = "0123abcd") -> Path:
    """What an earlier attempt left."""
    part = cache / "models--owner--tiny" / "blobs" / f"{sha256(WEIGHTS)}.{name}.incomplete"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    return part


LEFT = {
    "nothing": (b"", ["-"]),
    "half": (WEIGHTS[:3000], ["bytes=3000-"]),
    "all": (WEIGHTS, []),
    "damaged": (b"x" * 3000, ["bytes=3000-", "-"]),
    "damaged, whole": (b"x" * len(WEIGHTS), ["-"]),
    "too much": (WEIGHTS + b"x", ["bytes=10-"]),
}


@pytest.mark.parametrize(("content", "asked"), LEFT.values(), ids=LEFT)
def test_what_an_earlier_attempt_left_is_gone_on_with_unless_it_is_wrong(
    hub: Hub, cache: Path, content: bytes, asked: list[str]
) -> None:
    leave(cache, content)
    leave(cache, content[:10], "89abcdef")

    path = resolve_model("owner/tiny") / "model.safetensors"

    gets = [request for request in hub.requests if request.startswith("GET /owner") and "model.safetensors" in request]
    assert path.read_bytes() == WEIGHTS
    assert ["-" if "bytes=" not in request else request.split()[-1] for request in gets] == asked
    assert not list(cache.rglob("*.incomplete"))


def test_a_part_that_another_process_takes_over_costs_only_the_transfer(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = download_resume._put
    stolen: list[Path] = []

    def steal(part: Path, blob: Path) -> bool:
        if not stolen:
            stolen.append(part)
            part.unlink()
        return put(part, blob)

    monkeypatch.setattr(download_resume, "_put", steal)

    assert (resolve_model("owner/tiny") / "model.safetensors").read_bytes() == WEIGHTS
    assert stolen


def test_a_hub_with_https_may_not_lead_away_from_it(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "huggingface_hub.constants.ENDPOINT", "https://hub.invalid"
    )  # as if `hub` were led to from there

    with (
        pytest.raises(BeyondLimitsError, match=r"https://hub\.invalid redirects to http://127.*, which is not https"),
        download_limits.limits(100),
    ):
        huggingface_hub.get_session().get(hub.endpoint)

    assert hub.requests == []


@pytest.mark.usefixtures("cache")
def test_limits_end_with_their_block_and_bind_no_other_thread(hub: Hub) -> None:
    answers: list[int] = []
    url = f"{hub.endpoint}/api/models/owner/tiny"
    ask = lambda: answers.append(len(huggingface_hub.get_session().get(url).content))  # noqa: E731
    with download_limits.limits(1):
        with pytest.raises(BeyondLimitsError):
            ask()
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    ask()

    assert len(answers) == 2


# Names.


@pytest.mark.parametrize(
    "name",
    ["a/b/c", "https://huggingface.co/gpt2", "", "owner/", "/name", "owner/na me", "öwner/name", "a/..", "a\n/b",
     "124m", "owner/name\0", "-x/y", "owner/" + "x" * 200, "x" * 5000, "a--b/c", "../../nowhere"],
)  # fmt: skip
def test_what_can_be_no_model_is_refused_without_asking_the_hub(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelFileError, match="no model "):
        resolve_model(name)

    assert hub.requests == []


@pytest.mark.parametrize("revision", ["../x", "a/../b", "-x", "", "a b", "ä", "x" * 300, "a\n"])
def test_what_can_be_no_revision_is_refused(hub: Hub, cache: Path, revision: str | None) -> None:
    with pytest.raises(InputError, match="neither a commit nor the name of a branch"):
        resolve_model("owner/tiny", revision=revision)

    assert hub.requests == []


def test_a_directory_is_itself(tmp_path: Path) -> None:
    assert resolve_model(str(tmp_path)) == tmp_path


def test_a_link_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to("nowhere")

    with pytest.raises(ModelFileError, match="model: is a link that leads nowhere; it says 'nowhere'"):
        resolve_model(str(tmp_path / "model"))


def test_a_variable_that_is_no_number_is_said() -> None:
    code = "import sys; from arrayformer.cli import main; sys.exit(main(['download', 'a/b', '--offline']))"
    environment = os.environ | {"HF_HUB_DOWNLOAD_TIMEOUT": "soon"}

    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: huggingface_hub cannot be loaded (invalid literal")
    assert "Traceback" not in done.stderr


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")

    with pytest.raises(ModelFileError, match=r"is a file, and no \.gguf; pass the directory"):
        resolve_model(str(tmp_path / "model.safetensors"))


def test_a_size_is_taken_from_the_models_directory(tmp_path: Path) -> None:
    (tmp_path / "124M").mkdir()

    assert resolve_model("124M", models_dir=tmp_path) == tmp_path / "124M"


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [("124M", "gpt2"), ("355M", "gpt2-medium"), ("774M", "gpt2-large"), ("1558M", "gpt2-xl"), ("gpt2", "gpt2")],
)
def test_a_size_that_is_not_there_is_looked_for_at_the_hub(
    hub: Hub, cache: Path, tmp_path: Path, name: str, hub_id: Any
) -> None:
    with pytest.raises(DownloadError, match=f"openai-community/{hub_id}: there is no such repository"):
        resolve_model(name, models_dir=tmp_path)

    assert hub.requests == [f"GET /api/models/openai-community/{hub_id}"]


def test_the_default_model_is_in_the_package() -> None:
    import arrayformer

    wanted = Path(arrayformer.__file__).parent / "models" / "fable"
    if not wanted.is_dir():
        with pytest.raises(ModelFileError, match="'fable' is not part of this installation"):
            resolve_model("fable")
    else:
        assert resolve_model("fable") == wanted


def test_finding_a_directory_imports_no_hub_library(tmp_path: Path) -> None:
    code = (
        f"import sys; from arrayformer.hub.resolve import resolve_model; resolve_model({str(tmp_path)!r}); "
        "assert 'huggingface_hub' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
