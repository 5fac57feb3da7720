"""What a case works with: the backend, probe models on it, and how to judge what comes out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from arrayformer.conformance.criterion import limits
from arrayformer.conformance.criterion import metrics as measure
from arrayformer.conformance.criterion.oracle import Reference, reference
from arrayformer.conformance.criterion.probes import probe
from arrayformer.conformance.run.result import Metric, NotApplicable, Problem, Result
from arrayformer.conformance.run.spec import BackendSpec
from arrayformer.core import ops
from arrayformer.core.backend import Backend
from arrayformer.core.bind import PLAIN_FUNCTIONS, bind
from arrayformer.core.decoder import gpt2
from arrayformer.core.engine import Engine

Host = np.ndarray


@dataclass(frozen=True)
class Trial:
    """One call of one function.

    args   device arrays, or functions that make one: an argument that may be consumed is made for each call
    check  is given the way it was called and what came out
    """

    function: Callable[..., Any]
    args: Sequence[Any]
    check: Callable[[str, Any], None]


def fresh(args: Sequence[Any]) -> list[Any]:
    """The arguments, those made that are to be made."""
    return [a() if callable(a) else a for a in args]


class Lab:
    """One backend under test. Probes and engines are made once and shared by the cases.

    make       factory of the backend: make(device=None, dtype=None)
    overrides  case id -> {name of a limit: (value, reason)}, for limits that are not the usual ones
    """

    def __init__(self, make: Callable[..., Backend], overrides: Mapping[str, Any] | None = None) -> None:
        self.make = make
        self.spec: BackendSpec | None = None
        self.overrides = overrides or {}
        self.result = Result("", 0, "")
        self.counted: tuple[Any, Engine] | None = None
        self._engines: dict[str, Engine] = {}
        self._forwards: dict[Any, Callable[..., Any]] = {}
        self._placed: dict[str, Any] = {}

    @classmethod
    def of(cls, spec: BackendSpec, overrides: Mapping[str, Any] | None = None) -> "Lab":
        """The lab for a backend by name."""
        lab = cls(spec.make, overrides)
        lab.spec = spec
        return lab

    # -- the backend

    @cached_property
    def backend(self) -> Backend:
        """The backend under test, made once."""
        return self.make()

    def in_dtype(self, dtype: str) -> "Lab":
        """A lab for the same backend in another dtype, with the same result. NotApplicable where it has none."""
        if dtype not in self.backend.dtypes:
            raise NotApplicable(f"the backend does not offer {dtype}")
        if dtype == self.backend.dtype:
            return self
        other = Lab(lambda **options: self.make(**{"device": self.backend.device, "dtype": dtype, **options}))
        other.result, other.overrides = self.result, self.overrides
        return other

    def put(self, host: Any, dtype: str | None = None) -> Any:
        """A host array on the device; floats in float32 unless said otherwise."""
        array = np.asarray(host)
        if dtype is None and array.dtype.kind == "f":
            array, dtype = array.astype(np.float32), "float32"
        if array.dtype.kind == "b":
            dtype = "bool"
        return self.backend.asarray(array, dtype)

    def get(self, x: Any) -> Host:
        """A device array on the host."""
        return self.backend.to_numpy(x)

    def function(self, name: str) -> Callable[..., Any]:
        """The function of that name which the graph uses on this backend."""
        return {**PLAIN_FUNCTIONS, **self.backend.overrides}[name]

    def call(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """What `function` gives: {"as written": ...}, or {"compiled": ...} where the backend compiles."""
        found: dict[str, Any] = {}
        self.try_all([Trial(function, args, found.__setitem__)])
        return found

    def try_all(self, trials: Sequence["Trial"]) -> None:
        """Run and check trials: as written or, where the backend compiles, compiled.

        All in one program then: compilations are what costs. Level 2 runs the graph as written there too.
        """
        if not self.backend.compiles:
            for trial in trials:
                trial.check("as written", trial.function(*fresh(trial.args)))
            return

        def together(inputs: Any) -> list[Any]:
            return [trial.function(*args) for trial, args in zip(trials, inputs, strict=True)]

        results = self.backend.compile(together)([tuple(fresh(trial.args)) for trial in trials])
        for trial, result in zip(trials, results, strict=True):
            trial.check("compiled", result)

    # -- the probes

    def reference(self, name: str) -> Reference:
        """The oracle for a probe, in this backend's dtype and class."""
        return reference(name, self.backend.dtype, self.backend.precision)

    def engine(self, name: str) -> Engine:
        """A probe on the backend, as a user would run it; shared."""
        if name not in self._engines:
            self._engines[name] = self.new_engine(name)
        return self._engines[name]

    def new_engine(self, name: str, backend: Backend | None = None) -> Engine:
        """A probe on the backend, not shared."""
        return Engine(probe(name).config, probe(name).params(), backend or self.backend)

    def forward(
        self, name: str, ids: Any, *, params: Any = None, compiled: bool = True, overrides: bool = True,
        tap: ops.Tap = ops.untouched,
    ) -> Any:  # fmt: skip
        """Logits of the graph without a cache, on the device.

        ids        [batch, seq] or [seq]
        params     weights on the device in the place of the probe's own
        compiled   through `Backend.compile`, as far as nobody taps
        overrides  with the backend's own functions

        Models of one size share a program: each costs a compilation.
        """
        if params is None:
            if name not in self._placed:
                self._placed[name] = self.backend.place(probe(name).params())
            params = self._placed[name]
        whole = self.graph(name, overrides=overrides, tap=tap)
        if compiled and tap is ops.untouched:
            kind = (probe(name).config, overrides)
            if kind not in self._forwards:
                self._forwards[kind] = self.backend.compile(whole)
            whole = self._forwards[kind]
        return whole(params, self.put(np.asarray(ids, dtype=np.int64)))

    def graph(self, name: str, *, overrides: bool = True, tap: ops.Tap = ops.untouched) -> Callable[..., Any]:
        """(weights on the device, ids) -> logits, for a model of the sizes of a probe."""
        config = probe(name).config
        table = bind(config, self.backend.overrides if overrides else None)

        def whole(params: Any, ids: Any) -> Any:
            return gpt2(ids, **params, n_head=config.n_head, scales=config.scales(), ops=table, tap=tap)

        return whole

    # -- the judgement

    def limit(self, name: str) -> tuple[float, str]:
        """A limit, and the reason where it is not the usual one."""
        value, reason = self.overrides.get(self.result.id, {}).get(name, (limits.limit(name), ""))
        return float(value), reason

    def metric(self, name: str, value: float, limit: float | None = None, reason: str = "") -> bool:
        """Note a number, the worst of the case. Returns whether it is within the limit."""
        known = next((m for m in self.result.metrics if m.name == name), None)
        value = float(value)
        if known is None:
            self.result.metrics.append(Metric(name, value, limit, reason))
        elif not value <= known.value:
            known.value = value
        return limit is None or value <= limit

    def check_array(self, x: Any, what: str, dtype: str | None = None) -> None:
        """Raises Problem unless `x` is an array of this backend's own type, and of `dtype`."""
        own = type(self.put(np.zeros(1, dtype=np.float32)))
        if not isinstance(x, own):
            raise Problem(f"{what} is a {qualified(type(x))}, not the backend's {qualified(own)}: it left the library")
        if dtype is not None and x.dtype != self.backend.native(dtype):
            raise Problem(f"{what} has dtype {x.dtype}, not {dtype}")

    @property
    def result_dtype(self) -> str:
        """What logits have: float64 for a float64 model, float32 for every other."""
        return "float64" if self.backend.dtype == "float64" else "float32"

    @property
    def ratio_limit(self) -> str:
        """Which limit R is held to."""
        precision = self.backend.precision
        return {"float32": "R", "float64": "R_float64"}.get(precision, "R_class")

    def judge(self, x: Any, name: str, rows: Sequence[Sequence[int]], last: int | None = None, where: str = "") -> None:
        """The main criterion. Raises Problem unless `x` holds the logits of the probe `name` after `rows`.

        x     on the device [batch, seq, n_vocab] for all ids of the rows, or on the host
        last  judge only the last so many ids of each row: x is [batch, last, n_vocab]
        """
        if not isinstance(x, np.ndarray) or self.backend.library == "numpy":
            self.check_array(x, f"{where}logits", self.result_dtype)
            x = self.get(x)
        ref = self.reference(name)
        for row, ids in enumerate(rows):
            r = ref.oracle(ids)
            r = r if last is None else r[-last:]
            self.judge_row(x[row, : len(r)], r, ref, name, ids, f"{where}row {row}, " if len(rows) > 1 else where)

    def judge_row(self, y: Host, r: Host, ref: Reference, name: str, ids: Sequence[int], where: str = "") -> None:
        """`judge` for one row: y, r [seq, n_vocab] on the host."""
        if y.shape != r.shape:
            raise Problem(f"{where}logits have shape {y.shape}, not {r.shape}", probe=name)
        first = len(ids) - len(r)
        if not np.all(np.isfinite(y)):
            t, v = np.argwhere(~np.isfinite(y))[0]
            raise Problem(f"{where}position {first + t}: the logit of id {v} is {y[t, v]}", probe=name, ids=list(ids))
        far = measure.divergence(y, r)
        highest, reason = self.limit(self.ratio_limit)
        ratio = far.size / ref.unit
        shift = measure.offset(y, r) / measure.UNIT[ref.precision]
        self.metric("D", far.size)
        self.metric("KL", float(np.max(measure.kl(r, y))))
        fits = self.metric("R", ratio, highest, reason)
        fits &= self.metric("O", shift, self.limit("O")[0] * max(1.0, ref.unit / (16 * measure.UNIT[ref.precision])))
        if fits:
            return
        t, v = far.index
        raise Problem(
            f"{where}position {first + t}: the logit of id {v} is {far.got:.9g}, the oracle says {far.expected:.9g}: "
            f"D = {far.size:.3g}, R = {ratio:.3g} (limit {highest:g}), O = {shift:.3g} u",
            probe=name, ids=list(ids), position=int(first + t), id=int(v), got=far.got, expected=far.expected,
            D=far.size, R=ratio,
        )  # fmt: skip

    def require(self, condition: bool, message: str, **facts: Any) -> None:
        """Raises Problem unless `condition`."""
        if not condition:
            raise Problem(message, **facts)

    def same_bits(self, first: Host, second: Host, what: str) -> None:
        """Raises Problem unless the two host arrays are equal bit for bit."""
        if first.dtype != second.dtype or first.shape != second.shape or first.tobytes() != second.tobytes():
            differ = int(np.sum(first != second)) if first.shape == second.shape else -1
            raise Problem(f"{what}: {differ} of {first.size} values differ")


def qualified(kind: type) -> str:
    """module.Class"""
    return f"{kind.__module__}.{kind.__qualname__}"
