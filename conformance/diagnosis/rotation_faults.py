"""Faults of rotary positions: of the rotation itself, of its tables, of where it is applied."""

from collections.abc import Callable
from typing import Any

import numpy as np

from arrayformer.conformance.criterion.metrics import rounded
from arrayformer.conformance.diagnosis.fault import Fault, Table
from arrayformer.core import ops
from arrayformer.core.array_api import Array


def rotated(change: Callable[[Array, Array, Array], tuple[Array, Array, Array]]) -> Table:
    """Rotation of other arguments."""
    return {"rotate": lambda x, cos, sin: ops.rotate(*change(x, cos, sin))}


def neighbours(x: Array, cos: Array, sin: Array) -> Array:
    """Rotation of the pairs (0, 1), (2, 3), ..."""
    n = 2 * cos.shape[-1]
    order = np.concatenate([np.arange(0, n, 2), np.arange(1, n, 2)])
    turned = np.array(x)
    turned[..., order] = ops.rotate(x[..., order], cos, sin)
    return turned


def one_sign_lost(x: Array, cos: Array, sin: Array) -> Array:
    """Rotation with two sums, where one has to be a difference."""
    half = cos.shape[-1]
    c, s = cos[..., None, :, :], sin[..., None, :, :]
    left, right, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return np.concatenate([left * c + right * s, right * c + left * s, rest], axis=-1)


def last_channels(x: Array, cos: Array, sin: Array) -> Array:
    """Rotation of the last channels of a head instead of the first."""
    keep = x.shape[-1] - 2 * cos.shape[-1]
    return np.concatenate([x[..., :keep], ops.rotate(x[..., keep:], cos, sin)], axis=-1)


def pairs_of_the_head(x: Array, cos: Array, sin: Array) -> Array:
    """Rotation whose pairs lie half a head apart, though a part of the head is turned."""
    half, middle = cos.shape[-1], x.shape[-1] // 2
    order = np.concatenate([np.arange(half), middle + np.arange(half)])
    turned = np.array(x)
    turned[..., order] = ops.rotate(x[..., order], cos, sin)
    return turned


def rest_dropped(x: Array, cos: Array, sin: Array) -> Array:
    """Rotation that leaves zeros where it does not turn."""
    turned = np.array(ops.rotate(x, cos, sin))
    turned[..., 2 * cos.shape[-1] :] = 0
    return turned


def in_16_bits(precision: str) -> Callable[..., Array]:
    """Rotation whose operands and result are rounded."""

    def rotate(x: Array, cos: Array, sin: Array) -> Array:
        return rounded(ops.rotate(*(rounded(a, precision) for a in (x, cos, sin))), precision)

    return rotate


def is_table(table: Array) -> bool:
    """Whether this is a table of cosines or sines: its first row is that of position 0."""
    return table.dtype.kind == "f" and len(table) > 1 and np.ptp(table[0]) == 0 and np.ptp(table[1]) > 0


def looked_up(places: Callable[[Array], Array]) -> Table:
    """Angles of other places: places(ids) instead of ids."""

    def embed(table: Array, ids: Array) -> Array:
        return ops.embed(table, np.clip(places(ids), 0, len(table) - 1) if is_table(table) else ids)

    return {"embed": embed}


def made_anew(angles: Callable[[Array, Array], Array]) -> Table:
    """Tables made anew: angles(position, frequencies), of plain rotations (the magnitude is kept)."""

    def embed(table: Array, ids: Array) -> Array:
        if not is_table(table):
            return ops.embed(table, ids)
        cosines = table[0, 0] != 0
        size = table[0, 0] if cosines else 1.0
        frequencies = np.arccos(np.clip(table[1] / size, -1, 1)) if cosines else np.arcsin(np.clip(table[1], -1, 1))
        turned = angles(np.asarray(ids, dtype=np.float64)[..., None], frequencies.astype(np.float64))
        return (size * (np.cos(turned) if cosines else np.sin(turned))).astype(table.dtype)

    return {"embed": embed}


def _theta(factor: float) -> Callable[[Array, Array], Array]:
    def angles(position: Array, frequencies: Array) -> Array:
        n = len(frequencies)
        return position * frequencies * factor ** (-np.arange(n) / n)

    return angles


def on_values() -> Table:
    """Values are turned as keys are, where a text is read at once."""
    last: list[Array] = []

    def rotate(x: Array, cos: Array, sin: Array) -> Array:
        last[:] = [cos, sin]
        return ops.rotate(x, cos, sin)

    def causal_attention(q: Array, k: Array, v: Array, position: Array, **how: Any) -> Array:
        v = ops.rotate(v, *last) if last and last[0].shape[-2] == v.shape[-2] else v
        return ops.causal_attention(q, k, v, position, **how)

    return {"rotate": rotate, "causal_attention": causal_attention}


def on_queries_only() -> Table:
    """Every second call, that for the keys, turns nothing."""
    count = [0]

    def rotate(x: Array, cos: Array, sin: Array) -> Array:
        count[0] += 1
        return ops.rotate(x, cos, sin) if count[0] % 2 else x

    return {"rotate": rotate}


def kept_unturned() -> Table:
    """The cache keeps keys as they were before they were turned."""
    before: list[Array] = []
    count = [0]

    def rotate(x: Array, cos: Array, sin: Array) -> Array:
        before[:] = [np.array(x)]
        count[0] = 0
        return ops.rotate(x, cos, sin)

    def write(old: Array, new: Array, position: Array) -> Array:
        count[0] += 1
        keys = count[0] == 1 and before and before[0].shape == new.shape
        return ops.write(old, before[0] if keys else new, position)

    return {"rotate": rotate, "write": write}


def first_kind_for_all() -> Table:
    """Of several kinds of rotation the first is used everywhere."""
    first: dict[Any, Array] = {}

    def embed(table: Array, ids: Array) -> Array:
        if is_table(table):
            table = first.setdefault((table.shape, bool(table[0, 0])), table)
        return ops.embed(table, ids)

    return {"embed": embed}


def in_steps(change: Callable[[Array, Array, Array], Array]) -> Table:
    """`change` in the place of the rotation of single positions."""
    return {"rotate": lambda x, c, s: change(x, c, s) if x.shape[-2] == 1 else ops.rotate(x, c, s)}


ALL = (
    Fault("rope_neighbours", "pairs of neighbours are rotated (interleaved); here a pair lies half a head apart",
          {"rotate": neighbours}, host=True),
    Fault("rope_twice", "queries and keys are rotated twice",
          {"rotate": lambda x, c, s: ops.rotate(ops.rotate(x, c, s), c, s)}),
    Fault("rope_forgotten", "nothing is rotated", {"rotate": lambda x, c, s: x}),
    Fault("rope_backwards", "the rotation goes backwards: the sine has the wrong sign",
          rotated(lambda x, c, s: (x, c, -s))),
    Fault("rope_sin_for_cos", "cosine and sine of the rotation are in each other's place",
          rotated(lambda x, c, s: (x, s, c))),
    Fault("rope_sign_lost", "one half of the rotation has a sum for a difference", {"rotate": one_sign_lost},
          host=True),
    Fault("rope_half_the_pairs", "only the first half of the pairs is rotated: too few dimensions",
          {"rotate": lambda x, c, s: ops.rotate(x, *(t[..., : max(1, c.shape[-1] // 2)] for t in (c, s)))}),
    Fault("rope_last_channels", "the last channels of a head are rotated instead of the first",
          {"rotate": last_channels}, host=True),
    Fault("rope_pairs_of_the_head", "pairs are half a head apart, though only a part of the head is rotated",
          {"rotate": pairs_of_the_head}, host=True),
    Fault("rope_rest_dropped", "the channels that are not rotated become zero", {"rotate": rest_dropped}, host=True),
    Fault("rope_bfloat16", "the rotation is computed in bfloat16", {"rotate": in_16_bits("bfloat16")}, host=True),
    Fault("rope_tables_float16", "cosines and sines of the rotation are rounded to float16",
          rotated(lambda x, c, s: (x, rounded(c, "float16"), rounded(s, "float16"))), host=True),
    Fault("rope_tables_bfloat16", "cosines and sines of the rotation are rounded to bfloat16",
          rotated(lambda x, c, s: (x, rounded(c, "bfloat16"), rounded(s, "bfloat16"))), host=True),
    Fault("rope_no_magnitude", "the magnitude of a stretched rotation is dropped",
          rotated(lambda x, c, s: (x, c / (c * c + s * s) ** 0.5, s / (c * c + s * s) ** 0.5))),
    Fault("rope_first_row", "all rows of a batch are rotated by the positions of the first",
          rotated(lambda x, c, s: (x, *(t[:1] if t.ndim == 3 else t for t in (c, s)))), host=True),
    Fault("rope_theta_1_percent", "theta of the rotation is 1 % off", made_anew(_theta(1.01)), host=True),
    Fault("rope_theta_twice", "theta of the rotation is twice as large", made_anew(_theta(2.0)), host=True),
    Fault("rope_frequencies_bfloat16", "the frequencies of the rotation are rounded to bfloat16",
          made_anew(lambda p, f: p * rounded(f.astype(np.float32), "bfloat16")), host=True),
    Fault("rope_positions_bfloat16", "positions are rounded to bfloat16 before they become angles",
          made_anew(lambda p, f: rounded(p.astype(np.float32), "bfloat16") * f), host=True),
    Fault("rope_from_0_in_pieces", "each piece of a text is rotated as if it stood at its beginning",
          looked_up(lambda ids: ids - ids[..., :1]), host=True),
    Fault("rope_one_late", "behind a cache the rotation is one position too far",
          looked_up(lambda ids: ids + (ids.shape[-1] == 1)), host=True),
    Fault("rope_one_early", "behind a cache the rotation is one position short",
          looked_up(lambda ids: ids - (ids.shape[-1] == 1)), host=True),
    Fault("rope_of_the_longest", "in a ragged batch all rows are rotated by the positions of the longest",
          looked_up(lambda ids: np.broadcast_to(ids.max(axis=0, keepdims=True), ids.shape) if ids.ndim == 2 else ids),
          host=True),
    Fault("rope_on_values", "values are rotated as queries and keys are", remembers=on_values),
    Fault("rope_on_queries_only", "queries are rotated and keys are not", remembers=on_queries_only),
    Fault("rope_cached_unturned", "the cache keeps keys from before their rotation", remembers=kept_unturned,
          host=True),
    Fault("rope_first_kind", "the first kind of rotation is used in all layers, local ones too",
          remembers=first_kind_for_all, host=True),
    Fault("rope_twice_in_steps", "single positions are rotated twice",
          in_steps(lambda x, c, s: ops.rotate(ops.rotate(x, c, s), c, s))),
    Fault("rope_not_in_steps", "single positions are not rotated", in_steps(lambda x, c, s: x)),
)  # fmt: skip
