"""The keys and values of everything read so far."""

from typing import NamedTuple

from arrayformer.core.array_api import Array


class Cache(NamedTuple):
    """What was read so far. A tuple of lists of arrays: JAX knows it as a pytree without being told.

    k, v     one array per layer, [batch, head, capacity, head_dim]
    length   [batch] int, how many slots of each row hold an id; what lies behind them is never looked at
    slot     [capacity] int, 0, 1, 2, ...: the graph makes no arrays, so it needs to know no device

    Only `length` commits: padding, an aborted step and a rejected draft cost nothing.
    """

    k: list[Array]
    v: list[Array]
    length: Array
    slot: Array
