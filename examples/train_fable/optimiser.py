"""Muon for the matrices of the blocks, Adam for everything else, and the learning rate over time."""

from dataclasses import dataclass
from typing import Any

import jax
import optax  # type: ignore[import-untyped]
from optax.contrib import MuonDimensionNumbers, muon  # type: ignore[import-untyped]

from arrayformer.core.params import Params, map_paths


@dataclass(frozen=True)
class Schedule:
    """The part of the full learning rate each step takes: a ramp up, a plateau, a straight line down to 0.

    The plateau may last as long as there is time: the decay starts when it is told to.
    """

    warmup: int
    decay: int

    def rate(self, step: int, began: int, decay_from: int | None) -> float:
        """Of the step `step`, where this stage began at `began` and the decay, if it has, at `decay_from`."""
        up = min(1.0, (step - began + 1) / self.warmup)
        down = 1.0 if decay_from is None else max(0.0, 1.0 - (step - decay_from) / self.decay)
        return up * down


def split_qkv(tree: Params) -> Params:
    """c_attn [n_embd, 3 * n_embd] -> [n_embd, 3, n_embd]: Muon then treats q, k and v as three matrices."""
    return map_paths(lambda path, x: x.reshape(len(x), 3, -1) if path.endswith("c_attn.w") else x, tree)  # type: ignore[no-any-return]


def join_qkv(tree: Params) -> Params:
    """`split_qkv` undone."""
    return map_paths(lambda path, x: x.reshape(len(x), -1) if path.endswith("c_attn.w") else x, tree)  # type: ignore[no-any-return]


def matrices(tree: Params) -> Any:
    """Which axes Muon takes as a matrix; None where Adam serves (embeddings, layer norms, biases)."""

    def numbers(path: str, _: Any) -> MuonDimensionNumbers | None:
        if path.startswith("blocks.") and path.endswith(".w"):
            return MuonDimensionNumbers(0, 2 if path.endswith("c_attn.w") else 1)
        return None

    return map_paths(numbers, tree)


def optimiser(rate: float, adam_rate: float) -> optax.GradientTransformation:
    """Muon (https://kellerjordan.github.io/posts/muon/) with updates as large as Adam's (https://arxiv.org/abs/2502.16982).

    It takes and gives trees whose q, k and v are split.
    """
    return muon(
        rate, weight_decay=0.05, consistent_rms=0.2, muon_weight_dimension_numbers=matrices,
        adam_learning_rate=adam_rate, adam_b2=0.98,
    )  # fmt: skip


def apply(params: Params, updates: Params, rate: jax.Array) -> Params:
    """The parameters after `rate` times the updates."""
    return optax.apply_updates(params, jax.tree.map(lambda x: x * rate, join_qkv(updates)))  # type: ignore[no-any-return]
