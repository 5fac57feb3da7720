"""The other end of `worker.py`: starts a process and asks it."""

from typing import Any, Self

from arrayformer.core import errors
from arrayformer.core.child import Child, ChildEndedError, ended_with
from arrayformer.core.errors import BackendError

WORKER = ("-m", "arrayformer.bench.worker")


class Process:
    """A process that answers requests, one JSON line each. It ends with the `with` block.

    arguments  what Python runs
    """

    def __init__(self, *arguments: str) -> None:
        self._child = Child(*(arguments or WORKER))

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """What the worker's method returns. Raises the error it gave, or BackendError where it died."""
        try:
            answer = self._child.ask({"do": do, **arguments})
        except ChildEndedError as ended:
            how = ended_with(ended.code)
            raise BackendError(f"the process that ran {do!r} ended with {how}; its message stands above") from None
        if "error" in answer:
            kind: type[Exception] = getattr(errors, answer["error"], BackendError)
            raise kind(answer["message"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._child.__exit__(*error)
