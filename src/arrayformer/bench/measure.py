"""Which measurements there are, taken in rounds: each backend once a round, so that noise falls on all alike."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from arrayformer.bench.bounds import Work, prefill_operations, weight_bytes
from arrayformer.bench.process import Process
from arrayformer.core.errors import InputError

BOUNDS = "bounds"


@dataclass(frozen=True)
class Task:
    """One thing that is timed.

    kind      "prefill" (read prompts, draw one id) or "decode" (draw ids after the first)
    n_prompt  ids in each prompt
    n_new     ids that are drawn for each row
    batch     rows
    """

    kind: str
    n_prompt: int
    n_new: int
    batch: int = 1

    @property
    def ids(self) -> int:
        """How many ids are counted."""
        return self.batch * (self.n_prompt if self.kind == "prefill" else self.n_new)

    def request(self) -> dict[str, int]:
        """What the worker is asked."""
        sizes = {"n_prompt": self.n_prompt, "batch": self.batch}
        return sizes if self.kind == "prefill" else sizes | {"n_new": self.n_new}


def tasks(prompts: Sequence[int], batches: Sequence[int], n_new: int) -> list[Task]:
    """Every prompt length alone, and every batch with the shortest prompt."""
    shortest = min(prompts)
    found = [Task("prefill", n, 1) for n in prompts] + [Task("decode", n, n_new) for n in prompts]
    found += [Task(kind, shortest, n, b) for b in batches if b > 1 for kind, n in (("prefill", 1), ("decode", n_new))]
    return list(dict.fromkeys(found))


@dataclass
class Timed:
    """The seconds one backend took for one task, round by round."""

    backend: str
    task: Task
    seconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Ids per second, by the median round."""
        return self.task.ids / median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """Ids per second of the slowest and of the fastest round."""
        return self.task.ids / max(self.seconds), self.task.ids / min(self.seconds)


@dataclass
class Result:
    """Everything one run of `bench` found.

    loads   by backend: seconds to load and to the first id, peak memory in bytes, identity
    timed   what was measured
    bounds  seconds of one token's products and operations per second, the best round; None for another device
    """

    config: dict[str, Any]
    work: Work
    loads: dict[str, dict[str, Any]]
    timed: list[Timed]
    bounds: dict[str, float] | None

    def bound(self, task: Task) -> float | None:
        """Ids per second that the products alone would allow, in float32 on the CPU."""
        if self.bounds is None:
            return None
        if task.kind == "prefill":
            seconds = prefill_operations(self.work, task.n_prompt, task.batch) / self.bounds["operations_per_s"]
            return task.ids / seconds
        return 1.0 / self.bounds["decode_s"] if task.batch == 1 else None

    def fraction(self, timed: Timed) -> float | None:
        """Part of the bound; None where the bound is of another dtype or device."""
        load, bound = self.loads[timed.backend], self.bound(timed.task)
        comparable = load["dtype"] == "float32" and str(load["device"]).startswith("cpu")
        return timed.rate / bound if bound and comparable else None

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        rows = [
            {
                "backend": t.backend, **asdict(t.task), "ids_per_s": t.rate, "slowest": t.spread[0],
                "fastest": t.spread[1], "bound": self.bound(t.task), "fraction": self.fraction(t),
                "seconds": t.seconds,
            }
            for t in self.timed
        ]  # fmt: skip
        bounds = None if self.bounds is None else self.bounds | {
            "bytes_per_s": weight_bytes(self.work) / self.bounds["decode_s"]
        }  # fmt: skip
        return {"config": self.config, "loads": self.loads, "bounds": bounds, "measured": rows}


Told = Callable[[str], None]


def bench(
    backends: Sequence[str], wanted: Sequence[Task], *, rounds: int, model: str | None = None,
    random_weights: str | None = None, device: str | None = None, dtype: str | None = None,
    bounds: bool = True, tell: Told = lambda _: None,
) -> Result:  # fmt: skip
    """Time `wanted` on each backend, `rounds` times in turn, after one round that does not count.

    Raises what a worker raises: BackendError, ModelFileError, InputError for a task that does not fit the context.
    """
    with ExitStack() as stack:
        processes = {name: stack.enter_context(Process()) for name in dict.fromkeys(backends)}
        loads = {}
        for name, process in processes.items():
            tell(f"{name}: loading")
            loads[name] = process.ask(
                "load", model=model, random_weights=random_weights, backend=name, device=device, dtype=dtype
            )
        work, *_ = [Work(**load.pop("work")) for load in loads.values()]
        check_context(wanted, work.n_ctx)
        machine = stack.enter_context(Process()) if bounds else None
        timed = [Timed(name, task) for task in wanted for name in processes]
        limits = [
            one_round(i, processes, timed, machine, loads, work, tell) for i in range(rounds + 1)
        ][1:]  # fmt: skip
    best = {key: best_of(key, limits) for key in ("decode_s", "operations_per_s")} if machine else None
    return Result(next(iter(loads.values()))["config"], work, loads, timed, best)


def best_of(key: str, limits: Sequence[dict[str, float]]) -> float:
    """The best round: a bound is what the machine can do undisturbed."""
    values = [limit[key] for limit in limits]
    return min(values) if key == "decode_s" else max(values)


def one_round(
    number: int, processes: dict[str, Process], timed: Sequence[Timed], machine: Process | None,
    loads: dict[str, dict[str, Any]], work: Work, tell: Told,
) -> dict[str, float]:  # fmt: skip
    """Each task once on each backend. Round 0 warms up: it compiles, and does not count."""
    for t in timed:
        tell(f"round {number}: {t.backend}, {t.task.kind} {t.task.n_prompt} x {t.task.batch}")
        answer = processes[t.backend].ask(t.task.kind, **t.task.request())
        loads[t.backend]["peak_bytes"] = answer["peak_bytes"]
        if number:
            t.seconds.append(answer["seconds"])
    if machine is None:
        return {}
    tell(f"round {number}: what the machine can do")
    longest = max(t.task.n_prompt for t in timed)
    return machine.ask("bounds", work=asdict(work), n_prompt=longest)


def check_context(wanted: Sequence[Task], n_ctx: int) -> None:
    """Raises InputError for a task that needs more than the context."""
    for task in wanted:
        if task.n_prompt + task.n_new > n_ctx:
            raise InputError(
                f"{task.n_prompt} ids and {task.n_new} new ones do not fit: this model's context is {n_ctx}; "
                "pass shorter --prompt-lengths or --new-tokens"
            )
