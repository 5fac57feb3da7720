"""Level 3: what is remembered: cache, ragged batches, forks, second calls."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayformer.conformance.lab import Lab
from arrayformer.conformance.outcome import Problem
from arrayformer.conformance.probes import Probe, probe
from arrayformer.conformance.registry import case
from arrayformer.core.engine import Context
from arrayformer.core.errors import InputError

Rows = Sequence[Sequence[int]]


def read(lab: Lab, name: str, context: Context, texts: list[list[int]], rows: Rows, where: str) -> Any:
    """Read `rows` and judge the logits after each row that got something. `texts` grows by what was read."""
    logits = context.read(rows)
    lab.check_array(logits, "logits", lab.result_dtype)
    host = lab.get(logits)
    for row, ids in enumerate(rows):
        texts[row] += ids
        if ids:
            ref = lab.reference(name)
            r = ref.oracle(texts[row])[-1:]
            lab.judge_row(
                host[row][None], r, ref, name, texts[row], f"{where}, row {row} at length {len(texts[row])}, "
            )
    lengths = [len(text) for text in texts]
    lab.require(context.lengths == lengths, f"{where}: the context counts {context.lengths}, read were {lengths}")
    return host


def ids_of(model: Probe, n: int, order: int = 2) -> list[list[int]]:
    """n rows of n_ctx ids."""
    rows = [row for i in range(n) for row in model.rows(order + i)]
    return [list(row) for row in rows[:n]]


def nothing(n: int) -> list[list[int]]:
    """n texts of which nothing was read."""
    return [[] for _ in range(n)]


@case(3, "cached", over=("p2", "p3", "untied", "silu"))
def cached(lab: Lab, name: str) -> None:
    """Reading one id after the other, to the last place of the context, gives what reading at once gives."""
    [ids] = ids_of(probe(name), 1)
    context, texts = lab.engine(name).context(1), [list[int]()]
    read(lab, name, context, texts, [ids[:3]], "3 ids at once")
    for id in ids[3:]:
        read(lab, name, context, texts, [[id]], "then one by one")


@case(3, "chunks")
def chunks(lab: Lab) -> None:
    """A text read in pieces of any lengths gives what reading at once gives."""
    [ids] = ids_of(probe("p3"), 1)
    rng = np.random.Generator(np.random.PCG64(5))
    for _ in range(12):
        context, texts = lab.engine("p3").context(1), [list[int]()]
        while len(texts[0]) < len(ids):
            n = int(rng.integers(1, 1 + min(17, len(ids) - len(texts[0]))))
            start = len(texts[0])
            read(lab, "p3", context, texts, [ids[start : start + n]], f"a piece of {n}")


@case(3, "every-position")
def every_position(lab: Lab) -> None:
    """A piece read behind a cache gives the right logits at each of its places, not only at its last."""
    [ids] = ids_of(probe("p3"), 1)
    for first in (1, 7, 16, 20):
        context = lab.engine("p3").context(1)
        context.read([ids[:first]])
        rest = ids[first:]
        logits = lab.get(context.read([rest], every=True))[:, : len(rest)]
        ref = lab.reference("p3")
        lab.judge_row(logits[0], ref.oracle(ids)[first:], ref, "p3", ids, f"{len(rest)} ids behind {first}, ")


@case(3, "edges", over=("p3", "long"))
def edges(lab: Lab, name: str) -> None:
    """First pieces of every length, on both sides of each bucket, then one id more; the last one fills the context."""
    [ids] = ids_of(probe(name), 1)
    n_ctx = len(ids)
    lengths = range(1, n_ctx + 1) if n_ctx < 100 else (1, 63, 64, 65, 127, 128, 129, 255, 256, 257, n_ctx - 1, n_ctx)
    for n in lengths:
        context, texts = lab.engine(name).context(1), [list[int]()]
        read(lab, name, context, texts, [ids[:n]], f"{n} ids at once")
        if n < n_ctx:
            read(lab, name, context, texts, [ids[n : n + 1]], f"one more behind {n}")


@case(3, "capacity")
def capacity(lab: Lab) -> None:
    """Contexts of every capacity can be filled to the last slot."""
    [ids] = ids_of(probe("p1"), 1)
    for size in range(1, len(ids) + 1):
        context, texts = lab.engine("p1").context(1, size), [list[int]()]
        if size > 1:
            read(lab, "p1", context, texts, [ids[: size - 1]], f"capacity {size}")
        read(lab, "p1", context, texts, [ids[size - 1 : size]], f"capacity {size}, the last slot")


@case(3, "ragged", over=(5,))
def ragged(lab: Lab, batch: int) -> None:
    """Rows of different lengths, some idle, some at the end of the context while others begin: each as if alone.

    The padding of a row that is nearly full reaches past the end of the cache: it must be dropped.
    """
    name = "p3"
    ids = ids_of(probe(name), batch)
    n_ctx = probe(name).config.n_ctx
    context, texts = lab.engine(name).context(batch), [list[int]() for _ in range(batch)]
    targets = [[1 + (5 * row) % 16 for row in range(batch)]]
    targets += [
        [min(n_ctx, t + (0 if (row + step) % 3 == 0 else 1)) for row, t in enumerate(targets[0])] for step in range(2)
    ]
    targets += [[n_ctx - 1 if row % 2 else n_ctx - 14 for row in range(batch)]]
    targets += [[n_ctx if row % 2 else n_ctx - 6 for row in range(batch)], [n_ctx] * batch]
    for step, lengths in enumerate(targets):
        rows = [ids[row][len(texts[row]) : max(len(texts[row]), n)] for row, n in enumerate(lengths)]
        if any(rows):
            read(lab, name, context, texts, rows, f"batch of {batch}, step {step}")


@case(3, "overflow")
def overflow(lab: Lab) -> None:
    """What does not fit is refused before anything is written, and the context stays usable."""
    [ids] = ids_of(probe("p1"), 1)
    engine, n_ctx = lab.engine("p1"), len(ids)
    context = engine.context(1)
    context.read([ids[:-1]])
    for extra in (2, n_ctx, 3 * n_ctx):
        try:
            context.read([[1] * extra])
        except InputError:
            continue
        raise Problem(f"{extra} ids were read into a context with one free slot")
    lab.require(context.lengths == [n_ctx - 1], "a refused read changed the length")
    logits = context.read([ids[-1:]])
    lab.judge(logits[:, None, :], "p1", [ids], last=1, where="after a refused read, ")


@case(3, "reset")
def reset(lab: Lab) -> None:
    """A context used again gives what a new one gives."""
    first, second = ids_of(probe("p2"), 2)
    context = lab.engine("p2").context(2)
    context.read([first[:16], second[:9]])
    context.reset(0)
    context.reset(1)
    texts: list[list[int]] = nothing(2)
    read(lab, "p2", context, texts, [second[:11], first[:5]], "after a reset")
    read(lab, "p2", context, texts, [second[11:12], first[5:9]], "after a reset")


@case(3, "truncate")
def truncate(lab: Lab) -> None:
    """A context cut back and continued otherwise has forgotten what was cut off."""
    first, second = ids_of(probe("p2"), 2)
    context, texts = lab.engine("p2").context(2), [list[int](), list[int]()]
    read(lab, "p2", context, texts, [first[:16], second[:15]], "before the cut")
    for row, length in ((0, 6), (1, 14)):
        context.truncate(row, length)
        texts[row] = texts[row][:length]
    for step in range(4):
        read(lab, "p2", context, texts, [second[step : step + 1], first[step * 3 : step * 3 + 3]], "after a cut")


@case(3, "fork")
def fork(lab: Lab) -> None:
    """Two continuations of one beginning do not see each other, whichever goes first."""
    first, second = ids_of(probe("p2"), 2)
    parent, texts = lab.engine("p2").context(2), [list[int](), list[int]()]
    read(lab, "p2", parent, texts, [first[:10], second[:14]], "before the fork")
    child, theirs = parent.fork(), [list(t) for t in texts]
    for step in range(4):
        read(lab, "p2", child, theirs, [second[30 + step : 31 + step], first[30 + step : 31 + step]], "the fork")
        read(lab, "p2", parent, texts, [first[10 + step : 11 + step], second[14 + step : 15 + step]], "the parent")


@case(3, "take")
def take(lab: Lab) -> None:
    """Rows copied from one context into another go on as if they had been read there."""
    ids = ids_of(probe("p2"), 4)
    source, here = lab.engine("p2").context(2), [list[int](), list[int]()]
    read(lab, "p2", source, here, [ids[0][:13], ids[1][:6]], "the source")
    target, there = lab.engine("p2").context(3), [list[int](), list[int](), list[int]()]
    read(lab, "p2", target, there, [ids[2][:15], ids[3][:9], ids[0][:4]], "the target")
    target.take(source, [1, 0], [0, 2])
    there[0], there[2] = list(here[1]), list(here[0])
    for step in range(2):
        read(lab, "p2", target, there, [[7 + step], [9 + step], [11 + step]], "after taking rows")
        read(lab, "p2", source, here, [[3 + step], [5 + step]], "the source of the rows")


@case(3, "interleaved")
def interleaved(lab: Lab) -> None:
    """Two contexts of one model, and of two models of one shape, read in turns without seeing each other.

    A compiled step that keeps the weights it first saw answers for the wrong model.
    """
    names = ("p2", "p2", "p2-s1")
    ids = [ids_of(probe(name), 2)[i % 2] for i, name in enumerate(names)]
    contexts = [lab.engine(name).context(1) for name in names]
    texts: list[list[list[int]]] = [[[]] for _ in names]
    for start, stop in ((0, 8), (8, 9), (9, 10), (10, 18), (18, 19)):
        for name, text, context, row in zip(names, texts, contexts, ids, strict=True):
            read(lab, name, context, text, [row[start:stop]], f"{name} in turns")


@case(3, "stale")
def stale(lab: Lab) -> None:
    """What lies in the cache behind a row's length is never looked at: numbers of 1e30 there change no bit."""
    ids = ids_of(probe("p2"), 2)
    bits = []
    for poison in (0.0, 6e4 if lab.backend.dtype == "float16" else 1e30):
        context = lab.engine("p2").context(2)
        context.read([ids[0][:9], ids[1][:15]])
        context.cache = context.cache._replace(**{
            part: [spoilt(lab, x, context.lengths, poison) for x in getattr(context.cache, part)] for part in "kv"
        })  # fmt: skip
        logits = [lab.get(context.read([[5], [6, 7]])), lab.get(context.read([[8], [9]]))]
        bits.append(np.stack(logits))
    lab.same_bits(bits[0], bits[1], "stale slots of the cache are looked at")


def spoilt(lab: Lab, x: Any, lengths: Sequence[int], poison: float) -> Any:
    """Keys or values with `poison` behind each row's length."""
    host = np.array(lab.get(x), dtype=np.float32)
    for row, length in enumerate(lengths):
        host[row, :, length:] = poison
    return lab.put(host, lab.backend.dtype)


@case(3, "repeat")
def repeat(lab: Lab) -> None:
    """The same steps in a new context, ten times: right each time, bit for bit equal where declared deterministic."""
    ids = ids_of(probe("p3"), 2)
    seen: list[np.ndarray] = []
    for call in range(10):
        context, texts = lab.engine("p3").context(2), [list[int](), list[int]()]
        for rows in ([ids[0][:5], ids[1][:9]], [ids[0][5:6], ids[1][9:10]], [ids[0][6:7], ids[1][10:11]]):
            host = read(lab, "p3", context, texts, rows, f"run {call + 1}")
        seen.append(host)
        if lab.backend.deterministic:
            lab.same_bits(seen[0], host, f"declared deterministic: run {call + 1} differs from run 1")


@case(3, "kept-results")
def kept_results(lab: Lab) -> None:
    """Logits once returned stay as they are while later steps run, and belong to whoever asked for them on the host."""
    [ids] = ids_of(probe("p2"), 1)
    context = lab.engine("p2").context(1)
    first = context.read([ids[:8]])
    before = lab.get(first)
    lab.require(before.flags.writeable and before.flags.owndata, "to_numpy gave an array that is not the caller's own")
    kept = before.copy()
    second = lab.get(context.read([ids[8:9]]))
    lab.same_bits(kept, lab.get(first), "a later step changed the logits on the device")
    lab.same_bits(kept, before, "a later step changed the logits on the host")
    before[...] = 0
    lab.same_bits(kept, lab.get(first), "writing into the host's logits changed those on the device")
    again = lab.engine("p2").context(1)
    again.read([ids[:8]])
    lab.judge(again.read([ids[8:9]])[:, None, :], "p2", [ids[:9]], last=1, where="a second context, ")
    lab.require(second.shape == (1, probe("p2").config.n_vocab), f"logits have shape {second.shape}")


@case(3, "aborted")
def aborted(lab: Lab) -> None:
    """A step that breaks off halfway costs nothing: the context goes on from where it was."""
    [ids] = ids_of(probe("p1"), 1)

    class Stop(Exception):
        pass

    def stop(name: str, x: Any) -> Any:
        if name.endswith("mid"):
            raise Stop
        return x

    context, texts = lab.engine("p1").context(1), [list[int]()]
    read(lab, "p1", context, texts, [ids[:3]], "before")
    try:
        context.read([[7, 7]], tap=stop)
    except Stop:
        read(lab, "p1", context, texts, [ids[3:5]], "after a step that was broken off")
        return
    raise Problem("an exception inside a step was swallowed")


@case(3, "threads")
def threads(lab: Lab) -> None:
    """Four threads with a context each get what they get one after the other."""
    engine = lab.engine("p2")
    ids = ids_of(probe("p2"), 4)
    # Compiled before, so that what is tested is running, not compiling.
    alone = [run_alone(lab, engine.context(1), row) for row in ids]
    found: list[Any] = [None] * 4

    def work(i: int) -> None:
        try:
            found[i] = run_alone(lab, engine.context(1), ids[i])
        except Exception as error:
            found[i] = error

    started = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(4)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    for i, result in enumerate(found):
        if isinstance(result, Exception):
            raise Problem(f"thread {i}: {type(result).__name__}: {result}")
        if lab.backend.deterministic:
            lab.same_bits(alone[i], result, f"thread {i} computed something else than alone")
        else:
            ref = lab.reference("p2")
            lab.judge_row(result, ref.oracle(ids[i][:12])[8:], ref, "p2", ids[i][:12], f"thread {i}, ")


def run_alone(lab: Lab, context: Context, ids: Sequence[int]) -> np.ndarray:
    """Logits of 4 steps behind 8 ids, [4, n_vocab]."""
    context.read([ids[:8]])
    return np.concatenate([lab.get(context.read([[id]])) for id in ids[8:12]])
