"""Where a backend first goes wrong: in which mode, at which tap, by how much, and probably why.

The simplest mode in which the fault shows is looked for first: the library's functions alone, then with the
backend's own functions, then compiled. In that mode every step of the graph is compared with the oracle.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.criterion import metrics as measure
from arrayformer.conformance.criterion.oracle import Reference, Taps, emulation, run
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.diagnosis.fault import Fault
from arrayformer.conformance.diagnosis.faults import FAULTS
from arrayformer.conformance.run.subject import Subject
from arrayformer.core.decoder import forward
from arrayformer.core.engine import Engine
from arrayformer.core.ops import PLAIN

MODES: dict[str, dict[str, Any]] = {
    "the library's functions as written": {"overrides": False, "compiled": False},
    "the backend's own functions": {"overrides": True, "compiled": False},
    "the library's functions, compiled": {"overrides": False, "compiled": True},
    "the backend's own functions, compiled": {"overrides": True, "compiled": True},
}


@dataclass
class Divergence:
    """The first tensor that is wrong.

    tap       its name, for example h.3.attn.probs
    mode      in which way of running the graph it is wrong
    override  which of the backend's own functions alone makes it wrong, if one does
    index     of the worst element; got, expected, honest: what the backend, the oracle, NumPy in float32 have there
    ratio     the error in units of the honest run's
    cause     what it looks like
    ratios    tap -> ratio, for a plot
    """

    probe: str
    ids: list[int]
    mode: str
    tap: str
    index: list[int]
    got: float
    expected: float
    honest: float
    ratio: float
    limit: float
    cause: str = ""
    override: str = ""
    ratios: list[list[Any]] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """For a report."""
        where = f"{self.tap}{self.index}"
        text = (
            f"first wrong tensor: {where} on probe {self.probe}, with {self.mode}: got {self.got:.9g}, "
            f"expected {self.expected:.9g}, NumPy {self.honest:.9g} (R = {self.ratio:.3g}, limit {self.limit:g})"
        )
        if self.override:
            text += f"; the override `{self.override}` is at fault"
        return text + (f"; likely cause: {self.cause}" if self.cause else "")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "sentence": self.sentence}

    def write(self, folder: Path, subject: Subject) -> list[str]:
        """Write a script that shows the fault without this package. Returns what was written."""
        from arrayformer.conformance.diagnosis.script import write_script

        return write_script(self, folder, subject)


@dataclass
class Truth:
    """What the taps should have seen: the oracle's tensors, the honest run's, and how far apart the two are."""

    exact: dict[str, np.ndarray]
    honest: dict[str, np.ndarray]
    precision: str

    def ratio(self, tap: str, x: np.ndarray) -> tuple[float, measure.Worst]:
        """How far `x` is from the oracle, in units of the honest run's error of that tensor."""
        far = measure.tensor_error(x, self.exact[tap])
        unit = measure.tensor_error(self.honest[tap], self.exact[tap]).size
        # Between products everything is float32 whatever the class: only what the honest run rounds may be rounded.
        least = measure.UNIT["float64" if self.precision == "float64" else "float32"]
        return far.size / max(unit, 4 * least), far


def truth(ref: Reference, *rows: Sequence[int]) -> Truth:
    """The oracle's and the honest run's tensors for rows of ids of one length."""
    exact, honest = Taps(), Taps()
    ref.exact(rows, exact)
    run(ref.config, ref.params32, rows, emulation(ref.precision), honest)
    return Truth(exact.seen, honest.seen, ref.precision)


def tapped(
    subject: Subject, name: str, *rows: Sequence[int], overrides: bool, compiled: bool, only: str = "",
    look: Callable[[str, Any], None] = lambda _tap, _x: None,
) -> dict[str, Any]:  # fmt: skip
    """What the taps see on the backend, on the host, for rows of ids of one length.

    only  with this one of the backend's own functions
    look  is shown each tensor on the device
    """
    backend, config = subject.backend, probe(name).config
    table = dict(backend.overrides) if overrides else {}
    if only:
        table = {only: backend.overrides[only]}
    use = PLAIN.replaced(table)

    def copy(x: Any) -> Any:
        # Of a wrong library's tensor too: where it left the library is what is to be found out.
        return (x, np.array(x) if isinstance(x, np.ndarray) else backend.to_numpy(x))

    def whole(params: Any, ids: Any) -> dict[str, Any]:
        taps = Taps(keep=(lambda x: x) if compiled else copy)
        forward(config, params, ids, ops=use, tap=taps)
        return taps.seen

    params = backend.place(probe(name).params(), config.weights())
    seen = (backend.compile(whole) if compiled else whole)(params, subject.put(np.array(rows, dtype=np.int64)))
    found = {}
    for tap, x in seen.items():
        device, host = (x, backend.to_numpy(x)) if compiled else x
        look(tap, device)
        found[tap] = host
    return found


def ratios(found: dict[str, np.ndarray], true: Truth) -> Iterator[tuple[str, float, measure.Worst]]:
    """Each tap both sides have, in the order of the graph, with its ratio."""
    for tap in true.exact:
        if tap in found:
            if found[tap].shape != true.exact[tap].shape:
                yield tap, np.inf, measure.Worst(np.inf, (), np.nan, np.nan)
            else:
                yield tap, *true.ratio(tap, found[tap])


def first_divergence(subject: Subject, name: str, ids: Sequence[int] | None, limit: float = 16.0) -> Divergence | None:
    """The first tensor of a probe that is off by more than `limit`, or None where every mode is right.

    ids  a row of ids (the probe's first row)
    """
    ref = subject.models.reference(name)
    ids = list(ids or probe(name).rows()[0])
    true = truth(ref, ids)
    for mode, how in MODES.items():
        if (how["overrides"] and not subject.backend.overrides) or (how["compiled"] and not subject.backend.compiles):
            continue
        found = tapped(subject, name, ids, **how)
        seen = list(ratios(found, true))
        for tap, ratio, far in seen:
            if not ratio <= limit:
                honest = float(true.honest[tap][far.index]) if far.index else float("nan")
                result = Divergence(
                    name, ids, mode, tap, list(far.index), far.got, far.expected, honest, ratio, limit,
                    ratios=[[t, r] for t, r, _ in seen],
                )  # fmt: skip
                result.cause = likely_cause(ref, ids, tap, found[tap], true.exact[tap])
                if how["overrides"]:
                    result.override = culprit(subject, name, ids, tap, true, limit, how["compiled"])
                return result
    return behind_cache(subject, name, ids, limit)


CACHED = "one id read behind a cache"


def behind_cache(subject: Subject, name: str, ids: Sequence[int], limit: float) -> Divergence | None:
    """The first tensor that is off where all ids but the last lie in a cache; for what shows nowhere else."""
    if len(ids) < 2:
        return None
    ref, true = subject.models.reference(name), truth(subject.models.reference(name), ids)
    exact, honest = ({tap: x[..., -1:, :] for tap, x in seen.items()} for seen in (true.exact, true.honest))
    last = Truth(exact, honest, true.precision)
    found = read_last(subject.models.engine(name), ids)
    seen = list(ratios(found, last))
    for tap, ratio, far in seen:
        if not ratio <= limit:
            plain = float(last.honest[tap][far.index]) if far.index else float("nan")
            result = Divergence(
                name, list(ids), CACHED, tap, list(far.index), far.got, far.expected, plain, ratio, limit,
                ratios=[[t, r] for t, r, _ in seen],
            )  # fmt: skip

            def wrong(fault: Fault, tap: str = tap) -> np.ndarray | None:
                params = ref.params64 if fault.weights is None else fault.weights(ref.params64)
                engine = Engine(ref.config, params, NumpyBackend(dtype="float64"))
                engine.ops = PLAIN.replaced(fault.table())
                return read_last(engine, ids).get(tap)

            candidates: dict[str, Any] = {fault.name: partial(wrong, fault) for fault in FAULTS.values()}
            best = explain(found[tap], last.exact[tap], candidates)
            result.cause = FAULTS[best].sentence if best else elsewhere(found[tap], last.exact[tap])
            return result
    return None


def read_last(engine: Engine, ids: Sequence[int]) -> dict[str, np.ndarray]:
    """What the taps see at the last of `ids`, on the host, when the others were read before."""
    context, found = engine.context(1), dict[str, np.ndarray]()
    context.read([ids[:-1]])

    def keep(name: str, x: Any) -> Any:
        host = np.array(engine.backend.to_numpy(x))[..., :1, :]  # what stands behind it is padding
        found[name] = host[..., : len(ids)] if name.endswith((".scores", ".probs")) else host
        return x

    context.read([ids[-1:]], tap=keep)
    return found


def culprit(
    subject: Subject, name: str, ids: Sequence[int], tap: str, true: Truth, limit: float, compiled: bool
) -> str:
    """Which of the backend's own functions makes `tap` wrong when it is the only one."""
    for override in subject.backend.overrides:
        found = tapped(subject, name, ids, overrides=True, compiled=compiled, only=override)
        if tap in found and not true.ratio(tap, found[tap])[0] <= limit:
            return override
    return ""


def likely_cause(ref: Reference, ids: Sequence[int], tap: str, got: np.ndarray, exact: np.ndarray) -> str:
    """The fault that, put on the oracle, explains `got` best; empty where none does."""
    if got.shape != exact.shape:
        return f"its shape is {list(got.shape)}, not {list(exact.shape)}"
    if not np.all(np.isfinite(got)):
        return "it holds values that are not finite"

    def wrong(fault: Fault) -> np.ndarray | None:
        taps = Taps()
        params = ref.params64 if fault.weights is None else fault.weights(ref.params64)
        run(ref.config, params, [list(ids)], fault.table(), taps)
        return taps.seen.get(tap)

    name = explain(got, exact, {fault.name: partial(wrong, fault) for fault in FAULTS.values()})
    return FAULTS[name].sentence if name else elsewhere(got, exact)


def explain(got: np.ndarray, exact: np.ndarray, candidates: dict[str, Callable[[], np.ndarray | None]]) -> str:
    """Which candidate leaves least of the difference of `got` and `exact`: "" if none leaves less than a quarter."""
    difference = float(np.linalg.norm(got - exact))
    best, least = "", 0.25 * difference
    for name, make in candidates.items():
        try:
            candidate = make()
        except Exception:  # a fault that does not apply to this tensor
            continue
        if candidate is None or candidate.shape != exact.shape:
            continue
        left = float(np.linalg.norm(got - candidate))
        if left < least:
            best, least = name, left
    return best


def elsewhere(got: np.ndarray, exact: np.ndarray) -> str:
    """Where the wrong values lie, if they lie in one place: one row of the batch, one position, one channel."""
    size = float(np.sqrt(np.mean(exact**2))) or 1.0
    wrong = np.abs(got - exact) > 1e-4 * size
    if not wrong.any() or wrong.mean() > 0.5:
        return ""
    places = np.argwhere(wrong)
    names = {2: ("position", "channel"), 3: ("row", "position", "channel"), 4: ("row", "head", "query", "key")}
    axes = names.get(got.ndim, tuple(f"axis {i}" for i in range(got.ndim)))
    only = [
        f"{axis} {places[0, i]}" for i, axis in enumerate(axes)
        if got.shape[i] > 1 and np.all(places[:, i] == places[0, i])
    ]  # fmt: skip
    return f"only {', '.join(only)} is wrong" if only else f"{len(places)} of {got.size} values are wrong"
