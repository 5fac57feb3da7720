"""`arrayformer evaluate`, as a user calls it."""

import json
from pathlib import Path

import pytest

from arrayformer import api
from arrayformer.cli import main
from arrayformer.core.engine import Engine
from arrayformer.evaluate.protocols import PROTOCOLS
from arrayformer.evaluate.source import Text
from arrayformer.tokenizer import Tokenizer

from .conftest import MakeEngine


@pytest.fixture(autouse=True)
def small_model(monkeypatch: pytest.MonkeyPatch, make_engine: MakeEngine, tokenizer: Tokenizer) -> None:
    engine: Engine = make_engine()
    monkeypatch.setattr(api, "load", lambda *_a, **_o: api.Model(engine.config, engine, tokenizer))


@pytest.fixture
def file(tmp_path: Path, story: Text) -> Path:
    path = tmp_path / "story.txt"
    path.write_text(story.text, encoding="utf-8", newline="")
    return path


def test_a_text_is_measured_in_bits_per_byte(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["evaluate", "--data", str(file)])

    said = capsys.readouterr()
    assert code == 0
    assert "bits per byte" in said.out
    assert "±" in said.out
    assert said.err == ""


def test_json_has_what_a_reader_needs_to_judge_the_figure(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "--data", str(file), "--json"])

    data = json.loads(capsys.readouterr().out)
    assert data["value"] == data["figures"]["bits_per_byte"]["value"]
    assert data["bytes"] == file.stat().st_size
    assert {"backend", "dtype", "stride", "windows", "standard_error", "complete", "notes"} <= data.keys()
    assert len(data["data"]["sha256"]) == 64


@pytest.mark.parametrize(("shift", "code"), [(0.0, 0), (0.2, 1)])
def test_an_expected_figure_decides_the_exit_code(
    file: Path, capsys: pytest.CaptureFixture[str], shift: float, code: int
) -> None:
    main(["evaluate", "--data", str(file), "--json"])
    value = json.loads(capsys.readouterr().out)["value"]

    got = main(["evaluate", "--data", str(file), "--expect", str(value + shift), "--within", "0.1"])

    assert got == code
    assert ("expected was" in capsys.readouterr().err) == (code == 1)


def test_a_state_file_lets_a_run_go_on(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = str(tmp_path / "state.json")
    main(["evaluate", "--data", str(file), "--json", "--limit", "2", "--state", state])
    first = json.loads(capsys.readouterr().out)

    main(["evaluate", "--data", str(file), "--json", "--state", state])

    second = json.loads(capsys.readouterr().out)
    assert (first["windows"], first["complete"], second["complete"]) == (2, False, True)


def test_all_protocols_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "--list"])

    listed = capsys.readouterr().out
    assert all(name in listed for name in PROTOCOLS)
    assert "not known to be reproducible" in listed


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--protocol", "wikitext"], "no protocol named 'wikitext'; there are text, wikitext2-raw", 2),
        ([], "pass --data", 3),
        (["--data", "gone.txt"], "gone.txt cannot be read", 3),
        (["--protocol", "text8"], "text8.zip", 3),
        (["--protocol", "wikitext2-raw", "--offline"], "wikitext-2-raw-v1.zip", 3),
        (["--protocol", "enwik8", "--data", "FILE"], "enwik8 has 100,000,000", 3),
        (["--data", "FILE", "--stride", "100"], "the stride is 100", 2),
        (["--data", "FILE", "--batch-size", "0"], "--batch-size", 2),
        (["--data", "FILE", "--state", "no/folder/state"], "there is no folder", 3),
    ],
)
def test_bad_input_is_one_line(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, code: int
) -> None:
    got = main(["evaluate", *(str(file) if a == "FILE" else a for a in arguments)])

    said = capsys.readouterr().err
    assert got == code
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
