"""Level 1: activations, layer norm and softmax: the graph's functions that look at one row, or at one number.

As this backend has them: its overrides, or else the standard's version.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from arrayformer.conformance.cases.bounds import U, normal
from arrayformer.conformance.criterion import metrics
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.criterion.oracle import exact_gelu_erf
from arrayformer.conformance.run.calls import Calls, Views, as_given
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.subject import Host, Subject
from arrayformer.core import ops


def points() -> dict[str, Host]:
    """Where activations are looked at: densely close to zero, and at all sizes up to 1e18."""
    near = np.linspace(-12, 12, 2 * 33 * 129).astype(np.float32).reshape(2, 33, 129)
    sizes = np.logspace(-12, 18, 500)
    far = np.concatenate([sizes, -sizes]).astype(np.float32)
    return {"from -12 to 12": near, "on two axes": near[0, 14:20], "from -1e18 to 1e18": far.reshape(2, 5, 100)}


ACTIVATIONS: dict[str, Callable[[Host], Host]] = {
    "gelu": ops.gelu, "gelu_erf": exact_gelu_erf, "relu": ops.relu, "silu": ops.silu,
}  # fmt: skip


def activation(subject: Subject, judge: Judge, name: str) -> None:
    """The body of the four cases below."""
    with Calls(subject, judge) as calls:
        for where, x in points().items():
            with np.errstate(all="ignore"):
                exact = np.asarray(ACTIVATIONS[name](x.astype(np.float64)))
            # Near its zeros an honest float32 GELU is thousands of its roundoffs off: it is judged by the size of x.
            calls.expect(name, x, exact=exact, bound=U * np.maximum(np.abs(x), 1e-3), limit="activation", what=where)


@case(1, "gelu", needs="gelu")
def gelu(subject: Subject, judge: Judge) -> None:
    """The tanh form of GELU, on all the activations a model can have.

    Told from the erf form, from x * sigmoid(1.702 x) and from reduced precision; right for large values too.
    """
    activation(subject, judge, "gelu")


@case(1, "gelu_erf", needs="gelu_erf")
def gelu_erf(subject: Subject, judge: Judge) -> None:
    """The erf form of GELU, likewise. The error function is not in the standard."""
    activation(subject, judge, "gelu_erf")


@case(1, "relu", needs="relu")
def relu(subject: Subject, judge: Judge) -> None:
    """relu, likewise."""
    activation(subject, judge, "relu")


@case(1, "silu", needs="silu")
def silu(subject: Subject, judge: Judge) -> None:
    """silu, likewise."""
    activation(subject, judge, "silu")


def norm_rows(n: int) -> dict[str, Host]:
    """Rows [4, n] that tell layer norms apart."""
    x = normal(n, 4, n)
    rows = {
        "of normal numbers": x,
        "of variance 1e-6": x * np.float32(1e-3),
        "of variance 1e-12": x * np.float32(1e-6),
        "around 3e4 (where a variance computed in one pass fails)": x + np.float32(3e4),
        "of equal numbers": np.full((4, n), 2.5, dtype=np.float32),
        "of variance 1e8": x * np.float32(1e4),
    }
    outlier = x.copy()
    outlier[:, n // 2] = 1e4
    return {**rows, "with an outlier of 1e4": outlier}


@case(1, "layer_norm", needs="layer_norm")
def layer_norm(subject: Subject, judge: Judge) -> None:
    """Layer norm, for narrow and wide rows, small and large variance, large means, outliers and constant rows.

    Told from another epsilon, a variance divided by n - 1, a variance computed in one pass, a forgotten gain or bias.
    """
    with Calls(subject, judge) as calls:
        for n in (33, 16, 768, 1600, 1):
            g, b = 1 + normal(n + 1, n) / 3, normal(n + 2, n)
            kinds = norm_rows(n)
            for kind, x in kinds.items() if n < 1000 else [next(iter(kinds.items()))]:
                for eps in (1e-5, 1e-3) if n == 33 else (1e-5,):
                    norm(calls, x, g, b, eps, f"{n} wide, {kind}, epsilon {eps:g}")


def norm(
    calls: Calls, x: Host, g: Host, b: Host, eps: float, what: str, *, host: Host | None = None, views: Views = as_given
) -> None:
    """One layer norm of `x`, of which `views` are made on the device from `host`."""
    wide = x.astype(np.float64)
    exact = ops.layer_norm(wide, g.astype(np.float64), b.astype(np.float64), eps)
    deviation = np.sqrt(wide.var(axis=-1, keepdims=True) + eps)
    # What rounding the mean costs: its own roundoff, in deviations.
    shift = np.abs(wide).max(axis=-1, keepdims=True) / deviation
    bound = U * (np.abs(g) * (np.abs(wide - wide.mean(axis=-1, keepdims=True)) / deviation + shift + 1) + np.abs(b))
    # The variance of numbers that differ by less than their roundoff is rounding alone.
    bound = bound + U * np.abs(g) * shift**2 * U * np.abs(wide - wide.mean(axis=-1, keepdims=True)) / deviation
    hosts = (x if host is None else host, g, b)
    calls.expect("layer_norm", *hosts, exact=exact, bound=bound, limit="layer_norm", what=what, views=views, eps=eps)


@case(1, "softmax")
def softmax(subject: Subject, judge: Judge) -> None:
    """Softmax: sums to 1, shifts change nothing, large scores do not overflow, -inf gives exactly 0."""
    base = normal(5, 4, 33)
    rows = {"of normal numbers": base, "up to 80": base * 30, "up to 1e4": base * 3000, "shifted by 1e4": base + 1e4}
    hidden = base.copy()
    hidden[:, ::2] = -np.inf
    hidden[1, :-1], hidden[1, -1] = -np.inf, 3.0
    with Calls(subject, judge) as calls:
        for kind, x in {**rows, "with -inf": hidden}.items():
            probabilities(calls, x, f"33 numbers {kind}")


def probabilities(calls: Calls, x: Host, kind: str, *, host: Host | None = None, views: Views = as_given) -> None:
    """One softmax of `x`, of which `views` are made on the device from `host`."""
    subject, judge = calls.subject, calls.judge
    exact = ops.softmax(x.astype(np.float64))
    bound = U * (exact + exact.max(axis=-1, keepdims=True) / 64)
    highest, reason = judge.limit("softmax")

    def check(way: str, got: Any) -> None:
        what = f"softmax of {kind}, {way}"
        judge.array(subject, got, what, "float32")
        y = subject.get(got).astype(np.float64)
        judge.require(bool(np.all(np.isfinite(y)) and np.all(y >= 0)), f"{what}: not a probability")
        judge.require(bool(np.all(y[exact == 0] < 1e-37)), f"{what}: a score of -inf got a probability above 0")
        far = metrics.worst(np.abs(y - exact) / bound, y, exact)
        fine = judge.metric("softmax", far.size, highest, reason)
        judge.require(fine, f"{what}: at {list(far.index)} got {far.got:.9g}, expected {far.expected:.9g}")

    calls.check(lambda a: ops.softmax(*views(a)), [subject.put(x if host is None else host)], check)
