"""JSON as its standard has it, without the liberties Python's parser takes."""

import json
from typing import Any, NoReturn

from arrayformer.core.errors import ArrayformerError, ModelFileError
from arrayformer.core.files.untrusted import shown


class _Fault(Exception):
    """What is wrong; `parse` adds the file and raises the caller's error."""


def parse(text: str, where: str, error: type[ArrayformerError] = ModelFileError) -> Any:
    """The value of a JSON text.

    Raises `error`, beginning with `where`, for what is no JSON, for duplicate keys (Python keeps the last), for NaN
    and Infinity, for numbers of thousands of digits and for nesting that is too deep.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer)
    except _Fault as fault:
        raise error(f"{where}: {fault}") from None
    except json.JSONDecodeError as fault:
        raise error(f"{where}: not JSON at line {fault.lineno}, column {fault.colno}: {fault.msg}") from None
    except RecursionError:
        raise error(f"{where}: nested too deeply") from None


def decode(data: bytes, where: str, error: type[ArrayformerError] = ModelFileError) -> str:
    """UTF-8 bytes as text. Raises `error` naming the first byte that is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise error(f"{where}: not UTF-8 at byte {fault.start} (0x{data[fault.start]:02x})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Fault(f"the key {shown(twice)!r} stands there twice; which one counts is not defined")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Fault(f"{name} is not a JSON number")


def _integer(digits: str) -> int | float:
    if len(digits) > 100:
        raise _Fault(f"a number of {len(digits)} digits")
    # "-0" is not the integer 0 to other parsers.
    return -0.0 if digits == "-0" else int(digits)
