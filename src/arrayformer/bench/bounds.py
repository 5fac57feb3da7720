"""What this machine could do at best: the matrix products of one model and nothing else, each timed alone.

Decoding reads every weight once for each token, so its bound is the sum of the matrix-vector products, each in
the layout that is fastest for it. Reading a prompt is matrix products, so its bound is their operations over the
rate the BLAS reaches. Both are NumPy's BLAS in float32 on the cores this process may use.
"""

import time
from collections.abc import Callable

import numpy as np

from arrayformer.core.models.gpt2 import GPT2Config

BEYOND_THE_CACHE = 1 << 28  # bytes of weights that are walked through, so that each comes from memory


def products(config: GPT2Config) -> dict[str, tuple[int, int, int]]:
    """The products of one step, by name: rows, columns, and how often they are computed."""
    n, inner, layers = config.n_embd, config.inner, config.n_layer
    return {
        "attn.c_attn": (n, 3 * n, layers),
        "attn.c_proj": (n, n, layers),
        "mlp.c_fc": (n, inner, layers),
        "mlp.c_proj": (inner, n, layers),
        "head": (n, config.n_vocab, 1),
    }


def weight_bytes(config: GPT2Config) -> int:
    """Bytes of float32 weights that one decoded token reads."""
    return sum(4 * n_in * n_out * times for n_in, n_out, times in products(config).values())


def prefill_operations(config: GPT2Config, n_ids: int, batch: int = 1) -> int:
    """Multiplications and additions in the products of the blocks; the head is computed for the last id alone."""
    per_id = sum(2 * n_in * n_out * times for name, (n_in, n_out, times) in products(config).items() if name != "head")
    return batch * (n_ids * per_id + 2 * config.n_embd * config.n_vocab)


def fastest(function: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of `repeats` calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def decode_seconds(config: GPT2Config, repeats: int = 5) -> float:
    """Seconds of the matrix-vector products of one token, each in its better layout."""
    return sum(times * vector_seconds(n_in, n_out, times, repeats) for n_in, n_out, times in products(config).values())


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


def operations_per_second(config: GPT2Config, n_ids: int = 512, repeats: int = 5) -> float:
    """The rate of the largest product of a block at `n_ids` ids."""
    x = np.ones((n_ids, config.n_embd), dtype=np.float32)
    w, out = (np.ones(shape, dtype=np.float32) for shape in ((config.n_embd, config.inner), (n_ids, config.inner)))
    return 2 * n_ids * config.n_embd * config.inner / fastest(lambda: np.matmul(x, w, out=out), repeats)
