"""The cases: plain functions with an id. pytest, the command line and a third party's tests only drive them."""

import fnmatch
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from arrayformer.conformance import cases
from arrayformer.core.errors import InputError

if TYPE_CHECKING:
    from arrayformer.conformance.criterion.judgement import Judge
    from arrayformer.conformance.run.subject import Subject

LEVELS = (
    "contract",
    "array semantics",
    "graph numerics",
    "state",
    "default model and generation",
    "resources",
)
CaseFunction = Callable[..., None]


@dataclass(frozen=True)
class Case:
    """One case.

    id        "L2-logits[p3]": level, name and, where a case is run over several things, which
    level     0 to 5, see LEVELS
    title     one line, what is checked
    proves    what a pass proves and what fails it
    function  takes the `Subject`, the `Judge` and the arguments
    real      whether it is at the sizes of real models, which costs more: it runs after all that are not
    """

    id: str
    level: int
    title: str
    proves: str
    function: CaseFunction
    arguments: tuple[Any, ...] = ()
    real: bool = False

    def __call__(self, subject: "Subject", judge: "Judge") -> None:
        """Run it. Returns where the backend is right, raises Problem where it is wrong."""
        self.function(subject, judge, *self.arguments)


_cases: dict[str, Case] = {}


def case(
    level: int, name: str, *, over: Iterable[Any] | None = None, real: bool = False
) -> Callable[[CaseFunction], CaseFunction]:
    """Register a function as a case, or as one case for each of `over`. Its docstring is the title, then the proof."""

    def register(function: CaseFunction) -> CaseFunction:
        title, _, proves = (function.__doc__ or "").strip().partition("\n")
        proves = " ".join(proves.split())
        runs = [()] if over is None else [(x,) for x in over]
        for arguments in runs:
            id = f"L{level}-{name}" + (f"[{arguments[0]}]" if arguments else "")
            if id in _cases:
                raise ValueError(f"two cases have the id {id}")
            _cases[id] = Case(id, level, title, proves, function, arguments, real)
        return function

    return register


@cache
def all_cases() -> dict[str, Case]:
    """Every case by id, in the order in which they run."""
    for module in pkgutil.iter_modules(cases.__path__):
        if module.name.startswith("level_"):
            importlib.import_module(f"{cases.__name__}.{module.name}")
    return dict(sorted(_cases.items(), key=lambda item: (item[1].real, item[1].level)))


def select(level: int | None = None, patterns: Sequence[str] = (), *, real: bool = True) -> list[Case]:
    """The cases up to `level` whose id matches one of `patterns` (all).

    `*` stands for anything, a name without brackets for all cases of that name.

    real  whether those at the sizes of real models are among them

    Raises InputError for a pattern that matches nothing.
    """
    chosen = [c for c in all_cases().values() if (level is None or c.level <= level) and (real or not c.real)]
    if not patterns:
        return chosen
    for pattern in patterns:
        if not any(matches(id, pattern) for id in all_cases()):
            near = ", ".join(sorted({id.split("[")[0] for id in all_cases()}))
            raise InputError(f"no case has the id {pattern!r}; there are {near}")
    return [c for c in chosen if any(matches(c.id, pattern) for pattern in patterns)]


def matches(id: str, pattern: str) -> bool:
    """Whether `pattern` names the case `id`."""
    whole = re.sub(r"\[", "[[]", pattern)  # brackets are part of an id, not a set of characters
    return fnmatch.fnmatchcase(id, whole) or id.split("[")[0] == pattern
