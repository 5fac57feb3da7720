"""Level 2: the whole graph on probe models, without a cache."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayformer.conformance.criterion import metrics
from arrayformer.conformance.criterion.architectures import GPT2, fewest
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.criterion.probes import decisive, probe, probes_of
from arrayformer.conformance.diagnosis.first_wrong import MODES, first_divergence, ratios, tapped, truth
from arrayformer.conformance.run.case import architecture_case, case
from arrayformer.conformance.run.result import NotApplicable, Problem
from arrayformer.conformance.run.subject import Subject
from arrayformer.core.models.gpt2 import gpt2

PROBED = ("p1", "p2", "p3", "outliers", "deep", "quiet", "loud", "residual", "still", "untied", "relu", "silu")


@case(2, "logits", over=PROBED, architecture=GPT2)
@architecture_case(2, "logits", probes_of)
def logits(subject: Subject, judge: Judge, name: str) -> None:
    """The logits of a probe model are right, for every id and every position.

    The main criterion: float32 logits are off by no more than 8 times what an honest NumPy float32 run is off.
    """
    if subject.backend.compiles and not decisive(probe(name)):
        raise NotApplicable("each model costs a compilation, and other probes of its page use all that this one does")
    rows = probe(name).rows()[:16]
    judge.logits(subject, subject.models.forward(name, rows), name, rows)


@case(2, "taps", over=("p3", "deep"), architecture=GPT2)
@architecture_case(2, "taps", fewest)
def taps(subject: Subject, judge: Judge, name: str) -> None:
    """Every tensor inside the graph is right, has the right dtype, and never leaves the library.

    Interior tensors with the library's functions alone; the ends of each block with the backend's own, which may
    compute attention or feed-forward in one piece.
    """
    if subject.backend.compiles and name != "p3":
        raise NotApplicable("a program with every tensor costs a compilation: L2-taps[p3] has one, L2-logits the rest")
    ids = probe(name).rows()[0]
    true = truth(subject.models.reference(name), ids)
    # Where each shape is compiled, only as the backend runs it: L2-as-written runs the graph as it stands.
    for mode in list(MODES)[-1:] if subject.backend.compiles else list(MODES)[:2]:
        found = tapped(
            subject,
            name,
            ids,
            **MODES[mode],
            look=lambda tap, x: judge.array(subject, x, f"the tensor {tap}", subject.result_dtype),
        )
        highest, reason = judge.limit("R_tap")
        series = judge.result.series.setdefault(mode, [])
        for tap, ratio, far in ratios(found, true):
            series.append([tap, ratio, highest])
            if not judge.metric("R_tap", ratio, highest, reason):
                raise Problem(
                    f"{tap}{list(far.index)}, {mode}: got {far.got:.9g}, the oracle says {far.expected:.9g} "
                    f"(R = {ratio:.3g}, limit {highest:g})", probe=name, ids=ids,
                )  # fmt: skip


@case(2, "as-written")
def as_written(subject: Subject, judge: Judge) -> None:
    """`gpt2` called as in picoGPT, with a list of ids and no compiler, gives the right logits [n_seq, n_vocab]."""
    # Without a compiler's program each step costs a compilation of its own there: one shape is enough.
    config, ids = probe("p1").config, probe("p1").rows()[0]
    params = subject.backend.place(probe("p1").params(), config.weights())
    # Of float16 weights picoGPT's call makes float16 throughout, which no class of precision describes.
    narrow = subject.backend.dtype in ("float16", "bfloat16")
    for n in () if narrow else (len(ids),) if subject.backend.compiles else (1, len(ids)):
        logits = gpt2(ids[:n], **params, n_head=config.n_head)
        judge.array(subject, logits, "logits", subject.result_dtype)
        judge.logits(subject, logits[None, ...], "p1", [ids[:n]], where=f"{n} ids, ")
    if narrow or not subject.backend.compiles:
        logits = subject.models.forward("p1", ids, compiled=False)
        judge.logits(subject, logits[None, ...], "p1", [ids], where="with the backend's own functions, ")


@case(2, "lengths", over=("p3",))
def lengths(subject: Subject, judge: Judge, name: str) -> None:
    """A text of every length that fits, from one id to the full context, gives the right logits."""
    if subject.backend.compiles:
        raise NotApplicable("each length costs a compilation here: L3-edges reads a text of each")
    ids = probe(name).rows(order=1)[0]
    engine = subject.models.engine(name)
    for n in range(1, len(ids) + 1):
        logits = engine.logits(ids[:n])
        judge.require(logits.dtype == np.dtype(subject.result_dtype), f"{n} ids: the logits are {logits.dtype}")
        judge.row(
            logits,
            subject.models.reference(name).oracle(ids[:n]),
            subject.models.reference(name),
            name,
            ids[:n],
            f"{n} ids, ",
        )


@case(2, "causal", over=("p2", "loud"), architecture=GPT2)
@architecture_case(2, "causal", fewest)
def causal(subject: Subject, judge: Judge, name: str) -> None:
    """Nothing of the future reaches the past: other ids behind a place leave the logits before it as they were.

    A mask of -10 or -1e4 instead of -inf is close enough for most tolerances; here it shows.
    """
    ids = probe(name).rows()[0]
    n_vocab, n = probe(name).config.n_vocab, len(ids)
    cuts: Sequence[int] = (n // 2, n - 1, 1, n // 4, 2, 3, n // 2 + 1, n - 2)
    if subject.backend.compiles and probe(name).architecture != GPT2:  # as many rows as L2-logits has: one program
        cuts = cuts[: len(probe(name).rows())]
    rows = [ids[:cut] + [(id + 7) % n_vocab for id in ids[cut:]] for cut in cuts]
    # Two calls of one shape, so that an honest library does the same arithmetic in both.
    before, after = (
        subject.get(subject.models.forward(name, batch)).astype(np.float64) for batch in ([ids] * len(cuts), rows)
    )
    for row, cut in enumerate(cuts):
        past, same = after[row, :cut], before[row, :cut]
        limit = 4 * metrics.UNIT["float32"] * np.abs(same).max(axis=-1, keepdims=True)
        wrong = np.argwhere(~(np.abs(past - same) <= limit))
        if len(wrong):
            t, v = wrong[0]
            raise Problem(
                f"changing the ids from place {cut} on changes the logit of id {v} at place {t}, from {same[t, v]:.9g} "
                f"to {past[t, v]:.9g}: the past sees the future", probe=name, ids=rows[row],
            )  # fmt: skip


@case(2, "batch", over=(7, 8))
def batch(subject: Subject, judge: Judge, size: int) -> None:
    """Each row of a batch gives what it gives alone.

    Within the limit; bit for bit where the backend declares batch_invariant.
    """
    name = {7: "untied", 8: "p2"}[size]
    rows = probe(name).rows(order=1)[:size]
    logits = subject.models.forward(name, rows)
    judge.logits(subject, logits, name, rows, where=f"a batch of {size}, ")
    if subject.backend.batch_invariant:
        alone = subject.get(subject.models.forward(name, rows[-1:]))
        judge.same_bits(
            subject.get(logits)[-1],
            alone[0],
            f"declared batch_invariant: row {size - 1} of {size} differs from itself alone",
        )


@case(2, "dtype", over=("float16", "bfloat16", "float64"))
def dtype(subject: Subject, judge: Judge, name: str) -> None:
    """Each dtype the backend offers gives logits as good as that dtype allows.

    Judged against NumPy that rounds the operands of each product likewise.
    """
    low = other_dtype(subject, name)
    rows = probe("p3").rows()
    try:
        if not low.backend.compiles:
            judge.logits(low, low.models.forward("p3", rows), "p3", rows, where=f"{name}, ")
        inside(low, judge, "p3", rows, f"{name}, ")
    except Problem as problem:
        found = (
            first_divergence(low, "p3", problem.details.get("ids"), judge.limit("R_tap")[0]) if problem.probe else None
        )
        raise Problem(f"{problem}; {found.sentence}" if found else str(problem)) from problem


def other_dtype(subject: Subject, dtype: str) -> Subject:
    """The backend in a dtype that the rest of the suite does not run in."""
    low = subject.in_dtype(dtype)
    if low is subject:
        raise NotApplicable(f"{dtype} is what the whole suite runs in here")
    return low


def inside(subject: Subject, judge: Judge, name: str, rows: Sequence[Sequence[int]], where: str) -> None:
    """Every tensor of the graph as the backend runs it, the logits by the main criterion."""
    highest, reason = judge.limit("R_tap")

    def look(tap: str, x: Any) -> None:
        if tap == "logits":
            judge.logits(subject, x, name, rows, where=where)

    found = tapped(subject, name, *rows, overrides=True, compiled=subject.backend.compiles, look=look)
    for tap, ratio, far in ratios(found, truth(subject.models.reference(name), *rows)):
        if not judge.metric("R_tap", ratio, highest, reason):
            raise Problem(
                f"{where}{tap}{list(far.index)}: got {far.got:.9g}, the oracle says {far.expected:.9g} "
                f"(R = {ratio:.3g}, limit {highest:g})"
            )  # fmt: skip


@case(2, "not-finite")
def not_finite(subject: Subject, judge: Judge) -> None:
    """A weight that is NaN or infinite shows in the logits: it is not hidden.

    A library that turns NaN into numbers writes nonsense where it should have stopped.
    """
    ids = probe("p2").rows()
    for value in (np.nan, np.inf):
        params = probe("p2").params()
        params["blocks"][1]["mlp"]["c_fc"]["w"][3, 5] = value
        placed = subject.backend.place(params, probe("p2").config.weights())
        logits = subject.get(subject.models.forward("p2", ids, params=placed))
        judge.require(not np.isfinite(logits).all(axis=-1).any(), f"a weight of {value} leaves logits finite")


@case(2, "isolation")
def isolation(subject: Subject, judge: Judge) -> None:
    """What is not finite in one row of a batch does not touch the others."""
    params = probe("p2").params()
    params["wte"][17] = np.nan
    placed = subject.backend.place(params, probe("p2").config.weights())
    rows = np.array(probe("p2").rows())
    rows[rows == 17] = 18
    spoilt = rows.copy()
    spoilt[1, 2] = 17
    # The head has the same NaN: the logit of id 17 is NaN everywhere.
    clean, dirty = (
        np.delete(subject.get(subject.models.forward("p2", ids, params=placed)), 17, axis=-1) for ids in (rows, spoilt)
    )
    judge.require(
        bool(np.isfinite(clean).all()), "logits are not finite, though no id was one with an embedding of NaN"
    )
    judge.require(bool(np.isnan(dirty[1, 2:]).all()), "the logits after an embedding of NaN are finite")
    others = [0, *range(2, len(rows))]
    judge.same_bits(clean[others], dirty[others], "NaN in row 1 changed the rows beside it")


@case(2, "again")
def again(subject: Subject, judge: Judge) -> None:
    """The same call gives the same logits each time, and another model in between changes nothing.

    Bit for bit where the backend declares itself deterministic; right each time in any case.
    """
    rows = probe("p2").rows()
    first = subject.get(subject.models.forward("p2", rows))
    for call in range(2, 11):
        if call % 3 == 0:
            other = probe("p2-s1").rows()
            judge.logits(
                subject, subject.models.forward("p2-s1", other), "p2-s1", other, where=f"call {call}, another model, "
            )
        now = subject.models.forward("p2", rows)
        judge.logits(subject, now, "p2", rows, where=f"call {call}, ")
        if subject.backend.deterministic:
            judge.same_bits(subject.get(now), first, f"declared deterministic: call {call} differs from call 1")
