"""From logits to ids: the same seed gives the same id on every array library.

Sampling by cumulative sums cannot do this: float32 sums over 50,257 probabilities differ between libraries, and
with them the draw. Gumbel-max (https://arxiv.org/abs/1411.0030, section 2.2) compares instead of summing: the
host sends one 32-bit word per row, keyed by seed and position, the device hashes it with each id into noise and
takes the largest sum of logit and noise. No library's random generator is involved.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from arrayformer.core.array_api import Array, array_namespace, device
from arrayformer.core.ops import PLAIN, Ops, like, logsumexp


@dataclass(frozen=True)
class Plan:
    """What a step has to compute for its rows; a compiler makes one program for each plan.

    greedy    whether every row takes its likeliest id
    k         how many of the likeliest ids are looked at to cut rows by rank (0: no row is)
    nucleus   whether some row is cut by top-p
    min_p     whether some row is cut by min-p
    penalty   whether some row has a repetition penalty
    logprobs  how many alternatives are reported (None: no log-probabilities at all)
    """

    greedy: bool = True
    k: int = 0
    nucleus: bool = False
    min_p: bool = False
    penalty: bool = False
    logprobs: int | None = None


class Draw(NamedTuple):
    """What the device needs to draw for each row; the host makes it anew for each step.

    word         [batch, n] int32, one random word for each place that is drawn for
    temperature  [batch] float32, 0 for rows that take their likeliest id
    top_k        [batch] int, 1 to n_vocab
    top_p        [batch] float32, above 0 and at most 1
    min_p        [batch] float32, the natural logarithm of min-p (-inf where it is not used)
    penalty      [batch] float32, 1 where nothing is penalised
    seen         [batch, n_vocab] bool, the ids that are penalised (None unless the plan says so)
    """

    word: Array
    temperature: Array
    top_k: Array
    top_p: Array
    min_p: Array
    penalty: Array
    seen: Array | None = None


class Picked(NamedTuple):
    """What a step gives back to the host.

    ids              [batch, n] int, -1 where a row's logits are not finite
    logprob          [batch, n] float32, natural logarithm of the id's probability under the uncut model (or None)
    top_ids          [batch, n, logprobs] int, the likeliest ids (or None)
    top_logprobs     [batch, n, logprobs] float32 (or None)
    seen             [batch, n_vocab] bool, what `Draw.seen` is for the next step (or None); it stays on the device
    """

    ids: Array
    logprob: Array | None = None
    top_ids: Array | None = None
    top_logprobs: Array | None = None
    seen: Array | None = None


def mix(x: Array) -> Array:
    """A 32-bit hash, lowbias32 (https://github.com/skeeto/hash-prospector).

    On int32, because its products wrap on every library and not every library shifts uint32.
    """
    x = x ^ (x >> 16 & 0xFFFF)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15 & 0x1FFFF)
    x = x * -2073254261  # 0x846ca68b
    return x ^ (x >> 16 & 0xFFFF)


def gumbel_noise(word: Array, ids: Array) -> Array:
    """word [...] int32, ids [n_vocab] int32 -> [..., n_vocab] float32, standard Gumbel

    -log(-log(1 - u)) for uniform u. The largest noise comes of the smallest u, where 1 - u has lost its digits: what
    rounding did to 1 - u is divided out again (theorem 4 of https://doi.org/10.1145/103162.103163). NumPy's log1p()
    takes ten times as long.
    """
    xp = array_namespace(ids)
    word = word[..., None]
    x = mix(mix(ids * -1640531535 ^ word) + word)
    u = (xp.astype(x & 0x7FFFFFFF, xp.float32) + 0.5) * 2.0**-31
    u = xp.clip(u, 0.0, 1.0 - 2.0**-24)  # the largest words round to 1, whose noise would be -inf
    rest = 1.0 - u
    exponential = -xp.log(rest) * (u / ((1.0 - rest) + 1e-30))  # where `rest` is 1 this is 0, and should be u
    return -xp.log(xp.maximum(exponential, u))


def penalise(logits: Array, seen: Array, penalty: Array) -> Array:
    """Logits of ids seen before, divided by the penalty where positive, multiplied where negative.

    https://arxiv.org/abs/1909.05858 section 4.1, in the form for logits of either sign.
    """
    xp = array_namespace(logits)
    penalty = penalty[:, None, None]
    weaker = xp.where(logits > 0.0, logits / penalty, logits * penalty)
    return xp.where(seen[:, None, :], weaker, logits)


def threshold(logits: Array, draw: Draw, plan: Plan, ops: Ops) -> Array:
    """The lowest logit of each row that may still be drawn, [batch, n, 1]. Equals of that logit stay in.

    Top-k first, then top-p (https://arxiv.org/abs/1904.09751) over what is left, then min-p
    (https://arxiv.org/abs/2407.01082).
    """
    xp = array_namespace(logits)
    lowest = xp.max(logits, axis=-1, keepdims=True) + (draw.min_p[:, None, None] if plan.min_p else -math.inf)
    if not plan.k:
        return xp.maximum(lowest, nucleus(logits, draw)) if plan.nucleus else lowest
    ranked, places = ops.top_k(logits, plan.k)
    rank = xp.arange(plan.k, dtype=places.dtype, device=device(places))
    kept = rank < xp.astype(draw.top_k, places.dtype)[:, None, None]
    if plan.nucleus:
        exps = xp.where(kept, xp.exp(ranked - ranked[..., :1]), 0.0)
        total = xp.cumulative_sum(exps, axis=-1)
        before = (total - exps) / total[..., -1:]  # the probability of everything likelier
        kept = kept & ((before < draw.top_p[:, None, None]) | (rank < 1))
    cut = xp.sum(xp.astype(kept, places.dtype), axis=-1, keepdims=True) - 1
    return xp.maximum(lowest, xp.take_along_axis(ranked, xp.astype(cut, places.dtype), axis=-1))


def nucleus(logits: Array, draw: Draw) -> Array:
    """The threshold of top-p, found by halving: to sort all ids costs more than a step of a small model.

    What is 26 below the highest logit is never drawn: no noise is above 22.2 or below -2.9.
    """
    xp = array_namespace(logits)
    high = xp.max(logits, axis=-1, keepdims=True)
    low = high - 26.0
    exps = xp.exp(logits - high)
    wanted = draw.top_p[:, None, None] * xp.sum(exps, axis=-1, keepdims=True)
    for _ in range(28):  # 26 / 2**28 is what float32 tells apart near 1
        middle = (low + high) * 0.5
        above = exps * xp.astype(logits > middle, exps.dtype)  # a product: where() takes seven times as long on NumPy
        enough = xp.sum(above, axis=-1, keepdims=True) >= wanted
        low, high = xp.where(enough, middle, low), xp.where(enough, high, middle)
    return low


def pick(logits: Array, draw: Draw, plan: Plan, ops: Ops = PLAIN) -> Picked:
    """One id for each place in `logits` [batch, n, n_vocab]."""
    xp = array_namespace(logits)
    finite = xp.all(xp.isfinite(logits), axis=-1)
    seen = draw.seen if plan.penalty else None
    judged = logits if seen is None else penalise(logits, seen, draw.penalty)
    ids = xp.argmax(judged, axis=-1)
    if not plan.greedy:
        warm = draw.temperature[:, None, None]
        scaled = judged / xp.where(warm > 0.0, warm, 1.0)
        all_ids = xp.arange(logits.shape[-1], dtype=xp.int32, device=device(logits))
        noisy = scaled + gumbel_noise(draw.word, all_ids)
        if plan.k or plan.nucleus or plan.min_p:
            noisy = xp.where(scaled >= threshold(scaled, draw, plan, ops), noisy, -math.inf)
        drawn = xp.argmax(noisy, axis=-1)
        ids = xp.where(warm[..., 0] > 0.0, drawn, ids)
    reported = report(logits, ids, plan, ops)
    return reported._replace(ids=xp.where(finite, ids, -1), seen=None if seen is None else mark(seen, ids))


def mark(seen: Array, ids: Array) -> Array:
    """`seen` [batch, n_vocab] with `ids` [batch, 1] seen too."""
    xp = array_namespace(seen)
    return seen | (xp.arange(seen.shape[-1], dtype=ids.dtype, device=device(ids)) == ids)


def report(logits: Array, ids: Array, plan: Plan, ops: Ops) -> Picked:
    """The ids with the log-probabilities that `plan` asks for."""
    if plan.logprobs is None:
        return Picked(ids)
    xp = array_namespace(logits)
    total = logsumexp(logits)
    chosen = xp.take_along_axis(logits, ids[..., None], axis=-1) - total
    if not plan.logprobs:
        return Picked(ids, chosen[..., 0])
    values, places = ops.top_k(logits, plan.logprobs)
    return Picked(ids, chosen[..., 0], places, like(values - total, logits))
