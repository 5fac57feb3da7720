"""Faults of attention: which head looks at which keys, through which window, under which cap and scale."""

from collections.abc import Callable
from typing import Any

import numpy as np

from arrayformer.conformance.diagnosis.fault import Fault, Table
from arrayformer.core import ops
from arrayformer.core.array_api import Array

Change = Callable[[Array, Array, Array, Array, dict[str, Any]], tuple[Array, Array, Array, Array, dict[str, Any]]]


def look(change: Change) -> Table:
    """Attention of other arguments."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
        q, k, v, position, how = change(q, k, v, position, how)
        return ops.causal_attention(q, k, v, position, **how)

    return {"causal_attention": causal_attention}


def heads(order: Callable[[int, int], list[int]], *, keys: bool = True, values: bool = True) -> Table:
    """order(heads, heads of keys) says which keys each head looks at; or only which values."""

    def change(q: Array, k: Array, v: Array, position: Array, how: dict[str, Any]) -> Any:
        n, kv = q.shape[-3], k.shape[-3]
        right, wrong = [h * kv // n for h in range(n)], order(n, kv)
        k, v = k[..., wrong if keys else right, :, :], v[..., wrong if values else right, :, :]
        return q, k, v, position, how

    return look(change)


def how(**changes: Callable[[Any, Array, Array], Any]) -> Table:
    """Attention whose window, cap or scale is another: change(given, q, position)."""

    def change(q: Array, k: Array, v: Array, position: Array, given: dict[str, Any]) -> Any:
        return q, k, v, position, given | {name: f(given.get(name), q, position) for name, f in changes.items()}

    return look(change)


def by_hand(weigh: Callable[..., Array]) -> Table:
    """Attention written out: weigh(scaled scores, position [.., query, 1], key, window, cap) -> probabilities."""

    def causal_attention(
        q: Array, k: Array, v: Array, position: Array, *, window: int | None = None, scale: float | None = None,
        upcast: bool = False, cap: float | None = None, tap: ops.Tap = ops.untouched,
    ) -> Array:  # fmt: skip
        shared = q.shape[-3] // k.shape[-3]
        k, v = np.repeat(k, shared, axis=-3), np.repeat(v, shared, axis=-3)
        scores = q * q.dtype.type(q.shape[-1] ** -0.5 if scale is None else scale) @ np.swapaxes(k, -1, -2)
        where = position[..., None, :, None]
        probs = tap("probs", weigh(scores, where, np.arange(k.shape[-2]), window, cap))
        return probs.astype(q.dtype) @ v

    return {"causal_attention": causal_attention}


def _seen(where: Array, key: Array, window: int | None) -> Array:
    return (key <= where) if window is None else (key <= where) & (key > where - window)


def _masked(scores: Array, mask: Array) -> Array:
    return ops.softmax(np.where(mask, scores, scores.dtype.type(-np.inf)))


def _capped(cap: Callable[[Array, float], Array]) -> Table:
    def weigh(scores: Array, where: Array, key: Array, window: int | None, given: float | None) -> Array:
        return _masked(scores if given is None else cap(scores, given), _seen(where, key, window))

    return by_hand(weigh)


def _cap_after_mask(scores: Array, where: Array, key: Array, window: int | None, cap: float | None) -> Array:
    hidden = np.where(_seen(where, key, window), scores, scores.dtype.type(-np.inf))
    return ops.softmax(hidden if cap is None else cap * np.tanh(hidden / cap))


def _windowed(mask: Callable[[Array, Array, int], Array]) -> Table:
    def weigh(scores: Array, where: Array, key: Array, window: int | None, cap: float | None) -> Array:
        seen = _seen(where, key, None) if window is None else mask(where, key, window)
        return _masked(ops.soft_cap(scores, cap), seen)

    return by_hand(weigh)


def _from_the_end(where: Array, key: Array, window: int) -> Array:
    seen = (key <= where) & (key > key[-1] - window)
    return seen | (key == where)


def _of_the_first_row(where: Array, key: Array, window: int) -> Array:
    first = where[:1] if where.ndim == 4 else where
    return (key <= where) & ((key > first - window) | (key == where)) & ((key < first + window) | (key == where))


def mask_of_another_head(q: Array, k: Array, v: Array, position: Array, **given: Any) -> Array:
    """Grouped attention in which the queries of a group are masked in the order of heads, not of places."""
    n, kv = q.shape[-3], k.shape[-3]
    mask = ops.causal_mask(position, k.shape[-2], given.pop("window", None))
    mask = np.repeat(mask, n // kv, axis=-2)
    tap = given.pop("tap", ops.untouched)
    look = ops._by_head(tap, n) if n != kv and tap is not ops.untouched else tap
    return ops.ungroup(ops.attention(ops.group(q, kv), k, v, mask[..., None, :, :], tap=look, **given), n)


def heads_come_back_in_turns(q: Array, k: Array, v: Array, position: Array, **given: Any) -> Array:
    """Attention whose heads come back group by group in turns."""
    n, kv = q.shape[-3], k.shape[-3]
    order = np.arange(n).reshape(kv, n // kv).T.reshape(-1)
    return ops.causal_attention(q, k, v, position, **given)[..., order, :, :]


def window_everywhere() -> Table:
    """Once a window was seen, layers without one get it too."""
    last: list[int] = []

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **given: Any) -> Array:
        if given.get("window"):
            last[:] = [given["window"]]
        return ops.causal_attention(q, k, v, position, **{**given, "window": last[0] if last else None})

    return {"causal_attention": causal_attention}


def window_one_layer_late() -> Table:
    """Each layer has the window of the layer before."""
    last: list[int | None] = [None]

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **given: Any) -> Array:
        before, last[0] = last[0], given.get("window")
        return ops.causal_attention(q, k, v, position, **{**given, "window": before})

    return {"causal_attention": causal_attention}


def _none(given: Any, q: Array, position: Array) -> None:
    return None


HEADS = (
    Fault("heads_tiled", "shared keys are taken by heads in turns (tiled), not by consecutive heads (repeated)",
          heads(lambda n, kv: [h % kv for h in range(n)]), host=True),
    Fault("heads_reversed", "shared keys are taken in reverse order",
          heads(lambda n, kv: [kv - 1 - h * kv // n for h in range(n)]), host=True),
    Fault("heads_first_for_all", "all heads look at the keys of the first", heads(lambda n, kv: [0] * n), host=True),
    Fault("heads_last_for_all", "all heads look at the keys of the last", heads(lambda n, kv: [kv - 1] * n), host=True),
    Fault("heads_group_off_by_one", "groups of heads begin one head early",
          heads(lambda n, kv: [min(kv - 1, (h + 1) * kv // n) for h in range(n)]), host=True),
    Fault("heads_next_group", "each group of heads looks at the keys of the next",
          heads(lambda n, kv: [(h * kv // n + 1) % kv for h in range(n)]), host=True),
    Fault("heads_last_group_lost", "the last group of heads looks at the keys of the one before",
          heads(lambda n, kv: [min(h * kv // n, max(0, kv - 2)) for h in range(n)]), host=True),
    Fault("heads_values_tiled", "shared values are taken by heads in turns, keys are not",
          heads(lambda n, kv: [h % kv for h in range(n)], keys=False), host=True),
    Fault("heads_keys_tiled", "shared keys are taken by heads in turns, values are not",
          heads(lambda n, kv: [h % kv for h in range(n)], values=False), host=True),
    Fault("heads_values_of_the_first", "all heads take the values of the first",
          heads(lambda n, kv: [0] * n, keys=False), host=True),
    Fault("heads_mask_in_turns", "queries that share keys are masked by each other's positions",
          {"causal_attention": mask_of_another_head}, host=True),
    Fault("heads_out_in_turns", "heads that share keys come back in turns",
          {"causal_attention": heads_come_back_in_turns}, host=True),
)  # fmt: skip
WINDOWS = (
    Fault("window_one_more", "the window is one key too long", how(window=lambda w, q, p: w and w + 1)),
    Fault("window_one_less", "the window is one key too short", how(window=lambda w, q, p: w and max(1, w - 1))),
    Fault("window_forgotten", "there is no window: queries see all keys before them", how(window=_none)),
    Fault("window_not_in_steps", "single queries have no window",
          how(window=lambda w, q, p: None if q.shape[-2] == 1 else w)),
    Fault("window_short_in_steps", "the window of single queries is one key too short",
          how(window=lambda w, q, p: w - 1 if w and q.shape[-2] == 1 else w)),
    Fault("window_only_in_steps", "only single queries have a window",
          how(window=lambda w, q, p: w if q.shape[-2] == 1 else None)),
    Fault("window_half", "half of the window is used", how(window=lambda w, q, p: w and (w + 1) // 2)),
    Fault("window_from_the_end", "the window is measured from the last key there is, not from the query",
          _windowed(_from_the_end), host=True),
    Fault("window_of_the_first_row", "all rows have the window of the first",
          _windowed(_of_the_first_row), host=True),
    Fault("window_in_blocks", "the window begins anew at each multiple of its length",
          _windowed(lambda where, key, w: (key <= where) & (key >= where // w * w)), host=True),
    Fault("window_both_sides", "the window looks ahead as well",
          _windowed(lambda where, key, w: (key > where - w) & (key < where + w)), host=True),
    Fault("window_in_every_layer", "layers without a window have one too", remembers=window_everywhere),
    Fault("window_one_layer_late", "each layer has the window of the layer before", remembers=window_one_layer_late),
)  # fmt: skip
CAPS = (
    Fault("cap_dropped", "scores are not capped", how(cap=_none)),
    Fault("cap_after_mask", "scores are capped after they are masked: hidden keys shine through",
          by_hand(_cap_after_mask), host=True),
    Fault("cap_cut_off", "scores are cut off at the cap instead of bent",
          _capped(lambda s, cap: np.clip(s, -cap, cap)), host=True),
    Fault("cap_twice", "the cap is twice as large", how(cap=lambda cap, q, p: cap and 2 * cap)),
    Fault("cap_not_multiplied", "capped scores are not multiplied by the cap again",
          _capped(lambda s, cap: np.tanh(s / cap)), host=True),
    Fault("cap_not_divided", "scores are not divided by the cap before they are bent",
          _capped(lambda s, cap: cap * np.tanh(s)), host=True),
    Fault("scale_ignored", "scores are divided by sqrt(head_dim), whatever scale is asked for", how(scale=_none)),
)  # fmt: skip
ALL = (*HEADS, *WINDOWS, *CAPS)
