"""What real models ask of each function: which sizes, and so which boundaries between kernels lie among them.

Libraries choose how to compute by size: by powers of two, by multiples of 8, 32, 64 and 128. Sizes that a model has
(the width of its heads, its vocabulary) are asked for one by one; what grows with the text (rows, keys) is asked for
on both sides of each power of two up to the largest.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from arrayformer.conformance.coverage.models import matrices, real_models
from arrayformer.core.architecture import Architecture
from arrayformer.core.params import Weight, walk

BATCH = 64  # rows at once
MOST_ROWS = 1 << 17  # ids that are read at once, of a batch of prompts
LARGE = 1 << 24  # where 24 bits, or the whole numbers of a float32, end
MULTIPLES = (8, 32, 64, 128)


@dataclass(frozen=True)
class Range:
    """Any whole number from `low` to `high`."""

    low: int
    high: int


Demand = Range | frozenset[int] | frozenset[str]


def demands() -> dict[tuple[str, str], Demand]:
    """(function, axis) -> what real models ask for."""
    models = real_models().values()
    weights: list[Weight] = [weight for model in models for _, weight in walk(model.weights())]
    tables = {w.shape for w in weights if w.role == "table"}
    vocabularies = frozenset(shape[0] for shape in tables)
    pairs = {pair for family in matrices().values() for pair in family}
    rows, context = Range(1, MOST_ROWS), Range(1, max(model.n_ctx for model in models))
    found: dict[tuple[str, str], Demand] = {
        ("linear", "rows"): rows,
        ("linear", "K x N of one row"): frozenset(f"{n_in} x {n_out}" for n_in, n_out in pairs),
        ("linear", "K x N of some rows"): frozenset(f"{n_in} x {n_out}" for n_in, n_out in pairs),
        ("linear", "multiplications"): Range(1 << 18, 1 << 31),
        ("linear", "bias"): frozenset({"with", "none"}),
        ("unembed", "rows"): Range(1, 1024),
        ("unembed", "N"): vocabularies,
        ("unembed", "K x N of one row"): frozenset(f"{width} x {n}" for n, width in tables),
        ("unembed", "results"): Range(1 << 15, LARGE),
        ("embed", "ids"): rows,
        ("embed", "ids there are"): vocabularies,
        ("embed", "numbers in the table"): Range(1 << 20, LARGE),
        ("put_rows", "rows"): Range(1, BATCH),
        ("put_rows", "rows put"): Range(1, BATCH),
        ("write", "rows"): Range(1, BATCH),
        ("write", "capacity"): context,
        ("write", "ids"): Range(1, 1024),
        ("top_k", "n"): vocabularies,
        ("top_k", "k"): Range(1, 1024),
    }
    found |= attention(models) | rowwise(weights) | standard(vocabularies)
    found |= {
        (name, "threads"): frozenset({"one", "all"}) for name in ("linear", "unembed", "causal_attention, prompt")
    }
    viewed = ("linear", "unembed", "layer_norm", "rms_norm", "gelu", "silu", "causal_attention, prompt")
    return found | {(name, "layout"): frozenset({"in order", "a view"}) for name in viewed}


def attention(models: Collection[Architecture]) -> dict[tuple[str, str], Demand]:
    """Of the three kinds of attention."""
    heads = frozenset(model.n_head for model in models)
    kv = frozenset(model.n_kv_head for model in models)
    shared = frozenset(model.n_head // model.n_kv_head for model in models)
    widths = frozenset(model.head_dim for model in models)
    context = max(model.n_ctx for model in models)
    found: dict[tuple[str, str], Demand] = {("write", "head_dim"): widths, ("write", "heads of keys"): kv}
    for kind, queries, keys in (
        ("one query", Range(1, 1), context), ("piece", Range(2, 1024), context), ("prompt", Range(2, 4096), 4096),
    ):  # fmt: skip
        name = f"causal_attention, {kind}"
        found |= {
            (name, "rows"): Range(1, BATCH), (name, "heads"): heads, (name, "heads of keys"): kv,
            (name, "heads that share keys"): shared, (name, "head_dim"): widths,
            (name, "keys"): Range(4 if kind == "piece" else 2, keys),
        }  # fmt: skip
        for width in widths:
            found[name, f"keys, head_dim {width}"] = Range(32, 2048 if kind != "prompt" else 1024)
            if kind != "one query":
                found[name, f"queries, head_dim {width}"] = Range(2, queries.high // 4 if kind == "prompt" else 128)
    found["causal_attention, prompt", "scores"] = Range(1 << 10, LARGE)
    return found


def rowwise(weights: Iterable[Weight]) -> dict[tuple[str, str], Demand]:
    """Of what looks at each row, or each number, alone."""
    norms = [w for w in weights if w.role in ("norm", "head_norm")]
    rows, numbers = Range(1, MOST_ROWS), Range(1 << 10, LARGE)
    found: dict[tuple[str, str], Demand] = {(name, "numbers"): numbers for name in ("gelu", "silu", "gated")}
    for name in ("layer_norm", "rms_norm"):
        found[name, "rows"] = rows
        found[name, "width"] = frozenset(w.shape[-1] for w in norms)
    return found


def standard(vocabularies: frozenset[int]) -> dict[tuple[str, str], Demand]:
    """Of the standard's own functions, for rows as long as a vocabulary and as a context."""
    found: dict[tuple[str, str], Demand] = {}
    for name in (
        "max", "sum", "exp", "log", "where", "argmax", "argsort", "cumulative_sum", "take_along_axis", "any", "all",
    ):  # fmt: skip
        found[name, "n"] = Range(64, max(vocabularies) // 2)
        found[name, "n of a vocabulary"] = vocabularies
    found["arange", "n"] = Range(64, 1 << 17)
    for name in ("exp", "tanh", "sqrt", "where", "log"):
        found[name, "numbers"] = Range(1 << 10, 1 << 21)
    return found


def boundaries(demand: Demand) -> list[str]:
    """The boundaries that a demand crosses, each to be visited."""
    if not isinstance(demand, Range):
        words = [value for value in demand if isinstance(value, str)]
        sizes = sorted(value for value in demand if isinstance(value, int))
        return sorted(words) + [f"= {size}" for size in sizes]
    powers = [1 << i for i in range(demand.low.bit_length() - 1, demand.high.bit_length())]
    powers = [p for p in powers if demand.low <= p <= demand.high]
    sides = [label for p in powers for label in ((f"= {p}", f"> {p}") if 1 < p < demand.high else (f"= {p}",))]
    if demand.high >= LARGE:
        sides[-1:] = [f"> {LARGE}"]
    parts = [m for m in MULTIPLES if demand.low <= m and demand.high > 2 * m]
    return sides + [f"{word} of {m}" for m in parts for word in ("a multiple", "no multiple")]


def visited(values: Iterable[object]) -> Iterator[str]:
    """The boundaries on whose sides these values lie."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, int) and value > 0:
            yield f"= {value}"
            power = 1 << (value.bit_length() - 1)
            if value > power:
                yield f"> {power}"
            if value > LARGE:
                yield f"> {LARGE}"
            for m in MULTIPLES:
                if value > m:
                    yield f"{'a' if value % m == 0 else 'no'} multiple of {m}"


def uncovered(visits: Mapping[tuple[str, str], Iterable[object]]) -> dict[tuple[str, str], list[str]]:
    """(function, axis) -> the boundaries real models cross and nothing visited."""
    found = {}
    for (function, axis), demand in demands().items():
        seen = set(visited(visits.get((function, axis.replace(" of a vocabulary", "")), ())))
        if missing := [label for label in boundaries(demand) if label not in seen]:
            found[function, axis] = missing
    return found
