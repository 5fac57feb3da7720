"""Transfers that were cut off, by the network, by a signal or by another process, go on where they stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.hub.hub_server import WEIGHTS, Fault, Hub, sha256

from arrayformer.hub import resume as download_resume
from arrayformer.hub.resolve import resolve_model

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
    wait_until(lambda: any(path.stat().st_size for path in tmp_path.rglob(f"{sha256(weights)}.*.incomplete")))
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
