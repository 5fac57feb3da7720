"""Standard output: for what a command has to say, and for nothing else."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from arrayformer.core.errors import OutputError

_alone: list[int] = []
"""The descriptor of the real standard output, while `alone_on_stdout` keeps it from everybody else."""


def out(text: str) -> None:
    """Print now. A character that the terminal's encoding lacks becomes "?". Raises OutputError for a full disk."""
    stream = sys.__stdout__ if _alone else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    data = text.encode(encoding, errors="replace")
    try:
        if _alone:
            while data:
                data = data[os.write(_alone[-1], data) :]
        else:
            sys.stdout.write(data.decode(encoding))
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror or error}") from error


def on_terminal() -> bool:
    """Whether somebody looks at what `out` prints."""
    return os.isatty(_alone[-1]) if _alone else sys.stdout.isatty()


@contextmanager
def alone_on_stdout() -> Iterator[None]:
    """Keep standard output to `out`: what a library prints meanwhile, in Python or below it, goes to standard error."""
    if sys.stdout is not sys.__stdout__ or sys.stdout is None or os.name != "posix":  # a program that called us
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    _alone.append(kept)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(_alone.pop(), 1)
        os.close(kept)
