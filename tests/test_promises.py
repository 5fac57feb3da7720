"""SECURITY.md's promises about output and child processes, attacked through the command line."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

REPORTS = {
    "conformance --json": ["conformance", "--backend", "numpy", "--level", "0", "--json"],
    "conformance --html": ["conformance", "--backend", "numpy", "--level", "0", "--html"],
    "conformance --junit": ["conformance", "--backend", "numpy", "--level", "0", "--junit"],
    "inspect --html": ["inspect", "Once upon a time", "--html"],
}


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command, as it is started by its script: the working directory is not on the path."""
    code = "import sys; from arrayformer.cli import main; sys.exit(main())"
    command = [sys.executable, "-P", "-c", code, *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
@pytest.mark.parametrize("command", REPORTS.values(), ids=REPORTS)
def test_no_report_replaces_a_device(tmp_path: Path, command: list[str]) -> None:
    device = tmp_path / "null"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))

    done = run(*command, str(device), cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert stat.S_ISCHR(device.lstat().st_mode)


@pytest.mark.parametrize("command", REPORTS.values(), ids=REPORTS)
def test_no_report_follows_a_link(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "report").symlink_to("victim")

    done = run(*command, "report", cwd=tmp_path)

    assert done.returncode == 3
    assert done.stderr == "error: report cannot be written: it is a link to victim; name the file itself\n"
    assert (tmp_path / "victim").read_text() == "mine"


def test_results_can_be_sent_to_standard_output(tmp_path: Path) -> None:
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")  # as /dev/stdout is one
    done = run(*REPORTS["conformance --json"], "stdout", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1])["schema"] == "v1"
    assert (tmp_path / "stdout").is_symlink()


CHILDREN = {
    "bench": [
        "bench",
        "--prompt-lengths",
        "2",
        "--batch-sizes",
        "1",
        "--new-tokens",
        "1",
        "--rounds",
        "1",
        "--no-bounds",
    ],
    "conformance": ["conformance", "--backend", "numpy", "--level", "0"],
    "backends --check": ["backends", "--check", "numpy"],
}


@pytest.mark.parametrize("command", CHILDREN.values(), ids=CHILDREN)
def test_no_child_process_imports_what_lies_in_the_working_directory(tmp_path: Path, command: list[str]) -> None:
    for name in ("arrayformer", "numpy", "json", "safetensors", "regex"):
        trap = f"open({str(tmp_path / 'sprung')!r}, 'a').write({name!r})\nraise SystemExit(77)\n"
        (tmp_path / f"{name}.py").write_text(trap)

    done = run(*command, cwd=tmp_path)

    assert not (tmp_path / "sprung").exists()
    assert done.returncode == 0, done.stderr
