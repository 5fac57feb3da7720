"""What the program writes as JSON is read back by a parser that takes nothing beyond the standard."""

import math
import os
from pathlib import Path
from typing import Any

import pytest

from arrayformer import api
from arrayformer.backends.registry import get_backend
from arrayformer.cli import main
from arrayformer.conformance.report import envelope, page
from arrayformer.conformance.report.environment import environment
from arrayformer.conformance.run.result import Metric, Result
from arrayformer.conformance.run.session import Run
from arrayformer.core.files import strict_json
from arrayformer.evaluate.totals import Totals


def test_results_of_a_backend_that_gives_nan_and_infinity_are_read_back(tmp_path: Path) -> None:
    result = Result(
        "L2-logits", 2, "logits", "failed", "the text \ud83d came back", metrics=[Metric("R", math.inf, 8.0)],
        series={"whole": [["h.0", math.nan, 1.0], ["h.1", 2.0, 1.0]]}, details={"got": -math.inf},
        divergence={"sentence": "x", "error": math.nan},
    )  # fmt: skip
    about = environment(get_backend("numpy")) | {"platform": "Linux\udcff"}
    envelope.write(Run(about, [result], seconds=1.5, timestamp="2026-01-01T00:00:00Z"), tmp_path / "a.json")

    strict_json.parse((tmp_path / "a.json").read_text(encoding="utf-8"), "a.json")
    read = envelope.read(tmp_path / "a.json")
    assert read.results[0].message == "the text \ufffd came back"
    assert math.isnan(read.results[0].metrics[0].value)
    assert [value for _, value, _ in read.results[0].series["whole"]][1] == 2.0
    assert "L2-logits" in page.render([read])


@pytest.mark.parametrize("text", ["[" * 100_000, '{"data": NaN}', "[]", "\udcff", '{"data": {"tests": [1]}}'])
def test_results_that_are_none_are_refused_in_one_line(tmp_path: Path, text: str, capsys: Any) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8", errors="surrogateescape")

    assert main(["conformance", "--merge", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")]) == 2
    assert "a.json" in capsys.readouterr().err


def test_a_perplexity_beyond_all_numbers_is_null(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    (tmp_path / "text").write_text("ab " * 40)
    monkeypatch.setattr(Totals, "mean_loss", property(lambda self: 5000.0))

    assert main(["evaluate", "--data", str(tmp_path / "text"), "--json", "--limit", "1"]) == 0

    found = strict_json.parse(capsys.readouterr().out, "standard output")
    assert found["figures"]["token_perplexity"]["value"] is None
    assert found["value"] == pytest.approx(found["figures"]["bits_per_byte"]["value"])


STATES = ["[" * 100_000, '{"run": {}, "totals": {"loss": "x"}}', '{"run": [], "totals": {"n": 1e999}}', "{}", "\0"]


@pytest.mark.parametrize("state", STATES)
def test_a_state_that_is_none_is_refused_in_one_line(tmp_path: Path, state: str, capsys: Any) -> None:
    (tmp_path / "text").write_text("ab " * 40)
    (tmp_path / "state").write_text(state)

    assert main(["evaluate", "--data", str(tmp_path / "text"), "--state", str(tmp_path / "state")]) == 3
    assert capsys.readouterr().err.count("\n") == 1


COMMANDS = [
    ["generate", "Once é", "--max-tokens", "3", "--json", "--logprobs", "2"],
    ["tokenize", "Once é \U0001f600", "--json"],
    ["tokenize", "Once é", "--explain", "--json"],
    ["inspect", "Once upon", "--json"],
    ["backends", "--json"],
    ["backends", "--needs", "--json"],
    ["plugins", "--json"],
    ["evaluate", "--list", "--json"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_prints_json_that_is_read_back(command: list[str], capsys: Any) -> None:
    assert main(command) == 0

    for line in [capsys.readouterr().out]:
        assert strict_json.parse(line, "standard output") is not None


def test_nothing_writes_json_in_another_way() -> None:
    root = Path(api.__file__).parent
    own = {"core/files/strict_json.py", "core/child.py"}  # a child's answers are read by this program alone
    own |= {"evaluate/run.py"}  # a digest
    own |= {"tokenizer/chat.py", "tokenizer/template_process.py"}  # sizes, and what a template calls tojson
    found = set()
    for folder, _, names in os.walk(root, followlinks=True):
        for path in (Path(folder) / name for name in names if name.endswith(".py")):
            if "json.dump" in path.read_text(encoding="utf-8").replace("strict_json.dump", ""):
                found.add(path.relative_to(root).as_posix())

    assert found <= own
