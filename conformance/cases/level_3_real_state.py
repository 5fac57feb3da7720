"""Levels 1 to 3 at the sizes of real models: what is kept, claimed, or only seen after a long time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayformer.conformance.cases.bounds import normal
from arrayformer.conformance.cases.level_3_cache import read
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.result import NotApplicable, Problem
from arrayformer.conformance.run.subject import Host, Subject
from arrayformer.core import array_api
from arrayformer.core.engine import Context, Engine
from arrayformer.core.params import Params, Weight, map_params

BATCHES = (9, 17, 33)


def ids_of(name: str, rows: int, n: int) -> list[list[int]]:
    """Rows of `n` ids of a probe."""
    found = np.random.Generator(np.random.PCG64([rows, n])).integers(0, probe(name).config.n_vocab, (rows, n))
    return [list(map(int, row)) for row in found]


@case(3, "real-ragged", over=BATCHES, real=True)
def real_ragged(subject: Subject, judge: Judge, batch: int) -> None:
    """Batches of 9, 17 and 33 rows, heads of 64, some of which read nothing: each row as if alone.

    Rows of all lengths up to 280 ids: whole prompts, pieces of 5, and single ids behind 160 others.
    """
    name, n = "real-64", 280
    ids, ref = ids_of(name, batch, n), subject.models.reference(name)
    context, r = subject.models.engine(name).context(batch, n), [ref.oracle(row) for row in ids]
    for step, more in enumerate(plan(batch, n)):
        was = list(context.lengths)
        host = subject.get(context.read([row[at : at + k] for row, at, k in zip(ids, was, more, strict=True)]))
        for row, k in enumerate(more):
            at = was[row] + k
            if k:
                where = f"batch of {batch}, step {step}, row {row} at length {at}, "
                judge.row(host[row][None], r[row][at - 1 : at], ref, name, ids[row][:at], where)


def plan(batch: int, n: int) -> list[list[int]]:
    """Per step, how many ids each row reads: prompts, pieces and single ids, by turns; some rows read nothing."""
    steps = [[0 if row % 5 == 2 else 1 + 37 * row % 180 for row in range(batch)]]
    steps.append([5 if row % 4 else 0 for row in range(batch)])
    steps += [[1 if (row + step) % 3 else 0 for row in range(batch)] for step in range(2)]
    read = [sum(step[row] for step in steps) for row in range(batch)]
    steps.append([min(n - 3, 200) - read[row] if row % 2 and read[row] < 200 else 0 for row in range(batch)])
    return [*steps, *([1 if (row + step) % 4 else 0 for row in range(batch)] for step in range(2))]


@case(3, "real-context", over=("real-gpt2-124M",), real=True, architecture="gpt2")
@case(3, "real-context", over=("real-smollm2-135M", "real-qwen3-0.6B"), real=True, architecture="llama")
@case(3, "real-context", over=("real-gemma-3-270M",), real=True, architecture="gemma")
def real_context(subject: Subject, judge: Judge, name: str) -> None:
    """One block as wide as a real model's, read to the last slot: a prompt, a piece behind it, and id after id."""
    row = probe(name).rows()[0]
    ref, context = subject.models.reference(name), subject.models.engine(name).context(1, len(row))
    r = ref.oracle(row)
    pieces = [len(row) - 90, 33, 50, 1, 1, 1, 1, 1, 1, 1]
    start = 0
    for n in pieces:
        logits = subject.get(context.read([row[start : start + n]], every=True))[0, :n]
        judge.row(logits, r[start : start + n], ref, name, row[: start + n], f"{n} ids behind {start}, ")
        start += n


@case(2, "real-logits", over=("real-gpt2-355M",), real=True, architecture="gpt2")
@case(2, "real-logits", over=("real-pythia-410M",), real=True, architecture="gpt_neox")
@case(2, "real-logits", over=("real-qwen2_5-0.5B",), real=True, architecture="llama")
def real_logits(subject: Subject, judge: Judge, name: str) -> None:
    """The logits of one block as wide as a real model's, for a prompt of more than a hundred ids."""
    row = probe(name).rows()[0]
    judge.logits(subject, subject.models.forward(name, [row]), name, [row])


@case(3, "real-layers", over=("real-layers",), real=True)
def real_layers(subject: Subject, judge: Judge, name: str) -> None:
    """Forty blocks: the caches of all are their own, and the last are computed as the first."""
    [ids] = ids_of(name, 1, 14)
    judge.logits(subject, subject.models.forward(name, [ids]), name, [ids])
    context, texts = subject.models.engine(name).context(1, 14), [list[int]()]
    for piece in (ids[:9], *([id] for id in ids[9:])):
        read(subject, judge, name, context, texts, [piece], f"{len(piece)} ids")


@case(3, "owned", over=("p3", "real-64"))
def owned(subject: Subject, judge: Judge, name: str) -> None:
    """Weights that are given away, each laid out in memory as the backend wants it, are the same weights."""
    config = probe(name).config
    params = _laid_out(probe(name).params(), config.weights(), subject)
    engine = Engine(config, params, subject.backend, owned=True)
    ids = ids_of(name, 1, min(24, config.n_ctx))
    ref = subject.models.reference(name)
    judge.row(engine.logits(ids[0]), ref.oracle(ids[0]), ref, name, ids[0], "weights given away, ")


def _laid_out(params: Params, weights: Params, subject: Subject) -> Params:
    """As a file's reader makes them."""

    def laid(x: Host, weight: Any) -> Host:
        return np.asarray(x, order=subject.backend.order(weight))

    found: Params = map_params(laid, params, weights)
    return found


@case(3, "cache-kept")
def cache_kept(subject: Subject, judge: Judge) -> None:
    """A backend that says a step leaves the cache it was given alone leaves it alone, also behind many ids."""
    if subject.backend.consumes_cache:
        raise NotApplicable("the backend declares that a step may overwrite its cache")
    for name, first in (("p2", 9), ("real-64", 70)):
        context = subject.models.engine(name).context(2)
        ids = ids_of(name, 2, first + 4)
        context.read([row[:first] for row in ids])
        for n in (1, 3):
            cache, before = context.cache, _layers(subject, context)
            context.read([row[first : first + n] for row in ids])
            after = [subject.get(x) for layer in cache.layers for x in layer]
            for old, new in zip(before, after, strict=True):
                judge.same_bits(old, new, f"declared not to consume its cache: a step of {n} ids wrote into it")


def _layers(subject: Subject, context: Context) -> list[Host]:
    return [np.array(subject.get(x)) for layer in context.cache.layers for x in layer]


@case(3, "real-claims", real=True)
def real_claims(subject: Subject, judge: Judge) -> None:
    """What is declared deterministic is so behind many keys; what is batch_invariant is so in each step."""
    name, n = "real-64", 700
    ids = ids_of(name, 3, n)
    if subject.backend.deterministic:
        first, *others = [_steps(subject, name, ids[:1], n) for _ in range(4)]
        for run, other in enumerate(others, start=2):
            judge.same_bits(first, other, f"declared deterministic: run {run} of {n} ids differs from run 1")
    if subject.backend.batch_invariant:
        for length in (9, 40, 300):
            together = _steps(subject, name, ids, length)
            for row in range(3):
                alone = _steps(subject, name, ids[row : row + 1], length)
                judge.same_bits(
                    alone[:, 0], together[:, row], f"declared batch_invariant: row {row} of 3 behind {length} ids"
                )


def _steps(subject: Subject, name: str, ids: Sequence[Sequence[int]], n: int) -> Host:
    """Logits [step, batch, n_vocab] of a prompt and of steps behind it."""
    context = subject.models.engine(name).context(len(ids))
    found = [subject.get(context.read([row[: n - 4] for row in ids]))]
    found += [subject.get(context.read([row[i : i + 1] for row in ids])) for i in range(n - 4, n)]
    return np.stack(found)


@case(1, "own-results")
def own_results(subject: Subject, judge: Judge) -> None:
    """What a function gave stays as it is when it is called again, with one row and with several.

    A result that is written into one buffer for each shape changes under the reader's hands.
    """
    w, b = subject.put(normal(3, 16, 16)), subject.put(normal(4, 16))
    weights: dict[str, list[Any]] = {
        "gelu": [], "silu": [], "layer_norm": [b, b], "rms_norm": [b], "linear": [w, b], "unembed": [w],
    }  # fmt: skip
    for name, more in weights.items():
        function = subject.backend.compile(subject.function(name))
        for shape in ((1, 1, 16), (2, 5, 16)):
            first = function(subject.put(normal(1, *shape)), *more)
            before = np.array(subject.get(first))
            function(subject.put(normal(2, *shape)), *more)
            judge.same_bits(before, subject.get(first), f"{name} of {list(shape)}: a later call changed its result")


@case(3, "real-kept-results", real=True)
def real_kept_results(subject: Subject, judge: Judge) -> None:
    """Logits of several rows stay as they are on the device while later steps of the same shape run."""
    name = "real-64"
    ids = ids_of(name, 4, 40)
    for rows in (1, 2, 4):
        context, kept = subject.models.engine(name).context(rows), []
        for i in range(12):
            logits = context.read([row[i : i + 1] for row in ids[:rows]])
            kept.append((logits, np.array(subject.get(logits))))
        for step, (device, host) in enumerate(kept):
            judge.same_bits(host, subject.get(device), f"{rows} rows: a later step changed the logits of step {step}")


@case(3, "real-many-steps", real=True)
def real_many_steps(subject: Subject, judge: Judge) -> None:
    """Step after step, 1,200 of them, with other models between: right each time and the same as at first."""
    ids = probe("p1").rows()[0]
    context, ref = subject.models.engine("p1").context(1), subject.models.reference("p1")
    r = ref.oracle(ids)
    for step in range(1200):
        at = step % len(ids)
        if at == 0:
            context.reset(0)
        if step % 400 == 399:
            other = probe("p2").rows()[0]
            judge.logits(subject, subject.models.forward("p2", [other]), "p2", [other], where=f"at step {step}, ")
        logits = subject.get(context.read([ids[at : at + 1]]))
        judge.row(logits, r[at : at + 1], ref, "p1", ids[: at + 1], f"step {step}, ")


@case(0, "device")
def device(subject: Subject, judge: Judge) -> None:
    """Arrays lie on the device that was asked for: on another device for each of those the backend offers."""
    where = {}
    for name in subject.backend.devices():
        try:
            backend = subject.make(device=name)
            x = backend.asarray(np.ones(3, dtype=np.float32))
            tree = backend.place({"w": np.ones((2, 2), dtype=np.float32)}, {"w": Weight((2, 2), "column")})["w"]
        except MemoryError as error:
            raise NotApplicable(f"{name}: {error}") from error
        judge.require(
            array_api.device(x) == array_api.device(tree),
            f"{name}: asarray puts arrays on {array_api.device(x)}, place on {array_api.device(tree)}",
        )
        where[name] = array_api.device(x)
    for one, other in ((a, b) for a in where for b in where if a < b):
        if where[one] == where[other]:
            raise Problem(f"asked for the device {one!r}, then for {other!r}: arrays lie on {where[one]} both times")
