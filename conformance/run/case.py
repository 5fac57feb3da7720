"""The cases: plain functions with an id. pytest, the command line and a third party's tests only drive them."""

import fnmatch
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from arrayformer.conformance import cases
from arrayformer.conformance.criterion.architectures import GPT2, each, names, used_by
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
    architecture  whose models it is about; empty where it holds for all
    needs     what a graph has to use for the case to count for it (`architectures.uses`); empty: for every graph
    """

    id: str
    level: int
    title: str
    proves: str
    function: CaseFunction
    arguments: tuple[Any, ...] = ()
    real: bool = False
    architecture: str = ""
    needs: str = ""

    def __call__(self, subject: "Subject", judge: "Judge") -> None:
        """Run it. Returns where the backend is right, raises Problem where it is wrong."""
        self.function(subject, judge, *self.arguments)


Which = Callable[[str], Iterable[str]]
"""The name of an architecture -> those of its probes that a case is run over."""

_cases: dict[str, Case] = {}
_families: list[tuple[Case, Which]] = []


def case(
    level: int,
    name: str,
    *,
    over: Iterable[Any] | None = None,
    real: bool = False,
    architecture: str = "",
    needs: str = "",
) -> Callable[[CaseFunction], CaseFunction]:
    """Register a function as a case, or as one case for each of `over`. Its docstring is the title, then the proof."""

    def register(function: CaseFunction) -> CaseFunction:
        one = replace(_described(level, name, function), real=real, architecture=architecture, needs=needs)
        for made in [one] if over is None else [_over(one, x) for x in over]:
            if made.id in _cases:
                raise ValueError(f"two cases have the id {made.id}")
            _cases[made.id] = made
        return function

    return register


def architecture_case(level: int, name: str, over: Which) -> Callable[[CaseFunction], CaseFunction]:
    """Register a function as a case for each probe of each architecture but GPT-2, whose probes are a list."""

    def register(function: CaseFunction) -> CaseFunction:
        _families.append((_described(level, name, function), over))
        return function

    return register


def _described(level: int, name: str, function: CaseFunction) -> Case:
    title, _, proves = (function.__doc__ or "").strip().partition("\n")
    return Case(f"L{level}-{name}", level, title, " ".join(proves.split()), function)


def _over(one: Case, x: Any, architecture: str = "") -> Case:
    return replace(one, id=f"{one.id}[{x}]", arguments=(x,), architecture=architecture or one.architecture)


@cache
def shared_cases() -> dict[str, Case]:
    """GPT-2's cases, and those that belong to no architecture. No other page is imported for them."""
    for module in pkgutil.iter_modules(cases.__path__):
        if module.name.startswith("level_"):
            importlib.import_module(f"{cases.__name__}.{module.name}")
    return dict(_cases)


@cache
def cases_of(architecture: str) -> dict[str, Case]:
    """The cases of one architecture but GPT-2."""
    shared_cases()
    made = [_over(one, probe, architecture) for one, over in _families for probe in over(architecture)]
    return {case.id: case for case in made}


@cache
def all_cases(architectures: tuple[str, ...] | None = None) -> dict[str, Case]:
    """Every case of these architectures (all) by id, in the order in which they run."""
    wanted = names() if architectures is None else architectures
    found = [case for case in shared_cases().values() if any(counts_for(case, name) for name in wanted)]
    found += [case for name in wanted if name != GPT2 for case in cases_of(name).values()]
    return {case.id: case for case in sorted(found, key=lambda case: (case.real, case.level))}


def find_case(id: str) -> Case:
    """The case of that id. Pages are loaded one after the other until one has it. Raises KeyError."""
    if id in shared_cases():
        return shared_cases()[id]
    return next(cases_of(name)[id] for name in each() if name != GPT2 and id in cases_of(name))


def select(
    level: int | None = None, patterns: Sequence[str] = (), architectures: tuple[str, ...] | None = None, *,
    real: bool = True,
) -> list[Case]:  # fmt: skip
    """The cases of these architectures (all) up to `level` whose id matches one of `patterns` (all).

    `*` stands for anything, a name without brackets for all cases of that name.

    real  whether those at the sizes of real models are among them

    Raises InputError for a pattern that matches nothing.
    """
    there = all_cases(architectures)
    chosen = [c for c in there.values() if (level is None or c.level <= level) and (real or not c.real)]
    if not patterns:
        return chosen
    for pattern in patterns:
        if not any(matches(id, pattern) for id in there):
            near = ", ".join(sorted({id.split("[")[0] for id in there}))
            raise InputError(f"no case has the id {pattern!r}; there are {near}")
    return [c for c in chosen if any(matches(c.id, pattern) for pattern in patterns)]


def counts_for(case: Case, architecture: str) -> bool:
    """Whether an architecture's level depends on a case."""
    if case.architecture:
        return case.architecture == architecture
    return not case.needs or case.needs in used_by(architecture)


def matches(id: str, pattern: str) -> bool:
    """Whether `pattern` names the case `id`."""
    whole = re.sub(r"\[", "[[]", pattern)  # brackets are part of an id, not a set of characters
    return fnmatch.fnmatchcase(id, whole) or id.split("[")[0] == pattern
