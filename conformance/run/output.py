"""What is written on standard output while a case runs: nothing, or text and JSON of a user's are spoilt."""

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO


class Written:
    """What was written, readable once the watch is over."""

    text = ""


@contextlib.contextmanager
def watched() -> Iterator[Written]:
    """Keep what Python, or the C library below it, writes on standard output."""
    written = Written()
    _flush(sys.stdout)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as sink:
        before = os.dup(1)
        os.dup2(sink.fileno(), 1)
        try:
            with contextlib.redirect_stdout(sink):
                yield written
        finally:
            _flush(sink)
            os.dup2(before, 1)
            os.close(before)
            sink.seek(0)
            written.text = sink.read(2000)


def _flush(stream: IO[str]) -> None:
    """Empty the buffers of Python and of the C library."""
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Windows has no library of that name
        ctypes.CDLL(None).fflush(None)
