"""A process of its own that renders chat templates, which are programs that come from anybody.

Jinja's sandbox keeps a template from the attributes of objects, but not from taking all memory ("a" * 10**10) or all
time (a loop in a loop in a loop). Only a process can be bounded in both, and be ended at any place: it may use no more
than MAX_MEMORY bytes, may write no file, and whoever asks kills it when the time is over.

The environment is that of transformers: its functions, its options, its tags.
"""

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_MEMORY = 512 << 20
"""Bytes of address space; without a template it has some 60 MB."""

MAX_RENDERED = 32 << 20
"""Characters of a rendered conversation: more than any context takes."""


class _RefusedError(jinja2.TemplateError):
    """What a template raises by `raise_exception`."""


class _Generation(jinja2.ext.Extension):
    """`{% generation %}`: marks what an assistant wrote, for training; here its content is written as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        """The statements between the two tags; what they set stays among them."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class _Namespace(jinja2.utils.Namespace):
    """`namespace()`, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *others = args
        attributes = dict(*others, **kwargs)
        for name in attributes:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace has no place for {name[:60]!r}")


class _Dict:
    """`dict()` as a function, not as the class with all its attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """dict.fromkeys"""
        return dict.fromkeys(*args)


def _refuse(message: object) -> NoReturn:
    raise _RefusedError(str(message))


def _to_json(
    x: object, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


@lru_cache(maxsize=1)
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _refuse, "strftime_now": _strftime_now, "dict": _Dict(), "namespace": _Namespace
    }  # fmt: skip
    return environment.from_string(template)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The text of {"template": ..., "names": ...}: {"text": ...}, or {"refused": ...} or {"error": ...} and why."""
    try:
        written, parts = 0, []
        for part in _compiled(request["template"]).generate(**request["names"]):
            written += len(part)
            if written > MAX_RENDERED:
                return {"error": f"it writes more than {MAX_RENDERED} characters"}
            parts.append(part)
        return {"text": "".join(parts)}
    except _RefusedError as error:
        return {"refused": str(error)[:500]}
    except jinja2.TemplateSyntaxError as error:
        return {"error": f"line {error.lineno}: {error.message}"[:500]}
    except MemoryError:
        return {"error": f"it takes more than {MAX_MEMORY >> 20} MiB of memory"}
    except RecursionError:
        return {"error": "it calls itself without end"}
    except Exception as error:  # a template can make any
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def limit_resources() -> None:
    """Bound the memory and the files of this process, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for what, most in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_FSIZE, 0)):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main() -> None:
    """Answer requests until there are no more."""
    from arrayformer.core.child import Requests

    requests = Requests()
    limit_resources()
    for request in requests:
        requests.answer(answer(request))


if __name__ == "__main__":
    main()
