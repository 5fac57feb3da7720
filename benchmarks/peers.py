"""This project beside other programs that run GPT-2: the same weights, prompts and threads, in turns.

    pip install 'arrayformer[jax,numba,parity]' examples/torch_backend llama-cpp-python gguf ctranslate2
    python benchmarks/peers.py --keep NAME
    python benchmarks/peers.py --gpu --keep NAME     # the same on an NVIDIA GPU, against transformers there

Each program runs in a process of its own. In every round each does each task once, in an order that rotates, so
that what else the machine does falls on all alike. What counts is the ratio within a round; its median is printed.
A program that is not installed is listed as such. Results go to `benchmarks/results/`.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from checkpoints import write_all
from contenders import CONTENDERS, FORMS, GPU_CONTENDERS

from arrayformer.bench.bounds import Work, weight_bytes
from arrayformer.bench.process import Process
from arrayformer.core.models.gpt2 import SIZES

HERE = Path(__file__).parent
OURS = ("numpy", "numba", "numba bf16", "numba q8_0", "numba q4_0", "jax")  # decode batches and look ahead
TASKS = ("prefill", "decode", "batch", "plain", "lookup")
UNCACHED_IDS = 2  # an uncached id at 16 ids costs what 60 cached ones do


def main() -> None:
    """Write the weights, run the rounds, print and keep what came out."""
    options = parse()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # else JAX takes three quarters of a GPU
    known = GPU_CONTENDERS if options.gpu else CONTENDERS
    names = [n for n in known if not options.only or n in options.only.split(",")]
    ready = [n for n in names if all(find_spec(module) for module in known[n][2])]
    if not ready:
        sys.exit(f"none of these is installed: {', '.join(names)}")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        print(f"writing random {options.size} weights", file=sys.stderr)
        write_all(Path(folder), options.size, {FORMS[n] for n in ready if n in FORMS})
        found = rounds(options, folder, ready, stack)
    found["not_installed"] = [n for n in names if n not in ready]
    text = report(found)
    print(text)
    if options.keep:
        stem = HERE / "results" / f"{found['date'][:10]}-{options.keep}"
        stem.parent.mkdir(exist_ok=True)
        stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
        stem.with_suffix(".md").write_text(text + "\n")


def parse() -> argparse.Namespace:
    """What is to be run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="124M")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompt", type=int, default=512, help="ids of the prefill")
    parser.add_argument("--new", type=int, default=64, help="ids of the decode, after 16")
    parser.add_argument("--only", help="names with commas between them")
    parser.add_argument("--tasks", default=",".join(TASKS), help="some of these, with commas between them")
    parser.add_argument("--gpu", action="store_true", help="compare what runs on an NVIDIA GPU")
    parser.add_argument("--keep", metavar="NAME", help="write results/DATE-NAME.json and .md")
    return parser.parse_args()


def rounds(options: argparse.Namespace, folder: str, names: list[str], stack: ExitStack) -> dict[str, Any]:
    """Seconds by task and contender, one for each round; round 0 warms up and does not count."""
    script = str(HERE / "contenders.py")
    processes = {n: stack.enter_context(Process(script, n)) for n in names}
    machine = None if options.gpu else stack.enter_context(Process())
    loads = {n: p.ask("load", folder=folder, threads=options.threads) for n, p in processes.items()}
    print("loaded", file=sys.stderr)
    seconds: dict[str, dict[str, list[float]]] = {task: {} for task in TASKS}
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"), "machine": machine_name(), "loads": loads,
        "options": vars(options), "seconds": seconds, "ids": {}, "bounds": [], "first": names[0],
        "gpu": next((p.ask("bandwidth") for n, p in processes.items() if n.startswith("eager")), None),
    }  # fmt: skip
    for i in range(options.rounds + 1):
        turn = names[i % len(names) :] + names[: i % len(names)]
        for task in options.tasks.split(","):
            for name in turn:
                answer = ask(processes[name], task, name, options)
                if answer and i:
                    seconds[task].setdefault(name, []).append(answer["seconds"])
                    if "ids" in answer:
                        found["ids"].setdefault(name, answer["ids"][:8])
        if machine is not None:
            work = asdict(Work.of(SIZES[options.size]))
            found["bounds"].append(machine.ask("bounds", work=work, n_prompt=options.prompt))
        print(f"round {i} of {options.rounds} done", file=sys.stderr)
    return found


def ask(process: Process, task: str, name: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """One task of one contender; None for what it does not do."""
    if task == "prefill":
        if name == "uncached":
            return None
        return process.ask("prefill", n_prompt=options.prompt)
    if task == "decode":
        n_new = UNCACHED_IDS if name == "uncached" else options.new
        answer = process.ask("decode", n_prompt=16, n_new=n_new)
        return answer | {"seconds": answer["seconds"] * options.new / n_new}
    if name not in OURS:
        return None
    if task == "batch":
        return process.ask("decode", n_prompt=16, n_new=options.new // 2, batch=16)
    return process.ask("lookup", n_new=2 * options.new, speculate=task == "lookup")


def machine_name() -> dict[str, Any]:
    """What it ran on."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def ratio(a: list[float], b: list[float]) -> float:
    """How many times faster `a` is than `b`: the median of the rounds' ratios."""
    return median(y / x for x, y in zip(a, b, strict=True))


def report(found: dict[str, Any]) -> str:
    """A page of Markdown."""
    options, machine, seconds, first = found["options"], found["machine"], found["seconds"], found["first"]
    lines = [
        f"GPT-2 {options['size']} shapes, random weights, {options['threads']} threads, {machine['cpu']}, "
        f"{machine['system']}, Python {machine['python']}, {found['date']}. "
        f"Medians of {options['rounds']} alternating rounds.",
        "",
        f"| | prefill {options['prompt']}, tokens/s | {first} is faster by | decode 16 + {options['new']}, tokens/s "
        f"| {first} is faster by | load and first token, s | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, load in found["loads"].items():
        cells = [name]
        for task, ids in (("prefill", options["prompt"]), ("decode", options["new"])):
            own, best = seconds[task].get(name), seconds[task].get(first)
            cells.append(f"{ids / median(own):.1f}" if own else "")
            cells.append(f"{ratio(best, own):.2f}" if own and best else "")
        lines.append(f"| {' | '.join(cells)} | {load['first_token_s']:.2f} | {(load['peak_bytes'] or 0) / 1e6:.0f} |")
    lines += ["", *(on_gpu(found) if options["gpu"] else on_cpu(found)), *together(found), "", *identity(found)]
    return "\n".join(lines)


def on_cpu(found: dict[str, Any]) -> list[str]:
    """How near to the bounds NumPy comes."""
    options, seconds = found["options"], found["seconds"]
    decode_s = min(b["decode_s"] for b in found["bounds"])
    rate = max(b["operations_per_s"] for b in found["bounds"])
    lines = [
        f"Bounds, best round: one token's matrix-vector products {1e3 * decode_s:.1f} ms, {1 / decode_s:.1f} tokens/s; "
        f"matrix products {rate / 1e9:.0f} GFLOP/s."
    ]
    if "numpy" in seconds["decode"]:
        step = [s / options["new"] for s in seconds["decode"]["numpy"]]
        within = median(b["decode_s"] / s for b, s in zip(found["bounds"][1:], step, strict=True))
        best = decode_s / min(step)
        lines.append(f"NumPy decodes at {best:.2f} of the bound (best of each), {within:.2f} (median within rounds).")
    return lines


def on_gpu(found: dict[str, Any]) -> list[str]:
    """How near to the memory's bandwidth each comes: decoding reads every weight once for each token."""
    if found["gpu"] is None:
        return []
    options, bandwidth = found["options"], found["gpu"]["bytes_per_s"]
    lines = [f"{found['gpu']['card']}, {bandwidth / 1e9:.0f} GB/s in a copy."]
    for name, took in found["seconds"]["decode"].items():
        size = weight_bytes(Work.of(SIZES[options["size"]])) / (2 if name.endswith("16") else 1)
        lines.append(f"{name}: decodes at {size * options['new'] / median(took) / bandwidth:.2f} of that.")
    return lines


def together(found: dict[str, Any]) -> list[str]:
    """What batches and prompt lookup gain."""
    options, seconds, lines = found["options"], found["seconds"], []
    for name, took in seconds["batch"].items():
        if name in seconds["decode"]:
            single = [s / options["new"] for s in seconds["decode"][name]]
            row = [s / (16 * (options["new"] // 2)) for s in took]
            lines.append(f"{name}: 16 rows together decode {ratio(row, single):.2f} times as many tokens as one.")
    for name, took in seconds["lookup"].items():
        gain = ratio(took, seconds["plain"][name])
        lines.append(f"{name}: prompt lookup on repeated text is {gain:.2f} times as fast as plain decoding.")
    return lines


def identity(found: dict[str, Any]) -> list[str]:
    """Versions, what is missing, and whether all drew the same ids."""
    reference = found["ids"].get(found["first"], [])
    different = [n for n, ids in found["ids"].items() if ids[: len(reference)] != reference[: len(ids)]]
    versions = sorted(
        {f"{load.get('backend', '')} {load['version']}".strip() for load in found["loads"].values()} - {""}
    )
    lines = [f"Drew other first ids than {found['first']}: {', '.join(different) or 'none'}."] if reference else []
    lines.append(f"Versions: {', '.join(versions)}.")
    if found["not_installed"]:
        lines.append(f"Not installed: {', '.join(found['not_installed'])}.")
    return lines


if __name__ == "__main__":
    main()
