"""Level 1: what newer architectures are made of: rotary positions, RMS norm, gates, as this backend has them."""

from typing import Any

import numpy as np

from arrayformer.conformance.cases.bounds import U, normal
from arrayformer.conformance.cases.level_1_rows import ACTIVATIONS, norm_rows
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.calls import Calls
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.subject import Host, Subject
from arrayformer.core import ops
from arrayformer.core.models.rope import Rope, Yarn

# shape of x [..., head, seq, head_dim], channels that are turned, first position of each row
ROTATED = (
    ((1, 2, 5, 8), 8, (0,)), ((2, 3, 1, 10), 10, (4, 31)), ((3, 1, 9, 14), 6, (0, 7, 90)),
    ((1, 4, 33, 64), 64, (2000,)), ((2, 2, 4, 6), 2, (1, 0)), ((1, 1, 3, 80), 20, (123_000,)),
)  # fmt: skip


def angles(n: int, n_rotated: int, first: tuple[int, ...], rope: Rope | None = None) -> tuple[Host, Host]:
    """Cosines and sines [row, n, n_rotated / 2], float64, of `n` positions from each of `first` on."""
    rope = rope or Rope(1e4, n_rotated)
    turned = (np.array(first)[:, None] + np.arange(n))[..., None] * rope.scaling.frequencies(rope, n)
    return np.cos(turned) * rope.scaling.magnitude(), np.sin(turned) * rope.scaling.magnitude()


@case(1, "rotate", needs="rotate")
def rotate(subject: Subject, judge: Judge) -> None:
    """Rotary positions of whole heads and of a part of each, at positions of each row's own, far out, and stretched.

    Told from pairs of neighbours, a lost or swapped sign, cosine for sine, other channels, rounded tables.
    """
    stretched = Rope(1e4, 10, Yarn(4.0, 16))
    with Calls(subject, judge) as calls:
        for seed, (shape, n_rotated, first) in enumerate(ROTATED):
            turn(calls, normal(seed, *shape), *angles(shape[-2], n_rotated, first), f"{shape}, from {first}")
        turn(calls, normal(9, 2, 2, 5, 10), *angles(5, 10, (3, 20), stretched), "stretched by a magnitude above 1")
        # One table for all rows, as where a text is read without a cache.
        cos, sin = (x[0] for x in angles(7, 12, (0,)))
        turn(calls, normal(10, 2, 3, 7, 12), cos, sin, "one table for both rows")


def turn(calls: Calls, x: Host, cos: Host, sin: Host, what: str) -> None:
    """One rotation. The tables are float32 on the device, so the truth has them so too."""
    tables = [t.astype(np.float32) for t in (cos, sin)]
    wide = [t.astype(np.float64) for t in tables]
    exact = ops.rotate(x.astype(np.float64), *wide)
    half = cos.shape[-1]
    # Two products and their sum: of the size of the pair, not of what is left of it.
    pair = np.hypot(x[..., :half], x[..., half : 2 * half]).astype(np.float64)
    size = np.concatenate([pair, pair, np.abs(x[..., 2 * half :])], axis=-1) * np.hypot(*wide).max()
    calls.expect("rotate", x, *tables, exact=exact, bound=U * size + 1e-37, limit="rotate", what=what)


@case(1, "rms_norm", needs="rms_norm")
def rms_norm(subject: Subject, judge: Judge) -> None:
    """RMS norm, for narrow and wide rows, of the stream and of heads, small and large, with outliers and offsets.

    Told from a layer norm, another epsilon or its place, a gain of 1 + w, a forgotten gain, a mean square in 16 bits.
    """
    with Calls(subject, judge) as calls:
        for n in (33, 16, 768, 1, 2048):
            g = 1 + normal(n + 1, n) / 3
            kinds = norm_rows(n)
            for kind, x in kinds.items() if n < 1000 else [next(iter(kinds.items()))]:
                for eps in (1e-6, 1e-5) if n == 33 else (1e-6,):
                    _norm(calls, x, g, eps, f"{n} wide, {kind}, epsilon {eps:g}")
        _norm(calls, 3 * normal(5, 2, 4, 7, 10), 1 + normal(6, 10), 1e-6, "of 4 heads, 10 wide")
        _norm(calls, normal(7, 2, 3, 1, 64) + 1, 1 + normal(8, 64), 1e-6, "of 3 heads, 64 wide, one position")


def _norm(calls: Calls, x: Host, g: Host, eps: float, what: str) -> None:
    exact = ops.rms_norm(x.astype(np.float64), g.astype(np.float64), eps)
    bound = U * np.abs(exact) + 1e-37
    calls.expect("rms_norm", x, g, exact=exact, bound=bound, limit="rms_norm", what=what, eps=eps)


@case(1, "gated", needs="gated")
def gated(subject: Subject, judge: Judge) -> None:
    """A gate is activated and multiplied with what it gates, for each activation that gates, small values and large.

    Told from gate and values swapped, a gate that is not activated, an activation of the product, a sum.
    """
    shapes = ((2, 3, 50), (1, 1, 33), (4, 129))
    with Calls(subject, judge) as calls:
        for seed, shape in enumerate(shapes):
            for name in ("silu", "gelu", "gelu_erf"):
                gate, up = 3 * normal(seed, *shape), 2 * normal(seed + 9, *shape)
                gate[..., :3], up[..., 3:5] = (30.0, -30.0, 300.0), 1e4
                activated = np.asarray(ACTIVATIONS[name](gate.astype(np.float64)))
                bound = U * (np.maximum(np.abs(gate), 1e-3) * np.abs(up) + np.abs(activated * up))
                _gate(calls, name, gate, up, activated * up, bound, f"{shape}, {name}")


def _gate(calls: Calls, name: str, gate: Host, up: Host, exact: Host, bound: Host, what: str) -> None:
    how: dict[str, Any] = {"activation": calls.subject.function(name)}
    calls.expect("gated", gate, up, exact=exact, bound=bound, limit="activation", what=what, **how)
