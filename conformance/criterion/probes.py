"""Small models made to show faults.

Weights as drawn before training would hide most faults: scores near zero make every mask look alike, and logits of
one size make every error look small. Probes have sharp attention, activations on both bends of GELU, and a bias and
a gain for everything that could be forgotten.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from arrayformer.core.models.gpt2 import GPT2Config
from arrayformer.core.params import Params, map_params, shapes


@dataclass(frozen=True)
class Probe:
    """One probe model.

    name    p2, or p2-s1 for its second seed
    config  its sizes
    seed    of its weights
    twist   what is special about its weights: "" or a name in TWISTS
    """

    name: str
    config: GPT2Config
    seed: int = 0
    twist: str = ""

    def params(self) -> Params:
        """The weights, float32 on the host. Made anew each time: a backend might write into them."""
        params = draw(self.config, self.seed)
        twisted: Params = TWISTS[self.twist](params)
        return twisted

    def seeded(self, seed: int) -> "Probe":
        """The same sizes with other weights."""
        return self if seed == self.seed else replace(self, name=f"{self.name}-s{seed}", seed=seed)

    def rows(self, order: int = 0) -> list[list[int]]:
        """Rows of n_ctx ids that hold each id of the vocabulary at least once."""
        n_vocab, n_ctx = self.config.n_vocab, self.config.n_ctx
        n_rows = -(-n_vocab // n_ctx)
        rng = np.random.Generator(np.random.PCG64([self.seed, order]))
        fill = rng.integers(0, n_vocab, n_rows * n_ctx - n_vocab)
        ids = np.concatenate([rng.permutation(n_vocab), fill])
        return [list(map(int, row)) for row in ids.reshape(n_rows, n_ctx)]


def draw(config: GPT2Config, seed: int) -> Params:
    """float32 weights of a probe: each matrix scaled by its inputs, so that every step gives values around 1."""
    rng = np.random.Generator(np.random.PCG64(seed))

    def leaf(path: str, shape: tuple[int, ...]) -> Any:
        x = rng.standard_normal(shape, dtype=np.float32)
        return (GAIN(path, shape) * x + (1.0 if path.endswith(".g") else 0.0)).astype(np.float32)

    return map_params(leaf, shapes(config))  # type: ignore[no-any-return]


def GAIN(path: str, shape: tuple[int, ...]) -> float:
    """Standard deviation of the weights at `path`."""
    if path.endswith((".b", ".g")):
        return 0.3
    if path == "wpe":
        return 0.7
    if path in ("wte", "lm_head"):
        return 1.0
    # 2 makes scores of about 4 between queries and keys, and feeds GELU with -6 to 6.
    return (2.0 if path.endswith(("c_attn.w", "c_fc.w")) else 1.0) / float(np.sqrt(shape[0]))


def outliers(params: Params) -> Params:
    """Two channels of the residual stream at +80 and -80, and logits around -100, as trained GPT-2s have them."""
    bias = params["blocks"][0]["mlp"]["c_proj"]["b"]
    bias[3], bias[7] = 80.0, -80.0
    params["wte"][:, 0] = 1.0
    params["ln_f"]["b"][0] = -100.0
    return params


def quiet(params: Params) -> Params:
    """Embeddings of variance 1e-6, next to which the epsilon of the layer norm is large."""
    params["wte"] *= np.float32(1e-3)
    params["wpe"] *= np.float32(1e-3)
    return params


def residual_only(params: Params) -> Params:
    """Attention and feed-forward that add nothing: logits = ln_f(wte + wpe) @ wte.T"""
    for block in params["blocks"]:
        for part in ("attn", "mlp"):
            block[part]["c_proj"] = {k: np.zeros_like(v) for k, v in block[part]["c_proj"].items()}
    return params


def still(params: Params) -> Params:
    """`quiet` and `residual_only`: the last layer norm, too, sees next to no variance."""
    return residual_only(quiet(params))


def loud(params: Params) -> Params:
    """Scores of some thousands: attention looks at one key, and softmax must not overflow."""
    for block in params["blocks"]:
        block["attn"]["c_attn"]["w"][:, : 2 * params["wte"].shape[1]] *= np.float32(25)
    return params


TWISTS = {
    "": lambda p: p, "outliers": outliers, "quiet": quiet, "loud": loud, "residual": residual_only, "still": still,
}  # fmt: skip

_P2 = GPT2Config(n_vocab=512, n_ctx=64, n_embd=64, n_head=4, n_layer=2)
_ALL = (
    Probe("p1", GPT2Config(n_vocab=31, n_ctx=8, n_embd=16, n_head=2, n_layer=1)),
    Probe("p2", _P2),
    # Nothing here is a power of two, and the context is odd.
    Probe("p3", GPT2Config(n_vocab=257, n_ctx=33, n_embd=48, n_head=3, n_layer=3)),
    Probe("outliers", _P2, twist="outliers"),
    Probe("deep", GPT2Config(n_vocab=1024, n_ctx=64, n_embd=128, n_head=8, n_layer=12)),
    Probe("quiet", _P2, twist="quiet"),
    Probe("loud", _P2, twist="loud"),
    Probe("residual", _P2, twist="residual"),
    Probe("still", _P2, twist="still"),
    Probe("long", GPT2Config(n_vocab=31, n_ctx=300, n_embd=16, n_head=2, n_layer=1)),
    Probe(
        "untied",
        GPT2Config(
            n_vocab=97, n_ctx=16, n_embd=24, n_head=2, n_layer=3, n_inner=40, activation_function="gelu",
            tie_word_embeddings=False, scale_attn_by_inverse_layer_idx=True,
        ),
    ),
    Probe(
        "relu",
        GPT2Config(
            n_vocab=97, n_ctx=16, n_embd=24, n_head=4, n_layer=2, activation_function="relu",
            scale_attn_weights=False, layer_norm_epsilon=1e-3,
        ),
    ),
    Probe(
        "silu",
        GPT2Config(
            n_vocab=97, n_ctx=16, n_embd=24, n_head=1, n_layer=2, activation_function="silu",
            reorder_and_upcast_attn=True,
        ),
    ),
)  # fmt: skip
PROBES = {probe.name: probe for probe in _ALL}


@cache
def probe(name: str) -> Probe:
    """The probe called `name`, for example "p2", or "p2-s1" for its second seed."""
    base, _, seed = name.partition("-s")
    return PROBES[base].seeded(int(seed or 0))
