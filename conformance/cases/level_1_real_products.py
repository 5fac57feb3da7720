"""Level 1 at the sizes of real models: linear layers and the head."""

import numpy as np

from arrayformer.conformance.cases.at_size import around, matrix, rows
from arrayformer.conformance.cases.bounds import kept, normal, product_bound
from arrayformer.conformance.coverage.models import matrices
from arrayformer.conformance.criterion.judgement import Judge
from arrayformer.conformance.run.calls import Calls, Views, as_given
from arrayformer.conformance.run.case import case
from arrayformer.conformance.run.subject import Host, Subject
from arrayformer.core.array_api import array_namespace

ROWS = {
    "few": (*range(1, 19), 31, 32, 33, 47, 63, 64, 65, 96, 127, 128, 129, 200, 255, 256, 257, 384),
    "many": (*around(512, 1024, 2048), 3000, 4096, 4097),
    "of squares": tuple(1 << i for i in range(14)),
    "beyond 2^16": (8191, 8192, 8193, 12345, 16384, 20000, 32768, 40000, 65535, 65536, 65537, 100_000, 131_072),
}
OF_ROWS = {"few": (768, 520), "many": (768, 768), "of squares": (512, 512), "beyond 2^16": (24, 20)}


@case(1, "real-linear", over=matrices(), real=True)
def real_linear(subject: Subject, judge: Judge, family: str) -> None:
    """Linear layers of the shapes that real models have, for one row (a product of its own), a few and some.

    Every output is judged. Told from products in TF32 or bfloat16 and from a forgotten bias.
    """
    for n_in, n_out in matrices()[family]:
        with Calls(subject, judge) as calls:
            for n, bias in ((1, True), (18, False)):
                linear(calls, n, n_in, n_out, "" if bias else ", without a bias", bias=bias)


@case(1, "real-rows", over=ROWS, real=True)
def real_rows(subject: Subject, judge: Judge, which: str) -> None:
    """Linear layers of as many rows as there are ids in a batch of real prompts: to 2^17, at each power of two."""
    counts = ROWS[which][::3] if subject.backend.compiles else ROWS[which]
    with Calls(subject, judge) as calls:
        for n in counts:
            linear(calls, n, *OF_ROWS[which])


@case(1, "real-linear-views", real=True)
def real_linear_views(subject: Subject, judge: Judge) -> None:
    """Linear layers and the head read a view, turned, stepped or cut out, as what it stands for."""
    with Calls(subject, judge) as calls:
        for n, n_in in ((7, 12), (33, 768)):
            for kind, (shape, views) in layouts(n, n_in).items():
                linear(calls, n, n_in, 520, f", {kind}", shape, views)
                unembed(calls, rows(n, n_in, 3)[0], kept(subject, matrix(257, n_in)), kind, shape, views)


def layouts(n: int, width: int) -> dict[str, tuple[str, Views]]:
    """Ways in which [n, width] lies in memory: how the host's array is laid out, and the view that undoes it."""

    def turned(x: object, *rest: object) -> list[object]:
        return [array_namespace(x).matrix_transpose(x), *rest]

    def swapped(x: object, *rest: object) -> list[object]:
        xp = array_namespace(x)
        return [xp.reshape(xp.permute_dims(xp.reshape(x, (width // 4, 4, n)), (2, 0, 1)), (n, width)), *rest]

    return {
        "turned": ("turned", turned),
        "in heads": ("turned", swapped),
        "every other row": ("doubled", lambda x, *rest: [x[::2, :], *rest]),
        "every other channel": ("spread", lambda x, *rest: [x[:, 1::2], *rest]),
        "cut out": ("framed", lambda x, *rest: [x[2:-1, 3:-2], *rest]),
    }


def laid(x: np.ndarray, shape: str) -> np.ndarray:
    """`x` as one of `layouts` wants it on the host."""
    if shape == "turned":
        return np.ascontiguousarray(x.T)
    if shape == "doubled":
        return np.repeat(x, 2, axis=0) * np.tile(np.array([[1], [3]], dtype=np.float32), (len(x), 1))
    if shape == "spread":
        return np.repeat(x, 2, axis=1) * np.tile(np.array([3, 1], dtype=np.float32), x.shape[1])
    if shape == "framed":
        return np.pad(x, ((2, 1), (3, 2)), constant_values=9.0)
    return x


def linear(
    calls: Calls, n: int, n_in: int, n_out: int, note: str = "", shape: str = "",
    views: Views = as_given, bias: bool = True,
) -> None:  # fmt: skip
    """One linear layer of `n` rows."""
    subject, dtype = calls.subject, calls.subject.backend.dtype
    x, few, which = rows(n, n_in, n_in)
    w, b = kept(subject, matrix(n_in, n_out, n_out)), kept(subject, normal(3, n_out))
    b = b if bias else np.zeros_like(b)
    exact = few.astype(np.float64) @ w + b
    bound = product_bound(subject, np.abs(few).astype(np.float64) @ np.abs(w) + np.abs(b), n_in)
    weights = (w, b) if bias else (w,)
    calls.expect(
        "linear", laid(x, shape), *weights, exact=exact[which], bound=bound[which], limit="product",
        what=f"{n} rows, {n_in} to {n_out}{note}", dtypes=[None, dtype, dtype][: 1 + len(weights)], views=views,
    )  # fmt: skip


HEADS = {
    "50257": ((50257, 768, (1, 5)), (50257, 16, (1, 334, 400))),
    "50304": ((50304, 512, (1, 4)),),
    "128256": ((128_256, 128, (1, 3)), (128_256, 16, (17,))),
    "151936": ((151_936, 64, (1, 2)), (151_936, 16, (9, 111))),
    "262144": ((262_144, 32, (1, 3)), (262_144, 8, (65,))),
    "49152": ((49_152, 576, (1, 17)),),
    "rows": ((1024, 16, (*around(32, 64, 128, 256, 512, 1024), 48, 192, 384, 900)),
             (16_384, 16, (1, 2, 4, 8, 16, 32, 64, 128, 200, 256, 300, 512, 600))),
}  # fmt: skip


@case(1, "real-unembed", over=HEADS, real=True)
def real_unembed(subject: Subject, judge: Judge, which: str) -> None:
    """The head of real vocabularies, as wide as real models and beyond 2^24 results: every logit is judged.

    Places in a result that are kept in 24 bits, or in a float32, wrap or stick there.
    """
    for n_vocab, n_embd, counts in HEADS[which]:
        wte = kept(subject, matrix(n_vocab, n_embd, n_embd))
        with Calls(subject, judge) as calls:
            for n in counts[:: 3 if subject.backend.compiles and len(counts) > 3 else 1]:
                unembed(calls, rows(n, n_embd, n)[1][np.arange(n) % min(n, 7)], wte)


def unembed(
    calls: Calls, x: Host, wte: Host, note: str = "", shape: str = "", views: Views = as_given
) -> None:  # fmt: skip
    """The head, of rows of which the first 7 or all are different."""
    few, which = (x[:7], np.arange(len(x)) % min(7, len(x))) if not note else (x, np.arange(len(x)))
    exact = few.astype(np.float64) @ wte.T.astype(np.float64)
    bound = product_bound(calls.subject, np.abs(few).astype(np.float64) @ np.abs(wte.T), wte.shape[1])
    calls.expect(
        "unembed", laid(x, shape), wte, exact=exact[which], bound=bound[which], limit="product",
        what=f"{len(x)} rows, {wte.shape[1]} to {len(wte)}" + (f", {note}" if note else ""),
        dtypes=[None, calls.subject.backend.dtype], views=views,
    )  # fmt: skip
