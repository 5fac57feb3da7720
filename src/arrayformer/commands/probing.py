"""Several backends tried at once, each in a process of its own."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from arrayformer.backends.probe import Report, check_backend
from arrayformer.core.child import kill_all


def checked(names: Sequence[str], timeout: float, *, create: bool = True) -> dict[str, Report]:
    """A report for each of `names` (`name@distribution`). What interrupts it ends their processes."""
    pool = ThreadPoolExecutor(max_workers=max(2, (os.cpu_count() or 2) // 2))
    try:
        reports = pool.map(lambda name: check_backend(name, timeout=timeout, create=create), names)
        return dict(zip(names, reports, strict=True))
    except BaseException:  # Ctrl-C came: else we would wait for threads that wait for processes
        pool.shutdown(wait=False, cancel_futures=True)
        kill_all()
        raise
    finally:
        pool.shutdown()
