"""Bits per byte: how well the model foretells a text, whatever its tokenizer."""

import math
from collections.abc import Callable

import numpy as np

from arrayformer.core.params import Params

Losses = Callable[[Params, np.ndarray], np.ndarray]
"""(params, ids [batch, window + 1]) -> nats of each id after the first [batch, window]"""


def window_starts(n: int, window: int, stride: int) -> tuple[list[int], list[int]]:
    """Windows over `n` ids that count each id after the first once, and see as much before it as there is.

    returns  where each window starts, and how many of its last ids it is the first to count
    """
    starts, counts, counted = [], [], 0
    while counted < n - 1:
        start = min(counted + stride - window, n - 1 - window) if counted else 0
        start = max(start, 0)
        end = min(start + window, n - 1)
        starts.append(start)
        counts.append(end - counted)
        counted = end
    return starts, counts


def bits_per_byte(
    losses: Losses, params: Params, ids: np.ndarray, n_bytes: int, *, eos: int, window: int, stride: int, rows: int = 8
) -> float:
    """Of a whole text: every id counted once, every byte in the divisor.

    ids      [n] the text; the first is foretold from `eos`
    n_bytes  size of the text as UTF-8
    window   ids a prediction may look at
    stride   how far apart the windows are: at most `window`; a smaller one shows each id more of what came before
    rows     windows that are scored at a time
    """
    text = np.concatenate([[eos], ids]).astype(np.int32)
    window = min(window, len(text) - 1)
    starts, counts = window_starts(len(text), window, min(stride, window))
    nats = 0.0
    for first in range(0, len(starts), rows):
        group, tail = starts[first : first + rows], counts[first : first + rows]
        filled = group + [group[-1]] * (rows - len(group))  # one shape, one compilation
        scored = np.asarray(losses(params, np.stack([text[s : s + window + 1] for s in filled])))
        nats += sum(float(row[window - n :].sum(dtype=np.float64)) for row, n in zip(scored, tail, strict=False))
    return nats / math.log(2) / n_bytes


def quick_bits_per_byte(
    losses: Losses, params: Params, ids: np.ndarray, bytes_of: np.ndarray, *, window: int, rows: int, groups: int = 4
) -> float:
    """The same of `rows * groups` windows spread evenly over the text: fast, and comparable from step to step."""
    window = min(window, len(ids) - 1)
    starts = np.linspace(0, len(ids) - 1 - window, rows * groups).astype(int)
    nats, n_bytes = 0.0, 0
    for group in np.split(starts, groups):
        cut = np.stack([ids[s : s + window + 1] for s in group]).astype(np.int32)
        nats += float(np.asarray(losses(params, cut)).sum(dtype=np.float64))
        n_bytes += int(bytes_of[cut[:, 1:]].sum())
    return nats / math.log(2) / n_bytes
