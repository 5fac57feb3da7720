"""Probes with a block or two as wide as those of real models: their heads, widths and contexts, few ids and layers."""

from dataclasses import replace

import numpy as np

from arrayformer.conformance.coverage.models import real_models
from arrayformer.core.architecture import Architecture
from arrayformer.core.models.gpt2 import GPT2

N_VOCAB = 1031  # of real vocabularies there are cases of single functions

# The whole context of GPT-2 124M; beyond a window of 512; for the others enough to fill a few blocks of keys.
_LENGTHS = {"gpt2-124M": 1024, "smollm2-135M": 1100, "qwen3-0.6B": 600, "gemma-3-270M": 700}
_SMALL: dict[str, tuple[Architecture, int]] = {
    "64": (GPT2(n_vocab=131, n_ctx=1024, n_embd=128, n_head=2, n_layer=2), 700),
    "layers": (GPT2(n_vocab=97, n_ctx=16, n_embd=32, n_head=2, n_layer=40), 14),
}


def sizes(name: str) -> tuple[Architecture, int]:
    """The model of the probe real-NAME, and how many ids its row has. Raises KeyError for an unknown name."""
    if name in _SMALL:
        return _SMALL[name]
    model = real_models()[name]
    changes: dict[str, object] = {"n_layer": 1, "n_vocab": N_VOCAB, "eos_token_id": None}
    if windows := getattr(model, "windows", ()):
        kinds = tuple(dict.fromkeys(windows))  # a layer of each kind
        changes |= {"windows": kinds, "n_layer": len(kinds)}
    return replace(model, **changes), _LENGTHS.get(name, 130)  # type: ignore[type-var]


def row(n_vocab: int, length: int, seed: int) -> list[int]:
    """`length` ids."""
    return [int(id) for id in np.random.Generator(np.random.PCG64([seed, length])).integers(0, n_vocab, length)]
