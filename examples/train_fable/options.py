"""The command line."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from examples.train_fable.checkpoint import FILE, read_progress


@dataclass(frozen=True)
class Options:
    """What can be set; `--help` says what each one means."""

    corpus: Path
    out: Path
    name: str
    resume: bool
    tokens: int
    steps: int | None
    stop_after: int | None
    vocab: int
    width: int
    heads: int
    layers: int
    context: int
    window: int
    batch_tokens: int
    rate: float
    adam_rate: float
    warmup: int
    decay: int
    seed: int
    validate_every: int
    log_every: int
    stride: int
    about: Path | None
    note: str

    @property
    def rows(self) -> int:
        """Windows in one step."""
        return self.batch_tokens // self.window


def read_options(arguments: list[str] | None = None) -> Options:
    """The options on the command line. Ends the program with a message where they cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.train_fable",
        description="Train a small GPT-2 from text, with jax.grad through arrayformer's graph. "
        "To end a run early, make a file named decay_now in the --out folder: the last --decay steps begin.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--corpus", type=Path, required=True, help="folder with train.txt and valid.txt, or both as .txt.xz")
    add("--out", type=Path, required=True, help="folder for ids, checkpoint, log and export/")
    add("--name", default="fable", help="of the model, for its card")
    add("--resume", action="store_true", help="go on from the checkpoint in --out; more --layers than it has are grown")
    add("--tokens", type=int, default=8_000_000, help="ids to read in all")
    add("--steps", type=int, help="updates in all, in place of --tokens")
    add("--stop-after", type=int, help="leave at this step with a checkpoint and no export")
    add("--vocab", type=int, default=4096, help="ids of the tokenizer")
    add("--width", type=int, default=256, help="n_embd")
    add("--heads", type=int, default=4, help="n_head")
    add("--layers", type=int, default=6, help="n_layer")
    add("--context", type=int, default=512, help="n_ctx")
    add("--window", type=int, default=256, help="ids in one row of a batch; divides --context")
    add("--batch-tokens", type=int, default=4096, help="ids in one step")
    add("--rate", type=float, default=4e-3, help="learning rate of Muon")
    add("--adam-rate", type=float, default=3e-3, help="learning rate of Adam")
    add("--warmup", type=int, default=50, help="steps in which the rate rises, at the start and after growing")
    add("--decay", type=int, default=400, help="steps in which the rate falls to 0 at the end")
    add("--seed", type=int, default=17, help="of the first weights and the order of the text")
    add("--validate-every", type=int, default=100, help="steps between scores, each with a checkpoint")
    add("--log-every", type=int, default=20, help="steps between lines of the log")
    add("--stride", type=int, default=256, help="ids between the windows of the last validation")
    add("--about", type=Path, help="Markdown on the data, for the model card")
    add("--note", default="", help="Markdown for the head of the model card")
    options = Options(**vars(parser.parse_args(arguments)))
    if fault := find_fault(options):
        parser.error(fault)
    return options


def find_fault(options: Options) -> str | None:
    """Why the run cannot be made, or None."""
    if options.context % options.window or options.batch_tokens % options.window:
        return f"--window {options.window} must divide --context and --batch-tokens"
    if not 257 <= options.vocab <= 65536:
        return (
            f"--vocab {options.vocab}: ids are 256 bytes, merges and one mark, and are stored in 16 bits (257 to 65536)"
        )
    for name in ("train", "valid"):
        if not any((options.corpus / f"{name}{ending}").exists() for ending in (".txt", ".txt.xz")):
            return f"{options.corpus} has neither {name}.txt nor {name}.txt.xz"
    there = (options.out / FILE).exists()
    if options.resume and not there:
        return f"--resume: {options.out} holds no {FILE}"
    if there and not options.resume:
        return f"{options.out} holds a run already: pass --resume to go on with it, or another folder"
    if there and options.layers < (n := read_progress(options.out).n_layer):
        return f"--layers {options.layers}: the run has {n} already, and they can only become more"
    return None
