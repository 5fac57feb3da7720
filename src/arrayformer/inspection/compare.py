"""Where two backends part ways: the same tap on both, tensor by tensor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arrayformer.core.array_api import Array
from arrayformer.core.engine import Engine
from arrayformer.core.ops import log_softmax
from arrayformer.inspection.gather import check_text, watch

UNSEEN = ("attn.scores", "attn.out")
"""What is not compared: it says the same as its neighbours, in many more numbers or in as many."""


@dataclass(frozen=True)
class Step:
    """How far one tensor of the graph is from the other backend's.

    name     its tap
    largest  largest absolute difference
    scale    root mean square of the first backend's tensor: what `largest` is to be held against
    token    place in the text where the largest difference stands
    """

    name: str
    largest: float
    scale: float
    token: int


@dataclass(frozen=True)
class Comparison:
    """Two backends on one text.

    steps      in the order of the graph
    same_top   of how many tokens both hold the same next id for the likeliest
    n          how many tokens there are
    divergence largest Kullback-Leibler divergence of the second's next-id distribution from the first's, in nats
    """

    backend: str
    device: str
    dtype: str
    steps: list[Step]
    same_top: int
    n: int
    divergence: float


def wanted(name: str) -> bool:
    """Whether a tap is compared."""
    return not name.endswith(UNSEEN)


class Keeper:
    """A tap that keeps the tensors to be compared, on the host."""

    def __init__(self, engine: Engine, n: int) -> None:
        self.engine, self.n = engine, n
        self.seen: dict[str, np.ndarray] = {}

    def __call__(self, name: str, x: Array) -> Array:
        """Keep `x` without padding: [seq, ...], heads last but one."""
        if wanted(name):
            host = self.engine.checked.to_numpy(x)[0]
            if host.ndim == 3:  # [head, seq, ...]
                host = np.moveaxis(host, 0, 1)
            host = host[: self.n, :, : self.n] if name.endswith("probs") else host[: self.n]
            self.seen[name] = host.astype(np.float64)
        return x


def compare(first: Engine, second: Engine, ids: Sequence[int]) -> Comparison:
    """The same ids on both. Raises InputError and NumericError as `inspect` does."""
    checked = check_text(first, ids)
    keepers = []
    for engine in (first, second):
        keepers.append(Keeper(engine, len(checked)))
        watch(engine, checked, keepers[-1])
    a, b = (keeper.seen for keeper in keepers)
    p, q = (log_softmax(seen["logits"]) for seen in (a, b))
    divergence = float(np.max(np.sum(np.exp(p) * (p - q), axis=-1)))
    return Comparison(
        second.backend.name, second.backend.device, second.backend.dtype,
        steps=[step(name, a[name], b[name]) for name in a if name in b],
        same_top=int(np.sum(p.argmax(-1) == q.argmax(-1))), n=len(checked), divergence=max(0.0, divergence),
    )  # fmt: skip


def step(name: str, a: np.ndarray, b: np.ndarray) -> Step:
    """The difference of two tensors [seq, ...]."""
    apart = np.abs(a - b).reshape(len(a), -1).max(axis=-1)
    return Step(name, float(apart.max()), float(np.sqrt(np.mean(a * a))), int(apart.argmax()))
