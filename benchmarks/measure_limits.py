"""Measure again what the limits of the conformance suite rest on, and write it beside them.

    python benchmarks/measure_limits.py --seeds 12 --backend numpy --backend jax [--write]

Honest backends over several seeds of the probes must stay well inside each limit, the weakest wrong backend of
those that the limit has to catch well outside. Beside the names of backends there are `jax_as_written`, JAX
without its compiler, and `numpy_read_only`, whose arrays nobody can write into. Without --write nothing is changed.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from arrayformer.conformance.criterion import golden, limits
from arrayformer.conformance.criterion.judgement import Judge, ratio_limit
from arrayformer.conformance.criterion.metrics import divergence, round_mantissa
from arrayformer.conformance.criterion.oracle import Taps, emulation, reference, run
from arrayformer.conformance.diagnosis import attention_faults, rotation_faults, row_faults
from arrayformer.conformance.diagnosis.fault import Table
from arrayformer.conformance.diagnosis.faults import FAULTS
from arrayformer.conformance.diagnosis.first_wrong import Truth, ratios, tapped, truth
from arrayformer.conformance.run.case import select
from arrayformer.conformance.run.in_process import run_case
from arrayformer.conformance.run.result import Result
from arrayformer.conformance.run.spec import BackendSpec
from arrayformer.conformance.run.subject import Subject
from arrayformer.conformance.wrong import WRONG
from arrayformer.conformance.wrong.honest import ReadOnlyNumpy, jax_as_written
from arrayformer.conformance.wrong.namespace import make as library
from arrayformer.conformance.wrong.registry import with_functions
from arrayformer.core import ops
from arrayformer.core.backend import Backend

PROBES = ("p1", "p2", "p3", "quiet", "untied", "llama-3", "mistral", "qwen3", "gemma2", "gemma3", "olmo2", "neox")
IN_OTHER_DTYPES = ("p3",)
STEPS = 24  # ids read one by one behind a cache
OPERATIONS = (
    "L1-gelu",
    "L1-gelu_erf",
    "L1-silu",
    "L1-layer_norm",
    "L1-rms_norm",
    "L1-rotate",
    "L1-gated",
    "L1-grouped",
    "L1-window",
    "L1-cap",
    "L1-softmax",
    "L1-linear",
    "L1-unembed",
    "L1-attention",
)
# Which probe has to show a fault; the others show it where they can.
SHOWN_BY = {"eps_1e-6": "quiet", "eps_1e-12": "quiet", "eps_none": "quiet", "eps_outside": "quiet",
            "tanh_gelu": "untied",
            "mask_-1e4": "loud", "mask_is_-1e4": "loud"}  # fmt: skip
# Right on harmless data, or the probe's own configuration: an operation's case has to catch these.
NOT_BY_LOGITS = ("one_pass_norm", "mask_-1e4", "mask_is_-1e4")
OF_ARCHITECTURES = {f.name for f in (*rotation_faults.ALL, *attention_faults.ALL, *row_faults.ALL)}
# What a class must not be taken for: the next coarser one.
COARSER = {"float64": "float32", "float32": "tf32", "tf32": "bfloat16", "float16": "bfloat16", "bfloat16": "float8"}

Value = tuple[float, str]
Found = Iterator[tuple[str, Value]]


def subject_of(name: str) -> Subject:
    """The backend of that name."""
    own: dict[str, Callable[..., Backend]] = {"numpy_read_only": ReadOnlyNumpy, "jax_as_written": jax_as_written}
    return Subject(own[name]) if name in own else Subject.of(BackendSpec(name))


def seeded(base: str, seeds: int) -> list[str]:
    """The probe, and the same sizes with other weights."""
    return [base, *(f"{base}-s{seed}" for seed in range(1, seeds))]


def honest_ratios(name: str, seeds: int) -> Found:
    """R, O and R_tap of an honest backend in each of its dtypes: whole texts, steps behind a cache, inner tensors."""
    subject = subject_of(name)
    for dtype in subject.backend.dtypes:
        low = subject.in_dtype(dtype)
        for base in PROBES if low is subject else IN_OTHER_DTYPES:
            engine = low.models.new_engine(base)
            for model in seeded(base, seeds):
                ref = reference(model)
                engine.params = low.backend.place(ref.probe.params(), ref.config.weights())  # the program stays
                judge = Judge(Result("", 0, ""))
                probed(low, judge, engine, model)
                for metric in judge.result.metrics:
                    kind = ratio_limit(low.backend.precision) if metric.name == "R" else metric.name
                    yield kind, (metric.value, f"{name} {dtype} on {model}")
        for model in seeded("p3", seeds):
            found = tapped(low, model, low.models.reference(model).probe.rows()[0], overrides=True, compiled=False)
            for tap, ratio, _ in ratios(
                found, truth(low.models.reference(model), low.models.reference(model).probe.rows()[0])
            ):
                yield "R_tap", (ratio, f"{name} {dtype} on {model}, {tap}")


def probed(subject: Subject, judge: Judge, engine: Any, model: str) -> None:
    """Judge a probe: four texts at once, and the first of them id by id."""
    ref = subject.models.reference(model)
    rows = ref.probe.rows()[:4]
    judge.logits(subject, subject.models.forward(model, rows), model, rows)
    context = engine.context(1)
    for n in range(1, min(STEPS, len(rows[0])) + 1):
        logits = subject.get(context.read([rows[0][n - 1 : n]]))
        judge.row(logits, ref.oracle(rows[0])[n - 1 : n], ref, model, rows[0][:n])


def honest_on_texts(name: str) -> Found:
    """D of an honest backend on the default model, in each of its dtypes."""
    subject, model = subject_of(name), golden.name()
    for dtype in subject.backend.dtypes:
        low = subject.in_dtype(dtype)
        ref, engine = low.models.reference(model), low.models.engine(model)
        for number, text in enumerate(golden.values()["texts"]):
            size = divergence(engine.logits(text["ids"]), ref.oracle(text["ids"])).size
            yield f"D_{low.backend.precision}", (size, f"{name} {dtype} in L4-texts[{number}]")


def coarser(precision: str) -> Table:
    """Functions that round their products as the class coarser than `precision` does."""
    if COARSER[precision] != "float8":
        return emulation(COARSER[precision])
    near = partial(round_mantissa, bits=3)  # e4m3, whatever its range
    return {"linear": lambda x, w, b: near(x) @ near(w) + b, "unembed": lambda x, wte: near(x) @ near(wte).T}


def mistaken(seeds: int) -> Found:
    """R of what computes in the class coarser than the declared one, on probes and on the default model."""
    for precision in COARSER:
        kind = {"float32": "R", "float64": "R_float64"}.get(precision, "R_class")
        stored = "float32" if precision == "tf32" else precision
        for model in [*seeded("p3", seeds), golden.name()]:
            ref = reference(model, stored, precision)
            rows = ref.probe.rows()[:4]
            sizes = [divergence(run(ref.config, ref.params32, [row], coarser(precision)), ref.exact([row])).size
                     for row in rows]  # fmt: skip
            if model == golden.name():
                yield f"D_{precision}", (max(sizes), f"{COARSER[precision]} products")
            else:
                yield kind, (max(sizes) / ref.unit, f"{COARSER[precision]} for {precision} on {model}")


def faulty_ratios(seeds: int) -> Found:
    """R of each fault on NumPy float32, on the probe that has to show it, and the largest R_tap inside."""
    for fault in FAULTS.values():
        if fault.name in NOT_BY_LOGITS:
            continue
        base = SHOWN_BY.get(fault.name, shown_by(fault.name))
        if not base:
            continue
        for model in seeded(base, seeds):
            ref, seen = reference(model), Taps()
            params = ref.params32 if fault.weights is None else fault.weights(ref.params32)
            rows = ref.probe.rows()[:4]
            y = run(ref.config, params, rows, fault.table(), seen)
            yield "R", (divergence(y, ref.exact(rows)).size / ref.unit, f"{fault.name} on {model}")
            yield "R_tap", (largest(seen.seen, truth(ref, *rows)), f"{fault.name} on {model}")


def shown_by(name: str) -> str:
    """The probe on which the logits have to show a fault: that of its case; none where a case of one function does."""
    if name not in OF_ARCHITECTURES:
        return "p2"
    level, _, rest = WRONG[name].caught_by.partition("-logits[")
    return rest.rstrip("]") if level == "L2" else ""


def largest(found: dict[str, np.ndarray], true: Truth) -> float:
    """The largest ratio inside the graph."""
    return max(ratio for _, ratio, _ in ratios(found, true))


def operations(backends: list[str]) -> Iterator[tuple[str, bool, Value]]:
    """What the cases of single operations measure, on honest and on wrong backends: name, whether honest, value."""
    cases = {case.id: case for case in select(1, OPERATIONS)}
    for name in backends:
        subject = subject_of(name)
        for case in cases.values():
            for metric in run_case(case, subject).metrics:
                yield metric.name, True, (metric.value, f"{name} in {case.id}")
    for wrong in WRONG.values():
        if wrong.caught_by in cases and wrong.name in FAULTS:  # those of the mathematics, which a number shows
            for metric in run_case(cases[wrong.caught_by], Subject(wrong.make)).metrics:
                yield metric.name, False, (metric.value, f"{wrong.name} in {wrong.caught_by}")


def hidden() -> Found:
    """Faults that neither logits nor an override show: exponentials in float16, a number added to every logit."""

    def exp(x: Any, /) -> Any:
        return np.exp(x).astype(np.float16).astype(x.dtype)

    def unembed(x: np.ndarray, wte: np.ndarray) -> np.ndarray:
        return np.asarray(ops.unembed(x, wte) + np.float32(1e-4))

    cases = {case.id: case for case in select(2, ("L1-softmax", "L2-logits[p2]"))}
    for metric in run_case(cases["L1-softmax"], Subject(library("half_exp", {"exp": exp}))).metrics:
        yield metric.name, (metric.value, "exp in float16 in L1-softmax")
    for metric in run_case(cases["L2-logits[p2]"], Subject(with_functions("shifted", {"unembed": unembed}))).metrics:
        if metric.name == "O":
            yield "O", (metric.value, "1e-4 added to every logit of p2")


def measured(backends: list[str], seeds: int) -> dict[str, dict[str, Any]]:
    """limit -> what stands beside it in the file."""
    honest: dict[str, Value] = {}
    faulty: dict[str, Value] = {}

    def good(name: str, value: Value) -> None:
        honest[name] = max(honest.get(name, value), value)

    def bad(name: str, value: Value) -> None:
        faulty[name] = min(faulty.get(name, value), value)

    for backend in backends:
        for name, value in (*honest_ratios(backend, seeds), *honest_on_texts(backend)):
            good(name, value)
        print(f"measured {backend}", flush=True)
    for name, value in (*faulty_ratios(seeds), *mistaken(seeds), *hidden()):
        bad(name, value)
    for name, is_honest, value in operations(backends):
        (good if is_honest else bad)(name, value)
    return {
        name: {
            **({"honest": honest[name][0], "honest_by": honest[name][1]} if name in honest else {}),
            **({"faulty": faulty[name][0], "faulty_by": faulty[name][1]} if name in faulty else {}),
        }
        for name in limits.table()
    }


def toml(tables: dict[str, dict[str, Any]], header: list[str]) -> str:
    """Flat tables of numbers and strings as TOML."""
    lines = list(header)
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        for key, value in table.items():
            number = f"{value:.4g}" if isinstance(value, float) else value
            text = f'"{value}"' if isinstance(value, str) else number
            lines.append(
                f"{key} = {text if isinstance(value, str) or any(c in str(text) for c in '.e') else f'{text}.0'}"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--backend", action="append")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    backends = options.backend or ["numpy"]
    with np.errstate(all="ignore"):
        found = measured(backends, options.seeds)
    tables = {}
    for name, table in limits.table().items():
        known = {key: value for key, value in table.items() if key in ("limit", "why")}
        # What was not measured this time keeps what was measured before.
        tables[name] = known | (found[name] or {k: v for k, v in table.items() if k not in known})
        if found[name]:
            tables[name]["runs"] = f"{options.seeds} seeds, {', '.join(backends)}, {datetime.now(UTC):%Y-%m-%d}"
        near, far = tables[name].get("honest", math.nan), tables[name].get("faulty", math.nan)
        by = f"{tables[name].get('honest_by', '')} < {tables[name].get('faulty_by', '')}"
        print(f"{name:12s} honest {near:10.3g} < limit {table['limit']:8g} < faulty {far:10.3g}   {by}")
    if options.write:
        header = [
            "# What separates an honest backend from a wrong one. `limit` and `why` are written by hand;",
            "# benchmarks/measure_limits.py measures the rest: the worst honest value, and the least wrong one.",
        ]
        path = Path(str(files("arrayformer.conformance.criterion"))) / "limits.toml"
        path.write_text(toml(tables, header), encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
