"""What a run leaves for people: the log, the curve, and the model with its card."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
from examples.train_fable.corpus import TOKENIZER_FILES

from arrayformer import save_checkpoint
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import Params, walk

LOG = "log.jsonl"
CURVE = "loss.png"

Entry = dict[str, Any]


def write_log(out: Path, entry: Entry) -> None:
    """Add one line to the log."""
    with (out / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def read_log(out: Path) -> list[Entry]:
    """The log, without lines of an attempt that was resumed from an earlier step."""
    entries: list[Entry] = []
    for line in (out / LOG).read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        entries = [old for old in entries if old["step"] < entry["step"]] + [entry]
    return entries


def plot(out: Path) -> None:
    """The loss curve as a picture."""
    from matplotlib.figure import Figure

    log = read_log(out)
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    left.plot([e["tokens"] / 1e6 for e in log], [e["loss"] for e in log], color="tab:blue", linewidth=1)
    left.set(xlabel="million ids read", ylabel="training loss, nats per id")
    scored = [e for e in log if "bits_per_byte" in e]
    right = left.twinx()
    tokens, bits = ([e[key] for e in scored] for key in ("tokens", "bits_per_byte"))
    right.plot([n / 1e6 for n in tokens], bits, "o-", color="tab:orange", markersize=3)
    right.set_ylabel("validation sample, bits per byte")
    figure.savefig(out / CURVE, dpi=120)


def export(
    folder: Path, out: Path, name: str, config: GPT2, params: Params, *,
    score: str = "not measured yet", about: str = "", note: str = "",
) -> None:  # fmt: skip
    """The model as a Hugging Face directory in float16, with its tokenizer, its card and its curve.

    score  bits per byte of the whole validation text, and how they were counted
    about  Markdown on the data, for the card
    note   Markdown for the card's head
    """
    plot(out)
    files = {name: (out / name).read_bytes() for name in (*TOKENIZER_FILES, CURVE)}
    files["MODEL_CARD.md"] = card(name, config, params, read_log(out), score, about, note).encode()
    save_checkpoint(folder, config, params, "float16", files)


def card(name: str, config: GPT2, params: Params, log: Sequence[Entry], score: str, about: str, note: str) -> str:
    """MODEL_CARD.md: every figure in it comes from the run."""
    last = log[-1]
    n_params = sum(x.size for _, x in walk(params))
    parts = [
        f"# {name}",
        note,
        f"A GPT-2 of {n_params:,} parameters: {config.n_layer} layers, {config.n_embd} wide, {config.n_head} heads, "
        f"context {config.n_ctx}, {config.n_vocab:,} ids (byte-level BPE of its own), tanh GELU, tied head.\n"
        "Trained with `examples/train_fable`, by `jax.grad` through arrayformer's graph.\n"
        "Weights are stored in float16.",
        f"**Validation: {score}.**",
        "## Data\n\n" + (about.strip() or "Not described."),
        "## Training\n\n" + stages(log),
        f"{last['step']:,} updates, {last['tokens']:,} ids read, {last['seconds'] / 3600:.2f} hours.\n"
        "Muon for the matrices of the blocks, Adam for embeddings, layer norms and biases, in float32.\n"
        "The learning rate ramps up, stays, and at the end falls to 0 in a straight line.\n"
        "Where the table shows more layers than before, each new one began as a copy of the layer below, its "
        "projections set to 0.",
        f"Run on: {machine()}.",
        "## Loss\n\n" + table(log) + f"\n\nThe sample is a fixed part of the validation text.\n\n![loss]({CURVE})",
        "## Limits\n\n"
        "A toy that shows the library at work: it writes grammatical sentences and loses the thread after a few.\n"
        "It knows no facts, follows no instructions, and repeats the views of the books it read.\n"
        f"It sees at most {config.n_ctx} ids at a time.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def stages(log: Sequence[Entry]) -> str:
    """One row for each depth and window length the run went through."""
    rows = ["| layers | window | ids a step | to step | ids read | ids per second |", "| ---: " * 6 + "|"]
    before = {"tokens": 0, "seconds": 0.0}
    for (layers, window, size), group in groupby(log, key=lambda e: (e["n_layer"], e["window"], e["batch_tokens"])):
        *_, end = group
        speed = (end["tokens"] - before["tokens"]) / max(end["seconds"] - before["seconds"], 1e-9)
        rows.append(f"| {layers} | {window} | {size:,} | {end['step']:,} | {end['tokens']:,} | {speed:,.0f} |")
        before = end
    return "\n".join(rows)


def table(log: Sequence[Entry], rows: int = 12) -> str:
    """Some of the steps at which the model was scored, the last among them."""
    scored = [entry for entry in log if "bits_per_byte" in entry]
    every = max(1, -(-len(scored) // rows))
    lines = ["| step | ids read | training loss | validation sample, bits per byte |", "| ---: " * 4 + "|"]
    lines += [
        f"| {e['step']:,} | {e['tokens']:,} | {e['loss']:.3f} | {e['bits_per_byte']:.4f} |"
        for e in scored[::-1][::every][::-1]
    ]
    return "\n".join(lines)


def machine() -> str:
    """Where this runs and with what."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = jax.devices()[0]
    where = f"{cores} core(s) of a {platform.machine()} CPU" if device.platform == "cpu" else device.device_kind
    names = ", ".join(f"{name} {version(name)}" for name in ("jax", "optax", "tokenizers", "numpy"))
    return f"{where}; Python {sys.version.split()[0]}, {names}"
