"""This tokenizer beside tiktoken: the same text, the same ids, one thread each, in turns.

    python benchmarks/tokenizer.py TEXT_FILE [--megabytes 10] [--rounds 7]

tiktoken's encoding is built from the table in this package, so nothing is downloaded. Three figures of ours:

first   a tokenizer that has seen nothing: every word is new once
other   one that has seen other text of the same kind (what follows in the file), but not this one
again   one that has seen this text

Times are CPU seconds of the one thread that works, which other programs on the machine disturb less than wall time;
compare only within a run. Needs `tiktoken` (the `test` extra).
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import tiktoken

from arrayformer.tokenizer import Tokenizer, gpt2_tokenizer

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
"""tiktoken's own form of GPT-2's pattern, which is faster for it than the original."""


def build_tiktoken(tokenizer: Tokenizer) -> tiktoken.Encoding:
    """tiktoken's GPT-2 encoding, from our table."""
    ranks = {tokenizer.token_bytes(id): id for id in range(tokenizer.n_vocab - 1)}
    return tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})


def seconds(encode: Callable[[str], list[int]], text: str) -> float:
    """CPU seconds of this thread for one call."""
    start = time.thread_time()
    encode(text)
    return time.thread_time() - start


def measure(text: str, other: str, rounds: int) -> dict[str, list[float]]:
    """CPU seconds by name, one per round; within a round one after the other."""
    peer = build_tiktoken(gpt2_tokenizer())
    if peer.encode_ordinary(text) != gpt2_tokenizer().encode(text):
        sys.exit("the ids differ: there is nothing to compare")
    times: dict[str, list[float]] = {"tiktoken": [], "first": [], "again": [], "other": []}
    for _ in range(rounds):
        times["tiktoken"].append(seconds(peer.encode_ordinary, text))
        new = gpt2_tokenizer.__wrapped__()
        times["first"].append(seconds(new.encode, text))
        times["again"].append(seconds(new.encode, text))
        if other:
            new = gpt2_tokenizer.__wrapped__()
            new.encode(other)
            times["other"].append(seconds(new.encode, text))
    return {name: values for name, values in times.items() if values}


def summarize(times: dict[str, list[float]], megabytes: float) -> dict[str, dict[str, float]]:
    """Median, minimum, MB/s and the median over rounds of tiktoken's time divided by ours."""
    return {
        name: {
            "median_s": statistics.median(values),
            "min_s": min(values),
            "mb_per_s": megabytes / statistics.median(values),
            "times_tiktoken": statistics.median(
                peer / own for peer, own in zip(times["tiktoken"], values, strict=True)
            ),
        }
        for name, values in times.items()
    }


def main() -> None:
    """Print the table, or JSON with the machine and versions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="a UTF-8 file of English")
    parser.add_argument("--megabytes", type=float, default=10, help="of the file that are encoded [10]")
    parser.add_argument("--rounds", type=int, default=7, help="how often [7]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    size = int(options.megabytes * 1e6)
    data = options.text.read_bytes()[: 2 * size]
    text, other = (part.decode("utf-8", errors="ignore") for part in (data[:size], data[size:]))
    result = summarize(measure(text, other, options.rounds), len(text.encode()) / 1e6)
    if options.json:
        machine = {"machine": platform.platform(), "python": platform.python_version(), "tiktoken": version("tiktoken")}
        print(json.dumps({**machine, "date": time.strftime("%Y-%m-%d"), "characters": len(text), "results": result}))
        return
    print(f"{len(text.encode()) / 1e6:.1f} MB, {options.rounds} rounds, CPU seconds of one thread")
    for name, row in result.items():
        print(
            f"{name:9} median {row['median_s']:.3f}  min {row['min_s']:.3f}  {row['mb_per_s']:6.1f} MB/s"
            f"  {row['times_tiktoken']:.2f} x tiktoken"
        )


if __name__ == "__main__":
    main()
