"""Several backends tried at once, each in a process of its own."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from arrayformer.backends.probe import Report, check_backend


def checked(names: Sequence[str], timeout: float, *, create: bool = True) -> dict[str, Report]:
    """A report for each of `names` (`name@distribution`)."""
    with ThreadPoolExecutor(max_workers=max(2, (os.cpu_count() or 2) // 2)) as pool:
        reports = pool.map(lambda name: check_backend(name, timeout=timeout, create=create), names)
        return dict(zip(names, reports, strict=True))
