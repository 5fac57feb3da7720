"""Inputs of the sizes of real models, and a truth for all of them that is cheap.

Only a few rows are different; they follow one another again and again, their number prime, so that no block of a
power of two sees the same rows twice. float64 has to compute each only once, and every row of the result is judged.
"""

import numpy as np

from arrayformer.conformance.cases.bounds import normal
from arrayformer.conformance.run.subject import Host

DISTINCT = 37
_POOL = 1 << 20


def rows(n: int, width: int, seed: int = 0) -> tuple[Host, Host, Host]:
    """(x [n, width], its distinct rows [d, width], which of them each row of x is [n])."""
    few = normal(seed, min(n, DISTINCT), width)
    which = np.arange(n) % len(few)
    return few[which], few, which


def matrix(n: int, width: int, seed: int = 0) -> Host:
    """[n, width] float32, normal, no two rows alike: windows into one row of numbers. Nothing of that size is drawn."""
    pool = normal(seed, min(_POOL, n * width))
    step = max(1, (len(pool) - width) // n) if n * width > len(pool) else width
    starts = np.minimum(np.arange(n) * step, len(pool) - width)
    found: Host = np.lib.stride_tricks.sliding_window_view(pool, width)[starts]
    return found


def around(*sizes: int) -> list[int]:
    """Each size and its neighbours."""
    return sorted({n for size in sizes for n in (size - 1, size, size + 1) if n > 0})


def chosen(n: int, most: int = 48) -> Host:
    """At most about `most` of 0 to n - 1: both ends, both sides of each power of two, and some between."""
    if n <= most:
        return np.arange(n)
    powers = [p + d for p in (1 << np.arange(n.bit_length())) for d in (-1, 0)]
    some = np.random.Generator(np.random.PCG64(n)).integers(0, n, most // 3)
    found = {0, n - 1, n - 2, *(int(i) for i in powers if i < n), *map(int, some)}
    return np.array(sorted(found))
