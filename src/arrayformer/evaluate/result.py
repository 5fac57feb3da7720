"""What a run came to, and what may be said of it."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from arrayformer.core.models.gpt2 import SIZES
from arrayformer.evaluate.paper import PAPER_NAMES, TABLE_3
from arrayformer.evaluate.protocols import Protocol
from arrayformer.evaluate.source import Text
from arrayformer.evaluate.totals import Totals


class Figure(NamedTuple):
    """A measured value and its standard error (None where it cannot be told)."""

    value: float
    error: float | None


UNITS = {
    "token_perplexity": "perplexity per token",
    "word_perplexity": "perplexity per word",
    "bits_per_byte": "bits per byte",
    "accuracy": "accuracy",
}


@dataclass(frozen=True)
class Result:
    """Sums over the windows scored so far, with what they were measured on.

    n_tokens, n_scored, n_words, n_bytes, windows  of the whole task, done or not
    """

    protocol: str
    model: str
    config: dict[str, Any]
    backend: str
    device: str
    dtype: str
    n_ctx: int
    stride: int
    batch: int
    data: Text
    n_tokens: int
    n_scored: int
    n_words: int | None
    n_bytes: int | None
    windows: int
    notes: tuple[str, ...]
    totals: Totals
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether everything was scored."""
        return self.totals.windows == self.windows

    def figure(self, measure: str) -> Figure | None:
        """One of UNITS; None where this task has no such figure or nothing was scored yet.

        Of a run that is not complete, words and bytes are counted in proportion to what was scored.
        """
        totals = self.totals
        if not totals.n:
            return None
        if measure == "accuracy":
            return Figure(totals.accuracy, totals.accuracy_error)
        counts = {"token_perplexity": self.n_scored, "word_perplexity": self.n_words, "bits_per_byte": self.n_bytes}
        per = counts[measure]
        if not per or not totals.loss:
            return None
        share = self.n_scored / per  # tokens per token, word or byte
        nats = totals.mean_loss * share
        error = None if totals.loss_error is None else totals.loss_error * share
        if measure == "bits_per_byte":
            return Figure(nats / math.log(2), None if error is None else error / math.log(2))
        value = math.exp(nats) if nats < 700 else math.inf
        return Figure(value, None if error is None else value * error)

    def figures(self) -> dict[str, Figure]:
        """All that this task has, by name."""
        found = {measure: self.figure(measure) for measure in UNITS}
        return {measure: figure for measure, figure in found.items() if figure is not None}

    def size(self) -> str | None:
        """Which of OpenAI's sizes the model has the shape of; its weights may still be others."""
        shape = ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")
        for name, config in SIZES.items():
            if all(self.config[key] == getattr(config, key) for key in shape):
                return name
        return None

    def as_dict(self, protocol: Protocol) -> dict[str, Any]:
        """For --json."""
        return {
            "schema": "arrayformer-evaluation/1",
            "protocol": self.protocol,
            "measure": protocol.measure,
            "value": getattr(self.figure(protocol.measure), "value", None),
            "standard_error": getattr(self.figure(protocol.measure), "error", None),
            "figures": {m: {"value": f.value, "standard_error": f.error} for m, f in self.figures().items()},
            "complete": self.complete,
            "model": self.model, "shape_of": self.size(), "config": self.config,
            "backend": self.backend, "device": self.device, "dtype": self.dtype,
            "n_ctx": self.n_ctx, "stride": self.stride, "batch": self.batch,
            "data": {"origin": self.data.origin, "sha256": self.data.sha256, "verified": self.data.verified},
            "tokens": self.n_tokens, "scored": self.totals.n, "words": self.n_words, "bytes": self.n_bytes,
            "windows": self.totals.windows, "windows_in_all": self.windows,
            "loss_nats": self.totals.loss, "notes": list(self.notes), "seconds": round(self.seconds, 3),
            "standing": standing(self, protocol),
        }  # fmt: skip


def standing(result: Result, protocol: Protocol) -> list[str]:
    """What this figure may be held against, in sentences. Never says more than the run shows."""
    if protocol.column is None:
        return []
    column = TABLE_3[protocol.column]
    if not result.complete:
        return [f"Not comparable: only {result.totals.windows:,} of {result.windows:,} windows were scored."]
    size = result.size()
    if size is None:
        return [f"Not comparable with {column.title} in Table 3: this model has none of the paper's four shapes."]
    said = [
        f"Paper, Table 3, {column.title} ({column.measure}), {PAPER_NAMES[size]}: {column.figure(size)}.",
        *(f"Published: {p.figure} ({', '.join(filter(None, (p.size, p.how, p.source)))})." for p in protocol.published),
        f"The model has the shape of {size}; whether it has OpenAI's weights was not checked.",
    ]
    if result.stride != protocol.stride(result.n_ctx):
        said.append(f"The stride is not the protocol's, {protocol.stride(result.n_ctx)}: this is another measurement.")
    if not protocol.known:
        said.append("No published run of this recipe comes out where the paper does: it reproduces no cell.")
    return said
