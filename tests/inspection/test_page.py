"""The page and the data, without a browser."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from tests.models import tiny

from arrayformer.backends.registry import get_backend
from arrayformer.core.engine import Engine
from arrayformer.core.params import random_params
from arrayformer.inspection.content import as_json, for_page, pack_attention, parts_of_characters, token_text
from arrayformer.inspection.gather import Inspection, inspect
from arrayformer.inspection.html import render_page
from arrayformer.inspection.terminal import visible
from arrayformer.tokenizer import Tokenizer

from .conftest import CONFIG


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of its data element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][1].get("id") == "data":
            self.texts.append(data)


@pytest.fixture(scope="module")
def page(found: Inspection, tokenizer: Tokenizer) -> str:
    return render_page(for_page(found, tokenizer, "a <model> & more", CONFIG))


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    for tag, attributes in Elements(page).found:
        for name in ("src", "href", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert "@import" not in page
    assert not re.search(r"url\(|fetch\(|XMLHttpRequest|WebSocket", page)


def test_its_policy_forbids_every_request(page: str) -> None:
    policy = next(a["content"] for t, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy")

    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_text_with_markup_stays_text(page: str, ids: list[int]) -> None:
    data = json.loads("".join(Elements(page).texts))

    assert data["ids"] == ids
    assert "<" not in "".join(Elements(page).texts)
    assert page.count("</script>") == 2
    assert "a &lt;model&gt; &amp; more" in page


def test_attention_comes_back_from_its_bytes(found: Inspection) -> None:
    assert found.attention is not None

    heads, packed = pack_attention(found.attention)

    levels = np.frombuffer(base64.b64decode(packed), dtype=np.uint8).reshape(3, 4, -1)
    rows, columns = np.tril_indices(len(found.ids))
    assert heads == 4
    np.testing.assert_allclose((levels / 255) ** 2, found.attention[:, :, rows, columns], atol=0.004)


def test_heads_are_averaged_where_all_would_be_too_many(found: Inspection) -> None:
    assert found.attention is not None

    heads, packed = pack_attention(found.attention, limit=1000)

    n = len(found.ids)
    assert (heads, len(base64.b64decode(packed))) == (1, 3 * n * (n + 1) // 2)


def test_a_backend_that_does_not_tell_leaves_attention_out(found: Inspection, tokenizer: Tokenizer) -> None:
    content = for_page(replace(found, attention=None), tokenizer, "m", CONFIG)

    assert (content["heads"], content["attention"]) == (0, "")


def test_64_tokens_of_the_default_models_shape_stay_below_3_mb(tokenizer: Tokenizer) -> None:
    config = tiny(n_vocab=4096, n_ctx=64, n_embd=64, n_head=8, n_layer=6)
    found = inspect(Engine(config, random_params(config.weights(), gain=0.3), get_backend("numpy")), list(range(64)))

    assert len(render_page(for_page(found, tokenizer, "m", config)).encode()) < 1_000_000


def test_json_holds_every_array_and_null_for_what_is_not_defined(found: Inspection, tokenizer: Tokenizer) -> None:
    data = json.loads(json.dumps(as_json(found, tokenizer, "m"), allow_nan=False))

    assert np.array(data["attention"]).shape == (3, 4, len(found.ids), len(found.ids))
    np.testing.assert_allclose(data["loss"][1:], found.loss[1:], rtol=1e-6)
    assert data["loss"][0] is None
    assert "".join(token["text"] for token in data["tokens"]).startswith("the cat")


def test_bytes_that_are_part_of_a_character_are_named_and_shown_together(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a—b")

    texts = [token_text(tokenizer, id) for id in ids]

    assert texts == ["a", "<0xE2>", "<0x80>", "<0x94>", "b"]
    assert parts_of_characters(tokenizer, ids) == {1: "◌", 2: "◌", 3: "—"}


def test_bytes_that_never_become_a_character_are_left_as_they_are(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("—")[:2], *tokenizer.encode("x")]

    assert parts_of_characters(tokenizer, ids) == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [(" the", "·the"), ("\n", "↵"), ("  ", "··"), ("\x1b[31m", "\\x1b[31m"), ("a b ", "a b·")],
)
def test_nothing_in_a_token_steers_the_terminal(text: str, shown: str) -> None:
    assert visible(text) == shown
