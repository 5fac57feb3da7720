"""By which angles rotary positions turn queries and keys: made once, on the host, in float64.

https://arxiv.org/abs/2104.09864. How a model's context was stretched changes frequencies and nothing else, so all of
`rope_scaling` ends here and the graph knows only cosines and sines.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from arrayformer.core.checks import keep_plain_numbers
from arrayformer.core.errors import ConfigError
from arrayformer.core.models.keys import LAYER_TYPES, MAX_SIZE, Keys, said

Frequencies = np.ndarray
"""[n / 2] float64, radians for each position."""

Factors = tuple[float, ...]
"""What each frequency is divided by."""


@dataclass(frozen=True)
class Scaling:
    """How a context was stretched: not at all. Subclasses say what Hugging Face calls them.

    name       the value of `rope_type`
    magnitude  what cosines and sines are multiplied by
    """

    name: ClassVar[str] = "default"

    def __post_init__(self) -> None:
        """Raises ConfigError for what is no number, or an absurd one."""
        keep_plain_numbers(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if field.type is bool:
                fits, need = type(value) is bool, "true or false"
            elif field.type == Factors:
                fits, need = isinstance(value, tuple) and all(map(_is_positive, value)), "a list of numbers above 0"
            else:
                least = 1.0 if field.name == "factor" else 0.0
                fits, need = _is_positive(value) and value >= least, f"a number {'above 0' if not least else 'from 1'}"
            if not fits:
                raise ConfigError(f"{field.name} of rope_type {self.name!r} is {said(value)}; it must be {need}")

    def frequencies(self, rope: "Rope", n_text: int) -> Frequencies:
        """For texts of up to `n_text` ids."""
        return rope.plain()

    def magnitude(self) -> float:
        """What cosines and sines are multiplied by."""
        return 1.0


def _is_positive(value: Any) -> bool:
    """Whether this is a number above 0 that a context could be stretched by."""
    return type(value) in (int, float) and 0 < value <= 1e9


@dataclass(frozen=True)
class Linear(Scaling):
    """Positions that lie closer: https://arxiv.org/abs/2306.15595"""

    name = "linear"
    factor: float

    def frequencies(self, rope: "Rope", n_text: int) -> Frequencies:
        return rope.plain() / self.factor


@dataclass(frozen=True)
class Dynamic(Scaling):
    """A larger theta for texts longer than the context. Here no text is, so this is the default."""

    name = "dynamic"
    factor: float


@dataclass(frozen=True)
class Llama3(Scaling):
    """Waves that fit often into the first context stay, long ones are stretched, those between in part.

    https://arxiv.org/abs/2407.21783 section 3.4.2, in the form of Llama 3.1's published code.
    """

    name = "llama3"
    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low_freq_factor >= self.high_freq_factor:
            raise ConfigError(
                f"low_freq_factor {self.low_freq_factor:g} must be below high_freq_factor {self.high_freq_factor:g}"
            )

    def frequencies(self, rope: "Rope", n_text: int) -> Frequencies:
        plain = rope.plain()
        rounds = self.original_max_position_embeddings * plain / (2 * math.pi)
        kept = (rounds - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        kept = np.clip(kept, 0.0, 1.0)
        return np.asarray(plain * (kept + (1 - kept) / self.factor))


@dataclass(frozen=True)
class Yarn(Scaling):
    """https://arxiv.org/abs/2309.00071"""

    name = "yarn"
    factor: float
    original_max_position_embeddings: int
    beta_fast: float | None = None
    beta_slow: float | None = None
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    def frequencies(self, rope: "Rope", n_text: int) -> Frequencies:
        low, high = (self._pair(rope, rounds) for rounds in (self.beta_fast or 32.0, self.beta_slow or 1.0))
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, rope.n - 1)
        ramp = np.clip((np.arange(rope.n // 2) - low) / (high - low or 0.001), 0.0, 1.0)
        return np.asarray(rope.plain() * (1 - ramp + ramp / self.factor))

    def _pair(self, rope: "Rope", rounds: float) -> float:
        """Which pair turns so often in the first context."""
        first = self.original_max_position_embeddings / (rounds * 2 * math.pi)
        return rope.n * math.log(first) / (2 * math.log(rope.theta))

    def magnitude(self) -> float:
        def grown(by: float = 1.0) -> float:
            return 1.0 if self.factor <= 1 else 0.1 * by * math.log(self.factor) + 1.0

        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return grown(self.mscale) / grown(self.mscale_all_dim)
        return grown()


@dataclass(frozen=True)
class LongRope(Scaling):
    """Each frequency by its own number: https://arxiv.org/abs/2402.13753

    Which list counts depends on how long texts may become (`n_text`), decided when a context is opened. transformers
    decides it anew at each step, and then reads keys that were turned by the other list.
    """

    name = "longrope"
    short_factor: Factors
    long_factor: Factors
    original_max_position_embeddings: int
    factor: float
    attention_factor: float | None = None

    def frequencies(self, rope: "Rope", n_text: int) -> Frequencies:
        long = n_text > self.original_max_position_embeddings
        return rope.plain() / np.asarray(self.long_factor if long else self.short_factor, dtype=np.float64)

    def magnitude(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        return math.sqrt(1 + math.log(self.factor) / math.log(self.original_max_position_embeddings))


@dataclass(frozen=True)
class Divided(Scaling):
    """Each frequency divided by its own number: `rope_freqs.weight` of a GGUF file, where it stands for `Llama3`."""

    name = "divided"
    factors: Factors

    def frequencies(self, rope: "Rope", n_text: int) -> Frequencies:
        return rope.plain() / np.asarray(self.factors, dtype=np.float64)


def _is_theta(value: Any) -> bool:
    """Whether this is a number that frequencies can be made of."""
    return type(value) in (int, float) and 1 < value <= 1e15


SCALINGS: dict[str, type[Scaling]] = {s.name: s for s in (Scaling, Linear, Dynamic, Llama3, Yarn, LongRope)}
"""By the names that `rope_type` has in config.json."""


@dataclass(frozen=True)
class Rope:
    """One kind of rotation.

    theta    pair i turns by theta ** (-2 i / n) radians for each position
    n        how many channels of a head are turned: even
    scaling  how the context was stretched
    """

    theta: float
    n: int
    scaling: Scaling = Scaling()

    def __post_init__(self) -> None:
        keep_plain_numbers(self)
        if type(self.n) is not int or self.n < 2 or self.n % 2:
            raise ConfigError(f"{self.n} channels of a head are rotated; it must be an even number of 2 or more")
        if not _is_theta(self.theta):
            raise ConfigError(f"rope_theta is {said(self.theta)}; it must be a number above 1")
        for field in fields(self.scaling):
            value = getattr(self.scaling, field.name)
            if isinstance(value, tuple) and len(value) != self.n // 2:
                raise ConfigError(
                    f"{field.name} of rope_type {self.scaling.name!r} has {len(value)} numbers, "
                    f"and {self.n // 2} pairs of channels are rotated"
                )

    def plain(self) -> Frequencies:
        """The frequencies of a context that was not stretched."""
        return np.asarray(self.theta ** (-np.arange(0, self.n, 2, dtype=np.float64) / self.n))

    def table(self, n: int, n_text: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and sines [n, self.n / 2] of positions 0 to n - 1."""
        angles = np.arange(n, dtype=np.float64)[:, None] * self.scaling.frequencies(self, n_text)
        magnitude = self.scaling.magnitude()
        return np.cos(angles) * magnitude, np.sin(angles) * magnitude

    def to_hf(self) -> dict[str, Any] | None:
        """`rope_scaling` in config.json."""
        if self.scaling.name not in SCALINGS:
            raise ConfigError("rope_freqs of a GGUF file have no counterpart in config.json: it cannot be saved")
        said = {name: list(x) if isinstance(x, tuple) else x for name, x in asdict(self.scaling).items()}
        kept = {name: x for name, x in said.items() if x is not None}
        return None if self.scaling.name == "default" else {"rope_type": self.scaling.name, **kept}


def read_rope(
    keys: Keys, head_dim: int, n_ctx: int, *,
    theta_key: str = "rope_theta", theta: float = 10_000.0, part_key: str | None = None, part: float = 1.0,
    layers: str | None = None, kinds: Mapping[str, str] | None = None, original: int | None = None,
) -> Rope:  # fmt: skip
    """The rotation that a config.json asks for: `rope_theta` and `rope_scaling`, or, since transformers 5,
    `rope_parameters` with everything in it.

    theta_key, theta  what the architecture calls the base, and its default
    part_key, part    what it calls the part of a head that is rotated (None: all of it is), and the default
    layers            which entry of `rope_parameters` counts, where it has one for each kind of layer
    kinds             what it calls the scalings it may have: its name -> one of SCALINGS (all, under their names)
    original          its first context, where `original_max_position_embeddings` stands outside of the scaling
    """
    found = _parameters(keys, layers)
    thetas = [x for x in (found.pop("rope_theta", None), keys.get(theta_key)) if x is not None]
    if odd := [x for x in thetas if not _is_theta(x)]:
        keys.fail(f"{theta_key} is {said(odd[0])}; it must be a number above 1")
    given = set(map(float, thetas))
    if len(given) > 1:
        keys.fail(f"{theta_key} and rope_parameters contradict each other: {' and '.join(map(repr, sorted(given)))}")
    inner, outer = found.pop("partial_rotary_factor", None), keys.get(part_key or "partial_rotary_factor")
    factor = part if inner is None and outer is None else outer if inner is None else inner
    if type(factor) not in (int, float) or not 0 < factor <= 1 or (part_key is None and factor != 1):
        keys.fail(f"{part_key or 'partial_rotary_factor'} is {said(factor)}, which is not computed here")
    try:
        return Rope(
            given.pop() if given else theta, int(head_dim * factor), _scaling(keys, found, n_ctx, kinds, original)
        )
    except ConfigError as error:
        return keys.fail(str(error).removeprefix(f"{keys.where}: "))


def _parameters(keys: Keys, layers: str | None) -> dict[str, Any]:
    """What `rope_scaling` or `rope_parameters` hold."""
    old, new = keys.get("rope_scaling"), keys.get("rope_parameters")
    for name, value in (("rope_scaling", old), ("rope_parameters", new)):
        if value is not None and not isinstance(value, dict):
            keys.fail(f"{name} is {said(value)}; it must be an object, or null")
    if new and layers is not None:
        if odd := [x for kind, x in new.items() if kind not in LAYER_TYPES or not isinstance(x, dict | None)]:
            keys.fail(f"rope_parameters holds {said(odd[0])}; it has an object for each of {', '.join(LAYER_TYPES)}")
        new = new.get(layers) or {}
    if old and new and old != new:
        keys.fail("rope_scaling and rope_parameters contradict each other: they are names of one thing")
    return dict(new or old or {})


def _scaling(
    keys: Keys, found: dict[str, Any], n_ctx: int, kinds: Mapping[str, str] | None, original: int | None
) -> Scaling:
    """The scaling that these parameters ask for, each of them understood."""
    name, other = found.pop("rope_type", None), found.pop("type", None)
    if None not in (name, other) and name != other:
        keys.fail(f"rope_type is {said(name)} and type {said(other)}: they are names of one thing")
    name = "default" if name is None and other is None else other if name is None else name
    kinds = kinds or {kind: kind for kind in SCALINGS}
    if not isinstance(name, str) or name not in kinds:
        keys.fail(f"rope_type is {said(name)}; it is one of {', '.join(kinds)}")
    name = kinds[name]
    takes = {field.name for field in fields(SCALINGS[name])}
    if "original_max_position_embeddings" in takes:
        outer = keys.get("original_max_position_embeddings", original)
        inner = found.setdefault("original_max_position_embeddings", n_ctx if outer is None else outer)
        if outer not in (None, inner):
            keys.fail(f"original_max_position_embeddings is {said(outer)}, and {said(inner)} with the scaling")
        if type(inner) is not int or not 2 <= inner <= MAX_SIZE:
            keys.fail(f"original_max_position_embeddings is {said(inner)}; it is an integer from 2 to {MAX_SIZE}")
    if name == "longrope" and found.get("factor") is None:
        found["factor"] = max(1.0, n_ctx / found["original_max_position_embeddings"])
    if found.get("truncate", True) is None:  # to transformers null is false here, and not the default
        keys.fail("truncate of rope_type 'yarn' is None; it must be true or false")
    found = {key: tuple(x) if isinstance(x, list) else x for key, x in found.items() if x is not None}
    if unknown := sorted(found.keys() - takes):
        keys.fail(f"rope_type {name!r} has {', '.join(map(repr, unknown))}, which is not computed here")
    try:
        return SCALINGS[name](**found)
    except TypeError:
        missing = [f.name for f in fields(SCALINGS[name]) if f.name not in found and f.default is f.default_factory]
        return keys.fail(f"rope_type {name!r} lacks {', '.join(missing)}")
