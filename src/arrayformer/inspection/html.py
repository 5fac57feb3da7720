"""The page: one file that needs nothing else, made with the standard library alone."""

import base64
import hashlib
import html
from importlib.resources import files
from string import Template
from typing import Any

from arrayformer.core.files import strict_json

SCRIPTS = ("base.js", "text.js", "lens.js", "attention.js", "norms.js", "compare.js", "start.js")


def render_page(content: dict[str, Any]) -> str:
    """The whole page with its style, its script and `content` in it.

    Its content security policy allows this script, this style and no request: what is inspected stays where it is.
    """
    style = part("page.css")
    script = "\n".join(map(part, SCRIPTS))
    text = "".join(content["text"][str(id)] for id in content["ids"])
    title = " ".join(text.split())[:60]
    return Template(part("page.html")).substitute(
        title=html.escape(f"{title} - {content['model']}"), data=script_json(content),
        style=style, style_hash=digest(style), script=script, script_hash=digest(script),
    )  # fmt: skip


def part(name: str) -> str:
    """One of the page's parts."""
    return (files("arrayformer.inspection") / "page" / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """What a content security policy knows an inline script or style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def script_json(content: dict[str, Any]) -> str:
    """JSON that may stand inside a script element whatever text it holds."""
    dumped = strict_json.dumps(content, compact=True)
    return dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
