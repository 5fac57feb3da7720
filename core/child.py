"""One child process that answers requests: a JSON line in, a JSON line out, within a time limit.

The child's answers have a channel of their own: what a library prints on standard output, from Python or from C, goes
to standard error, and what it reads from standard input is nothing. Nothing of the working directory is imported.
"""

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from typing import IO, Any, Self

# How long a child may take to end by itself once nobody asks it any more.
LONGEST_END = 2.0

# Seconds between two looks whether the child is still there.
LOOK = 1.0


class ChildError(Exception):
    """A child process that gave no answer."""


class ChildEndedError(ChildError):
    """The child ended. `code` is its exit code, or minus the number of the signal that killed it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the process ended with {ended_with(code)}")
        self.code = code


class ChildTimeoutError(ChildError):
    """The child gave no answer within the limit, and was ended. `seconds` is the limit."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")
        self.seconds = seconds


def ended_with(code: int) -> str:
    """An exit code in words: "exit code 3" or "SIGSEGV"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def python(*arguments: str) -> list[str]:
    """The command line of this Python with `arguments`; it imports nothing from the working directory."""
    return [sys.executable, "-P", *arguments]


_children: "weakref.WeakSet[Child]" = weakref.WeakSet()


def kill_all() -> None:
    """End the children of all threads at once: whoever waits for an answer is told that they ended."""
    for child in list(_children):
        child.kill()


class Child:
    """A child process. It ends with the `with` block; `start` begins another one.

    arguments  what Python runs: ("-m", "package.module"), or a script and its arguments. It answers through `Requests`
    env        variables besides those of this process
    stderr     where the child's messages go, and what its libraries print (this process's standard error)
    """

    def __init__(
        self, *arguments: str, env: Mapping[str, str] | None = None, stderr: int | IO[bytes] | None = None
    ) -> None:
        self._command = python(*arguments)
        self._env = {**os.environ, **(env or {})}
        self._stderr = stderr
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        _children.add(self)

    @property
    def running(self) -> bool:
        """Whether there is a process that can be asked."""
        return self._process is not None

    def start(self) -> None:
        """Start the process, and end the one before. It is not waited for: the first answer is."""
        self.close()
        # A group of its own: Ctrl-C reaches the parent alone, which ends the child and all that the child started.
        windows = {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        apart: dict[str, Any] = windows if os.name == "nt" else {"process_group": 0}
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, env=self._env,
            encoding="utf-8", **apart,
        )  # fmt: skip
        self._process, self._answers = process, queue.Queue()
        self._end = weakref.finalize(self, _kill, process)
        threading.Thread(target=_listen, args=(process.stdout, self._answers), daemon=True).start()

    def ask(self, request: Mapping[str, Any], seconds: float | None = None) -> dict[str, Any]:
        """The answer to `request`, see `send` and `receive`."""
        self.send(request)
        return self.receive(seconds)

    def send(self, request: Mapping[str, Any]) -> None:
        """Write a request; a child that is not running is started for it. One that has ended says so in `receive`."""
        if self._process is None:
            self.start()
        pipe = self._process.stdin if self._process else None
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.write(json.dumps(request) + "\n")  # NaN too: both ends are Python
                pipe.flush()

    def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """The child's next answer. `seconds` is how long it is waited for (for ever).

        Raises ChildTimeoutError where there is none in time, ChildEndedError where there will be none; the process is
        gone then.
        """
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        while (line := self._line(deadline)) is not None:
            try:
                return dict(json.loads(line))
            except ValueError:  # printed before the channel was there, or cut off by the child's end
                sys.stderr.write(line)
        if self._process is not None and self._process.poll() is None and time.monotonic() >= deadline:
            self._stop(patience=0)
            raise ChildTimeoutError(seconds or 0)
        raise ChildEndedError(self._stop(patience=LONGEST_END))

    def _line(self, deadline: float) -> str | None:
        """The next line; None where there is none until `deadline`, or the child is at its end."""
        while True:
            # A process that the child started may keep its channel open: the end of the child is looked for too.
            ended = self._process is None or self._process.poll() is not None
            try:
                return self._answers.get(timeout=max(0.0, min(LOOK, deadline - time.monotonic())))
            except queue.Empty:
                if ended or time.monotonic() >= deadline:
                    return None

    def close(self) -> None:
        """End the process: it is asked to by the end of its requests, and killed where it does not."""
        self._stop(patience=LONGEST_END)

    def kill(self) -> None:
        """End the process at once, from any thread."""
        if self._process is not None:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop(patience=LONGEST_END if kind is None else 0)

    def _stop(self, patience: float) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            if patience:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience)
        finally:  # Ctrl-C too
            self._end()
        return process.wait()


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill the process and what it started, and take its exit code: no zombie stays.

    In a fork of its parent this does nothing: to `poll` there, what is no child of its own has ended.
    """
    if process.poll() is None:
        if os.name == "nt":
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _listen(stream: IO[str] | None, answers: "queue.Queue[str | None]") -> None:
    """Put each line of `stream` into `answers`, and None when it ends."""
    if stream is not None:
        with stream, contextlib.suppress(ValueError, OSError):
            for line in stream:
                answers.put(line)
    answers.put(None)


class Requests:
    """In the child: the requests as they come, and the way back. Make it before any library is imported.

    From then on standard output is standard error and standard input is empty.
    """

    def __init__(self) -> None:
        self._requests = os.fdopen(os.dup(0), encoding="utf-8")
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        sys.stdin, sys.stdout = open(0, encoding="utf-8", closefd=False), sys.stderr  # noqa: SIM115

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for line in self._requests:
            yield json.loads(line)

    def answer(self, what: Mapping[str, Any]) -> None:
        """Write one answer."""
        try:
            self._answers.write(json.dumps(what) + "\n")
            self._answers.flush()
        except BrokenPipeError:  # whoever asked has been ended
            os._exit(1)  # without the second attempt to write that an ordinary end would make
