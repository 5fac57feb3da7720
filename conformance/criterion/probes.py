"""Small models made to show faults.

Weights as drawn before training would hide most faults: scores near zero make every mask look alike, and logits of
one size make every error look small. Probes have sharp attention, activations on both bends of GELU, and a bias and
a gain for everything that could be forgotten.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from arrayformer.conformance.criterion import architectures, real_probes
from arrayformer.core.architecture import Architecture
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.params import Params, Weight, map_params


@dataclass(frozen=True)
class Probe:
    """One probe model.

    name    p2, llama-2, llama-2-loud, or p2-s1 for its second seed
    config  its sizes
    seed    of its weights
    twist   what is special about its weights: "" or a name in TWISTS
    architecture  whose page it is from
    """

    name: str
    config: Architecture
    seed: int = 0
    twist: str = ""
    architecture: str = architectures.GPT2

    def params(self) -> Params:
        """The weights, float32 on the host. Made anew each time: a backend might write into them."""
        return TWISTS[self.twist](draw(self.config, self.seed), self.config)

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
        gain = {"norm": 1.0, "head_norm": 2.0}.get(weight.role, 0.0)  # 2: scores are as sharp as without the norm
        return (deviation(weight, model) * x + gain).astype(np.float32)

    params: Params = map_params(leaf, model.weights())
    return params


def deviation(weight: Weight, model: Architecture) -> float:
    """Standard deviation of the numbers of a weight."""
    if len(weight.shape) == 1:
        return 0.3
    if weight.role == "table":
        return 1.0 / model.embed_scale
    # 2 makes scores of about 4 between queries and keys, and feeds activations with -6 to 6.
    gain = {"position": 0.7, "column": 2.0, "row": 1.0}[weight.role]
    return gain if weight.role == "position" else gain / float(np.sqrt(weight.shape[0]))


def scaled(params: Params, model: Architecture, factor: Callable[[Weight], float]) -> Params:
    """Each weight times what `factor` says of it."""
    made: Params = map_params(lambda x, weight: x * np.float32(factor(weight)), params, model.weights())
    return made


def outliers(params: Params, model: Architecture) -> Params:
    """Two channels of the residual stream at +80 and -80, and logits around -100, as trained GPT-2s have them."""
    bias = params["blocks"][0]["mlp"]["c_proj"]["b"]
    bias[3], bias[7] = 80.0, -80.0
    params["wte"][:, 0] = 1.0
    params["ln_f"]["b"][0] = -100.0
    return params


def quiet(params: Params, model: Architecture) -> Params:
    """Embeddings of variance 1e-6, next to which the epsilon of a norm is large."""
    return scaled(params, model, lambda weight: 1e-3 if weight.role in ("table", "position") else 1.0)


def residual_only(params: Params, model: Architecture) -> Params:
    """Attention and feed-forward that add nothing: logits are those of the embedding."""
    return scaled(params, model, lambda weight: 0.0 if weight.role == "row" else 1.0)


def still(params: Params, model: Architecture) -> Params:
    """`quiet` and `residual_only`: the last norm, too, sees next to no variance."""
    return residual_only(quiet(params, model), model)


def loud(params: Params, model: Architecture) -> Params:
    """Scores of some thousands: attention looks at one key, and softmax must not overflow.

    Whatever is split into heads is larger, values too: which of them is which is known to the page alone.
    """

    def factor(weight: Weight) -> float:
        heads = weight.role == "column" and weight.heads in (model.n_head, model.n_kv_head)
        return 25.0 if heads or weight.role == "head_norm" else 1.0

    return scaled(params, model, factor)


def plain(params: Params, model: Architecture) -> Params:
    """As drawn."""
    return params


TWISTS: dict[str, Callable[[Params, Architecture], Params]] = {
    "": plain, "outliers": outliers, "quiet": quiet, "loud": loud, "residual": residual_only, "still": still,
}  # fmt: skip

_CONFIGS = GPT2.probes()
_ALL = (
    *(Probe(name, config) for name, config in _CONFIGS.items()),
    *(Probe(name, _CONFIGS["p2"], twist=name) for name in ("outliers", "quiet", "loud", "residual", "still")),
)
PROBES = {probe.name: probe for probe in _ALL}
"""GPT-2's. Those of other pages are made when they are asked for."""
DEFAULT, REAL = "fable", "real-"


@dataclass(frozen=True)
class RealProbe(Probe):
    """A probe as wide as a real model, with one row of `length` ids."""

    length: int = 0

    def rows(self, order: int = 0) -> list[list[int]]:
        """One row: it need not hold every id."""
        return [real_probes.row(self.config.n_vocab, self.length, order)]


def probes_of(architecture: str) -> dict[str, Probe]:
    """The probes of a page, and one of them quiet and loud. Raises what loading the page raises."""
    if architecture == architectures.GPT2:
        return PROBES
    configs = architectures.probes(architecture)
    made = {name: Probe(name, config, architecture=architecture) for name, config in configs.items()}
    # Of the sizes of one that is there anyway, so that a compiler has no more to do.
    first = made[architectures.fewest(architecture, None)[0]]
    twisted = [replace(first, name=f"{architecture}-{twist}", twist=twist) for twist in ("quiet", "loud")]
    return made | {probe.name: probe for probe in twisted}


def decisive(probe: Probe) -> bool:
    """Whether a probe's graph uses what no other of its page does: the rest is for whom a program costs nothing.

    GPT-2's all are.
    """
    if probe.architecture == architectures.GPT2:
        return True
    chosen = architectures.fewest(probe.architecture, None)
    return probe.config in [architectures.probes(probe.architecture)[name] for name in chosen]


def named(name: str) -> Probe:
    """The probe of that name without a seed. Pages are loaded one after the other until one has it."""
    if name in PROBES:
        return PROBES[name]
    for architecture in architectures.each():
        if name in (probes := probes_of(architecture)):
            return probes[name]
    raise KeyError(f"no page has a probe {name!r}")


@cache
def probe(name: str) -> Probe:
    """The probe called `name`: "llama-2", its second seed "llama-2-s1"; the default model "fable"; "real-gpt2-124M"."""
    if name == DEFAULT:
        from arrayformer.conformance.criterion.golden import default_model

        return default_model()
    if name.startswith(REAL):
        model, length = real_probes.sizes(name.removeprefix(REAL))
        return RealProbe(name, model, length=length)
    base, seed = re.fullmatch(r"(.*?)(?:-s(\d+))?", name).groups()  # type: ignore[union-attr]  # it matches anything
    return named(base).seeded(int(seed or 0))
