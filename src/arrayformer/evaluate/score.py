"""What a model makes of windows: the loss of each id on the device, their sums in float64 on the host."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayformer.core.array_api import Array, array_namespace
from arrayformer.core.engine import Context, Engine
from arrayformer.core.errors import NumericError
from arrayformer.core.ops import logsumexp
from arrayformer.evaluate.totals import Outcome
from arrayformer.evaluate.windows import Window

LOGIT_BYTES = 1 << 28
"""How much memory the logits of one step may take, in float32."""


def losses(logits: Array, targets: Array) -> tuple[Array, Array]:
    """logits [..., n_vocab], targets [...] int -> (-ln p of each target [...], 1 where it is the likeliest [...])"""
    xp = array_namespace(logits)
    own = xp.take_along_axis(logits, targets[..., None], axis=-1)
    loss = (logsumexp(logits) - own)[..., 0]
    likeliest = xp.argmax(logits, axis=-1)
    return loss, xp.astype(likeliest == xp.astype(targets, likeliest.dtype), targets.dtype)


class WindowScorer:
    """Scores windows, `batch` at a time, through one context that is used again and again.

    capacity  ids the longest window reads
    """

    def __init__(self, engine: Engine, batch: int, capacity: int) -> None:
        self.engine = engine
        self.context = engine.context(batch, capacity)
        self.losses = engine.checked.compile(losses)
        self.chunk = max(1, LOGIT_BYTES // (4 * batch * engine.config.n_vocab))

    def __call__(self, windows: Sequence[Window]) -> list[Outcome]:
        """One Outcome for each window. Raises NumericError where logits are not finite."""
        loss, hit = self.per_id(windows)
        sums = ((float(np.sum(a)), int(np.sum(b))) for a, b in zip(loss, hit, strict=True))
        return [Outcome(w.n_scored, *both) for w, both in zip(windows, sums, strict=True)]

    def per_id(self, windows: Sequence[Window]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """For each window, the loss of each scored id (float64) and whether it was the likeliest (int64)."""
        rows = fill(windows, len(self.context.lengths))
        reset(self.context)
        read_before(self.context, [w.ids[: w.first - 1] if w else () for w in rows])
        longest = max(w.n_scored for w in windows)
        parts = [self._part(rows, start) for start in range(0, longest, self.chunk)]
        loss, hit = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        scored = [row[: w.n_scored] for w, row in zip(windows, loss.astype(np.float64), strict=False)]
        if not all(np.all(np.isfinite(row)) for row in scored):
            raise NumericError("a logit is not finite: the weights hold NaN or overflow in this dtype")
        return scored, [row[: w.n_scored] for w, row in zip(windows, hit, strict=False)]

    def _part(self, rows: Sequence[Window | None], start: int) -> tuple[np.ndarray, np.ndarray]:
        """Losses and hits [batch, chunk] of the scored ids from `start` on; padding holds what it holds."""
        checked = self.engine.checked
        begins = [w.first - 1 + start if w else 0 for w in rows]
        spans = [(a, min(a + self.chunk, len(w.ids) - 1) if w else 0) for w, a in zip(rows, begins, strict=True)]
        logits = self.context.read([w.ids[a:b] if w else () for w, (a, b) in zip(rows, spans, strict=True)], every=True)
        targets = np.zeros(logits.shape[:2], dtype=np.int64)
        for row, (w, (a, b)) in enumerate(zip(rows, spans, strict=True)):
            if w and b > a:
                targets[row, : b - a] = w.ids[a + 1 : b + 1]
        return tuple(checked.to_numpy(x) for x in self.losses(logits, checked.asarray(targets)))  # type: ignore[return-value]


def fill(items: Sequence[Any], batch: int) -> list[Any]:
    """`items` and as many None as make a full batch."""
    return [*items, *[None] * (batch - len(items))]


def reset(context: Context) -> None:
    """Forget everything every row read."""
    for row in range(len(context.lengths)):
        context.reset(row)


def read_before(context: Context, rows: Sequence[Sequence[int]]) -> None:
    """Read ids whose logits nobody wants."""
    if any(map(len, rows)):
        context.read(rows)
