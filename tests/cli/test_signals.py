"""Ctrl-C, SIGTERM and a pipe that closes: what was written comes out, and nothing stays behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tests.cli.process import LONG, call


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_lets_out_what_was_written_and_ends_with_130(directory):
    process = call("generate", "Hello", "-m", directory, *LONG)
    first = os.read(process.stdout.fileno(), 10)

    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)

    assert first
    assert rest.endswith(b"\n")
    assert (process.returncode, err) == (130, b"")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_sigterm_lets_out_what_was_written_and_ends_with_143(directory):
    process = call("generate", "Hello", "-m", directory, *LONG)
    first = os.read(process.stdout.fileno(), 10)

    process.terminate()
    rest, err = process.communicate(timeout=60)

    assert first
    assert rest.endswith(b"\n")
    assert (process.returncode, err) == (143, b"")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
def test_sigterm_that_is_swallowed_ends_the_process_all_the_same():
    code = """if True:
        import os, signal, sys, time
        from arrayformer import cli

        class Swallowing:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)

        def work(*_):
            Swallowing()
            time.sleep(60)

        cli.LONGEST_END, cli.run = 0.1, work
        sys.exit(cli.main([]))
    """

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=50, check=False)

    assert b"Exception ignored" in done.stderr
    assert done.returncode == 143


@pytest.mark.skipif(not os.path.exists(f"/proc/self/task/{os.getpid()}/children"), reason="looks into /proc")
@pytest.mark.parametrize(
    "arguments",
    [("conformance", "--artifacts", "."), ("bench", "--rounds", "100", "--no-bounds", "--prompt-lengths", "16")],
)
def test_sigterm_ends_the_processes_that_were_started_too(arguments, tmp_path):
    process = call(*arguments, cwd=tmp_path)
    task = f"/proc/{process.pid}/task/{process.pid}/children"
    deadline = time.monotonic() + 60
    while not (children := open(task).read().split()) and time.monotonic() < deadline:  # noqa: SIM115
        time.sleep(0.02)

    process.terminate()
    _, err = process.communicate(timeout=60)

    while any(os.path.exists(f"/proc/{child}") for child in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert children
    assert process.returncode == 143
    assert b"most recent call last" not in err
    assert not [child for child in children if os.path.exists(f"/proc/{child}")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_closed_pipe_ends_quietly(directory):
    process = call("generate", "Hello", "-m", directory, *LONG)
    os.read(process.stdout.fileno(), 10)

    process.stdout.close()
    process.wait(timeout=60)

    assert (process.returncode, process.stderr.read()) == (0, b"")


def test_text_comes_as_it_is_written(directory):
    process = call("generate", "Hello", "-m", directory, *LONG)
    start = time.monotonic()

    pieces = [os.read(process.stdout.fileno(), 1 << 16) for _ in range(3)]
    process.kill()
    process.communicate()

    assert all(pieces)
    assert time.monotonic() - start < 60


@pytest.mark.skipif(not os.path.exists(f"/proc/self/task/{os.getpid()}/children"), reason="looks into /proc")
@pytest.mark.parametrize(
    "arguments",
    [("conformance", "--artifacts", "."), ("bench", "--rounds", "100", "--no-bounds", "--prompt-lengths", "16")],
)
def test_ctrl_c_in_a_terminal_shows_no_traceback_of_a_child(arguments, tmp_path):
    process = call(*arguments, cwd=tmp_path, start_new_session=True)
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    deadline = time.monotonic() + 60
    while not open(children).read().split() and time.monotonic() < deadline:  # noqa: SIM115
        time.sleep(0.02)
    time.sleep(1)

    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert b"Traceback" not in err
