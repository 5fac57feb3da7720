"""`arrayformer inspect`, as a user calls it."""

import json
from pathlib import Path

import pytest

from arrayformer import api
from arrayformer.cli import main
from arrayformer.core.engine import Engine
from arrayformer.tokenizer import Tokenizer


@pytest.fixture(autouse=True)
def small_model(monkeypatch: pytest.MonkeyPatch, engine: Engine, tokenizer: Tokenizer) -> None:
    monkeypatch.setattr(api, "load", lambda *_a, **_o: api.Model(engine.config, engine, tokenizer))


def test_a_page_is_written_whole_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["inspect", "the cat sat", "--html", str(tmp_path / "page.html")])

    assert code == 0
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert capsys.readouterr().out == ""


def test_json_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", "the cat", "--json", "--compare-backend", "numpy"])

    data = json.loads(capsys.readouterr().out)
    assert data["comparison"]["same_top"] == len(data["tokens"])


def test_the_terminal_shows_each_token(capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", "the a\x1b[2J", "--compare-backend", "numpy"])

    shown = capsys.readouterr().out
    assert "perplexity" in shown
    assert "·a" in shown
    assert "\x1b[2J" not in shown
    assert "the same likeliest token at" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no text"),
        ([""], "no text"),
        (["a"], "one token"),
        (["x" * 100], "do not fit"),
        (["the cat", "-p", "the cat"], "given twice"),
        (["the cat", "--top-k", "0"], "(--top-k) is 0"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code = main(["inspect", *arguments, "--html", str(tmp_path / "page.html")])

    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["missing/page.html", "."])
def test_a_path_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(api, "load", lambda *_a, **_o: pytest.fail("the model was loaded first"))

    code = main(["inspect", "the cat", "--html", str(tmp_path / where)])

    assert code == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_page_that_fails_halfway_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arrayformer.inspection import html

    page = tmp_path / "page.html"
    page.write_text("old")
    monkeypatch.setattr(html, "render_page", lambda content: "\ud800")  # cannot be written as UTF-8

    with pytest.raises(UnicodeEncodeError):
        main(["inspect", "the cat", "--html", str(page)])

    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]


def test_a_text_that_no_float_can_find_perplexing_enough_is_shown(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sure = dict(engine.params) | {"ln_f": {name: 3e4 * x for name, x in engine.params["ln_f"].items()}}
    monkeypatch.setattr(engine, "params", sure)

    codes = [main(["inspect", "the cat", *how]) for how in ([], ["--json"], ["--html", str(tmp_path / "page.html")])]

    out = capsys.readouterr().out
    assert codes == [0, 0, 0]
    assert "perplexity inf" in out
    data = json.loads(out[out.index("{") :], parse_constant=pytest.fail)
    assert data["perplexity"] is None
    assert '"perplexity":null' in (tmp_path / "page.html").read_text(encoding="utf-8").replace(": null", ":null")
