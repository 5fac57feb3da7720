"""The page in a real browser: Chromium, driven by selenium. Skipped where either is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.browser import chromium, resize

from arrayformer.core.engine import Engine
from arrayformer.inspection.compare import compare
from arrayformer.inspection.content import for_page
from arrayformer.inspection.gather import Inspection
from arrayformer.inspection.html import render_page
from arrayformer.tokenizer import Tokenizer

from .conftest import CONFIG


@pytest.fixture(scope="module")
def page(
    tmp_path_factory: pytest.TempPathFactory, found: Inspection, tokenizer: Tokenizer, engine: Engine, ids: list[int]
) -> Path:
    path = tmp_path_factory.mktemp("inspect") / "page.html"
    content = for_page(found, tokenizer, "small", CONFIG, compare(engine, engine, ids))
    path.write_text(render_page(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(browser="ALL") as driver:
        yield driver


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    look(browser, 1280, "light")
    # The Tab key of the test before may have gone on from the page to the browser's own controls.
    browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    browser.get(page.as_uri())
    return browser


def look(browser: Any, width: int, scheme: str) -> None:
    resize(browser, width)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def text_of(browser: Any, id: str) -> str:
    return str(browser.execute_script("return document.getElementById(arguments[0]).textContent", id))


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def hover(browser: Any, id: str, x: int = 0, y: int = 0) -> None:
    from selenium.webdriver import ActionChains

    element = browser.find_element("id", id)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    ActionChains(browser).move_to_element_with_offset(element, x, y).perform()


def focus(browser: Any, css: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).focus()", css)


def test_it_loads_without_a_complaint_and_without_a_request(opened: Any) -> None:
    requests = opened.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")

    assert opened.get_log("browser") == []
    assert [r for r in requests if not r.startswith("data:")] == []


def test_it_shows_the_text_with_markup_as_text(opened: Any) -> None:
    assert "</script>" in text_of(opened, "tokens")
    assert "<b>a</b>·&·mat" in text_of(opened, "tokens")
    assert "—" in text_of(opened, "tokens")


def test_pointing_at_a_token_shows_what_is_known_of_it(opened: Any, found: Inspection) -> None:
    hover(opened, "tokens-4")

    assert text_of(opened, "panel-facts").startswith(f"token 5 of {len(found.ids)}, id {found.ids[4]}")
    assert len(opened.find_elements("css selector", "#next li")) >= 10


def test_the_arrow_keys_go_from_token_to_token(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    focus(opened, "#tokens [tabindex='0']")
    press(opened, Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)

    assert text_of(opened, "panel-facts").startswith("token 2 of")
    assert opened.execute_script("return document.activeElement.getAttribute('aria-selected')") == "true"
    press(opened, Keys.END)
    assert "came next" not in text_of(opened, "next")


def test_the_whole_page_can_be_reached_with_tab(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    seen = []
    for _ in range(12):
        press(opened, Keys.TAB)
        seen.append(
            opened.execute_script(
                "const at = document.activeElement; return at.closest('section, header, aside')?.id || at.tagName"
            )
        )

    assert {"text", "lens", "attention", "norms"} <= set(seen)


def test_pointing_at_the_matrix_shows_a_weight(opened: Any) -> None:
    hover(opened, "matrix", -60, 60)

    assert " looks at " in text_of(opened, "matrix-readout")
    assert "%" in text_of(opened, "matrix-readout")


def test_the_matrix_can_be_read_with_the_keys(opened: Any, found: Inspection) -> None:
    from selenium.webdriver.common.keys import Keys

    focus(opened, "#tokens-5")
    focus(opened, "#matrix")
    press(opened, Keys.ARROW_DOWN, Keys.ARROW_LEFT)

    assert found.attention is not None
    share = 100 * found.attention[1, 0, 6, 4]
    said = text_of(opened, "matrix-readout")
    assert abs(float(said.rsplit("with ", 1)[1].removeprefix("< ").split(" ")[0]) - share) < 1.0


def test_heads_are_chosen_with_the_keys(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    focus(opened, "#heads [aria-checked='true']")
    press(opened, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)

    assert text_of(opened, "head-name") == "Layer 2, head 2"
    press(opened, Keys.END)
    assert text_of(opened, "head-name") == "Layer 2, mean of all heads"


def test_the_lens_is_read_with_the_keys(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    focus(opened, "#lens-table td")
    press(opened, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)

    assert text_of(opened, "lens-readout").startswith("layer 1, after ")
    assert text_of(opened, "panel-facts").startswith("token 2 of")


def test_a_tap_chooses_a_token_on_a_phone(opened: Any) -> None:
    look(opened, 390, "dark")
    opened.refresh()

    opened.find_element("id", "tokens-3").click()

    assert text_of(opened, "panel-facts").startswith("token 4 of")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_the_window_and_can_be_read(opened: Any, width: int, scheme: str) -> None:
    look(opened, width, scheme)
    opened.refresh()

    wide, contrasts = opened.execute_script(CONTRAST)

    assert wide <= width
    assert min(contrasts.values()) >= 4.5, contrasts
    assert opened.get_log("browser") == []


def test_the_theme_can_be_chosen(opened: Any) -> None:
    colours = []
    for _ in range(3):
        opened.find_element("id", "theme").click()
        colours.append(opened.execute_script("return getComputedStyle(document.body).backgroundColor"))

    assert colours[0] == colours[2] != colours[1]


# How wide the page is, and the contrast (WCAG 2.1) of texts with what they stand on.
CONTRAST = """
const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
const context = canvas.getContext('2d', {willReadFrequently: true});
const over = (...colours) => {
  for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const light = (rgb) => rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (a, b) => {
  const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
};
const style = (css) => getComputedStyle(document.querySelector(css));
const card = style('section').backgroundColor, ink = style('body').color;
const full = (name) => {
  const probe = document.body.appendChild(document.createElement('i'));
  probe.style.color = `var(${name})`;
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return over(card, colour);
};
return [document.documentElement.scrollWidth, {
  text: contrast(over(card, ink), over(card)),
  hint: contrast(over(card, style('.hint').color), over(card)),
  surprising: contrast(over(card, ink), full('--hot')),
  certain: contrast(over(card, ink), full('--cool')),
}];
"""
