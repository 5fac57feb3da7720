"""Attention of a few queries to the keys of a cache in one pass, and the softmax of many.

Scores, probabilities and the weighted sum of the values of one query of one head stay in the core's own cache.
"""

import math

import numpy as np

from arrayformer.backends.numba.compiled import kernel
from arrayformer.backends.numba.elementwise import exp
from arrayformer.backends.numba.parallel import job, spread
from arrayformer.backends.numba.products import dot
from arrayformer.backends.numba.widen import widen

F32 = np.float32


@kernel()
def _add_values(scores, v, out):
    """scores [key] times v [key, head_dim] into out [head_dim], four keys at a time: a fourth of the stores."""
    n, size = v.shape
    out[:] = F32(0)
    i = 0
    while i + 4 <= n:
        a, b, c, d = scores[i], scores[i + 1], scores[i + 2], scores[i + 3]
        for k in range(size):
            first = a * widen(v[i, k]) + b * widen(v[i + 1, k])
            out[k] += first + (c * widen(v[i + 2, k]) + d * widen(v[i + 3, k]))
        i += 4
    while i < n:
        for k in range(size):
            out[k] += scores[i] * widen(v[i, k])
        i += 1


@kernel()
def softmax(scores, scale, cap):
    """scores [n] times `scale`, capped where `cap` is not 0, to probabilities times their sum, which is returned."""
    scale, cap = F32(scale), F32(cap)
    if cap != F32(0):
        for i in range(scores.shape[0]):
            scores[i] = cap * math.tanh(scores[i] * scale / cap)
        scale = F32(1)
    highest = F32(-math.inf)
    for i in range(scores.shape[0]):
        scores[i] *= scale
        highest = max(highest, scores[i])
    total = F32(0)
    for i in range(scores.shape[0]):
        scores[i] = exp(scores[i] - highest)
        total += scores[i]
    return total


@kernel()
def _some_queries(q, k, v, position, scale, window, cap, out, first, last):
    head, seq = q.shape[1:3]
    group = head // k.shape[1]
    scores = np.empty(k.shape[2], dtype=F32)
    for i in range(first, last):
        row, h, s = i // (head * seq), i // seq % head, i % seq
        end = min(position[row, s] + 1, k.shape[2])
        start = max(0, end - window) if window else 0
        keys, values, seen = k[row, h // group, start:end], v[row, h // group, start:end], scores[: end - start]
        for j in range(end - start):
            seen[j] = dot(q[row, h, s], keys[j])
        total = softmax(seen, scale, cap)
        _add_values(seen, values, out[row, s, h])
        for j in range(out.shape[3]):
            out[row, s, h, j] /= total


_queries = job(_some_queries)


@kernel()
def attend(words, q, k, v, position, scale, window, cap, out):
    """Attention of few queries.

    q         [batch, head, query, head_dim]
    k, v      [batch, kv_head, key, head_dim], float32 or bits of bfloat16
    out       [batch, query, head, head_dim]
    position  [batch, query]: a query sees the keys up to its own
    window    how many keys at most it sees, its own among them; 0 for all
    cap       what bounds the scores; 0 for nothing
    """
    n = q.shape[0] * q.shape[1] * q.shape[2]
    spread(words, _queries((q, k, v, position, scale, window, cap, out)), n, 1 if n < 64 else 4)


@kernel()
def _softmax_some(scores, position, start, scale, window, cap, first, last):
    keys, queries = scores.shape[1], position.shape[0]
    for i in range(first, last):
        end = min(position[i % queries] + 1 - start, keys)
        begin = max(0, end - window) if window else 0
        scores[i, :begin] = F32(0)
        scores[i, end:] = F32(0)
        seen = scores[i, begin:end]
        total = softmax(seen, scale, cap)
        for j in range(seen.shape[0]):
            seen[j] /= total


_softmaxed = job(_softmax_some)


@kernel()
def masked_softmax(words, scores, position, start, scale, window, cap):
    """scores [head * query, key] to probabilities, in place; the keys stand at start, start + 1, ...

    position [query]; scale, window and cap as in `attend`
    """
    spread(words, _softmaxed((scores, position, start, scale, window, cap)), scores.shape[0], 8)
