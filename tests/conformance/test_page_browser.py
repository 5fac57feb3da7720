"""The matrix page in a real browser: Chromium, driven by selenium. Skipped where either is missing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arrayformer.backends.numpy_backend import NumpyBackend
from arrayformer.conformance.facts import facts
from arrayformer.conformance.lab import Lab
from arrayformer.conformance.registry import select
from arrayformer.conformance.report import page
from arrayformer.conformance.runner import run_case
from arrayformer.conformance.session import Run
from arrayformer.conformance.wrong import WRONG

pytest.importorskip("selenium", reason="the `browser` extra is not installed")
pytest.importorskip("jinja2", reason="the `report` extra is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
if CHROMIUM is None or CHROMEDRIVER is None:
    pytest.skip("there is no chromium with chromedriver on the path", allow_module_level=True)

CASES = ("L0-claims", "L1-gelu", "L2-logits[p1]", "L2-taps[p3]")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a good backend beside a wrong one."""
    runs = []
    for make in (NumpyBackend, WRONG["erf_gelu"].make):
        lab = Lab(make)
        runs.append(Run(facts(lab.backend), [run_case(case, lab) for case in select(None, CASES)], whole=False))
    path = tmp_path_factory.mktemp("matrix") / "matrix.html"
    page.write(runs, path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium.webdriver import Chrome
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(CHROMEDRIVER))
    yield driver
    driver.quit()


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def opened(request: pytest.FixtureRequest, browser: Any, matrix: Path) -> Any:
    metrics = {"width": request.param, "height": 800, "deviceScaleFactor": 1, "mobile": request.param < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
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
