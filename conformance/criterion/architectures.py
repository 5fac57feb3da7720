"""The architectures there are to prove: the pages that are installed, their probes, and what their graphs use.

A page is loaded when it is asked for: a run on GPT-2 imports no other, and no plugin's.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from arrayformer.core.architecture import Architecture
from arrayformer.core.decoder import forward
from arrayformer.core.errors import InputError, PluginError
from arrayformer.core.models.registry import find_model, list_models
from arrayformer.core.ops import OPS, PLAIN
from arrayformer.core.params import random_params

GPT2 = "gpt2"

STATE = frozenset({"rotate", "several rotations", "grouped", "window", "cap"})
"""What a graph uses that may go wrong behind a cache and not without one."""


@cache
def pages() -> Mapping[str, str]:
    """The name of each architecture -> a model_type whose page it is. Imports no page.

    Several model_types of one page are one architecture. A built-in page goes by its file's name, a plugin's by the
    first model_type it announces.
    """
    found: dict[str, str] = {}
    seen = set()
    for info in list_models():
        if info.status == "installed" and info.value not in seen:
            seen.add(info.value)
            found[info.value.rpartition(".")[2] if info.builtin else info.name] = info.name
    return found


def each() -> Iterator[str]:
    """The architectures that can be proven, built-in ones first: a page that does not load, or has no probes, cannot.

    A broken plugin is its author's to mend, and no fault of the backend that is judged. Pages are loaded one by one.
    """
    return (name for name in pages() if _provable(name))


@cache
def names() -> tuple[str, ...]:
    """All of `each`."""
    return tuple(each())


@cache
def _provable(name: str) -> bool:
    try:
        return bool(page(name).probes())
    except PluginError:
        return False


def named(wanted: Sequence[str]) -> tuple[str, ...]:
    """The architectures called `wanted`, each by its own name or by a model_type; all where none is.

    Raises InputError for an unknown name, PluginError for a page that does not load.
    """
    if not wanted:
        return names()
    values = {info.name: info.value for info in list_models()}
    by_value = {values[model_type]: name for name, model_type in pages().items()}
    found = []
    for name in wanted:
        own = name if name in pages() else by_value.get(values.get(name, ""))
        if own is None:
            raise InputError(f"no architecture is called {name!r}; there are {', '.join(pages())}")
        if not page(own).probes():
            raise InputError(f"architecture {own!r} has no probes: its page has to say on which models it is proven")
        found.append(own)
    return tuple(dict.fromkeys(found))


def page(name: str) -> type[Architecture]:
    """The page of an architecture."""
    return find_model(pages()[name])


@cache
def probes(name: str) -> Mapping[str, Architecture]:
    """The probe models of an architecture. A plugin's names begin with its own, so that two never clash."""
    found = page(name).probes()
    builtin = {info.name for info in list_models() if info.builtin}
    if pages()[name] in builtin:
        return found
    return {probe if probe.startswith(name) else f"{name}-{probe}": model for probe, model in found.items()}


@cache
def uses(model: Architecture) -> frozenset[str]:
    """What the graph of a model uses: functions of `ops`, and which of their arguments.

    "grouped", "window" and "cap" of attention, "bias" and "no bias" of a linear layer, "norm of heads",
    "several rotations", "unrotated layers".
    """
    seen: set[str] = set()
    rotated = []

    def noted(name: str) -> Any:
        function = getattr(PLAIN, name)

        def call(*args: Any, **how: Any) -> Any:
            seen.add(name)
            seen.update(_arguments(name, args, how))
            if name == "rotate":
                rotated.append(args)
            return function(*args, **how)

        return call

    table = PLAIN.replaced({name: noted(name) for name in OPS})
    ids = np.arange(min(4, model.n_vocab, model.n_ctx))[None]
    forward(model, random_params(model.weights()), ids, ops=table)
    if len(model.rotations(2, 2)) > 1:
        seen.add("several rotations")
    if 0 < len(rotated) < 2 * model.n_layer:
        seen.add("unrotated layers")
    return frozenset(seen)


def _arguments(name: str, args: Sequence[Any], how: Mapping[str, Any]) -> set[str]:
    """What is special about a call."""
    if name == "linear":
        return {"no bias" if len(args) < 3 and how.get("b") is None else "bias"}
    if name == "rms_norm":
        return {"norm of heads"} if args[0].ndim == 4 else set()
    if name != "causal_attention":
        return set()
    found = {what for what in ("window", "cap", "upcast") if how.get(what)}
    return found | ({"grouped"} if args[0].shape[-3] != args[1].shape[-3] else set())


def used_by(name: str) -> frozenset[str]:
    """What any probe of an architecture uses."""
    return frozenset().union(*(uses(model) for model in probes(name).values()))


@cache
def fewest(name: str, among: frozenset[str] | None = STATE) -> tuple[str, ...]:
    """The fewest probes of an architecture that use, together, all of `among` (None: all) that any uses."""
    left = {probe: set(uses(model) if among is None else uses(model) & among) for probe, model in probes(name).items()}
    chosen: list[str] = []
    while not chosen or any(left.values()):
        best = max(left, key=lambda probe: len(left[probe]))
        chosen.append(best)
        done = left.pop(best)
        left = {probe: features - done for probe, features in left.items()}
    return tuple(chosen)
