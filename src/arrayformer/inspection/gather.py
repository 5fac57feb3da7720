"""One forward pass, watched through the graph's taps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arrayformer.core.array_api import Array, array_namespace
from arrayformer.core.checks import check_context, check_ids, check_whole
from arrayformer.core.engine import Engine
from arrayformer.core.errors import InputError, NumericError
from arrayformer.core.ops import Tap, logsumexp, untouched

LENS_IDS = 5
"""How many ids the logit lens shows for each layer and token."""


@dataclass(frozen=True)
class Inspection:
    """What a model did with `ids` [seq].

    In `lens_*` and `residual` layer 0 is the embedding and layer i + 1 the end of block i.

    backend, device, dtype  on what it ran
    ids         [seq] int
    loss        [seq] -ln p of each id given those before it, in nats; NaN for the first
    rank        [seq] how many ids were likelier than the one that came; -1 for the first
    entropy     [seq] of the next id, in nats
    next_ids    [seq, k] the likeliest next ids, next_probs [seq, k] their probabilities
    lens_ids    [n_layer + 1, seq, LENS_IDS] the likeliest next ids if the last layer norm and the head read that layer
    lens_probs  [n_layer + 1, seq, LENS_IDS] their probabilities
    lens_true   [n_layer + 1, seq] the probability of the id that came; NaN for the last
    attention   [n_layer, n_head, seq, seq] how much each query (first) looks at each key; None where the backend's own
                attention does not say
    residual    [n_layer + 1, seq] Euclidean norm of the stream
    attn_out    [n_layer, seq] Euclidean norm of what attention adds to it, mlp_out [n_layer, seq] of what the MLP adds
    """

    backend: str
    device: str
    dtype: str
    ids: list[int]
    loss: np.ndarray
    rank: np.ndarray
    entropy: np.ndarray
    next_ids: np.ndarray
    next_probs: np.ndarray
    lens_ids: np.ndarray
    lens_probs: np.ndarray
    lens_true: np.ndarray
    attention: np.ndarray | None
    residual: np.ndarray
    attn_out: np.ndarray
    mlp_out: np.ndarray

    @property
    def perplexity(self) -> float:
        """exp of the mean loss of all ids but the first; infinity above what a float holds."""
        with np.errstate(over="ignore"):
            return float(np.exp(np.mean(self.loss[1:])))


class Recorder:
    """A tap that keeps what an inspection needs and changes nothing."""

    def __init__(self, engine: Engine, ids: Sequence[int], top_k: int) -> None:
        self.engine = engine
        self.n = len(ids)
        self.top_k = top_k
        self.next = engine.checked.asarray(np.array([[*ids[1:], 0]]))
        self.seen: dict[str, np.ndarray] = {}
        self.lens: list[dict[str, np.ndarray]] = []
        self.stream: np.ndarray | None = None

    def __call__(self, name: str, x: Array) -> Array:
        """Take from `x` what is wanted under `name`."""
        if name.endswith("attn.probs"):
            self.seen[name] = self.host(x)[0, :, : self.n, : self.n]
        elif name == "embed" or name.endswith((".mid", ".end")):
            self.follow(name, self.host(x)[0, : self.n].astype(np.float64))
        if name == "embed" or name.endswith(".end"):
            self.lens.append(self.read_out(self.unembed(x[:, : self.n]), LENS_IDS))
        if name == "logits":
            self.seen |= self.read_out(x[:, : self.n], self.top_k)
        return x

    def follow(self, name: str, stream: np.ndarray) -> None:
        """The stream [seq, n_embd] and what was added to it since it was last seen, whatever norms stood between."""
        self.seen[name] = np.linalg.norm(stream, axis=-1)
        if self.stream is not None:
            self.seen[f"{name} added"] = np.linalg.norm(stream - self.stream, axis=-1)
        self.stream = stream

    def host(self, x: Array) -> np.ndarray:
        """`x` as a NumPy array."""
        return self.engine.checked.to_numpy(x)

    def unembed(self, x: Array) -> Array:
        """The logits the model would give if its blocks ended at `x` [1, seq, n_embd]: the logit lens.

        nostalgebraist, "interpreting GPT: the logit lens" (2020). The model's own functions and weights, no others.
        """
        return self.engine.config.head(self.engine.params, x, self.engine.ops, untouched)

    def read_out(self, logits: Array, k: int) -> dict[str, np.ndarray]:
        """logits [1, seq, n_vocab] -> what is shown of them; only this much leaves the device."""
        xp = array_namespace(logits)
        values, ids = self.engine.ops.top_k(logits, min(k, logits.shape[-1]))
        total = logsumexp(logits)
        log_probs = logits - total
        own = xp.take_along_axis(logits, self.next[..., None], axis=-1)
        above = xp.sum(xp.astype(logits > own, self.next.dtype), axis=-1)
        found = {
            "ids": ids, "probs": xp.exp(values - total), "true": xp.exp(own - total)[..., 0],
            "loss": (total - own)[..., 0], "rank": above, "entropy": -xp.sum(xp.exp(log_probs) * log_probs, axis=-1),
        }  # fmt: skip
        return {name: self.host(x)[0] for name, x in found.items()}


def inspect(engine: Engine, ids: Sequence[int], top_k: int = 10) -> Inspection:
    """Run `ids` through the model once and keep what can be seen.

    Raises InputError for fewer than two ids or more than the context, NumericError where logits are not finite.
    """
    checked = check_text(engine, ids)
    recorder = Recorder(engine, checked, check_whole("top_k (--top-k)", top_k, 1, 100, "so many next tokens are shown"))
    watch(engine, checked, recorder)
    return assemble(engine, checked, recorder)


def check_text(engine: Engine, ids: Sequence[int]) -> list[int]:
    """`ids`, checked. Raises InputError."""
    checked = check_ids(ids, engine.config.n_vocab) if len(ids) else []
    if len(checked) < 2:
        what = "no token" if not checked else "one token"
        raise InputError(f"the text has {what}; inspecting needs two, because each is judged by those before it")
    check_context(len(checked), engine.config.n_ctx)
    return checked


def watch(engine: Engine, ids: Sequence[int], tap: Tap) -> None:
    """One pass over `ids` with `tap` looking on. Raises NumericError where logits are not finite."""
    looking = engine.checked.guarded("a step", tap)  # what a tap computes, the backend computes
    if not np.all(np.isfinite(engine.logits(ids, tap=looking))):
        raise NumericError("a logit is not finite: the weights hold NaN or overflow in this dtype")


def assemble(engine: Engine, ids: list[int], recorder: Recorder) -> Inspection:
    """What the recorder saw, in order of layers and shifted to the token it is about."""
    seen, lens = recorder.seen, recorder.lens
    layers = [f"h.{i}" for i in range(engine.config.n_layer)]
    stack = {name: np.stack([layer[name] for layer in lens]) for name in ("ids", "probs", "true")}
    true = stack["true"].astype(np.float64)
    true[:, -1] = np.nan
    probs = [seen[f"{layer}.attn.probs"] for layer in layers if f"{layer}.attn.probs" in seen]
    return Inspection(
        backend=engine.backend.name, device=engine.backend.device, dtype=engine.backend.dtype, ids=ids,
        loss=np.concatenate([[np.nan], seen["loss"][:-1].astype(np.float64)]),
        rank=np.concatenate([[-1], seen["rank"][:-1]]),
        entropy=seen["entropy"].astype(np.float64),
        next_ids=seen["ids"], next_probs=seen["probs"].astype(np.float64),
        lens_ids=stack["ids"], lens_probs=stack["probs"].astype(np.float64), lens_true=true,
        attention=np.stack(probs).astype(np.float32) if len(probs) == len(layers) else None,
        residual=np.stack([seen["embed"], *(seen[f"{layer}.end"] for layer in layers)]),
        attn_out=np.stack([seen[f"{layer}.mid added"] for layer in layers]),
        mlp_out=np.stack([seen[f"{layer}.end added"] for layer in layers]),
    )  # fmt: skip
