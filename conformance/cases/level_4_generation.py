"""Level 4: the model in the package, and what is drawn from logits."""

from typing import Any

import numpy as np

from arrayformer.conformance.criterion import golden, metrics
from arrayformer.conformance.criterion.architectures import GPT2, fewest
from arrayformer.conformance.criterion.judgement import Judge, ratio_limit
from arrayformer.conformance.criterion.oracle import reference
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.run.case import architecture_case, case
from arrayformer.conformance.run.result import NotApplicable, Problem
from arrayformer.conformance.run.subject import Subject
from arrayformer.core.engine import Engine
from arrayformer.core.errors import NumericError
from arrayformer.core.generate.drawing import draw_for, plan_for
from arrayformer.core.generate.loop import generate
from arrayformer.core.generate.options import Ending, Sampling
from arrayformer.core.generate.text import Text
from arrayformer.core.sampling import pick


def continued(engine: Engine, prompts: list[list[int]], sampling: Sampling, n: int, **how: Any) -> list[list[int]]:
    """What follows the prompts, `n` ids each."""
    texts = [Text(ids, sampling, Ending(max_new_tokens=n, ignore_eos=True), engine.config.n_ctx) for ids in prompts]
    for _ in generate(engine, texts, **how):
        pass
    return [text.new_ids for text in texts]


def affordable(subject: Subject, texts: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """The texts to continue by `n` ids: all, or where each length is compiled the most that are padded alike."""
    if not subject.backend.compiles:
        return texts
    lengths = [tuple(subject.backend.bucket(len(t["ids"]) + more, 512) for more in (0, n)) for t in texts]
    commonest = max(lengths, key=lengths.count)
    return [text for text, length in zip(texts, lengths, strict=True) if length == commonest]


@case(4, "oracle", architecture=GPT2)
def oracle(subject: Subject, judge: Judge) -> None:
    """The oracle computes on this machine what was kept: the comparison itself can be trusted here."""
    name = golden.name()
    kept = golden.kept()
    ref = reference(name)
    for text in kept["texts"]:
        r = ref.exact(text["ids"])
        for t, chosen, kept in zip(text["places"], text["chosen"], text["logits"], strict=True):
            error = float(np.max(np.abs(r[t, chosen] - kept)) / metrics.spread(r[t])[0])
            fine = judge.metric("oracle", error, 1e-9)
            judge.require(fine, f"{text['text']!r}, position {t}: this machine's float64 is {error:.3g} spreads off")


@case(4, "texts", over=range(len(golden.TEXTS)), architecture=GPT2)
def texts(subject: Subject, judge: Judge, number: int) -> None:
    """The default model's logits after each id of a text are right, in absolute terms too.

    English, code, other scripts, repetition, a single id: what random weights cannot have, outliers and structure.
    The argmax is the oracle's wherever the limit leaves no doubt.
    """
    name = golden.name()
    ids = golden.values()["texts"][number]["ids"]
    logits, ref = subject.models.engine(name).logits(ids), subject.models.reference(name)
    r = ref.oracle(ids)
    judge.row(logits, r, ref, name, ids)
    size = metrics.divergence(logits, r).size
    highest, reason = judge.limit(f"D_{subject.backend.precision}")
    judge.require(judge.metric("D", size, highest, reason), f"D = {size:.3g} (limit {highest:g})", probe=name, ids=ids)
    may = metrics.may_win(r, highest)
    judge.metric("ties", float(np.mean(may.sum(axis=-1) > 1)))
    winners = logits.argmax(axis=-1)
    wrong = [t for t, v in enumerate(winners) if not may[t, v]]
    judge.require(
        not wrong,
        f"position {wrong[:1]}: the likeliest id is {winners[wrong[:1]]}, the oracle's {r[wrong[:1]].argmax(axis=-1)}",
    )


@case(4, "full-context", architecture=GPT2)
def full_context(subject: Subject, judge: Judge) -> None:
    """As many ids as the default model can read give the right logits, and so does the last of them behind a cache."""
    name = golden.name()
    config, ref = subject.models.engine(name).config, subject.models.reference(name)
    rng = np.random.Generator(np.random.PCG64(9))
    ids = [int(i) for i in rng.integers(0, config.n_vocab, config.n_ctx)]
    r = ref.oracle(ids)
    context = subject.models.engine(name).context(1)
    judge.row(subject.get(context.read([ids], every=True))[0], r, ref, name, ids)
    context.truncate(0, len(ids) - 1)
    judge.row(subject.get(context.read([ids[-1:]])), r[-1:], ref, name, ids, "the last id behind a cache, ")


@case(4, "greedy", architecture=GPT2)
def greedy(subject: Subject, judge: Judge) -> None:
    """Greedy texts of the default model are the oracle's, up to the first place where the limit leaves a choice."""
    engine, kept = (
        subject.models.engine(golden.name()),
        affordable(subject, golden.values()["texts"], golden.N_GREEDY),
    )
    limit = 2 * judge.limit(f"D_{subject.backend.precision}")[0]
    found = continued(engine, [t["ids"] for t in kept], Sampling(), golden.N_GREEDY)
    compared = 0
    for text, ids in zip(kept, found, strict=True):
        sure = next((i for i, margin in enumerate(text["margins"]) if margin <= limit), len(ids))
        compared += sure
        differ = next((i for i in range(sure) if ids[i] != text["greedy"][i]), None)
        if differ is not None:
            raise Problem(
                f"{text['text'][:40]!r}: id {differ} of the continuation is {ids[differ]}, "
                f"the oracle's {text['greedy'][differ]}"
                f" (ahead of the next by {text['margins'][differ]:.3g} spreads)", ids=text["ids"] + ids[:differ],
            )  # fmt: skip
    judge.metric("ids compared", compared)


@architecture_case(4, "written", lambda name: fewest(name)[:1])
def written(subject: Subject, judge: Judge, name: str) -> None:
    """Texts that a probe of an architecture writes greedily, three in a batch, are the oracle's.

    Up to the first place where the limit leaves a choice.
    """
    if subject.backend.compiles:
        raise NotApplicable("drawing costs compilations of its own, and knows no architecture: L4-batched draws")
    ref, prompts = subject.models.reference(name), [row[: 3 + 4 * i] for i, row in enumerate(probe(name).rows(3)[:3])]
    found = continued(subject.models.engine(name), prompts, Sampling(), 12)
    limit = judge.limit(ratio_limit(ref.precision))[0] * ref.unit
    for prompt, ids in zip(prompts, found, strict=True):
        r = ref.oracle([*prompt, *ids])[len(prompt) - 1 : -1]
        sure = metrics.may_win(r, limit).sum(axis=-1) == 1
        wrong = [t for t in range(len(ids)) if sure[t] and ids[t] != r[t].argmax()]
        if wrong:
            t = wrong[0]
            raise Problem(
                f"id {t} behind {len(prompt)} ids is {ids[t]}, the oracle's {r[t].argmax()}", probe=name,
                ids=[*prompt, *ids[:t]],
            )  # fmt: skip


@case(4, "batched")
def batched(subject: Subject, judge: Judge) -> None:
    """Texts written in one batch, of different lengths, or with ids guessed ahead, are those written alone.

    In float32 where a narrower class was asked for: there the sums of a batch may be rounded to another likeliest id.
    """
    if subject.backend.precision not in ("float32", "float64") and not subject.backend.batch_invariant:
        subject = subject.in_dtype("float32")
    engine = subject.models.engine("p2")
    prompts = [row[: 3 + 4 * i] for i, row in enumerate(probe("p2").rows(order=3)[:4])]
    # Hot, so that the texts differ: what these models find likeliest is soon one id again and again.
    hot, warm = (Sampling(temperature=t, top_k=20, seed=3) for t in (4.0, 1.0))
    for sampling in (hot,) if subject.backend.compiles else (Sampling(), hot):
        alone = [continued(engine, [ids], sampling, 16)[0] for ids in prompts]
        together = continued(engine, prompts, sampling, 16)
        judge.require(
            alone == together, f"{differing(alone, together)} in a batch than alone ({sampling.temperature=})"
        )
        few = together if subject.backend.compiles else continued(engine, prompts, sampling, 16, batch_size=2)
        judge.require(alone == few, f"{differing(alone, few)} in batches of two than alone")
    guessed = continued(engine, prompts[:1], warm, 24, speculate=True)
    plain = continued(engine, prompts[:1], warm, 24)
    judge.require(guessed == plain, f"{differing(plain, guessed)} with ids guessed ahead")


def differing(one: list[list[int]], other: list[list[int]]) -> str:
    """Which text differs where."""
    for row, (a, b) in enumerate(zip(one, other, strict=True)):
        for place, (x, y) in enumerate(zip(a, b, strict=False)):
            if x != y:
                return f"text {row} has another id at place {place} ({y}, not {x})"
    return "texts have other lengths"


@case(4, "sampled", architecture=GPT2)
def sampled(subject: Subject, judge: Judge) -> None:
    """The same seed draws the same ids as float64 NumPy did: a draw depends on no library's own generator."""
    engine, kept = subject.models.engine(golden.name()), golden.values()
    sampling = Sampling(**kept["sampling"])
    if subject.backend.precision not in ("float32", "float64"):
        sampling_is_its_own(subject, judge, engine, sampling, kept["texts"][0]["ids"])
        return
    for text in affordable(subject, kept["texts"], golden.N_SAMPLED):
        [ids] = continued(engine, [text["ids"]], sampling, golden.N_SAMPLED)
        same = next((i for i, (a, b) in enumerate(zip(ids, text["sampled"], strict=True)) if a != b), len(ids))
        if same < len(ids):
            raise Problem(
                f"{text['text'][:40]!r}: draw {same} is id {ids[same]}, float64 NumPy drew {text['sampled'][same]}"
            )


def sampling_is_its_own(subject: Subject, judge: Judge, engine: Engine, sampling: Sampling, ids: list[int]) -> None:
    """A reduced class has other logits, so other draws; but the same ones each time."""
    first, second = (continued(engine, [ids], sampling, 16) for _ in range(2))
    judge.require(first == second, "the same seed draws other ids the second time")


def drawn(subject: Subject, logits: np.ndarray, sampling: Sampling, words: np.ndarray) -> np.ndarray:
    """ids [n] drawn from one row of logits with each of the words [n]."""
    n_vocab = len(logits)
    plan, draw = plan_for([sampling], n_vocab), draw_for([sampling], n_vocab, subject.backend)
    draw = draw._replace(word=subject.put(words[None].astype(np.int32), "int32"))
    rows = subject.put(np.broadcast_to(logits.astype(np.float32), (1, len(words), n_vocab)).copy())
    function: Any = subject.backend.compile(lambda rows, draw: pick(rows, draw, plan).ids)
    ids: np.ndarray = subject.get(function(rows, draw))[0]
    return ids


@case(4, "distribution")
def distribution(subject: Subject, judge: Judge) -> None:
    """20,000 draws fall as the probabilities say, and top-k, top-p and min-p cut what they should."""
    logits = np.log(np.array([0.3, 0.25, 0.2, 0.1, 0.08, 0.05, 0.02]))
    words = np.random.Generator(np.random.PCG64(11)).integers(-(2**31), 2**31, 20000)
    for sampling, kept in (
        (Sampling(temperature=1.0), 7), (Sampling(temperature=1.0, top_k=3), 3),
        (Sampling(temperature=1.0, top_p=0.7), 3),
        (Sampling(temperature=1.0, min_p=0.3), 4),
    ):  # fmt: skip
        counts = np.bincount(drawn(subject, logits, sampling, words), minlength=7)
        p = np.exp(logits)[:kept] / np.exp(logits)[:kept].sum()
        judge.require(counts[kept:].sum() == 0, f"{sampling}: ids were drawn that are cut off: {counts.tolist()}")
        chi2 = float(np.sum((counts[:kept] - len(words) * p) ** 2 / (len(words) * p)))
        # With 6 degrees of freedom 35 is exceeded once in 200,000 times; the words are fixed.
        judge.require(judge.metric("chi2", chi2, 35.0), f"{sampling}: drawn {counts.tolist()}, chi-squared {chi2:.1f}")


@case(4, "sure-draws")
def sure_draws(subject: Subject, judge: Judge) -> None:
    """Temperature 0, top-k 1, a tiny top-p and min-p 1 all take the likeliest id, the lowest among equals."""
    logits = np.zeros(97)
    logits[[13, 40, 41]] = 3.0
    words = np.arange(64) * 40503 - 2**20
    for sampling in (
        Sampling(), Sampling(temperature=1e-9), Sampling(temperature=0.7, top_k=1),
        Sampling(temperature=1.0, top_p=1e-6),
    ):  # fmt: skip
        ids = set(drawn(subject, logits + 0.0, sampling, words).tolist())
        allowed = {13} if sampling.greedy else {13, 40, 41}
        judge.require(ids <= allowed, f"{sampling}: drew {sorted(ids)}, the likeliest are 13, 40 and 41")
    negative = np.full(97, -5.0)
    negative[96] = -4.0
    judge.require(
        set(drawn(subject, negative, Sampling(), words).tolist()) == {96},
        "the likeliest id is the last one; another was taken",
    )


@case(4, "not-a-number")
def not_a_number(subject: Subject, judge: Judge) -> None:
    """Logits that are not finite end in an error, not in text."""
    params = probe("p1").params()
    params["blocks"][0]["attn"]["c_proj"]["b"][2] = np.nan
    engine = Engine(probe("p1").config, params, subject.backend)
    for sampling in (Sampling(), Sampling(temperature=1.0, top_k=5)):
        try:
            ids = continued(engine, [[1, 2, 3]], sampling, 3)
        except NumericError:
            continue
        raise Problem(f"a model with a weight of NaN wrote the ids {ids[0]}")
