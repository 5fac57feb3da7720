"""What holds for all tests."""

import signal
from contextlib import contextmanager

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background deaf to Ctrl-C, and children inherit that; some tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def small_files():
    """small_files(n): a block in which no file can grow beyond `n` bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limit(n):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit
