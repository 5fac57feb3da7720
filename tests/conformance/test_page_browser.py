"""The matrix page in a real browser: Chromium, driven by selenium. Skipped where either is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.browser import chromium, resize

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.report import page
from arrayformer.conformance.report.environment import environment
from arrayformer.conformance.run.case import select
from arrayformer.conformance.run.in_process import run_case
from arrayformer.conformance.run.session import Run
from arrayformer.conformance.run.subject import Subject
from arrayformer.conformance.wrong import WRONG

CASES = ("L0-claims", "L1-gelu", "L2-logits[p1]", "L2-taps[p3]")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a good backend beside a wrong one."""
    runs = []
    for make in (NumpyBackend, WRONG["erf_gelu"].make):
        subject = Subject(make)
        runs.append(
            Run(environment(subject.backend), [run_case(case, subject) for case in select(None, CASES)], whole=False)
        )
    path = tmp_path_factory.mktemp("matrix") / "matrix.html"
    page.write(runs, path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(browser="ALL", performance="ALL") as driver:
        yield driver


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def opened(request: pytest.FixtureRequest, browser: Any, matrix: Path) -> Any:
    resize(browser, request.param)
    browser.get_log("performance")
    browser.get(matrix.as_uri())
    return browser


def test_the_page_is_no_wider_than_the_screen(opened: Any) -> None:
    assert opened.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0


def test_nothing_is_fetched_and_nothing_complains(opened: Any, matrix: Path) -> None:
    messages = [entry["message"] for entry in opened.get_log("performance")]
    sent = [m for m in messages if '"Network.requestWillBeSent"' in m]

    assert sent
    assert [m for m in sent if matrix.name not in m] == []
    assert opened.get_log("browser") == []


def test_every_cell_can_be_scrolled_to_and_says_what_was_measured(opened: Any) -> None:
    cells = opened.find_elements("css selector", "tbody td[tabindex]")

    assert len(cells) == 2 * len(CASES)
    for cell in cells:
        opened.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", cell)
        cell.click()
        assert opened.find_element("id", "measured").text.endswith(" ".join(cell.get_attribute("title").split()))
    assert "L2-taps[p3] on numpy" in opened.find_element("id", "measured").text
    assert "the past" not in opened.find_element("id", "measured").text


def test_the_first_wrong_tensor_and_the_plots_are_there(opened: Any) -> None:
    wrong = opened.find_element("xpath", "//details[contains(., 'first wrong tensor')]")
    opened.execute_script("arguments[0].open = true", wrong)
    box = opened.execute_script("const r = arguments[0].getBoundingClientRect(); return [r.width, r.height]", wrong)
    figures = opened.find_elements("css selector", "details[open] figure svg")

    assert "GELU is computed in its erf form" in wrong.text
    assert box[0] <= opened.execute_script("return innerWidth")
    assert box[1] > 60
    assert len(figures) >= 2
    for figure in figures:
        assert figure.size["width"] > 250
        assert figure.size["height"] > 60
        assert figure.find_elements("css selector", "circle")
