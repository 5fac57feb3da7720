"""Weights as nested dicts named as in the checkpoint, and what is known of each: its shape and its role."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np

Params = dict[str, Any]

Role = Literal["table", "position", "column", "row", "norm", "head_norm", "shift"]


class Weight(NamedTuple):
    """What a model says of one of its weights, so that backends and meshes need to know none by name.

    shape  [n_in, n_out] of a matrix, [n] of a vector, [n_vocab, n_embd] of a table
    role   "table" (a row for each id, looked up or multiplied with), "position" (a row for each position, looked up),
           "column" and "row" (matrix or bias of what opens and of what closes half a block: between the two each device
           of a mesh can keep its columns, https://arxiv.org/abs/1909.08053 section 3), "norm" and "head_norm" (the
           gain of a norm, "head_norm" of queries or keys), "shift" (the bias of a norm)
    heads  into how many equal parts a "column" or "row" weight may be split: heads stay whole
    """

    shape: tuple[int, ...]
    role: Role
    heads: int = 1


Order = Callable[[Weight], Literal["C", "F", "K"]]
"""In which order of memory a weight is wanted: row by row ("C"), column by column ("F"), or as it is stored ("K")."""


def linear(n_in: int, n_out: int, role: Literal["column", "row"], heads: int = 1, bias: bool = True) -> Params:
    """The weights of a linear layer."""
    w = {"w": Weight((n_in, n_out), role, heads)}
    return w | {"b": Weight((n_out,), role, heads)} if bias else w


def norm(n: int, role: Literal["norm", "head_norm"] = "norm", shift: bool = False) -> Params:
    """The weights of a norm over `n` channels."""
    return {"g": Weight((n,), role), "b": Weight((n,), "shift")} if shift else {"g": Weight((n,), role)}


def is_leaf(tree: Any) -> bool:
    """Whether this is a weight, and no nesting of them."""
    return not isinstance(tree, dict | list)


def walk(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf with its path: ("blocks.0.attn.c_attn.w", leaf)."""
    if is_leaf(tree):
        yield path, tree
        return
    for name, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from walk(child, f"{path}.{name}" if path else str(name))


def map_params(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """The same nesting with `function(leaf, ...)` at each leaf, given the leaves of `others` there too."""
    if isinstance(tree, dict):
        return {name: map_params(function, child, *(other[name] for other in others)) for name, child in tree.items()}
    if isinstance(tree, list):
        return [map_params(function, *children) for children in zip(tree, *others, strict=True)]
    return function(tree, *others)


def map_paths(function: Callable[[str, Any], Any], tree: Any, path: str = "") -> Any:
    """The same nesting with `function(path, leaf)` at each leaf."""
    if isinstance(tree, dict):
        return {k: map_paths(function, v, f"{path}.{k}" if path else k) for k, v in tree.items()}
    if isinstance(tree, list):
        return [map_paths(function, v, f"{path}.{i}") for i, v in enumerate(tree)]
    return function(path, tree)


def random_params(weights: Params, seed: int = 0, gain: float = 0.02) -> Params:
    """float32 arrays for `weights`: normal of deviation `gain`, as GPT-2 is drawn before training; norms near 1.

    Biases are drawn too, so that a backend which drops one computes something else.
    """
    import numpy as np

    rng = np.random.Generator(np.random.PCG64(seed))

    def draw(weight: Weight) -> "np.ndarray":
        x = rng.standard_normal(weight.shape, dtype=np.float32) * np.float32(gain)
        return x + np.float32(1) if weight.role in ("norm", "head_norm") else x

    params: Params = map_params(draw, weights)
    return params
