"""Work that NumPy does without the interpreter's lock, spread over the cores the BLAS uses too."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")


@cache
def n_threads() -> int:
    """How many threads may compute: the cores this process may run on, or fewer where the BLAS was told so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    return max(1, min(cores, int(asked))) if asked.isdecimal() else cores


@cache
def pool() -> ThreadPoolExecutor:
    """The threads beside the caller's. They sleep while there is nothing to do."""
    return ThreadPoolExecutor(n_threads() - 1, thread_name_prefix="arrayformer")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # a child inherits the pool and none of its threads


def spread(function: Callable[[T], None], parts: Sequence[T]) -> None:
    """Call `function` on each part, in any order, on all threads; what one of them raises is raised here.

    Each thread takes the next part when it is done with its last, so that a busy core gets less to do.
    """
    n = min(n_threads(), len(parts))
    if n < 2:
        for part in parts:
            function(part)
        return
    rest = iter(parts)

    def work() -> None:
        for part in rest:
            function(part)

    others = [pool().submit(work) for _ in range(n - 1)]
    work()
    for other in others:
        other.result()
