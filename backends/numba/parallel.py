"""One job at a time on all cores, handed over in less than a microsecond.

A decoded token is some hundred jobs of 20 to 500 microseconds. Python threads take 15 to 25 to hand one over, because
they pass the interpreter's lock to and fro. Here the others wait inside compiled code, without that lock, look for the
next job in a shared array, and go to sleep after a millisecond without one.

A job is cut into parts, and each thread takes the next part when it is done with its last. The caller takes parts
too: a thread that sleeps, or has lost its core to another program, costs nothing but its help.
"""

import atexit
import os
import threading
from functools import cache
from typing import Any

import numpy as np

from arrayformer.backends.numba import atomics
from arrayformer.backends.numba.compiled import COMPILES, kernel

# Each of these words has a line of the processor's cache to itself.
_OPEN, _ENTRY, _ARGS, _N, _STEP, _NEXT, _ACTIVE, _BUSY, _THREADS = (8 * i for i in range(9))
_EAGER = 20_000  # looks for what one waits for, some 50 microseconds, before the core is offered to others
_PATIENCE = _EAGER + 5_000  # looks before a thread sleeps: some milliseconds


@cache
def n_threads() -> int:
    """How many threads compute: NUMBA_NUM_THREADS or OMP_NUM_THREADS, at most the cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("NUMBA_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    return max(1, min(cores, int(asked))) if asked.isdecimal() else cores


@kernel()
def _take_parts(words, n, step):
    entry, args = atomics.load(words, _ENTRY), atomics.load(words, _ARGS)
    while True:
        first = atomics.add(words, _NEXT, step)
        if first >= n:
            return
        atomics.call(entry, args, first, min(first + step, n))


@kernel()
def _serve(words):
    """Take part in jobs until there was none for a while."""
    idle = 0
    while idle < _PATIENCE:
        idle += 1
        if atomics.load(words, _OPEN) == 1:
            # The caller returns, and its arrays may go, once the job is closed and nobody is active: who says that
            # it is active has to look again whether the job is still open.
            atomics.add(words, _ACTIVE, 1)
            if atomics.load(words, _OPEN) == 1 and atomics.load(words, _NEXT) < atomics.load(words, _N):
                _take_parts(words, atomics.load(words, _N), atomics.load(words, _STEP))
                idle = 0
            atomics.add(words, _ACTIVE, -1)
        if idle > _EAGER:
            atomics.give_way()


@kernel()
def _spread(words, prepared, n, step):
    """Do a job for parts of `step` of the range 0 to n, on all threads.

    Where they are at work for another caller, this one does everything itself.
    """
    entry, args = prepared
    if n <= step or words[_THREADS] == 1:
        atomics.call(entry, args, 0, n)
        return
    if atomics.add(words, _BUSY, 1) != 0:
        atomics.add(words, _BUSY, -1)
        atomics.call(entry, args, 0, n)
        return
    atomics.store(words, _ENTRY, entry)
    atomics.store(words, _ARGS, args)
    atomics.store(words, _N, n)
    atomics.store(words, _STEP, step)
    atomics.store(words, _NEXT, 0)
    atomics.store(words, _OPEN, 1)
    _take_parts(words, n, step)
    atomics.store(words, _OPEN, 0)
    looks = 0
    while atomics.load(words, _ACTIVE) != 0:
        looks += 1
        if looks > _EAGER:
            atomics.give_way()
    atomics.add(words, _BUSY, -1)


def _job_alone(body: Any) -> Any:
    return lambda args: (body, args)


def _spread_alone(words: np.ndarray, prepared: tuple[Any, tuple[Any, ...]], n: int, step: int) -> None:
    body, args = prepared
    body(*args, 0, n)


# In compiled code: `columns = job(body)` at the top of a module, then `spread(threads(), columns(args), n, step)` calls
# `body(*args, first, last)` on parts of the range 0 to n.
job = atomics.job if COMPILES else _job_alone
spread = _spread if COMPILES else _spread_alone


class _Pool:
    """The threads beside the caller's."""

    def __init__(self) -> None:
        self.words = np.zeros(8 * 9, dtype=np.int64)
        self.words[_THREADS] = n_threads() if COMPILES else 1
        self.asleep: set[int] = set()
        self._awake = threading.Event()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, args=(i,), name=f"arrayformer-numba-{i}", daemon=True)
            for i in range(1, int(self.words[_THREADS]))
        ]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Those that sleep look for jobs again."""
        self._awake.set()

    def _work(self, number: int) -> None:
        while not self._stopped:
            self._awake.clear()
            _serve(self.words)
            self.asleep.add(number)
            self._awake.wait()
            self.asleep.discard(number)

    def stop(self) -> None:
        """End the threads before the interpreter goes, so that none reads memory that is gone."""
        self._stopped = True
        self._awake.set()
        for thread in self._threads:
            thread.join()


@cache
def _pool() -> _Pool:
    pool = _Pool()
    atexit.register(pool.stop)
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child inherits the array and none of the threads


def threads() -> np.ndarray:
    """The array through which jobs are handed over, its threads awake."""
    pool = _pool()
    if pool.asleep:
        pool.wake()
    return pool.words
