"""Prompts and texts, wherever they are given: as arguments, on standard input, in a file line by line."""

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import click

from arrayformer.core.errors import InputError

MAX_INPUT = 1 << 24
"""Bytes of one prompt; more than any context holds."""


def parse_ids(text: str) -> list[int]:
    """Numbers between spaces, commas or brackets. Raises InputError for anything else."""
    words = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
    if wrong := next((w for w in words if not w.isdecimal() or not w.isascii() or len(w) > 18), None):
        raise InputError(f"{wrong!r:.60} is no id; ids are whole numbers, for example: 15496 11 995")
    return [int(w) for w in words]


def without_line_break(text: str) -> str:
    """`text` without the line break that echo and editors put at its end."""
    return text.removesuffix("\n").removesuffix("\r")


def prompts_in(path: Path) -> Iterator[str | list[int]]:
    """The prompts in a file, one a line, read as they are asked for; lines without anything are left out.

    Raises InputError at once for a file that is none or holds no prompt, and later for a line that is no prompt.
    """
    prompts = _parsed(path, _lines(_opened(str(path)), _name(str(path))))
    first = next(prompts, None)
    if first is None:
        raise InputError(f"{path}: there is no prompt in this file; write one on each line")
    return chain([first], prompts)


def _parsed(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[str | list[int]]:
    from arrayformer.core.files import strict_json

    for n, line in lines:
        if not line.strip():
            continue
        if path.suffix != ".jsonl":
            yield line
            continue
        entry = strict_json.parse(line, f"{path}, line {n}", InputError)
        found = entry.get("prompt") if isinstance(entry, dict) else entry
        if not isinstance(found, str | list):
            raise InputError(f'{path}, line {n}: needed is a string, a list of ids, or an object with "prompt"')
        yield found


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Each line with its number, without its end. Only a line feed ends one: U+2028 may stand inside a JSON string."""
    start = 0
    for n, line in enumerate(iter(lambda: file.readline(MAX_INPUT + 1), b""), 1):
        text = _decoded(line, name, start, first=n == 1)
        start += len(line)
        yield n, without_line_break(text)


def lines_of_standard_input() -> Iterator[str]:
    """Each line, without its end, as soon as it has come. Raises InputError for bytes that are not UTF-8."""
    return (line for _, line in _lines(_opened("-"), _name("-")))


def read_text(where: str) -> str:
    """A file or standard input ("-") as UTF-8. Raises InputError for other bytes, and for too many."""
    return _decoded(_opened(where).read(MAX_INPUT + 1), _name(where), 0, first=True)


def _name(where: str) -> str:
    return "standard input" if where == "-" else where


def _decoded(data: bytes, name: str, start: int, first: bool) -> str:
    """Bytes that stand at `start` of a file as text; a byte order mark at its very beginning is no part of it."""
    if len(data) > MAX_INPUT:
        raise InputError(f"{name}: more than {MAX_INPUT} bytes; no context holds that much")
    try:
        return data.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}: byte {start + error.start} (0x{data[error.start]:02x}) is not UTF-8; "
            "convert the text to UTF-8 first"
        ) from None


def _opened(where: str) -> BinaryIO:
    """A regular file, or standard input ("-")."""
    if where != "-":
        if Path(where).exists() and not Path(where).is_file():
            raise InputError(f"{where}: this is no regular file; '-' reads standard input")
        return open(where, "rb")
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("standard input is closed; give the prompt as an argument")
    if sys.stdin.isatty():
        click.echo("reading the prompt from the terminal; Ctrl-D ends it", err=True)
    return sys.stdin.buffer
