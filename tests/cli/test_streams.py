"""Streams that are closed, full, or know no Unicode."""

import os
import subprocess
import sys

import pytest
from tests.cli.process import call


@pytest.mark.skipif(os.name != "posix", reason="a shell's way to close a stream")
@pytest.mark.parametrize(
    ("closed", "arguments", "code", "out", "err"),
    [
        (">&-", ("tokenize", "a"), 3, b"", b"error: standard output is closed: there is nowhere to write to\n"),
        (">&-", ("--help",), 3, b"", b"error: standard output is closed: there is nowhere to write to\n"),
        ("2>&-", ("tokenize", "a"), 0, b"64\n", b""),
        ("2>&-", ("tokenize", "--decode", "x"), 2, b"", b""),
        (">&- 2>&-", ("tokenize", "a"), 3, b"", b""),
        ("<&-", ("tokenize", "a"), 0, b"64\n", b""),
        ("<&-", ("tokenize", "-"), 2, b"", b"error: standard input is closed; give the prompt as an argument\n"),
    ],
)
def test_streams_that_are_closed_from_the_start_are_no_crash(closed, arguments, code, out, err):
    shell = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-m", "arrayformer", *arguments]

    done = subprocess.run(shell, capture_output=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


@pytest.mark.parametrize(
    "arguments",
    [
        ("conformance", "--case", "L1-relu", "--json", "r.json"),
        ("conformance", "--case", "L1-relu", "--junit", "r.xml"),
        ("inspect", "Once upon a time", "--html", "r.html"),
        ("new-backend", "mine"),
    ],
)
def test_a_file_that_finds_no_room_is_said_and_not_left_half_written(
    run, monkeypatch, tmp_path, small_files, arguments
):
    monkeypatch.chdir(tmp_path)

    with small_files(200):
        code, _, err = run(*arguments)

    assert code == 3
    assert err.splitlines()[-1].endswith("cannot be written: File too large")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "Hello", "-n", "3", "-m", "DIRECTORY"), ("generate", "Hello", "--json", "-m", "DIRECTORY"),
        ("tokenize", "a"), ("backends",), ("backends", "--json"), ("--help",), ("inspect", "Hello", "-m", "DIRECTORY"),
        ("evaluate", "--list"), ("download", "openai-community/gpt2", "--help"),
    ],
    ids=str,
)  # fmt: skip
def test_a_full_disk_is_one_line(directory, arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "arrayformer", *(directory if a == "DIRECTORY" else a for a in arguments)],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip

    assert done.returncode == 3
    assert done.stderr.startswith("error: standard output")
    assert done.stderr.endswith("No space left on device\n")
    assert done.stderr.count("\n") == 1


def test_a_terminal_that_knows_no_unicode_gets_question_marks(directory):
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "NO_COLOR": "1", "COLUMNS": "1"}

    process = call("generate", "né", "-m", directory, "-n", 30, "--echo", "--offline", env=environment)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"n?")


@pytest.mark.parametrize("command", ["inspect", "tokenize", "evaluate"])
def test_an_ascii_terminal_is_no_crash(directory, command, tmp_path):
    (tmp_path / "t.txt").write_text("né né né", encoding="utf-8")
    arguments = {
        "inspect": ["né é", "-m", directory], "tokenize": ["né", "--explain"],
        "evaluate": ["--data", tmp_path / "t.txt", "-m", directory],
    }[command]  # fmt: skip

    process = call(command, *arguments, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, b"")
    assert out.isascii()
    assert out


NOISY = """
import ctypes, os, sys
from arrayformer.core.engine import Engine
from arrayformer import cli

step = Engine.step
def noisy(self, *rest):
    print("NOISE in Python")
    os.write(1, b"NOISE below it")
    return step(self, *rest)

Engine.step = noisy
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="descriptors")
@pytest.mark.parametrize("options", [("--json",), ()])
def test_what_a_library_prints_is_not_among_the_output(directory, options):
    arguments = ["generate", "Hello", "-m", directory, "-n", "3", "--ignore-eos", *options]
    quiet = call(*arguments).communicate(timeout=60)[0]

    done = subprocess.run([sys.executable, "-c", NOISY, *arguments], capture_output=True, check=False)

    assert (done.returncode, done.stdout) == (0, quiet)
    assert done.stderr.count(b"NOISE in Python") == done.stderr.count(b"NOISE below it") > 0


def test_standard_input_that_is_closed_is_said(directory):
    arguments = ["generate", "-", "-m", directory]
    code = f"import sys; sys.stdin = None; from arrayformer.cli import main; sys.exit(main({arguments}))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "standard input is closed" in done.stderr
