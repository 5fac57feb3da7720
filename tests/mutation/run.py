"""Mutation testing: change one operator, number or condition at a time, and see whether a test notices.

    pip install -e ".[test]" "cosmic-ray>=8.7"
    python tests/mutation/run.py core --sample 150 --seed 1 --record core.jsonl
    python tests/mutation/run.py --again core.jsonl

cosmic-ray makes the changes, in a copy of the working tree and never in the tree itself; `tests.toml` says which
tests judge which module. A mutant that fails no test has survived: a test is missing, or the change means nothing.
"""

import argparse
import ast
import difflib
import hashlib
import importlib
import json
import math
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401 - what every run of the tests would import
import numpy as np  # noqa: F401
import pytest

# Installed for this only.
every_mutant: Any = importlib.import_module("cosmic_ray.commands.init")._all_work_items
mutating: Any = importlib.import_module("cosmic_ray.mutating")
get_operator: Any = importlib.import_module("cosmic_ray.plugins").get_operator
Mutant: Any = importlib.import_module("cosmic_ray.work_item").MutationSpec

ROOT = Path(__file__).resolve().parents[2]
GROUPS: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("tests.toml").read_text())
PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0")


def copy_tree(to: Path) -> None:
    """Copy the working tree without what git ignores; `src` in it imports its packages, whatever is installed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name, follow_symlinks=False)


def for_checkers(module: ast.Module) -> Iterator[tuple[Any, Any]]:
    """Where a module speaks to type checkers only: annotations and overloads, each from (line, column) to another."""
    for node in ast.walk(module):
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            parts = [node.returns]
            if "overload" in (ast.unparse(decorator) for decorator in node.decorator_list):
                # The node begins at its `def`, the decorator behind its `@`.
                yield (node.decorator_list[0].lineno, 0), (node.end_lineno, node.end_col_offset)
        for part in filter(None, parts):
            yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)


def places(module: str) -> list[list[Any]]:
    """The mutants of a module, those together that change the same place in the same way (+ to -, *, ...)."""
    inert = list(for_checkers(ast.parse(Path(module).read_text())))
    found: dict[Any, list[Any]] = {}
    for item in every_mutant([Path(module)], {}):
        [mutation] = item.mutations
        if not any(start <= mutation.start_pos < end for start, end in inert):
            found.setdefault((mutation.start_pos, mutation.operator_name.split("_")[0]), []).append(mutation)
    return list(found.values())


def compiles(mutation: Any) -> bool:
    """Whether the mutant is Python at all: the `/` in a list of parameters is no division."""
    operator = get_operator(mutation.operator_name)()
    try:
        ast.parse(mutating.mutate_code(mutation.module_path.read_text(), operator, mutation.occurrence))
    except SyntaxError:
        return False
    return True


def draw(modules: Iterable[str], sample: int | None, seed: int) -> tuple[list[Any], int]:
    """One mutant for each of `sample` places (of all places without it), and how many places there are."""
    rng = random.Random(seed)
    everywhere = [place for module in modules for place in places(module)]
    rng.shuffle(everywhere)
    mutants = filter(compiles, map(rng.choice, everywhere))
    return list(mutants if sample is None else islice(mutants, sample)), len(everywhere)


def digest(module: str) -> str:
    """Of a module's source: a mutant is counted from its start, so it means nothing in another version."""
    return hashlib.sha256(Path(module).read_bytes()).hexdigest()


def recorded(record: Path | None) -> list[dict[str, Any]]:
    """The lines of a record, none where it is yet to be written. Exits where a module has changed since."""
    lines = [json.loads(line) for line in record.read_text().splitlines()] if record and record.exists() else []
    for line in lines:
        if digest(line["module"]) != line["sha256"]:
            sys.exit(f"{line['module']} has changed since {record} was written: draw anew")
    return lines


def mutant(line: dict[str, Any]) -> Any:
    """The mutant that a line of a record is about."""
    start, end = tuple(line["start"]), tuple(line["end"])
    return Mutant(line["module"], line["operator"], line["occurrence"], start, end)


def run_tests(tests: str, seconds: int) -> tuple[bool, str]:
    """Whether `tests` (pytest's arguments) pass in a fork of this process, and the last line they print.

    pytest and NumPy are imported before the fork, the package only behind it. More than `seconds` of CPU time, ten
    times that on the clock, or eight gigabytes end the tests: they fail.
    """
    with tempfile.TemporaryFile("w+") as out:
        if not (child := os.fork()):
            os.setsid()
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
            os._exit(int(pytest.main([*PYTEST, *shlex.split(tests)])))
        late = threading.Timer(10 * seconds, os.killpg, (child, signal.SIGKILL))
        late.start()
        _, status = os.waitpid(child, 0)
        late.cancel()
        out.seek(0)
        lines = out.read().splitlines() or ["ended by the limit of time or memory"]
        said = next((line for line in lines if line.startswith(("FAILED", "ERROR"))), lines[-1])
        return status == 0, said


def judge(mutation: Any, tests: str, seconds: int) -> dict[str, Any]:
    """Run `tests` on one mutant: what it was, and whether it was killed, as one line of a record."""
    module = str(mutation.module_path)
    sha256 = digest(module)
    with mutating.use_mutation(
        mutation.module_path, get_operator(mutation.operator_name)(), mutation.occurrence
    ) as sources:
        survived, said = run_tests(tests, seconds)
    before, after = (source.splitlines() for source in sources)
    changes = list(difflib.unified_diff(before, after, n=0, lineterm=""))
    diff = [line for line in changes[2:] if line[0] in "+-"]
    return {
        "module": module, "operator": mutation.operator_name, "occurrence": mutation.occurrence,
        "start": mutation.start_pos, "end": mutation.end_pos, "sha256": sha256,
        "outcome": "survived" if survived else "killed", "said": said[:200], "diff": "\n".join(diff),
    }  # fmt: skip


def interval(killed: int, of: int) -> tuple[float, float]:
    """Wilson's interval for a share, of 95 % confidence, in percent."""
    z, p = 1.96, killed / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return 100 * (middle - half) / (1 + z * z / of), 100 * (middle + half) / (1 + z * z / of)


def judge_all(mutants: Iterable[Any], seconds: int, record: Path | None) -> list[dict[str, Any]]:
    """Judge mutants one after another, tell of each survivor, and append each to the record."""
    judged_by = {module: tests for group in GROUPS.values() for module, tests in group.items()}
    sound: set[str] = set()
    lines = []
    for mutation in mutants:
        tests = judged_by[str(mutation.module_path)]
        if tests not in sound:  # and what is compiled now need not be compiled for each mutant
            sys.dont_write_bytecode = False
            passed, said = run_tests(tests, seconds)
            sys.dont_write_bytecode = True
            if not passed:
                sys.exit(f"the tests fail without any change: {tests}\n{said}")
            sound.add(tests)
        line = judge(mutation, tests, seconds)
        lines.append(line)
        if line["outcome"] == "survived":
            print(f"{line['module']}:{line['start'][0]} survived\n{line['diff']}", flush=True)
        if record:
            with record.open("a") as file:
                print(json.dumps(line), file=file)
    return lines


def main() -> None:
    """Draw mutants, judge them, and print the survivors and the score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help=f"groups ({', '.join(GROUPS)}) or modules of them")
    parser.add_argument("--sample", type=int, help="how many places to draw (all)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--record", type=Path, help="a JSON line for each mutant; one that is there is gone on with")
    parser.add_argument("--again", type=Path, help="a record whose survivors are judged once more, instead of a draw")
    parser.add_argument("--seconds", type=int, default=60, help="of CPU time, after which a mutant counts as killed")
    options = parser.parse_args()
    modules = [m for what in options.what for m in GROUPS.get(what, [what])]
    record, again = (path and path.resolve() for path in (options.record, options.again))
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder))
        os.chdir(folder)
        sys.path[:0] = [folder, f"{folder}/src"]
        os.environ |= {"PYTHONPATH": f"{folder}/src", "PYTHONDONTWRITEBYTECODE": "1"}
        done = recorded(record)
        if again:
            mutants, of = [mutant(line) for line in recorded(again) if line["outcome"] == "survived"], "that survived"
        else:
            mutants, n_places = draw(modules, options.sample, options.seed)
            of = f"drawn from {n_places} places with seed {options.seed}"
        known = {(line["module"], line["operator"], line["occurrence"]) for line in done}
        new = [m for m in mutants if (str(m.module_path), m.operator_name, m.occurrence) not in known]
        done += judge_all(new, options.seconds, record)
    if not done:
        sys.exit(f"no mutants: name groups or modules that {Path(__file__).with_name('tests.toml').name} knows")
    killed = sum(line["outcome"] == "killed" for line in done)
    low, high = interval(killed, len(done))
    print(f"{killed} of {len(done)} mutants {of} were killed: {100 * killed / len(done):.1f} %, "
          f"with 95 % confidence {low:.1f} to {high:.1f} %")  # fmt: skip


if __name__ == "__main__":
    main()
