"""A child process that answers, prints, hangs, dies and is interrupted."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from arrayformer.core.child import Child, ChildEndedError, ChildTimeoutError

ECHO = """
import ctypes, os, sys, time
from arrayformer.core.child import Requests
requests = Requests()
for request in requests:
    exec(request.get("do", ""))
    requests.answer({"said": request.get("say"), "input": sys.stdin.read()})
"""


@pytest.fixture
def child(tmp_path):
    """child(code=ECHO): a child process, not started yet."""
    made = []

    def make(code: str = ECHO, **how) -> Child:
        script = tmp_path / f"script{len(made)}.py"
        script.write_text(textwrap.dedent(code))
        made.append(Child(str(script), **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


def children() -> set[int]:
    """The processes this one has started and not taken the exit code of."""
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def test_requests_are_answered_in_utf8_and_with_nan(child):
    answer = child().ask({"say": ["Grüße \U0001f600", float("inf")]}, 20)

    assert answer["said"] == ["Grüße \U0001f600", float("inf")]


@pytest.mark.parametrize("do", ["print('noise')", "os.write(1, b'noise\\n')", "ctypes.CDLL(None).puts(b'noise')"])
def test_what_a_library_prints_is_no_answer(child, tmp_path, do):
    with (tmp_path / "stderr").open("wb") as sink, child(stderr=sink) as worker:
        answers = [worker.ask({"say": number, "do": do}, 20)["said"] for number in range(3)]

    assert answers == [0, 1, 2]
    assert "noise" in (tmp_path / "stderr").read_text()


def test_what_was_printed_before_the_channel_was_there_is_no_answer(child, capfd):
    assert child("print('early', flush=True)\n" + ECHO).ask({"say": 1}, 20)["said"] == 1

    assert "early" in capfd.readouterr().err


def test_a_library_reads_nothing_of_the_requests(child):
    assert child().ask({"say": 1}, 20)["input"] == ""


@pytest.mark.parametrize(("do", "code", "words"), [("os._exit(7)", 7, "exit code 7"), ("os.abort()", -6, "SIGABRT")])
def test_a_child_that_dies_is_told_with_its_code_and_the_next_request_gets_a_new_one(child, do, code, words):
    worker = child(stderr=subprocess.DEVNULL)

    with pytest.raises(ChildEndedError, match=words) as ended:
        worker.ask({"do": do}, 20)

    assert ended.value.code == code
    assert not children()
    assert worker.ask({"say": 2}, 20)["said"] == 2


def test_a_child_that_ended_before_it_was_asked_is_told(child):
    worker = child("raise SystemExit(3)")
    worker.start()
    time.sleep(0.5)

    with pytest.raises(ChildEndedError, match="exit code 3"):
        worker.ask({"say": "x" * 1_000_000}, 20)


def test_a_child_that_hangs_is_told_from_one_that_died_and_is_gone(child):
    worker = child()
    worker.ask({}, 20)
    start = time.monotonic()

    with pytest.raises(ChildTimeoutError, match=r"no answer within 0\.3 s"):
        worker.ask({"do": "time.sleep(60)"}, 0.3)

    assert time.monotonic() - start < 2
    assert not children()


def test_what_the_child_started_does_not_keep_us_waiting(child):
    worker = child()
    worker.ask({}, 20)

    with pytest.raises(ChildEndedError, match="exit code 5"):
        worker.ask({"do": "os.fork() or time.sleep(30); os._exit(5)"})


def test_closing_ends_a_child_by_itself_and_leaves_no_zombie_and_no_descriptor(child):
    before = sorted(os.listdir("/proc/self/fd"))
    with child() as worker:
        worker.ask({}, 20)

    for _ in range(100):
        if sorted(os.listdir("/proc/self/fd")) == before:
            break
        time.sleep(0.02)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert not children()


def test_a_child_that_is_forgotten_is_ended(tmp_path):
    (tmp_path / "script.py").write_text(ECHO)
    worker = Child(str(tmp_path / "script.py"))
    worker.ask({}, 20)
    del worker
    gc.collect()

    assert not children()


@pytest.mark.parametrize("end", ["del", "close"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of forking beside threads
def test_a_fork_of_the_parent_does_not_end_the_child(child, end):
    worker = child()
    worker.ask({}, 20)
    pid = os.fork()
    if pid == 0:
        worker._end() if end == "del" else worker.close()
        os._exit(0)
    os.waitpid(pid, 0)

    assert worker.ask({"say": "still there"}, 20)["said"] == "still there"


def test_an_error_in_the_block_ends_a_busy_child_at_once(child):
    def fail_beside_it(worker: Child) -> None:
        with worker:
            worker.ask({}, 20)
            worker.send({"do": "time.sleep(60)"})
            raise ZeroDivisionError

    start = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        fail_beside_it(child())

    assert time.monotonic() - start < 10
    assert not children()


def test_nothing_of_the_working_directory_is_imported(child, tmp_path, monkeypatch):
    trap = tmp_path / "model"
    trap.mkdir()
    for name in ("arrayformer", "numpy", "json", "sitecustomize"):
        (trap / f"{name}.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(trap)

    assert child().ask({"do": "import numpy", "say": 1}, 20)["said"] == 1


def test_ctrl_c_at_the_terminal_reaches_the_parent_alone(tmp_path):
    (tmp_path / "script.py").write_text(ECHO)
    code = """
        import sys, time
        from arrayformer.core.child import Child
        with Child(sys.argv[1]) as child:
            child.ask({}, 20)
            print("ready", flush=True)
            child.ask({"do": "time.sleep(60)"})
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "script.py")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    os.killpg(parent.pid, signal.SIGINT)

    _, stderr = parent.communicate(timeout=10)
    assert parent.returncode == -signal.SIGINT
    assert stderr.count("Traceback") == 1
    assert "script.py" not in stderr
