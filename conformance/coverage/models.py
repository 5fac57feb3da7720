"""The real models whose sizes the suite has to visit, each as its page describes it."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from arrayformer.core.architecture import Architecture
from arrayformer.core.models.keys import Keys
from arrayformer.core.models.registry import find_model
from arrayformer.core.params import Weight, walk


@cache
def real_models() -> Mapping[str, Architecture]:
    """gpt2-124M and so on -> its sizes, from models.toml."""
    text = files("arrayformer.conformance.coverage").joinpath("models.toml").read_text(encoding="utf-8")
    found: dict[str, Architecture] = {}
    for family, shared in tomllib.loads(text).items():
        for own in shared["sizes"]:
            keys = {**shared, **own}
            name = f"{family}-{keys.pop('name')}"
            del keys["sizes"]
            found[name] = find_model(keys["model_type"]).from_hf(Keys(keys, name))
    return found


@cache
def tables() -> tuple[tuple[int, int], ...]:
    """The distinct [n_vocab, n_embd] of their embeddings."""
    weights: list[Weight] = [weight for model in real_models().values() for _, weight in walk(model.weights())]
    return tuple(sorted({(w.shape[0], w.shape[1]) for w in weights if w.role == "table"}))


@cache
def norm_widths() -> tuple[int, ...]:
    """The distinct widths of their norms."""
    weights: list[Weight] = [weight for model in real_models().values() for _, weight in walk(model.weights())]
    return tuple(sorted({w.shape[0] for w in weights if w.role in ("norm", "head_norm")}))


@cache
def vocabularies() -> tuple[int, ...]:
    """How many ids they have."""
    return tuple(sorted({n_vocab for n_vocab, _ in tables()}))


@cache
def matrices() -> Mapping[str, tuple[tuple[int, int], ...]]:
    """Family -> the distinct [n_in, n_out] of its linear layers, by size."""
    found: dict[str, set[tuple[int, int]]] = {}
    for name, model in real_models().items():
        weights: list[Weight] = [weight for _, weight in walk(model.weights())]
        shapes = {w.shape for w in weights if w.role in ("column", "row") and len(w.shape) == 2}
        found.setdefault(name.rpartition("-")[0], set()).update((s[0], s[1]) for s in shapes)
    return {family: tuple(sorted(shapes)) for family, shapes in found.items()}
