"""The judgement on one case: limits, numbers measured, and the sentence for what is wrong."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from arrayformer.conformance.criterion import limits, metrics
from arrayformer.conformance.criterion.oracle import Reference
from arrayformer.conformance.run.result import Metric, Problem, Result

if TYPE_CHECKING:
    from arrayformer.conformance.run.subject import Subject

Host = np.ndarray


class Judge:
    """Judges what comes out of a backend, and notes what it measured in the result of the case.

    result  of the case
    limits  {name of a limit: (value, reason)}, those of this case that are not the usual ones
    """

    def __init__(self, result: Result, limits: Mapping[str, tuple[float, str]] | None = None) -> None:
        self.result = result
        self.limits = limits or {}

    def limit(self, name: str) -> tuple[float, str]:
        """A limit, and the reason where it is not the usual one."""
        value, reason = self.limits.get(name, (limits.limit(name), ""))
        return float(value), reason

    def metric(self, name: str, value: float, limit: float | None = None, reason: str = "") -> bool:
        """Note a number, the worst of the case. Returns whether it is within the limit."""
        noted = next((m for m in self.result.metrics if m.name == name), None)
        value = float(value)
        if noted is None:
            self.result.metrics.append(Metric(name, value, limit, reason))
        elif not value <= noted.value:
            noted.value = value
        return limit is None or value <= limit

    def require(self, condition: bool, message: str, **details: Any) -> None:
        """Raises Problem unless `condition`."""
        if not condition:
            raise Problem(message, **details)

    def same_bits(self, first: Host, second: Host, what: str) -> None:
        """Raises Problem unless the two host arrays are equal bit for bit."""
        if first.dtype != second.dtype or first.shape != second.shape or first.tobytes() != second.tobytes():
            differ = int(np.sum(first != second)) if first.shape == second.shape else -1
            raise Problem(f"{what}: {differ} of {first.size} values differ")

    def array(self, subject: "Subject", x: Any, what: str, dtype: str | None = None) -> None:
        """Raises Problem unless `x` is an array of this backend's own type, and of `dtype`."""
        own = type(subject.put(np.zeros(1, dtype=np.float32)))
        if not isinstance(x, own):
            raise Problem(
                f"{what} is a {_qualified(type(x))}, not the backend's {_qualified(own)}: it left the library"
            )
        if dtype is not None and x.dtype != subject.backend.native(dtype):
            raise Problem(f"{what} has dtype {x.dtype}, not {dtype}")

    def logits(
        self, subject: "Subject", x: Any, name: str, rows: Sequence[Sequence[int]], last: int | None = None,
        where: str = "",
    ) -> None:  # fmt: skip
        """The main criterion. Raises Problem unless `x` holds the logits of the probe `name` after `rows`.

        x     on the device [batch, seq, n_vocab] for all ids of the rows, or on the host
        last  judge only the last so many ids of each row: x is [batch, last, n_vocab]
        """
        if not isinstance(x, np.ndarray) or subject.backend.library == "numpy":
            self.array(subject, x, f"{where}logits", subject.result_dtype)
            x = subject.get(x)
        ref = subject.models.reference(name)
        for row, ids in enumerate(rows):
            r = ref.oracle(ids)
            r = r if last is None else r[-last:]
            self.row(x[row, : len(r)], r, ref, name, ids, f"{where}row {row}, " if len(rows) > 1 else where)

    def row(self, y: Host, r: Host, ref: Reference, name: str, ids: Sequence[int], where: str = "") -> None:
        """`logits` for one row: y, r [seq, n_vocab] on the host."""
        if y.shape != r.shape:
            raise Problem(f"{where}logits have shape {y.shape}, not {r.shape}", probe=name)
        first = len(ids) - len(r)
        if not np.all(np.isfinite(y)):
            t, v = np.argwhere(~np.isfinite(y))[0]
            raise Problem(f"{where}position {first + t}: the logit of id {v} is {y[t, v]}", probe=name, ids=list(ids))
        far = metrics.divergence(y, r)
        highest, reason = self.limit(ratio_limit(ref.precision))
        ratio = far.size / ref.unit
        shift = metrics.offset(y, r) / metrics.UNIT[ref.precision]
        self.metric("D", far.size)
        self.metric("KL", float(np.max(metrics.kl(r, y))))
        fits = self.metric("R", ratio, highest, reason)
        fits &= self.metric("O", shift, self.limit("O")[0] * max(1.0, ref.unit / (16 * metrics.UNIT[ref.precision])))
        if fits:
            return
        t, v = far.index
        raise Problem(
            f"{where}position {first + t}: the logit of id {v} is {far.got:.9g}, the oracle says {far.expected:.9g}: "
            f"D = {far.size:.3g}, R = {ratio:.3g} (limit {highest:g}), O = {shift:.3g} u",
            probe=name, ids=list(ids), position=int(first + t), id=int(v), got=far.got, expected=far.expected,
            D=far.size, R=ratio,
        )  # fmt: skip


def ratio_limit(precision: str) -> str:
    """Which limit R is held to, in a class of precision."""
    return {"float32": "R", "float64": "R_float64"}.get(precision, "R_class")


def _qualified(kind: type) -> str:
    """module.Class"""
    return f"{kind.__module__}.{kind.__qualname__}"
