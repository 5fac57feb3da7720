"""Everything there is to run on a machine with an NVIDIA GPU, in one command, with a record of what ran.

    pip install -e '.[test,jax,cupy12]' 'jax[cuda12]' -e examples/torch_backend
    python benchmarks/gpu.py --out gpu-run

For each of jax, cupy and torch that is installed: the probe, the conformance suite, the tests marked `gpu`, and the
speed of a 124M model with random weights in each dtype. Writes one log per step and `summary.md`, made to be put into
docs/gpu-runs.md. A step that fails stops no other.
"""

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DTYPES = {"jax": ("float32", "bfloat16"), "cupy": ("float32", "float16"), "torch": ("float32", "bfloat16")}
DEVICES = {"jax": "gpu:0", "cupy": "cuda:0", "torch": "cuda:0"}
TIME_LIMIT = 900  # seconds for a step


def steps(backends: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each step: its name and what follows `python -m`."""
    for backend in backends:
        where = ["--device", DEVICES[backend]]
        yield f"{backend}-probe", ["arrayformer", "plugins", "--check", backend]
        yield f"{backend}-text", [
            "arrayformer", "generate", "--backend", backend, *where, "Once upon a time", "--seed", "1",
            "--temperature", "0.8", "--max-tokens", "40",
        ]  # fmt: skip
        for dtype in DTYPES[backend]:
            of = ["--backend", backend, *where, "--dtype", dtype]
            yield f"{backend}-{dtype}-conformance", ["arrayformer", "conformance", *of]
            yield f"{backend}-{dtype}-bench", ["arrayformer", "bench", "--random-weights", "124M", "--no-bounds", *of]
    yield "gpu-tests", ["pytest", "-m", "gpu", "-q", "-rs", "tests"]


def card() -> str:
    """What nvidia-smi says of the card and its driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "no nvidia-smi here"
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()


def versions() -> str:
    """Python and the packages that matter."""
    from importlib.metadata import distributions

    wanted = ("arrayformer", "numpy", "jax", "cupy", "torch", "nvidia-cublas")
    found = sorted({f"{d.name} {d.version}" for d in distributions() if str(d.name).lower().startswith(wanted)})
    return ", ".join([f"Python {sys.version.split()[0]}", *found])


def run(name: str, command: list[str], out: Path) -> tuple[int | None, float]:
    """Run one step into its log. Returns its exit code (None: too late) and its seconds."""
    start = time.perf_counter()
    # Without this JAX takes three quarters of the card and leaves the others what is left.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with (out / f"{name}.log").open("w") as log:
        try:
            code: int | None = subprocess.run(
                [sys.executable, "-m", *command], stdout=log, stderr=subprocess.STDOUT, timeout=TIME_LIMIT,
                check=False, env=environment,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            code = None
    return code, time.perf_counter() - start


def main() -> int:
    """Run all steps and write the summary. Ends with how many failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-run"), help="where logs and summary go")
    parser.add_argument("--backends", default=",".join(DTYPES), help="which to run")
    said = parser.parse_args()
    said.out.mkdir(parents=True, exist_ok=True)
    lines = [f"## {datetime.date.today()}", "", card(), "", versions(), ""]
    lines += ["| step | ended | seconds |", "|---|---|---|"]
    failed = 0
    for name, command in steps(said.backends.split(",")):
        code, seconds = run(name, command, said.out)
        failed += code != 0
        ended = {0: "well", None: f"not within {TIME_LIMIT} s"}.get(code, f"with {code}")
        lines.append(f"| {name} | {ended} | {seconds:.0f} |")
        print(lines[-1], flush=True)
        (said.out / "summary.md").write_text("\n".join(lines) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
