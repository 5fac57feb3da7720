"""The weights as nested dicts named as in the checkpoint, and their shapes."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from arrayformer.core.models.gpt2 import GPT2Config

Params = dict[str, Any]

Order = Callable[[str, tuple[int, ...]], Literal["C", "F"]]
"""In which order of memory a weight is wanted, from its path and shape: row by row ("C") or column by column ("F")."""


def shapes(config: GPT2Config) -> Params:
    """The shape of each weight, nested as the weights are: `shapes(c)["blocks"][0]["attn"]["c_attn"]["w"]`."""
    n = config.n_embd
    norm = {"g": (n,), "b": (n,)}

    def linear(n_in: int, n_out: int) -> Params:
        return {"w": (n_in, n_out), "b": (n_out,)}

    block = {
        "ln_1": norm,
        "attn": {"c_attn": linear(n, 3 * n), "c_proj": linear(n, n)},
        "ln_2": norm,
        "mlp": {"c_fc": linear(n, config.inner), "c_proj": linear(config.inner, n)},
    }
    tree: Params = {"wte": (config.n_vocab, n), "wpe": (config.n_ctx, n), "blocks": [block] * config.n_layer}
    tree["ln_f"] = norm
    if not config.tie_word_embeddings:
        tree["lm_head"] = (config.n_vocab, n)
    return tree


def walk(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf with its path: ("blocks.0.attn.c_attn.w", leaf)."""
    if isinstance(tree, dict):
        for name, child in tree.items():
            yield from walk(child, f"{path}.{name}" if path else name)
    elif isinstance(tree, list):
        for i, child in enumerate(tree):
            yield from walk(child, f"{path}.{i}")
    else:
        yield path, tree


def map_params(function: Callable[[str, Any], Any], tree: Any, path: str = "") -> Any:
    """The same nesting with `function(path, leaf)` at each leaf."""
    if isinstance(tree, dict):
        return {k: map_params(function, v, f"{path}.{k}" if path else k) for k, v in tree.items()}
    if isinstance(tree, list):
        return [map_params(function, v, f"{path}.{i}") for i, v in enumerate(tree)]
    return function(path, tree)


def random_params(config: GPT2Config, seed: int = 0, gain: float = 0.02) -> Params:
    """Weights drawn as GPT-2 draws them before training: normal of deviation `gain`, layer norms near 1, float32.

    Biases and layer norms are drawn too, so that a backend which drops one computes something else.
    """
    rng = np.random.Generator(np.random.PCG64(seed))

    def draw(path: str, shape: tuple[int, ...]) -> np.ndarray:
        x = rng.standard_normal(shape, dtype=np.float32) * np.float32(gain)
        return x + np.float32(1) if path.endswith(".g") else x

    return map_params(draw, shapes(config))  # type: ignore[no-any-return]
