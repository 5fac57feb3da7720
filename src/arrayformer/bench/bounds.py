"""What this machine could do at best: the matrix products of one model and nothing else, each timed alone.

Decoding reads every weight once for each token, so its bound is the sum of the matrix-vector products, each in
the layout that is fastest for it. Reading a prompt is matrix products, so its bound is their operations over the
rate the BLAS reaches. Both are NumPy's BLAS in float32 on the cores this process may use.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from arrayformer.core.architecture import Architecture
from arrayformer.core.params import walk

BEYOND_THE_CACHE = 1 << 28  # bytes of weights that are walked through, so that each comes from memory


@dataclass(frozen=True)
class Work:
    """The matrix products of one step of a model.

    blocks  n_in, n_out and how often there is one of this shape, in all blocks together
    head    n_embd, n_vocab
    n_ctx   ids that fit into the context
    """

    blocks: list[tuple[int, int, int]]
    head: tuple[int, int]
    n_ctx: int

    @classmethod
    def of(cls, config: Architecture) -> "Work":
        """Of an architecture's weights."""
        shapes = Counter(w.shape for _, w in walk(config.weights()["blocks"]) if len(w.shape) == 2)
        blocks = [(n_in, n_out, times) for (n_in, n_out), times in shapes.items()]
        return cls(blocks, (config.n_embd, config.n_vocab), config.n_ctx)

    @property
    def products(self) -> list[tuple[int, int, int]]:
        """All of them."""
        return [*self.blocks, (*self.head, 1)]


def weight_bytes(work: Work) -> int:
    """Bytes of float32 weights that one decoded token reads."""
    return sum(4 * n_in * n_out * times for n_in, n_out, times in work.products)


def prefill_operations(work: Work, n_ids: int, batch: int = 1) -> int:
    """Multiplications and additions in the products of the blocks; the head is computed for the last id alone."""
    per_id = sum(2 * n_in * n_out * times for n_in, n_out, times in work.blocks)
    return batch * (n_ids * per_id + 2 * work.head[0] * work.head[1])


def fastest(function: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of `repeats` calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def decode_seconds(work: Work, repeats: int = 5) -> float:
    """Seconds of the matrix-vector products of one token, each in its better layout."""
    return sum(times * vector_seconds(n_in, n_out, times, repeats) for n_in, n_out, times in work.products)


def vector_seconds(n_in: int, n_out: int, times: int, repeats: int) -> float:
    """Seconds of one product of [1, n_in] and [n_in, n_out], weights from memory and not from the cache."""
    copies = min(max(2, BEYOND_THE_CACHE // (4 * n_in * n_out)), max(2, times))
    x, out = np.ones((1, n_in), dtype=np.float32), np.empty((1, n_out), dtype=np.float32)

    def through(weights: list[np.ndarray]) -> Callable[[], object]:
        return lambda: [np.matmul(x, w, out=out) for w in weights]

    seconds = []
    for order in ("C", "F"):
        weights = [np.full((n_in, n_out), 0.5, dtype=np.float32, order=order) for _ in range(copies)]
        seconds.append(fastest(through(weights), repeats) / copies)
        del weights
    return min(seconds)


def operations_per_second(work: Work, n_ids: int = 512, repeats: int = 5) -> float:
    """The rate of the largest product of a block at `n_ids` ids."""
    n_in, n_out, _ = max(work.blocks, key=lambda product: product[0] * product[1])
    x, w, out = (np.ones(shape, dtype=np.float32) for shape in ((n_ids, n_in), (n_in, n_out), (n_ids, n_out)))
    return 2 * n_ids * n_in * n_out / fastest(lambda: np.matmul(x, w, out=out), repeats)
