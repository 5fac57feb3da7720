"""Level 5: what a run costs, in counts and ratios that are the same on a busy machine."""

import ctypes
import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.result import NotApplicable
from arrayformer.conformance.run.subject import Subject
from arrayformer.core.backend import Backend
from arrayformer.core.engine import Engine
from arrayformer.core.generate.loop import generate
from arrayformer.core.generate.options import Ending, Sampling
from arrayformer.core.generate.text import Text


class Counted:
    """Counts what goes through a backend. Mixed into the class of the backend under test."""

    traces: int
    sent: list[int]
    fetched: list[int]

    def compile(self, function: Callable[..., Any], *, donate: Sequence[int] = ()) -> Any:
        """A compiler runs the Python function once for each program it makes."""

        def traced(*args: Any) -> Any:
            self.traces += 1
            return function(*args)

        return super().compile(traced, donate=donate)  # type: ignore[misc]

    def asarray(self, host: np.ndarray, dtype: str | None = None) -> Any:
        """Host to device."""
        self.sent.append(int(host.size))
        return super().asarray(host, dtype)  # type: ignore[misc]

    def to_numpy(self, x: Any) -> np.ndarray:
        """Device to host."""
        host: np.ndarray = super().to_numpy(x)  # type: ignore[misc]
        self.fetched.append(int(host.size))
        return host


def counted(subject: Subject) -> tuple[Any, Engine]:
    """A backend like the one under test that counts, and a probe on it."""
    inner: Backend = subject.make()
    spy: Any = object.__new__(type("Counted", (Counted, type(inner)), {}))
    vars(spy).update(vars(inner))
    spy.traces, spy.sent, spy.fetched = 0, [], []
    return spy, subject.models.new_engine("p2", spy)


def write(engine: Engine, ids: Sequence[int], n: int) -> None:
    """Draw `n` ids greedily."""
    for _ in generate(engine, [Text(ids, Sampling(), Ending(max_new_tokens=n, ignore_eos=True), engine.config.n_ctx)]):
        pass


@case(5, "compilations")
def compilations(subject: Subject, judge: Judge) -> None:
    """A text of 56 ids costs a program for the prompt and one for the steps; a second one costs nothing more."""
    if not subject.backend.compiles:
        raise NotApplicable("the backend declares that it does not compile")
    spy, engine = counted(subject)
    ids = probe("p2").rows()[0]
    write(engine, ids[:8], 56)
    judge.require(judge.metric("programs", spy.traces, 4), f"{spy.traces} programs were compiled for one text")
    before = spy.traces
    write(engine, ids[8:15], 56)
    judge.require(
        judge.metric("more programs", spy.traces - before, 0), f"{spy.traces - before} more for a second text"
    )
    lengths = len({spy.bucket(n, 64) for n in range(1, 65)})
    judge.metric("buckets up to 64", lengths)


@case(5, "transfers")
def transfers(subject: Subject, judge: Judge) -> None:
    """Drawing an id sends a few numbers to the device and fetches the id, not the logits of the whole vocabulary."""
    spy, engine = counted(subject)
    ids = probe("p2").rows()[0]
    write(engine, ids[:8], 4)
    spy.sent.clear()
    spy.fetched.clear()
    write(engine, ids[:8], 40)
    n_vocab = probe("p2").config.n_vocab
    judge.metric("numbers fetched for an id", sum(spy.fetched) / 40, 16)
    judge.require(
        max(spy.fetched, default=0) < n_vocab, f"{max(spy.fetched)} numbers were fetched at once: the logits?"
    )
    cache = 2 * probe("p2").config.n_layer * 64 * probe("p2").config.n_embd
    judge.metric("numbers sent for an id", max(0, sum(spy.sent) - cache) / 40)


@case(5, "scaling")
def scaling(subject: Subject, judge: Judge) -> None:
    """An id behind 60 others takes not many times as long as one behind 2: what was read is not read again.

    The shortest of many runs of each, in turns, so that a busy machine does not decide.
    """
    engine = subject.models.engine("deep")
    ids = probe("deep").rows()[0]
    contexts = {n: engine.context(1) for n in (2, 60)}
    for n, context in contexts.items():
        for start in range(0, n, 16):  # in pieces: each longer one costs a compilation
            context.read([ids[start : min(n, start + 16)]])
    least = dict.fromkeys(contexts, float("inf"))
    for _ in range(12):
        for n, context in contexts.items():
            began = time.perf_counter()
            subject.get(context.read([[3]]))
            least[n] = min(least[n], time.perf_counter() - began)
            context.truncate(0, n)
    ratio = least[60] / least[2]
    judge.require(
        judge.metric("time behind 60 / behind 2", ratio, 8.0),
        f"an id behind 60 takes {ratio:.1f} times as long as one behind 2",
    )


@case(5, "memory")
def memory(subject: Subject, judge: Judge) -> None:
    """Contexts that are no longer used give their memory back."""
    status = Path("/proc/self/statm")
    if not status.exists():
        raise NotApplicable("this system does not say how much memory a process has")

    # Memory that the process holds free would take in what is lost, and hide it: glibc can give it back first.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _keep: 0)

    def resident() -> float:
        gc.collect()
        trim(0)
        return int(status.read_text().split()[1]) * 4096 / 2**20

    engine, ids = subject.models.engine("deep"), probe("deep").rows()[0]

    def use(times: int) -> None:
        for _ in range(times):
            context = engine.context(4)
            subject.get(context.read([ids[:2]] * 4))

    use(8)
    before = resident()
    use(40)
    grown = resident() - before
    # 40 contexts of 4 rows are 120 MiB.
    judge.require(judge.metric("MiB grown", grown, 48.0), f"40 contexts left {grown:.0f} MiB behind")
