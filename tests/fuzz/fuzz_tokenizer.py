"""Fuzz the tokenizer: its two kinds of files, and text.

With atheris (`pip install atheris`), which steers by coverage, until it finds something or the time is over:

    python tests/fuzz/fuzz_tokenizer.py -max_total_time=60 CORPUS_DIRECTORY

Without it, random changes of good files, a number of times from a seed (this is what CI runs, through pytest):

    python tests/fuzz/fuzz_tokenizer.py --without-atheris 2000 0

Whatever comes in, the outcome is a documented error or a tokenizer that gives text back exactly.
"""

import importlib
import json
import random
import sys
import tempfile
import warnings
from pathlib import Path

from arrayformer.core.errors import InputError, TokenizerError
from arrayformer.tokenizer import gpt2_tokenizer, load_tokenizer
from arrayformer.tokenizer.alphabet import PRINTABLE

MERGES = ["h e", "l l", "he ll", "Ġ hell", "# #"]
TOKENS = [*PRINTABLE, *(merge.replace(" ", "") for merge in MERGES), "<|endoftext|>"]
VOCAB = json.dumps({token: id for id, token in enumerate(TOKENS)}).encode()
MERGES_TXT = "\n".join(["#version: 0.2", *MERGES, ""]).encode()
FLAGS = {"special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
CONFIG = json.dumps(
    {
        "tokenizer_class": "GPT2Tokenizer",
        "eos_token": "<|endoftext|>",
        "add_bos_token": False,
        "added_tokens_decoder": {str(len(TOKENS) - 1): {"content": "<|endoftext|>", **FLAGS}},
        "chat_template": "{{ messages }}",
    }
).encode()
TOKENIZER_JSON = json.dumps(
    {
        "added_tokens": [{"id": len(TOKENS) - 1, "content": "<|endoftext|>", **FLAGS}],
        "post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}]},
        "decoder": {"type": "ByteLevel"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "model": {"type": "BPE", "vocab": json.loads(VOCAB), "merges": [merge.split() for merge in MERGES]},
    }
).encode()
PROBE = "hell hello ## naïve 🦜 <|endoftext|>\n\n  x"


def check_files(directory: Path, files: dict[str, bytes]) -> None:
    """Load a tokenizer from these files: refused, or PROBE comes back exactly."""
    for name, data in files.items():
        (directory / name).write_bytes(data)
    try:
        tokenizer = load_tokenizer(directory)
        text = tokenizer.decode(tokenizer.encode(PROBE))
    except (TokenizerError, InputError) as error:
        if len(str(error)) > 1000 + len(str(directory)):
            raise AssertionError("the message is longer than anybody reads") from error
        return
    finally:
        for name in files:
            (directory / name).unlink()
    if text != PROBE:
        raise AssertionError(f"{PROBE!r} came back as {text!r}")


def check_text(data: bytes) -> None:
    """Encode the bytes as text: exact round trip, whole and streamed."""
    tokenizer = gpt2_tokenizer()
    text = data.decode("utf-8", errors="replace")
    ids = tokenizer.encode(text)
    stream = tokenizer.stream()
    if tokenizer.decode(ids) != text or "".join(map(stream.push, ids)) + stream.flush() != text:
        raise AssertionError(f"{text!r} does not come back")


def check(data: bytes) -> None:
    """One input of the fuzzer: its first byte says what the rest is."""
    kind, rest = data[:1], data[1:]
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == b"v":
            check_files(Path(directory), {"vocab.json": rest, "merges.txt": MERGES_TXT})
        elif kind == b"m":
            check_files(Path(directory), {"vocab.json": VOCAB, "merges.txt": rest})
        elif kind == b"c":
            check_files(Path(directory), {"vocab.json": VOCAB, "merges.txt": MERGES_TXT, "tokenizer_config.json": rest})
        elif kind == b"j":
            check_files(Path(directory), {"tokenizer.json": rest})
        else:
            check_text(rest)


SEEDS = [b"v" + VOCAB, b"m" + MERGES_TXT, b"c" + CONFIG, b"j" + TOKENIZER_JSON, b"t" + PROBE.encode()]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A few flips, cuts, repetitions and exchanges of numbers in `data`, its first byte kept."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(1, len(out) + 1), rng.randint(1, 12)
        change = rng.randrange(5)
        if change == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif change == 1:
            del out[at : at + length]
        elif change == 2:
            out[at:at] = out[at : at + length]
        elif change == 3:
            out[at : at + length] = rng.choice([b"-1", b"1e9", b"null", b"\xed\xa0\x80", b"\r\n", b'"', b"{}", b" "])
        else:
            del out[at:]
    return bytes(out)


def run_without_atheris(count: int, seed: int) -> None:
    """`count` changed files and texts from `seed`."""
    rng = random.Random(seed)
    for _ in range(count):
        check(mutate(rng.choice(SEEDS), rng))


def main() -> None:
    """Run as the module's docstring says."""
    if "--without-atheris" in sys.argv:
        run_without_atheris(*map(int, sys.argv[2:4]))
        return
    atheris = importlib.import_module("atheris")  # optional, and without types

    for directory in sys.argv[1:]:
        if not directory.startswith("-"):
            for number, data in enumerate(SEEDS):
                (Path(directory) / f"seed{number}").write_bytes(data)
    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
