"""Calls of single functions on the backend under test, each with what has to come out.

Where each shape costs a compilation, all calls of a case become one program.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from arrayformer.conformance.criterion import metrics
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.diagnosis.faults import FAULTS
from arrayformer.conformance.diagnosis.first_wrong import explain
from arrayformer.conformance.run.result import Problem
from arrayformer.conformance.run.subject import Host, Subject

Check = Callable[[str, Any], None]
Views = Callable[..., Sequence[Any]]


def as_given(*args: Any) -> Sequence[Any]:
    """The arrays themselves."""
    return args


class Calls:
    """with Calls(subject, judge) as calls: calls.expect(...)

    As written each call is made and judged at once; compiled, all are when the block ends.
    """

    def __init__(self, subject: Subject, judge: Judge) -> None:
        self.subject = subject
        self.judge = judge
        self._pending: list[tuple[Callable[..., Any], list[Any], Check]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if kind is None and self._pending:
            self._run_compiled()

    def check(self, function: Callable[..., Any], args: Sequence[Any], check: Check) -> None:
        """Call `function` with device arrays; `check` is given the way it was called and what came out."""
        if self.subject.backend.compiles:
            self._pending.append((function, list(args), check))
        else:
            check("as written", function(*args))

    def expect(
        self, name: str, *hosts: Host, exact: Host, bound: Host | float, limit: str, what: str,
        dtypes: Sequence[str | None] = (), at: Any = ..., views: Views = as_given, **how: Any,
    ) -> None:  # fmt: skip
        """The graph's function `name`: everywhere |got - exact| <= limit * bound.

        hosts   its arguments, as host arrays
        dtypes  of the arguments on the device, where they are not those of `hosts`
        at      the part of the result that is judged (all): `exact` and `bound` have its shape
        views   makes of the arrays on the device the arguments of the function
        how     further arguments of the function
        """
        own = self.subject.function(name)
        kinds = list(dtypes) or [None] * len(hosts)
        args = [self.subject.put(host, dtype) for host, dtype in zip(hosts, kinds, strict=True)]
        highest, reason = self.judge.limit(limit)

        def check(way: str, got: Any) -> None:
            title = f"{whose(self.subject, name)}, {way}, {what}"
            self.judge.array(self.subject, got, title, "float32")
            y = np.asarray(self.subject.get(got)[at], dtype=np.float64)
            if y.shape != exact.shape:
                raise Problem(f"{title}: the shape is {y.shape}, not {exact.shape}")
            if not metrics.same_specials(y, exact):
                raise Problem(f"{title}: NaN or infinity where there is none in truth, or the other way round")
            far = _farthest(y, exact, bound)
            if not self.judge.metric(limit, far.size, highest, reason):
                raise Problem(
                    f"{title}: at {list(far.index)} got {far.got:.9g}, expected {far.expected:.9g}, {far.size:.3g} "
                    f"times its bound (limit {highest:g}){_looks_like(name, hosts, how, y, exact)}",
                    got=far.got, expected=far.expected,
                )  # fmt: skip

        self.check(lambda *a: own(*views(*a), **how), args, check)

    def _run_compiled(self) -> None:
        functions = [function for function, _, _ in self._pending]

        def together(inputs: Any) -> list[Any]:
            return [function(*args) for function, args in zip(functions, inputs, strict=True)]

        results = self.subject.backend.compile(together)([tuple(args) for _, args, _ in self._pending])
        for (_, _, check), result in zip(self._pending, results, strict=True):
            check("compiled", result)


def whose(subject: Subject, name: str) -> str:
    """For messages: whether it is the backend's own function."""
    return f"the override {name}" if name in subject.backend.overrides else f"{name} on the library's functions"


def _farthest(got: Host, exact: Host, bound: Host | float) -> metrics.Worst:
    """Where `got` is farthest from `exact`, in units of `bound`."""
    with np.errstate(invalid="ignore"):
        error = np.where(np.isfinite(exact), np.abs(got - exact), 0.0)
    return metrics.worst(error / np.maximum(bound, np.finfo(np.float64).tiny), got, exact)


def _looks_like(name: str, hosts: Sequence[Host], how: dict[str, Any], got: Host, exact: Host) -> str:
    """The fault of this function that explains `got`, as the end of a sentence."""
    wide = [h.astype(np.float64) if h.dtype.kind == "f" else h for h in hosts]
    candidates: dict[str, Any] = {
        fault.name: (lambda f=fault.functions[name]: f(*wide, **how))
        for fault in FAULTS.values()
        if name in fault.functions
    }
    with np.errstate(all="ignore"):
        found = explain(got, exact, candidates)
    return f": {FAULTS[found].sentence}" if found else ""
