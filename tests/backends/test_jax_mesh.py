"""One model over several devices, and over two processes: virtual CPU devices, so it says nothing about speed."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from . import reading

pytest.importorskip("jax")
PROGRAM = Path(__file__).with_name("reading.py")


def start(options: dict[str, Any], devices: int, **variables: str) -> "subprocess.Popen[str]":
    """`reading.py` in a process with so many virtual devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    path = os.pathsep.join(p for p in sys.path if p)
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path} | variables
    command = [sys.executable, str(PROGRAM), json.dumps(options)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """What it printed last."""
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return dict(json.loads(out.splitlines()[-1]))


@pytest.mark.parametrize(("mesh", "parts"), [("data=4,model=2", 8), ("model=4", 4), ("data=2,model=3", 2)])
def test_a_mesh_meets_the_criterion_of_one_device(mesh: str, parts: int) -> None:
    found = finish(start({"mesh": mesh}, devices=8))

    assert max(found["whole"], found["cached"]) <= reading.LIMIT
    assert found["cache_parts"] == parts, "heads that do not divide stay whole"
    assert found["default_precision"] is None


def test_two_processes_meet_the_criterion_of_one_device() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"

    both = [
        start({"mesh": "data=2,model=2"}, 2, JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=i)
        for i in ("0", "1")
    ]
    found = [finish(process) for process in both]

    assert found[0] == found[1]
    assert max(found[0]["whole"], found[0]["cached"]) <= reading.LIMIT
    assert found[0]["cache_parts"] == 4
