"""What the cases of single functions share: their inputs, and a bound on each element of what comes out."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayformer.conformance.criterion import metrics as measure
from arrayformer.conformance.diagnosis.faults import FAULTS
from arrayformer.conformance.diagnosis.first_wrong import explain
from arrayformer.conformance.run.result import Problem
from arrayformer.conformance.run.subject import Lab, Trial

Host = np.ndarray
U = measure.UNIT["float32"]


def normal(seed: int, *shape: int) -> Host:
    """Standard normal float32."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32)


def whose(lab: Lab, name: str) -> str:
    """For messages: whether it is the backend's own function."""
    return f"the override {name}" if name in lab.backend.overrides else f"{name} on the library's functions"


def bounded(
    lab: Lab, name: str, hosts: Sequence[Host], exact: Host, bound: Host, limit: str, what: str, *,
    kwargs: dict[str, Any] | None = None, dtypes: Sequence[str | None] = (),
) -> Trial:  # fmt: skip
    """A call of a graph function whose result must obey |got - exact| <= limit * bound everywhere.

    dtypes  of the arguments on the device, where they are not those of `hosts`
    """
    kwargs = kwargs or {}
    own = lab.function(name)
    kinds = list(dtypes) or [None] * len(hosts)
    makers = [lambda h=h, d=d: lab.put(h, d) for h, d in zip(hosts, kinds, strict=True)]
    highest, reason = lab.limit(limit)

    def check(way: str, got: Any) -> None:
        title = f"{whose(lab, name)}, {way}, {what}"
        lab.check_array(got, title, "float32")
        y = lab.get(got).astype(np.float64)
        if y.shape != exact.shape:
            raise Problem(f"{title}: the shape is {y.shape}, not {exact.shape}")
        if not measure.same_specials(y, exact):
            raise Problem(f"{title}: NaN or infinity where there is none in truth, or the other way round")
        with np.errstate(invalid="ignore"):
            error = np.where(np.isfinite(exact), np.abs(y - exact), 0.0)
        far = measure.worst(error / np.where(bound > 0, bound, np.finfo(np.float64).tiny), y, exact)
        if not lab.metric(limit, far.size, highest, reason):
            raise Problem(
                f"{title}: at {list(far.index)} got {far.got:.9g}, expected {far.expected:.9g}, {far.size:.3g} times "
                f"its bound (limit {highest:g}){looks_like(name, hosts, kwargs, y, exact)}",
                got=far.got, expected=far.expected,
            )  # fmt: skip

    return Trial(lambda *a: own(*a, **kwargs), makers, check)


def looks_like(name: str, hosts: Sequence[Host], kwargs: dict[str, Any], got: Host, exact: Host) -> str:
    """The fault of this function that explains `got`, as the end of a sentence."""
    wide = [h.astype(np.float64) if h.dtype.kind == "f" else h for h in hosts]
    candidates: dict[str, Any] = {
        fault.name: (lambda f=fault.functions[name]: f(*wide, **kwargs))
        for fault in FAULTS.values()
        if name in fault.functions
    }
    with np.errstate(all="ignore"):
        found = explain(got, exact, candidates)
    return f": {FAULTS[found].sentence}" if found else ""


def class_unit(lab: Lab) -> float:
    """How much an operand of a product may be rounded: nothing in float32."""
    precision = lab.backend.precision
    return 0.0 if precision in ("float32", "float64") else measure.UNIT[precision]


def product_bound(lab: Lab, sizes: Host, n: int) -> Host:
    """What a sum of n products may be off when its terms add up to `sizes` in absolute value."""
    return np.asarray(sizes * (U * (math.sqrt(n) + 2) + class_unit(lab)) + 1e-37)


def kept(lab: Lab, x: Host) -> Host:
    """Weights as this backend stores them."""
    rounded: Host = measure.rounded(x, lab.backend.dtype)
    return rounded
