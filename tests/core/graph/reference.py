"""GPT-2's formulae for one sequence in float64, written a second time so that the graph has something to equal."""

import math
from typing import Any

import numpy as np

Floats = Any  # float64 arrays


def gelu(x: Floats) -> Floats:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x: Floats) -> Floats:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


def layer_norm(x: Floats, norm: dict[str, Floats], eps: float = 1e-5) -> Floats:
    return norm["g"] * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + norm["b"]


def logits(ids: list[int], params: Any, n_head: int, activation: Any = gelu) -> Floats:
    """[seq, n_vocab], head by head and query by query."""
    params = as_float64(params)
    x = params["wte"][ids] + params["wpe"][: len(ids)]
    for block in params["blocks"]:
        x = x + heads(layer_norm(x, block["ln_1"]), block["attn"], n_head)
        inner = activation(layer_norm(x, block["ln_2"]) @ block["mlp"]["c_fc"]["w"] + block["mlp"]["c_fc"]["b"])
        x = x + inner @ block["mlp"]["c_proj"]["w"] + block["mlp"]["c_proj"]["b"]
    return layer_norm(x, params["ln_f"]) @ params.get("lm_head", params["wte"]).T


def heads(x: Floats, attn: Any, n_head: int) -> Floats:
    q, k, v = np.split(x @ attn["c_attn"]["w"] + attn["c_attn"]["b"], 3, axis=-1)
    width = x.shape[-1] // n_head
    out = np.zeros_like(x)
    for head in range(n_head):
        part = slice(head * width, (head + 1) * width)
        for query in range(len(x)):
            scores = k[: query + 1, part] @ q[query, part] / np.sqrt(width)
            probs = np.exp(scores - scores.max())
            out[query, part] = probs / probs.sum() @ v[: query + 1, part]
    return out @ attn["c_proj"]["w"] + attn["c_proj"]["b"]


def as_float64(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: as_float64(child) for name, child in tree.items()}
    if isinstance(tree, list):
        return [as_float64(child) for child in tree]
    return np.asarray(tree, dtype=np.float64)
