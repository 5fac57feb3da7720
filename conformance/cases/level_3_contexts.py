"""Level 3: contexts that are reset, cut, forked, interleaved, repeated, broken off, and used by threads."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayformer.conformance.cases.level_3_cache import ids_of, nothing, read
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.result import Problem
from arrayformer.conformance.run.subject import Subject
from arrayformer.core.engine import Context


@case(3, "reset")
def reset(subject: Subject, judge: Judge) -> None:
    """A context used again gives what a new one gives."""
    first, second = ids_of(probe("p2"), 2)
    context = subject.models.engine("p2").context(2)
    context.read([first[:16], second[:9]])
    context.reset(0)
    context.reset(1)
    texts: list[list[int]] = nothing(2)
    read(subject, judge, "p2", context, texts, [second[:11], first[:5]], "after a reset")
    read(subject, judge, "p2", context, texts, [second[11:12], first[5:9]], "after a reset")


@case(3, "truncate")
def truncate(subject: Subject, judge: Judge) -> None:
    """A context cut back and continued otherwise has forgotten what was cut off."""
    first, second = ids_of(probe("p2"), 2)
    context, texts = subject.models.engine("p2").context(2), [list[int](), list[int]()]
    read(subject, judge, "p2", context, texts, [first[:16], second[:15]], "before the cut")
    for row, length in ((0, 6), (1, 14)):
        context.truncate(row, length)
        texts[row] = texts[row][:length]
    for step in range(4):
        read(
            subject,
            judge,
            "p2",
            context,
            texts,
            [second[step : step + 1], first[step * 3 : step * 3 + 3]],
            "after a cut",
        )


@case(3, "fork")
def fork(subject: Subject, judge: Judge) -> None:
    """Two continuations of one beginning do not see each other, whichever goes first."""
    first, second = ids_of(probe("p2"), 2)
    parent, texts = subject.models.engine("p2").context(2), [list[int](), list[int]()]
    read(subject, judge, "p2", parent, texts, [first[:10], second[:14]], "before the fork")
    child, theirs = parent.fork(), [list(t) for t in texts]
    for step in range(4):
        read(
            subject,
            judge,
            "p2",
            child,
            theirs,
            [second[30 + step : 31 + step], first[30 + step : 31 + step]],
            "the fork",
        )
        read(
            subject,
            judge,
            "p2",
            parent,
            texts,
            [first[10 + step : 11 + step], second[14 + step : 15 + step]],
            "the parent",
        )


@case(3, "take")
def take(subject: Subject, judge: Judge) -> None:
    """Rows copied from one context into another go on as if they had been read there."""
    ids = ids_of(probe("p3"), 4)
    # As many rows as L3-ragged has, so that nothing is compiled anew.
    source, here = subject.models.engine("p3").context(5), nothing(5)
    read(subject, judge, "p3", source, here, [ids[0][:13], ids[1][:6], [], [], ids[2][:2]], "the source")
    target, there = subject.models.engine("p3").context(5), nothing(5)
    read(subject, judge, "p3", target, there, [ids[2][:15], ids[3][:9], ids[0][:4], ids[1][:16], []], "the target")
    target.take(source, [1, 0], [0, 2])
    there[0], there[2] = list(here[1]), list(here[0])
    for step in range(2):
        read(
            subject, judge, "p3", target, there, [[7 + step], [9 + step], [11 + step], [], [step]], "after taking rows"
        )
        read(subject, judge, "p3", source, here, [[3 + step], [5 + step], [], [1], []], "the source of the rows")


@case(3, "interleaved")
def interleaved(subject: Subject, judge: Judge) -> None:
    """Two contexts of one model, and of two models of one shape, read in turns without seeing each other.

    A compiled step that keeps the weights it first saw answers for the wrong model.
    """
    names = ("p2", "p2", "p2-s1")
    ids = [ids_of(probe(name), 2)[i % 2] for i, name in enumerate(names)]
    contexts = [subject.models.engine(name).context(1) for name in names]
    texts: list[list[list[int]]] = [[[]] for _ in names]
    for start, stop in ((0, 8), (8, 9), (9, 10), (10, 18), (18, 19)):
        for name, text, context, row in zip(names, texts, contexts, ids, strict=True):
            read(subject, judge, name, context, text, [row[start:stop]], f"{name} in turns")


@case(3, "stale")
def stale(subject: Subject, judge: Judge) -> None:
    """What lies in the cache behind a row's length is never looked at: numbers of 1e30 there change no bit."""
    ids = ids_of(probe("p2"), 2)
    bits = []
    for poison in (0.0, 6e4 if subject.backend.dtype == "float16" else 1e30):
        context = subject.models.engine("p2").context(2)
        context.read([ids[0][:9], ids[1][:15]])
        layers = [
            (spoilt(subject, k, context.lengths, poison), spoilt(subject, v, context.lengths, poison))
            for k, v in context.cache.layers
        ]
        context.cache = context.cache._replace(layers=layers)
        logits = [subject.get(context.read([[5], [6, 7]])), subject.get(context.read([[8], [9]]))]
        bits.append(np.stack(logits))
    judge.same_bits(bits[0], bits[1], "stale slots of the cache are looked at")


def spoilt(subject: Subject, x: Any, lengths: Sequence[int], poison: float) -> Any:
    """Keys or values with `poison` behind each row's length."""
    host = np.array(subject.get(x), dtype=np.float32)
    for row, length in enumerate(lengths):
        host[row, :, length:] = poison
    return subject.put(host, subject.backend.dtype)


@case(3, "repeat")
def repeat(subject: Subject, judge: Judge) -> None:
    """The same steps in a new context, ten times: right each time, bit for bit equal where declared deterministic."""
    ids = ids_of(probe("p2"), 2)
    seen: list[np.ndarray] = []
    for call in range(10):
        context, texts = subject.models.engine("p2").context(2), [list[int](), list[int]()]
        # Rows of one length, which the other cases do not have.
        for rows in ([row[:9] for row in ids], [row[9:10] for row in ids], [row[10:11] for row in ids]):
            host = read(subject, judge, "p2", context, texts, rows, f"run {call + 1}")
        seen.append(host)
        if subject.backend.deterministic:
            judge.same_bits(seen[0], host, f"declared deterministic: run {call + 1} differs from run 1")


@case(3, "kept-results")
def kept_results(subject: Subject, judge: Judge) -> None:
    """Logits once returned stay as they are while later steps run, and belong to whoever asked for them on the host."""
    [ids] = ids_of(probe("p2"), 1)
    context = subject.models.engine("p2").context(1)
    first = context.read([ids[:8]])
    before = subject.get(first)
    judge.require(
        before.flags.writeable and before.flags.owndata, "to_numpy gave an array that is not the caller's own"
    )
    kept = before.copy()
    second = subject.get(context.read([ids[8:9]]))
    judge.same_bits(kept, subject.get(first), "a later step changed the logits on the device")
    judge.same_bits(kept, before, "a later step changed the logits on the host")
    before[...] = 0
    judge.same_bits(kept, subject.get(first), "writing into the host's logits changed those on the device")
    again = subject.models.engine("p2").context(1)
    again.read([ids[:8]])
    judge.logits(subject, again.read([ids[8:9]])[:, None, :], "p2", [ids[:9]], last=1, where="a second context, ")
    judge.require(second.shape == (1, probe("p2").config.n_vocab), f"logits have shape {second.shape}")


@case(3, "aborted")
def aborted(subject: Subject, judge: Judge) -> None:
    """A step that breaks off halfway costs nothing: the context goes on from where it was."""
    [ids] = ids_of(probe("p1"), 1)

    class Stop(Exception):
        pass

    def stop(name: str, x: Any) -> Any:
        if name.endswith("mid"):
            raise Stop
        return x

    context, texts = subject.models.engine("p1").context(1), [list[int]()]
    read(subject, judge, "p1", context, texts, [ids[:3]], "before")
    try:
        context.read([[7, 7]], tap=stop)
    except Stop:
        read(subject, judge, "p1", context, texts, [ids[3:5]], "after a step that was broken off")
        return
    raise Problem("an exception inside a step was swallowed")


@case(3, "threads")
def threads(subject: Subject, judge: Judge) -> None:
    """Four threads with a context each get what they get one after the other.

    A library may keep settings for each thread, its precision among them: those of the first thread do not hold here.
    """
    engine = subject.models.engine("p2")
    ids = ids_of(probe("p2"), 4)
    # Compiled before, so that what is tested is running, not compiling.
    alone = [run_alone(subject, engine.context(1), row) for row in ids]
    found: list[Any] = [None] * 4

    def work(i: int) -> None:
        try:
            found[i] = run_alone(subject, engine.context(1), ids[i])
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
        if subject.backend.deterministic:
            judge.same_bits(alone[i], result, f"thread {i} computed something else than alone")
        else:
            ref = subject.models.reference("p2")
            judge.row(result, ref.oracle(ids[i][:12])[8:], ref, "p2", ids[i][:12], f"thread {i}, ")


def run_alone(subject: Subject, context: Context, ids: Sequence[int]) -> np.ndarray:
    """Logits of 4 steps behind 8 ids, [4, n_vocab]."""
    context.read([ids[:8]])
    return np.concatenate([subject.get(context.read([[id]])) for id in ids[8:12]])
