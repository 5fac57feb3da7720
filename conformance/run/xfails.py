"""Known bugs of a backend, and limits it needs, each with a reason.

One entry a line; what follows # is the reason and has to be there:

    L3-fork                       # the library overwrites the parent: its issue 12
    limit L2-logits[deep] R=16    # sums 12 layers in float32 without pairing: 9.1 measured

A known bug is still run: one that passes is reported. An id that does not exist is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arrayformer.conformance.criterion import limits
from arrayformer.conformance.run.case import all_cases, matches
from arrayformer.conformance.run.result import Result
from arrayformer.core.errors import InputError


@dataclass
class Xfails:
    """What a backend's author expects to fail: id -> reason; and limits of its own: id -> limit -> (value, reason)."""

    cases: dict[str, str] = field(default_factory=dict)
    limits: dict[str, dict[str, tuple[float, str]]] = field(default_factory=dict)

    def apply(self, result: Result) -> Result:
        """The result in the light of what is expected."""
        reason = self.cases.get(result.id)
        if reason is None or result.outcome == "skipped":
            return result
        result.reason = reason
        if result.outcome == "passed":
            result.outcome = "xpassed"
            result.message = f"passes, though it is listed as a known bug ({reason}): take it off the list"
        else:
            result.outcome = "xfailed"
        return result


def read_xfails(path: Path) -> Xfails:
    """Read a file of known bugs. Raises InputError for a line without a reason, an unknown id or an unknown limit."""
    xfails = Xfails()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        entry, _, reason = (part.strip() for part in line.partition("#"))
        where = f"{path}, line {number}"
        if not entry:
            continue
        if not reason:
            raise InputError(f"{where}: {entry!r} has no reason; write it behind a #")
        words = entry.split()
        if words[0] == "limit":
            _read_limit(words[1:], reason, where, xfails.limits)
        else:
            xfails.cases |= dict.fromkeys(_ids(entry, where), reason)
    return xfails


def _read_limit(words: list[str], reason: str, where: str, into: dict[str, dict[str, tuple[float, str]]]) -> None:
    """One `limit ID NAME=VALUE` line."""
    name, _, value = words[-1].partition("=")
    if len(words) != 2 or name not in limits.table() or not _is_number(value):
        names: Mapping[str, object] = limits.table()
        raise InputError(f"{where}: write `limit CASE NAME=NUMBER # reason`; the names are {', '.join(names)}")
    for id in _ids(words[0], where):
        into.setdefault(id, {})[name] = (float(value), reason)


def _is_number(text: str) -> bool:
    """Whether `text` is a positive number."""
    try:
        return float(text) > 0
    except ValueError:
        return False


def _ids(pattern: str, where: str) -> list[str]:
    """The cases that `pattern` names. Raises InputError where there are none."""
    found = [id for id in all_cases() if matches(id, pattern)]
    if not found:
        raise InputError(f"{where}: no case has the id {pattern!r}; see arrayformer conformance --list")
    return found
