"""Level 1: the graph's own functions, as this backend has them: its overrides, or else the standard's version."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from arrayformer.conformance import measure
from arrayformer.conformance.diagnose import explain
from arrayformer.conformance.faults import FAULTS
from arrayformer.conformance.lab import Lab, Trial
from arrayformer.conformance.oracle import exact_gelu_erf
from arrayformer.conformance.outcome import Problem
from arrayformer.conformance.registry import case
from arrayformer.core import ops
from arrayformer.core.array_api import array_namespace

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
    for n in (33, 16, 768, 1):
        g, b = 1 + normal(n + 1, n) / 3, normal(n + 2, n)
        for kind, x in norm_rows(n).items():
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


WIDTHS = ((1, 1), (3, 5), (16, 48), (33, 31), (64, 192), (129, 65), (768, 64), (3072, 8))


@case(1, "linear")
def linear(lab: Lab) -> None:
    """Linear layers of many shapes, within a bound on each element.

    Told from products in TF32 or bfloat16, and from a forgotten bias.
    """
    trials = []
    for i, (n_in, n_out) in enumerate(WIDTHS):
        x, w, b = normal(i, 2, 3, n_in), kept(lab, normal(i + 50, n_in, n_out)), kept(lab, normal(i + 99, n_out))
        exact = x.astype(np.float64) @ w + b
        bound = product_bound(lab, np.abs(x).astype(np.float64) @ np.abs(w) + np.abs(b), n_in)
        kinds = [None, lab.backend.dtype, lab.backend.dtype]
        trials.append(bounded(lab, "linear", [x, w, b], exact, bound, "product", f"{n_in} to {n_out}", dtypes=kinds))
    lab.try_all(trials)


@case(1, "unembed")
def unembed(lab: Lab) -> None:
    """The product with the embedding, for a whole vocabulary of 50,257 and for small ones.

    The last product is the one libraries most like to shorten.
    """
    trials = []
    for i, (n_embd, n_vocab) in enumerate(((1, 1), (16, 31), (48, 257), (64, 512), (20, 50257))):
        x, wte = normal(i, 2, 3, n_embd), kept(lab, normal(i + 50, n_vocab, n_embd))
        exact = x.astype(np.float64) @ wte.T.astype(np.float64)
        bound = product_bound(lab, np.abs(x).astype(np.float64) @ np.abs(wte).T, n_embd)
        what, kinds = f"{n_embd} to {n_vocab}", [None, lab.backend.dtype]
        trials.append(bounded(lab, "unembed", [x, wte], exact, bound, "product", what, dtypes=kinds))
    lab.try_all(trials)


@case(1, "identity")
def identity(lab: Lab) -> None:
    """A matrix times the identity is that matrix, bit for bit.

    The exact detector of reduced precision: TF32 and float16 change the 11th bit, bfloat16 the 8th.
    """
    if class_unit(lab):
        return reduced_identity(lab)
    trials = []
    for n in (16, 64, 257):
        a, eye = normal(n, 5, n), np.eye(n, dtype=np.float32)
        square = normal(n + 1, n, n)
        zero = np.zeros(n, dtype=np.float32)
        products: dict[str, tuple[Callable[..., Any], tuple[Host, ...], Host]] = {
            "A @ I": (lambda x, y: x @ y, (a, eye), a),
            "I @ A": (lambda x, y: x @ y, (eye, square), square),
            "linear(A, I)": (lab.function("linear"), (a, eye, zero), a),
            "linear(I, A)": (lab.function("linear"), (eye, square, zero), square),
            "unembed(A, I)": (lab.function("unembed"), (a, eye), a),
            "unembed(I, A)": (lab.function("unembed"), (eye, square), square.T),
        }
        for name, (function, hosts, want) in products.items():
            trials.append(Trial(function, [lab.put(h) for h in hosts], exactly(lab, want, f"{name} of width {n}")))
    return lab.try_all(trials)


def reduced_identity(lab: Lab) -> None:
    """The same for a declared class: what comes out is the matrix rounded to the class, no further."""
    a, eye = normal(3, 5, 64), np.eye(64, dtype=np.float32)
    dtype = lab.backend.dtype
    for way, got in lab.call(lab.function("unembed"), lab.put(a), lab.put(eye, dtype)).items():
        error = np.max(np.abs(lab.get(got) - a) / np.abs(a))
        limit = 1.01 * class_unit(lab)
        fine = lab.metric("identity", float(error), limit)
        lab.require(
            fine, f"unembed(A, I), {way}: off by {error:.3g}, more than {lab.backend.precision} explains ({limit:.3g})"
        )


def exactly(lab: Lab, want: Host, what: str) -> Callable[[str, Any], None]:
    """A check that raises Problem, naming the precision, unless what comes out is `want`."""

    def check(way: str, got: Any) -> None:
        y = lab.get(got)
        if np.array_equal(y, want):
            return
        if y.shape != want.shape:
            raise Problem(f"{what}, {way}: the shape is {y.shape}, not {want.shape}")
        error = float(np.max(np.abs(y.astype(np.float64) - want) / np.maximum(np.abs(want), 1e-6)))
        lab.metric("identity", error, 0.0)
        bands = (("TF32 or float16", 2e-4, 1e-3), ("bfloat16", 2e-3, 1e-2))
        seen = next((name for name, low, high in bands if low <= error <= high), "")
        raise Problem(
            f"{what}, {way}, is not A: off by {error:.3g}" + (f"; looks like {seen} products" if seen else "")
        )

    return check


@case(1, "embed")
def embed(lab: Lab) -> None:
    """Each row of a table of 50,257, exactly, for ids on one axis and on two.

    Told from ids that are clamped or wrapped.
    """
    trials = []
    for n_vocab, width in ((31, 4), (1, 3), (50257, 3)):
        table = kept(lab, normal(n_vocab, n_vocab, width))
        placed = lab.put(table, lab.backend.dtype)
        ids = np.random.Generator(np.random.PCG64(1)).permutation(n_vocab)
        for shaped in (ids, np.stack([ids, ids[::-1]]), ids[:1], ids[None, -1:]):
            check = right_rows(lab, table, shaped)
            trials.append(Trial(lab.function("embed"), [placed, lab.put(shaped)], check))
    lab.try_all(trials)


def right_rows(lab: Lab, table: Host, ids: Host) -> Callable[[str, Any], None]:
    """A check that raises Problem unless the rows `ids` of `table` come out."""

    def check(way: str, got: Any) -> None:
        y, n_vocab = lab.get(got), len(table)
        title = f"{whose(lab, 'embed')}, {way}"
        if y.shape != table[ids].shape:
            raise Problem(f"{title}: the shape is {y.shape}, not {table[ids].shape}")
        wrong = np.argwhere(y != table[ids])
        if len(wrong):
            id = int(ids[tuple(wrong[0][:-1])])
            last = " (the last id)" if id == n_vocab - 1 else ""
            raise Problem(f"{title}: the row of id {id}{last} of {n_vocab} is wrong", id=id)

    return check


def attention_inputs(seed: int, shape: tuple[int, int, int, int, int]) -> tuple[Host, Host, Host]:
    """q [batch, head, query, head_dim], k and v [batch, head, key, head_dim], with scores of about 4."""
    batch, head, query, key, width = shape
    q = 2 * normal(seed, batch, head, query, width)
    return q, 2 * normal(seed + 1, batch, head, key, width), normal(seed + 2, batch, head, key, width)


def places(kind: str, batch: int, query: int, key: int) -> tuple[Host, Host]:
    """position and slot: the whole text at once, the end of it, or rows of different lengths in a cache."""
    if kind == "whole":
        return np.arange(query), np.arange(key)
    if kind == "end":
        return np.arange(query) + key - query, np.arange(key)
    start = np.arange(batch)[:, None] * ((key - query) // max(1, batch - 1))
    return start + np.arange(query), np.arange(key)


SHAPES = (
    ("whole", (1, 2, 1, 1, 8)), ("whole", (2, 3, 33, 33, 16)), ("whole", (1, 1, 130, 130, 64)),
    ("end", (2, 2, 5, 40, 12)),
    ("end", (1, 2, 1, 64, 16)), ("ragged", (5, 2, 1, 33, 16)), ("ragged", (4, 3, 7, 48, 20)),
)  # fmt: skip


@case(1, "attention")
def attention(lab: Lab) -> None:
    """Causal attention of whole texts, of their ends, and of ragged rows in a cache.

    Against float64, in units of a NumPy float32 run. What lies behind the last position is poisoned.
    """
    trials: list[Trial] = []
    for seed, (kind, shape) in enumerate(SHAPES):
        choices: tuple[dict[str, Any], ...] = ({}, {"scale": 0.1, "upcast": True}) if seed in (1, 5) else ({},)
        trials += [attend(lab, seed, kind, shape, how) for how in choices]
    lab.try_all(trials)


def attend(lab: Lab, seed: int, kind: str, shape: tuple[int, int, int, int, int], how: dict[str, Any]) -> Trial:
    """One attention."""
    batch, _, query, key, _ = shape
    q, k, v = attention_inputs(seed, shape)
    position, slot = places(kind, batch, query, key)
    unseen = slot > position.max(axis=-1, keepdims=True) if kind == "ragged" else np.zeros((1, key), dtype=bool)
    unseen = np.broadcast_to(unseen, (batch, key))
    clean: list[Any] = [np.where(unseen[:, None, :, None], np.float32(0), x).astype(np.float32) for x in (k, v)]
    dirty = [np.where(unseen[:, None, :, None], np.float32(1e30), x).astype(np.float32) for x in (k, v)]
    k, v = clean
    double = [x.astype(np.float64) for x in (q, k, v)]
    exact = ops.causal_attention(double[0], double[1], double[2], position, slot, **how)
    honest = ops.causal_attention(q, k, v, position, slot, **how)
    size = np.abs(exact).max()
    unit = max(float(np.abs(honest - exact).max()), 4 * U * size, class_unit(lab) * size * 4)
    what = f"{kind}, {shape[2]} queries, {shape[3]} keys, {shape[4]} wide" + (f", {how}" if how else "")
    hosts = [q, *dirty, position, slot]
    return bounded(lab, "causal_attention", hosts, exact, np.full(exact.shape, unit), "attention", what, kwargs=how)


def by_loops(old: Host, new: Host, start: Host) -> Host:
    """What `write` must give, one slot at a time."""
    want = old.copy()
    for row, first in enumerate(start):
        for i in range(new.shape[2]):
            if first + i < old.shape[2]:
                want[row, :, first + i] = new[row, :, i]
    return want


@case(1, "write")
def write(lab: Lab) -> None:
    """A cache write at every place, over the end too: what lands past the end is dropped, nothing else changes.

    A write that clamps moves back from the end and spoils what was read before.
    """
    trials = []
    for capacity, seq in ((5, 5), (1, 1), (16, 1), (16, 8), (33, 16)):
        start = np.arange(capacity + 3)
        old, new = normal(1, len(start), 2, capacity, 3), normal(2, len(start), 2, seq, 3)
        old, new = kept(lab, old), kept(lab, new)
        position, slot = lab.put(start[:, None] + np.arange(seq)), lab.put(np.arange(capacity))
        args = (lambda old=old: lab.put(old, lab.backend.dtype), lambda new=new: lab.put(new), position, slot)
        trials.append(Trial(lab.function("write"), args, right_slots(lab, by_loops(old, new, start), start, seq)))
    lab.try_all(trials)


def right_slots(lab: Lab, want: Host, start: Host, seq: int) -> Callable[[str, Any], None]:
    """A check that raises Problem unless the cache holds `want`."""

    def check(way: str, got: Any) -> None:
        wrong = np.argwhere(lab.get(got) != want)
        if len(wrong):
            row, _, slot, _ = wrong[0]
            past = ", which runs past the end" if start[row] + seq > want.shape[2] else ""
            clamped = "; it looks clamped to the end" if past and slot < start[row] else ""
            raise Problem(
                f"{whose(lab, 'write')}, {way}: {seq} ids written at {start[row]} of {want.shape[2]}{past}: "
                f"slot {slot} is wrong{clamped}"
            )

    return check


@case(1, "put_rows")
def put_rows(lab: Lab) -> None:
    """Rows put into a batch, in any order; the others keep what they had."""
    trials, dtype = [], lab.backend.dtype
    for batch, rows in ((5, [4, 0, 2]), (1, [0]), (5, [3]), (7, [6, 5, 4, 3, 2, 1, 0])):
        old, new = kept(lab, normal(1, batch, 2, 4, 3)), kept(lab, normal(2, len(rows), 2, 4, 3))
        want = old.copy()
        want[rows] = new

        def check(way: str, got: Any, want: Host = want, rows: list[int] = rows) -> None:
            wrong = np.argwhere(lab.get(got) != want)
            if len(wrong):
                raise Problem(
                    f"{whose(lab, 'put_rows')}, {way}: rows {rows} of {len(want)}: row {wrong[0][0]} is wrong"
                )

        args = (lambda old=old: lab.put(old, dtype), lambda new=new: lab.put(new, dtype), lab.put(np.array(rows)))
        trials.append(Trial(lab.function("put_rows"), args, check))
    lab.try_all(trials)


@case(1, "top_k")
def top_k(lab: Lab) -> None:
    """The k largest, descending, of equals the lowest place first; for a vocabulary of 50,257 too.

    Sampling draws the same id on every backend only if ties fall the same way.
    """
    hidden = few(40)
    hidden[..., ::3] = -np.inf
    cases = ((few(9), 9), (few(1), 1), (hidden, 20), (normal(3, 2, 1, 257), 50), (few(50257), 40), (-few(31)[0], 1))
    lab.try_all([Trial(lambda x, k=k: lab.function("top_k")(x, k), [lab.put(x)], ranked(lab, x, k)) for x, k in cases])


def few(n: int) -> Host:
    """[2, 3, n], six values many times each"""
    return np.random.Generator(np.random.PCG64(n)).integers(-3, 3, (2, 3, n)).astype(np.float32)


def ranked(lab: Lab, x: Host, k: int) -> Callable[[str, Any], None]:
    """A check that raises Problem unless the k largest of `x` come out in their order."""
    places = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    values = np.take_along_axis(x, places, axis=-1)

    def check(way: str, got: Any) -> None:
        what = f"{whose(lab, 'top_k')}, {way}, {k} of {x.shape[-1]}"
        lab.require(np.array_equal(lab.get(got[0]), values), f"{what}: not the largest, or not in descending order")
        first = np.array_equal(lab.get(got[1]), places)
        lab.require(first, f"{what}: among equals another place than the lowest comes first")

    return check


@case(1, "in-place")
def in_place(lab: Lab) -> None:
    """No function changes an argument that it is not allowed to consume.

    A residual connection reads again what a layer norm was given.
    """
    x, w, b = normal(1, 2, 3, 8), normal(2, 8, 8), normal(3, 8)
    q, k, v = attention_inputs(3, (1, 2, 4, 4, 4))
    calls: dict[str, tuple[Host, ...]] = {
        "layer_norm": (x, b, b + 1), "linear": (x, w, b), "unembed": (x, w),
        "causal_attention": (q, k, v, np.arange(4), np.arange(4)), "embed": (w, np.array([[3, 1]])), "top_k": (x,),
    }  # fmt: skip
    arrays = {name: [lab.put(h) for h in hosts] for name, hosts in calls.items()}

    def whole(arrays: Any) -> list[Any]:
        return [lab.function(n)(*a, *((2,) if n == "top_k" else ())) for n, a in arrays.items()]

    lab.backend.compile(whole)(arrays)
    for name, hosts in calls.items():
        for i, (host, array) in enumerate(zip(hosts, arrays[name], strict=True)):
            lab.require(np.array_equal(lab.get(array), host), f"{whose(lab, name)} changed its argument {i}")


@case(1, "views")
def views(lab: Lab) -> None:
    """Products, norms and sums of transposed and sliced arrays equal those of copies.

    A library that forgets the strides of a view computes something else.
    """
    x = normal(9, 6, 10)

    def of_views(a: Any) -> list[Any]:
        xp = array_namespace(a)
        turned = xp.matrix_transpose(a)
        return [a @ turned, turned @ a, xp.matrix_transpose(a[:, 2:7]) @ a,
                xp.sum(turned, axis=-1), xp.max(a[1:, ::2], axis=-1), xp.reshape(turned, (-1,)),
                a[..., 3:5] * 1.0]  # fmt: skip

    want = [x @ x.T, x.T @ x, x[:, 2:7].T @ x, x.sum(axis=0), x[1:, ::2].max(axis=-1), x.T.reshape(-1), x[..., 3:5]]
    for way, results in lab.call(of_views, lab.put(x)).items():
        for i, (got, true) in enumerate(zip(results, want, strict=True)):
            host = lab.get(got)
            close = host.shape == true.shape and bool(np.all(np.abs(host - true) <= 64 * U * np.abs(true).max()))
            lab.require(close or class_unit(lab) > 0, f"expression {i} of views of an array, {way}, is wrong")
