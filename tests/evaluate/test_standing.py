"""What is said about a figure, and what never is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arrayformer.core.errors import InputError
from arrayformer.core.models.gpt2 import SIZES
from arrayformer.evaluate import table
from arrayformer.evaluate.paper import TABLE_3
from arrayformer.evaluate.protocols import PROTOCOLS, find_protocol
from arrayformer.evaluate.result import Result, standing
from arrayformer.evaluate.source import Text
from arrayformer.evaluate.totals import Outcome, Totals

DOCS = Path(__file__).parents[2] / "docs" / "evaluation.md"


def result(size: str = "124M", windows: int = 1) -> Any:
    config = SIZES[size].as_dict()
    return Result(
        "p", "m", config, "numpy", "cpu", "float32", 1024, 1024, 4, Text("", 9, "", True, "x"), 9, 9, 4, 20, windows,
        (), Totals().add(Outcome(9, 30.0, 3)),
    )  # fmt: skip


@pytest.mark.parametrize("name", [n for n, p in PROTOCOLS.items() if p.column])
def test_a_figure_stands_beside_the_cell_and_the_published_runs(name: str) -> None:
    protocol = PROTOCOLS[name]

    said = " ".join(standing(result(), protocol))

    assert TABLE_3[str(protocol.column)].figure("124M") in said
    assert all(p.figure in said for p in protocol.published)
    assert "whether it has OpenAI's weights was not checked" in said


@pytest.mark.parametrize("name", [n for n, p in PROTOCOLS.items() if p.column and not p.known])
def test_a_recipe_nobody_reproduced_is_never_called_reproduced(name: str) -> None:
    said = standing(result(), PROTOCOLS[name])

    assert said[-1].endswith("it reproduces no cell.")


def test_a_model_of_another_shape_is_not_compared() -> None:
    other = replace(result(), config=result().config | {"n_layer": 6})

    said = standing(other, PROTOCOLS["wikitext2-raw"])

    assert len(said) == 1
    assert "29.41" not in said[0]


def test_an_unfinished_run_is_not_compared() -> None:
    said = standing(result(windows=2), PROTOCOLS["wikitext2-raw"])

    assert said == ["Not comparable: only 1 of 2 windows were scored."]


def test_another_stride_is_another_measurement() -> None:
    said = standing(replace(result(), stride=512), PROTOCOLS["wikitext2-raw"])

    assert any("another measurement" in sentence for sentence in said)


def test_the_documented_table_is_the_registry() -> None:
    page = DOCS.read_text(encoding="utf-8")

    assert table.with_table(page) == page


def test_every_cell_of_the_paper_is_in_the_documented_table() -> None:
    rows = list(table.cell_rows())

    for column in TABLE_3.values():
        for figure in column.figures:
            assert any(row[0].startswith(column.title) and row[2] == figure for row in rows)


def test_no_cell_is_called_run_that_was_not() -> None:
    for row in table.cell_rows():
        assert row[-1] in (table.READY, table.UNKNOWN) or row[-1].removeprefix("run: ") in table.RUNS.values()


def test_an_unknown_protocol_is_answered_with_those_there_are() -> None:
    with pytest.raises(InputError) as refused:
        find_protocol("wikitext")

    assert all(name in str(refused.value) for name in PROTOCOLS)
