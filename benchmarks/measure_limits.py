"""Measure again what the limits of the conformance suite rest on, and write it beside them.

    python benchmarks/measure_limits.py --seeds 12 --backend numpy --backend jax [--write]

Honest backends over several seeds of the probes must stay well inside each limit, the weakest wrong backend of
those that the limit has to catch well outside. Without --write nothing is changed.
"""

import argparse
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from arrayformer.conformance import limits
from arrayformer.conformance.faults import FAULTS
from arrayformer.conformance.lab import Lab
from arrayformer.conformance.measure import divergence
from arrayformer.conformance.oracle import reference, run
from arrayformer.conformance.registry import select
from arrayformer.conformance.runner import run_case
from arrayformer.conformance.target import Target
from arrayformer.conformance.wrong import WRONG

PROBES = ("p1", "p2", "p3", "quiet", "untied")
OPERATIONS = (
    "L1-gelu",
    "L1-gelu_erf",
    "L1-silu",
    "L1-layer_norm",
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

Value = tuple[float, str]


def honest_ratios(backends: list[str], seeds: int) -> Iterator[tuple[str, Value]]:
    """R and O of honest backends: whole texts, and read id by id behind a cache."""
    for name in backends:
        lab = Lab.of(Target(name))
        for base in PROBES:
            for seed in range(seeds):
                lab.result.metrics.clear()
                model = base if seed == 0 else f"{base}-s{seed}"
                rows = reference(model).probe.rows()[:4]
                lab.judge(lab.forward(model, rows), model, rows)
                context = lab.new_engine(model).context(1)
                for n in range(1, len(rows[0]) + 1):
                    lab.judge(context.read([rows[0][n - 1 : n]])[:, None, :], model, [rows[0][:n]], last=1)
                for metric in lab.result.metrics:
                    yield metric.name, (metric.value, f"{name} on {model}")


def faulty_ratios(seeds: int) -> Iterator[Value]:
    """R of each fault on NumPy float32, on the probe that has to show it."""
    for fault in FAULTS.values():
        if fault.name in NOT_BY_LOGITS:
            continue
        base = SHOWN_BY.get(fault.name, "p2")
        for seed in range(seeds):
            model = base if seed == 0 else f"{base}-s{seed}"
            ref = reference(model)
            params = ref.params32 if fault.weights is None else fault.weights(ref.params32)
            rows = ref.probe.rows()[:4]
            y = run(ref.config, params, rows, fault.functions)
            yield divergence(y, ref.exact(rows)).size / ref.unit, f"{fault.name} on {model}"


def operations(backends: list[str]) -> Iterator[tuple[str, bool, Value]]:
    """What the cases of single operations measure, on honest and on wrong backends: name, whether honest, value."""
    cases = {case.id: case for case in select(1, OPERATIONS)}
    for name in backends:
        lab = Lab.of(Target(name))
        for case in cases.values():
            for metric in run_case(case, lab).metrics:
                yield metric.name, True, (metric.value, f"{name} in {case.id}")
    for wrong in WRONG.values():
        if wrong.caught_by in cases and wrong.name in FAULTS:  # those of the mathematics, which a number shows
            for metric in run_case(cases[wrong.caught_by], Lab(wrong.make)).metrics:
                yield metric.name, False, (metric.value, f"{wrong.name} in {wrong.caught_by}")


def measured(backends: list[str], seeds: int) -> dict[str, dict[str, Any]]:
    """limit -> what stands beside it in the file."""
    honest: dict[str, Value] = {}
    faulty: dict[str, Value] = {}
    for name, value in honest_ratios(backends, seeds):
        honest[name] = max(honest.get(name, value), value)
    for value in faulty_ratios(seeds):
        faulty["R"] = min(faulty.get("R", value), value)
    for name, is_honest, value in operations(backends):
        if is_honest:
            honest[name] = max(honest.get(name, value), value)
        else:
            faulty[name] = min(faulty.get(name, value), value)
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
        print(f"{name:12s} honest {near:10.3g} < limit {table['limit']:8g} < faulty {far:10.3g}")
    if options.write:
        header = [
            "# What separates an honest backend from a wrong one. `limit` and `why` are written by hand;",
            "# benchmarks/measure_limits.py measures the rest: the worst honest value, and the least wrong one.",
        ]
        path = Path(str(files("arrayformer.conformance"))) / "limits.toml"
        path.write_text(toml(tables, header), encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
