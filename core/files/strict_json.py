"""JSON as its standard has it, without the liberties Python's parser and writer take."""

import json
import math
from typing import Any, NoReturn

from arrayformer.core.errors import ArrayformerError, ModelFileError
from arrayformer.core.files.untrusted import ModelDirectory, shown

MAX_VALUES = 1_000_000
"""Values in one text: a model of a thousand tensors has some ten thousand, a vocabulary some hundred thousand."""


class _Fault(Exception):
    """What is wrong; `parse` adds the file and raises the caller's error."""


def parse(text: str, where: str, error: type[ArrayformerError] = ModelFileError, most_values: int = MAX_VALUES) -> Any:
    """The value of a JSON text.

    Raises `error`, beginning with `where`, for what is no JSON, for duplicate keys (Python keeps the last), for NaN
    and Infinity, for numbers of thousands of digits or beyond a double, for nesting that is too deep, and for more
    than `most_values` values: a text of a megabyte could ask for a hundred.
    """
    if sum(map(text.count, ",[{")) > most_values:
        raise error(f"{where}: more than {most_values:,} values")
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer, parse_float=_number
        )
    except _Fault as fault:
        raise error(f"{where}: {fault}") from None
    except json.JSONDecodeError as fault:
        raise error(f"{where}: not JSON at line {fault.lineno}, column {fault.colno}: {fault.msg}") from None
    except RecursionError:
        raise error(f"{where}: nested too deeply") from None


def read_object(
    directory: ModelDirectory, name: str, most: int, error: type[ArrayformerError] = ModelFileError,
    most_values: int = MAX_VALUES,
) -> dict[str, Any]:  # fmt: skip
    """The JSON object in a file of at most `most` bytes. Raises `error` for anything else, see `parse`."""
    where = str(directory / name)
    value = parse(directory.read_text(name, most, error), where, error, most_values)
    if not isinstance(value, dict):
        raise error(f"{where}: holds a JSON {type(value).__name__}; an object is needed")
    return value


def dumps(value: Any, *, indent: int | None = None, ascii_only: bool = True, compact: bool = False) -> str:
    """`value` as JSON that any parser reads back: what JSON cannot write becomes what it can.

    NaN and infinity become null, half a surrogate pair becomes U+FFFD. `compact` leaves out the spaces.
    """
    form: dict[str, Any] = {"indent": indent, "separators": (",", ":") if compact else None, "allow_nan": False}
    try:
        text = json.dumps(value, ensure_ascii=False, **form)
        text.encode("utf-8")
    except (ValueError, UnicodeEncodeError):
        value = _writable(value)
        text = json.dumps(value, ensure_ascii=False, **form)
    return text if text.isascii() or not ascii_only else json.dumps(value, **form)


def _writable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_writable(key): _writable(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(child) for child in value]
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Fault(f"the key {shown(twice)!r} stands there twice; which one counts is not defined")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Fault(f"{name} is not a JSON number, or beyond the largest there is")


def _number(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_constant(digits[:60])


def _integer(digits: str) -> int | float:
    if len(digits) > 100:
        raise _Fault(f"a number of {len(digits)} digits")
    # "-0" is not the integer 0 to other parsers.
    return -0.0 if digits == "-0" else int(digits)
