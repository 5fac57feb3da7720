"""One model over several devices, and over two processes: virtual CPU devices, so it says nothing about speed."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from . import reading

pytest.importorskip("jax")
PROGRAM = Path(__file__).with_name("reading.py")


# XLA's own parts stay as they are; LLVM, which makes machine code of them, takes half the time.
FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
PARTS = {"data=4,model=2": 8, "model=4": 4, "data=2,model=3": 2}
"""mesh -> on how many devices parts of a cache of four heads lie: what does not divide stays whole"""


def start(meshes: Iterable[str], devices: int, **variables: str) -> "subprocess.Popen[str]":
    """`reading.py` in a process with so many virtual devices."""
    flags = f"--xla_force_host_platform_device_count={devices} {FAST}"
    path = os.pathsep.join(p for p in sys.path if p)
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path} | variables
    command = [sys.executable, str(PROGRAM), *meshes]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    """What it printed of each mesh."""
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return [dict(json.loads(line)) for line in out.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def on_mesh() -> dict[str, dict[str, Any]]:
    """What was found on each mesh of PARTS, all in one process."""
    return dict(zip(PARTS, finish(start(PARTS, devices=8)), strict=True))


@pytest.mark.parametrize("mesh", PARTS)
def test_a_mesh_meets_the_criterion_of_one_device(on_mesh: dict[str, dict[str, Any]], mesh: str) -> None:
    found = on_mesh[mesh]

    assert max(found["whole"], found["cached"]) <= reading.LIMIT
    assert found["cache_parts"] == PARTS[mesh]
    assert found["default_precision"] is None


def test_two_processes_meet_the_criterion_of_one_device() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"

    both = [
        start(["data=2,model=2"], 2, JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=i)
        for i in ("0", "1")
    ]
    found = [finish(process)[0] for process in both]

    assert found[0] == found[1]
    assert max(found[0]["whole"], found[0]["cached"]) <= reading.LIMIT
    assert found[0]["cache_parts"] == 4
