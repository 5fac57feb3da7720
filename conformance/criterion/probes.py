"""Small models made to show faults.

Weights as drawn before training would hide most faults: scores near zero make every mask look alike, and logits of
one size make every error look small. Probes have sharp attention, activations on both bends of GELU, and a bias and
a gain for everything that could be forgotten.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from arrayformer.conformance.criterion import real_probes
from arrayformer.core.architecture import Architecture
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import Params, Weight, map_params


@dataclass(frozen=True)
class Probe:
    """One probe model.

    name    p2, or p2-s1 for its second seed
    config  its sizes
    seed    of its weights
    twist   what is special about its weights: "" or a name in TWISTS
    """

    name: str
    config: Architecture
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


def draw(model: Architecture, seed: int) -> Params:
    """float32 weights of a probe: each matrix scaled by its inputs, so that every step gives values around 1."""
    rng = np.random.Generator(np.random.PCG64(seed))

    def leaf(weight: Weight) -> np.ndarray:
        x = rng.standard_normal(weight.shape, dtype=np.float32)
        return (deviation(weight) * x + (1.0 if weight.role in ("norm", "head_norm") else 0.0)).astype(np.float32)

    params: Params = map_params(leaf, model.weights())
    return params


def deviation(weight: Weight) -> float:
    """Standard deviation of the numbers of a weight."""
    if len(weight.shape) == 1:
        return 0.3
    # 2 makes scores of about 4 between queries and keys, and feeds activations with -6 to 6.
    gain = {"position": 0.7, "table": 1.0, "column": 2.0, "row": 1.0}[weight.role]
    return gain if weight.role in ("position", "table") else gain / float(np.sqrt(weight.shape[0]))


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

_CONFIGS = GPT2.probes()
_ALL = (
    *(Probe(name, config) for name, config in _CONFIGS.items()),
    *(Probe(name, _CONFIGS["p2"], twist=twist) for name, twist in {
        "outliers": "outliers", "quiet": "quiet", "loud": "loud", "residual": "residual", "still": "still",
    }.items()),
)  # fmt: skip
PROBES = {probe.name: probe for probe in _ALL}
DEFAULT, REAL = "fable", "real-"


@dataclass(frozen=True)
class RealProbe(Probe):
    """A probe as wide as a real model, with one row of `length` ids."""

    length: int = 0

    def rows(self, order: int = 0) -> list[list[int]]:
        """One row: it need not hold every id."""
        return [real_probes.row(self.config.n_vocab, self.length, order)]


@cache
def probe(name: str) -> Probe:
    """The probe called `name`: "p2", or "p2-s1" for its second seed; "fable", the default model; "real-gpt2-124M"."""
    if name == DEFAULT:
        from arrayformer.conformance.criterion.golden import default_model

        return default_model()
    if name.startswith(REAL):
        model, length = real_probes.sizes(name.removeprefix(REAL))
        return RealProbe(name, model, length=length)
    base, _, seed = name.partition("-s")
    return PROBES[base].seeded(int(seed or 0))
