"""What a backend is compared with: the same graph in NumPy, in float64 and as an honest backend would compute it.

The oracle is float64. The unit of error is what NumPy makes of the same model in the backend's own precision class:
float32, or float32 with the operands of every matrix product rounded to the class's mantissa.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np

from arrayformer.conformance.criterion.metrics import UNIT, divergence, rounded
from arrayformer.conformance.criterion.probes import Probe, probe
from arrayformer.core import ops
from arrayformer.core.architecture import Architecture
from arrayformer.core.decoder import forward
from arrayformer.core.ops import PLAIN
from arrayformer.core.params import Params, map_params

Array = Any  # NumPy arrays, whose functions have types only in part
_erf = np.vectorize(math.erf, otypes=[np.float64])


def exact_gelu_erf(x: Array) -> Array:
    """`ops.gelu_erf` with the error function of the C library."""
    return np.asarray(0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))))


def wide_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
    """`ops.causal_attention` in float64 throughout: a model that asks for float32 scores means at least that."""
    return ops.causal_attention(q, k, v, position, **{**how, "upcast": False})


@dataclass
class Taps:
    """A tap that keeps a copy of what it sees: a later step may write into the tensor."""

    seen: dict[str, Any] = field(default_factory=dict)
    keep: Callable[[Any], Any] = np.array

    def __call__(self, name: str, x: Any) -> Any:
        """Keep `x`, hand it on."""
        self.seen[name] = self.keep(x)
        return x


def stored(params: Params, dtype: str) -> Params:
    """The weights as a backend of that dtype stores them, in float32: what the oracle and the unit both start from."""
    return map_params(lambda x: rounded(x, dtype), params)  # type: ignore[no-any-return]


def in_dtype(params: Params, dtype: Any) -> Params:
    """The weights cast to a NumPy dtype."""
    return map_params(lambda x: x.astype(dtype), params)  # type: ignore[no-any-return]


def run(
    config: Architecture, params: Params, ids: Any, overrides: Mapping[str, Any] | None = None,
    tap: ops.Tap = ops.untouched,
) -> Array:  # fmt: skip
    """The graph on NumPy arrays, without a cache: logits [..., seq, n_vocab]."""
    with np.errstate(all="ignore"):
        return np.asarray(forward(config, params, np.asarray(ids), ops=PLAIN.replaced(overrides or {}), tap=tap)[0])


def emulation(precision: str) -> dict[str, Callable[..., Any]]:
    """Functions that compute as an honest backend of a reduced precision class does."""
    if precision in ("float32", "float64"):
        return {}
    near = partial(rounded, precision=precision)
    # Tensor cores add in float32; a library that stores bfloat16 or float16 rounds what comes out as well.
    out: Callable[[Array], Array] = near if precision in ("bfloat16", "float16") else lambda x: x

    def linear(x: Array, w: Array, b: Array | None = None) -> Array:
        y = out(near(x) @ near(w))
        return y if b is None else y + b

    def unembed(x: Array, wte: Array) -> Array:
        return out(near(x) @ near(wte).T)

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
        n_kv_head, n_head = k.shape[-3], q.shape[-3]
        tap = how.get("tap", ops.untouched)
        scale = np.float32(how.get("scale") or 1.0 / math.sqrt(q.shape[-1]))
        k, v = (np.repeat(x, n_head // n_kv_head, axis=-3) for x in (k, v))
        mask = ops.causal_mask(position, k.shape[-2], how.get("window"))[..., None, :, :]
        scores = tap("scores", ops.soft_cap(out(near(q * scale) @ near(np.swapaxes(k, -1, -2))), how.get("cap")))
        probs = tap("probs", ops.softmax(np.where(mask, scores, np.float32(-np.inf))))
        return out(near(probs) @ near(v))

    return {"linear": linear, "unembed": unembed, "causal_attention": causal_attention}


EXACT: dict[str, Callable[..., Any]] = {"gelu_erf": exact_gelu_erf, "causal_attention": wide_attention}


class Reference:
    """One probe, as the oracle and as an honest backend of one dtype and precision class see it."""

    def __init__(self, name: str, dtype: str, precision: str) -> None:
        self.probe: Probe = probe(name)
        self.config = self.probe.config
        self.precision = precision
        self.params32 = stored(self.probe.params(), dtype)
        self.params64 = in_dtype(self.params32, np.float64)
        self._known: dict[tuple[int, ...], Array] = {}
        self.unit = self._unit()

    def exact(self, ids: Any, tap: ops.Tap = ops.untouched, overrides: Mapping[str, Any] | None = None) -> Array:
        """float64 logits."""
        return run(self.config, self.params64, ids, EXACT | dict(overrides or {}), tap)

    def honest(self, ids: Any, tap: ops.Tap = ops.untouched) -> Array:
        """Logits of an honest backend of this class."""
        return run(self.config, self.params32, ids, emulation(self.precision), tap)

    def oracle(self, ids: Any) -> Array:
        """float64 logits [seq, n_vocab], remembered."""
        key = tuple(map(int, ids))
        if key not in self._known:
            self._remember([key], self.exact([key]))
        return self._known[key]

    def _remember(self, rows: Sequence[Sequence[int]], logits: Array) -> None:
        while len(self._known) > 256:
            del self._known[next(iter(self._known))]
        self._known.update(zip((tuple(row) for row in rows), logits, strict=True))

    def _unit(self) -> float:
        """D of the honest run over rows that hold every id: what R is counted in."""
        rows = self.probe.rows()[:8]
        batches = [rows] if len({len(row) for row in rows}) == 1 else [[row] for row in rows]
        honest = 0.0
        for batch in batches:
            exact = self.exact(batch)
            self._remember(batch, exact)
            honest = max(honest, divergence(self.honest(batch), exact).size)
        if self.precision == "float64":
            return max(honest, 16 * UNIT["float32"]) * UNIT["float64"] / UNIT["float32"]
        return max(honest, 16 * UNIT[self.precision])


@lru_cache(maxsize=64)
def reference(name: str, dtype: str = "float32", precision: str = "float32") -> Reference:
    """The `Reference` of a probe, made once."""
    return Reference(name, dtype, precision)
