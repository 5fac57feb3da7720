"""A small model read in every way there is, compared with float64. Also a program, for processes of their own.

python reading.py data=4,model=2 model=4 prints a line for each mesh: what `errors` returns for JAX on it, as JSON.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayformer.backends.registry import get_backend
from arrayformer.conformance.criterion.metrics import divergence
from arrayformer.core.backend import Backend
from arrayformer.core.engine import Engine
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import random_params

CONFIG = GPT2(n_vocab=66, n_ctx=32, n_embd=24, n_head=4, n_layer=2)
PARAMS = random_params(CONFIG.weights(), seed=3, gain=0.4)
ROWS = [[int(i) for i in np.random.default_rng(n).integers(0, 66, n)] for n in (21, 5, 32, 17)]
LIMIT = 8.0  # times the error of NumPy in float32


def read_whole(backend: Backend, rows: Sequence[Sequence[int]] = ROWS) -> list[np.ndarray]:
    """Logits [seq, n_vocab] of each row, read at once and alone."""
    engine = Engine(CONFIG, PARAMS, backend)
    return [engine.logits(row) for row in rows]


def read_cached(backend: Backend) -> list[np.ndarray]:
    """The last logits of each row [1, n_vocab], read as a ragged batch: first a part, then the rest in two steps."""
    context = Engine(CONFIG, PARAMS, backend).context(len(ROWS))
    context.read([row[: len(row) // 2] for row in ROWS])
    context.read([row[len(row) // 2 : -1] for row in ROWS])
    last = backend.to_numpy(context.read([row[-1:] for row in ROWS]))
    return list(last[:, None, :])


def errors(backend: Backend, rows: Sequence[int] = range(len(ROWS))) -> dict[str, float]:
    """The worst error of each way of reading, in units of NumPy's own in float32; `rows` of ROWS are read whole."""
    exact, plain = (read_whole(get_backend("numpy", dtype=d)) for d in ("float64", "float32"))
    unit = max(divergence(y, r).size for y, r in zip(plain, exact, strict=True))
    whole, cached = read_whole(backend, [ROWS[i] for i in rows]), read_cached(backend)
    return {
        "whole": max(divergence(y, exact[i]).size for i, y in zip(rows, whole, strict=True)) / unit,
        "cached": max(divergence(y, r[-1:]).size for y, r in zip(cached, exact, strict=True)) / unit,
    }


def main(meshes: Sequence[str]) -> None:
    """Print the errors on each mesh, and how many devices hold the first cache."""
    for mesh in meshes:
        backend = get_backend("jax", mesh=mesh)
        found: dict[str, Any] = dict(errors(backend, rows=(0, 2)))  # of one bucket: each costs a compilation
        cache = backend.zeros((4, CONFIG.n_head, 32, CONFIG.head_dim))
        found["cache_parts"] = len({str(s.index) for s in cache.global_shards})
        found["default_precision"] = __import__("jax").config.jax_default_matmul_precision
        print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
