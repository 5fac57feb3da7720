"""Measuring speed: what is asked, counted and shown. Never how fast it was."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.models import tiny

from arrayformer.bench import bounds
from arrayformer.bench.bounds import Work
from arrayformer.bench.measure import Result, Task, Timed, bench, tasks
from arrayformer.bench.report import plot
from arrayformer.commands.bench import command
from arrayformer.core.checkpoint import save_checkpoint
from arrayformer.core.errors import BackendNotFoundError, InputError
from arrayformer.core.models.gpt2 import SIZES
from arrayformer.core.params import random_params

TINY = tiny(n_vocab=50, n_embd=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model")
    save_checkpoint(path, TINY, random_params(TINY.weights()))
    return str(path)


@pytest.fixture
def result() -> Result:
    load = {
        "load_s": 1.0, "first_token_s": 2.0, "peak_bytes": 10**6, "backend": "numpy", "version": "2", "device": "cpu",
        "dtype": "float32",
    }  # fmt: skip
    task = Task("decode", 16, 10)
    limits = {"decode_s": 0.05, "operations_per_s": 1e9}
    return Result(TINY.as_dict(), Work.of(TINY), {"numpy": load}, [Timed("numpy", task, [1.0, 4.0, 2.0])], limits)


def test_each_length_is_measured_alone_and_each_batch_with_the_shortest() -> None:
    found = tasks((16, 512), (1, 4), 8)

    assert found == [
        Task("prefill", 16, 1), Task("prefill", 512, 1), Task("decode", 16, 8), Task("decode", 512, 8),
        Task("prefill", 16, 1, 4), Task("decode", 16, 8, 4),
    ]  # fmt: skip


def test_the_bound_of_decoding_counts_every_weight_of_the_products_once() -> None:
    n, layers = 768, 12

    assert bounds.weight_bytes(Work.of(SIZES["124M"])) == 4 * (layers * 12 * n * n + 50257 * n)


def test_the_bound_of_reading_counts_the_head_once() -> None:
    blocks, head = 2 * 2 * 12 * 8 * 8, 2 * 8 * 50

    assert bounds.prefill_operations(Work.of(TINY), 10, batch=3) == 3 * (10 * blocks + head)


def test_a_rate_is_the_median_rounds_and_the_fraction_is_of_the_bound(result: Result) -> None:
    (row,) = result.as_dict()["measured"]

    assert (row["ids_per_s"], row["slowest"], row["fastest"]) == (5.0, 2.5, 10.0)
    assert (row["bound"], row["fraction"]) == (20.0, 0.25)


def test_a_bound_in_float32_says_nothing_about_another_dtype(result: Result) -> None:
    result.loads["numpy"]["dtype"] = "bfloat16"

    assert result.fraction(result.timed[0]) is None


def test_every_task_is_timed_in_every_round(model: str) -> None:
    found = bench(["numpy"], tasks((4,), (1, 2), 3), rounds=2, model=model)

    assert [len(t.seconds) for t in found.timed] == [2] * 4
    assert all(s > 0 for t in found.timed for s in t.seconds)
    assert found.loads["numpy"]["load_s"] < found.loads["numpy"]["first_token_s"]
    assert found.bounds is not None
    assert found.config == TINY.as_dict()


def test_a_task_that_does_not_fit_is_refused(model: str) -> None:
    with pytest.raises(InputError, match="do not fit"):
        bench(["numpy"], [Task("decode", 30, 3)], rounds=1, model=model, bounds=False)


def test_an_error_of_the_worker_is_the_callers(model: str) -> None:
    with pytest.raises(BackendNotFoundError, match="no backend named"):
        bench(["nonsense"], [Task("prefill", 4, 1)], rounds=1, model=model)


def test_the_command_prints_json(model: str) -> None:
    line = ["-m", model, "--prompt-lengths", "4", "--batch-sizes", "1", "--new-tokens", "2", "--rounds", "1"]

    run = CliRunner().invoke(command, [*line, "--no-bounds", "--json"])

    assert run.exit_code == 0, run.output
    assert {row["kind"] for row in json.loads(run.stdout)["measured"]} == {"prefill", "decode"}


@pytest.mark.parametrize("lengths", ["", "0", "4,x"])
def test_a_list_that_is_none_is_an_error_of_usage(lengths: str) -> None:
    run = CliRunner().invoke(command, ["--prompt-lengths", lengths])

    assert run.exit_code == 2


def test_a_plot_is_a_file(result: Result, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    plot(result, tmp_path / "speed.svg")

    assert (tmp_path / "speed.svg").read_text().startswith("<?xml")
