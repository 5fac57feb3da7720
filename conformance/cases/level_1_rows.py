"""Level 1: activations, layer norm and softmax: the graph's functions that look at one row, or at one number.

As this backend has them: its overrides, or else the standard's version.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from arrayformer.conformance.cases.bounds import Host, U, bounded, normal
from arrayformer.conformance.criterion import metrics as measure
from arrayformer.conformance.criterion.oracle import exact_gelu_erf
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.subject import Lab, Trial
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


def activation(lab: Lab, name: str) -> None:
    """The body of the four cases below."""
    trials = []
    for where, x in points().items():
        with np.errstate(all="ignore"):
            exact = np.asarray(ACTIVATIONS[name](x.astype(np.float64)))
        # Near its zeros an honest float32 GELU is thousands of roundoffs of itself off: it is judged by the size of x.
        bound = U * np.maximum(np.abs(x), 1e-3)
        trials.append(bounded(lab, name, [x], exact, bound, "activation", where))
    lab.try_all(trials)


@case(1, "gelu")
def gelu(lab: Lab) -> None:
    """The tanh form of GELU, on all the activations a model can have.

    Told from the erf form, from x * sigmoid(1.702 x) and from reduced precision; right for large values too.
    """
    activation(lab, "gelu")


@case(1, "gelu_erf")
def gelu_erf(lab: Lab) -> None:
    """The erf form of GELU, likewise. The error function is not in the standard."""
    activation(lab, "gelu_erf")


@case(1, "relu")
def relu(lab: Lab) -> None:
    """relu, likewise."""
    activation(lab, "relu")


@case(1, "silu")
def silu(lab: Lab) -> None:
    """silu, likewise."""
    activation(lab, "silu")


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


@case(1, "layer_norm")
def layer_norm(lab: Lab) -> None:
    """Layer norm, for narrow and wide rows, small and large variance, large means, outliers and constant rows.

    Told from another epsilon, a variance divided by n - 1, a variance computed in one pass, a forgotten gain or bias.
    """
    trials: list[Trial] = []
    for n in (33, 16, 768, 1600, 1):
        g, b = 1 + normal(n + 1, n) / 3, normal(n + 2, n)
        kinds = norm_rows(n)
        for kind, x in kinds.items() if n < 1000 else [next(iter(kinds.items()))]:
            choices = (1e-5, 1e-3) if n == 33 else (1e-5,)
            trials += [norm(lab, x, g, b, eps, f"{n} wide, {kind}, epsilon {eps:g}") for eps in choices]
    lab.try_all(trials)


def norm(lab: Lab, x: Host, g: Host, b: Host, eps: float, what: str) -> Trial:
    """One layer norm."""
    wide = x.astype(np.float64)
    exact = ops.layer_norm(wide, g.astype(np.float64), b.astype(np.float64), eps)
    deviation = np.sqrt(wide.var(axis=-1, keepdims=True) + eps)
    # What rounding the mean costs: its own roundoff, in deviations.
    shift = np.abs(wide).max(axis=-1, keepdims=True) / deviation
    bound = U * (np.abs(g) * (np.abs(wide - wide.mean(axis=-1, keepdims=True)) / deviation + shift + 1) + np.abs(b))
    # The variance of numbers that differ by less than their roundoff is rounding alone.
    bound = bound + U * np.abs(g) * shift**2 * U * np.abs(wide - wide.mean(axis=-1, keepdims=True)) / deviation
    return bounded(lab, "layer_norm", [x, g, b], exact, bound, "layer_norm", what, kwargs={"eps": eps})


@case(1, "softmax")
def softmax(lab: Lab) -> None:
    """Softmax: sums to 1, shifts change nothing, large scores do not overflow, -inf gives exactly 0."""
    base = normal(5, 4, 33)
    rows = {"of normal numbers": base, "up to 80": base * 30, "up to 1e4": base * 3000, "shifted by 1e4": base + 1e4}
    hidden = base.copy()
    hidden[:, ::2] = -np.inf
    hidden[1, :-1], hidden[1, -1] = -np.inf, 3.0
    lab.try_all([probabilities(lab, x, kind) for kind, x in {**rows, "with -inf": hidden}.items()])


def probabilities(lab: Lab, x: Host, kind: str) -> Trial:
    """One softmax."""
    exact = ops.softmax(x.astype(np.float64))
    bound = U * (exact + exact.max(axis=-1, keepdims=True) / 64)
    highest, reason = lab.limit("softmax")

    def check(way: str, got: Any) -> None:
        what = f"softmax of 33 numbers {kind}, {way}"
        lab.check_array(got, what, "float32")
        y = lab.get(got).astype(np.float64)
        lab.require(bool(np.all(np.isfinite(y)) and np.all(y >= 0)), f"{what}: not a probability")
        lab.require(bool(np.all(y[exact == 0] < 1e-37)), f"{what}: a score of -inf got a probability above 0")
        far = measure.worst(np.abs(y - exact) / bound, y, exact)
        fine = lab.metric("softmax", far.size, highest, reason)
        lab.require(fine, f"{what}: at {list(far.index)} got {far.got:.9g}, expected {far.expected:.9g}")

    return Trial(ops.softmax, [lab.put(x)], check)
