"""Level 3: contexts that are reset, cut, forked, interleaved, repeated, broken off, and used by threads."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayformer.conformance.cases.level_3_cache import ids_of, nothing, read
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.result import Problem
from arrayformer.conformance.run.subject import Lab
from arrayformer.core.engine import Context


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
    ids = ids_of(probe("p3"), 4)
    # As many rows as L3-ragged has, so that nothing is compiled anew.
    source, here = lab.engine("p3").context(5), nothing(5)
    read(lab, "p3", source, here, [ids[0][:13], ids[1][:6], [], [], ids[2][:2]], "the source")
    target, there = lab.engine("p3").context(5), nothing(5)
    read(lab, "p3", target, there, [ids[2][:15], ids[3][:9], ids[0][:4], ids[1][:16], []], "the target")
    target.take(source, [1, 0], [0, 2])
    there[0], there[2] = list(here[1]), list(here[0])
    for step in range(2):
        read(lab, "p3", target, there, [[7 + step], [9 + step], [11 + step], [], [step]], "after taking rows")
        read(lab, "p3", source, here, [[3 + step], [5 + step], [], [1], []], "the source of the rows")


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
    ids = ids_of(probe("p2"), 2)
    seen: list[np.ndarray] = []
    for call in range(10):
        context, texts = lab.engine("p2").context(2), [list[int](), list[int]()]
        # Rows of one length, which the other cases do not have.
        for rows in ([row[:9] for row in ids], [row[9:10] for row in ids], [row[10:11] for row in ids]):
            host = read(lab, "p2", context, texts, rows, f"run {call + 1}")
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
    """Four threads with a context each get what they get one after the other.

    A library may keep settings for each thread, its precision among them: those of the first thread do not hold here.
    """
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
