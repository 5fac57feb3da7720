"""The other end of `worker.py`: starts a process and asks it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self

from arrayformer.core import errors
from arrayformer.core.errors import BackendError

WORKER = (sys.executable, "-m", "arrayformer.bench.worker")


class Process:
    """A process that answers requests, one JSON line each. It ends with the `with` block."""

    def __init__(self, command: Sequence[str] = WORKER) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """What the worker's method returns. Raises the error it gave, or BackendError where it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise BackendError(f"the process that ran {do!r} ended with exit code {code}; its message stands above")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind: type[Exception] = getattr(errors, answer["error"], BackendError)
            raise kind(answer["message"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
