"""Backends that are wrong on purpose. The suite must catch each one, at the case that names its fault.

arrayformer conformance --backend arrayformer.conformance.wrong:erf_gelu
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arrayformer.backends.numpy_backend import NumpyBackend
from arrayformer.conformance.faults import FAULTS, Fault
from arrayformer.conformance.faults import one_pass_norm as in_one_pass
from arrayformer.conformance.measure import rounded
from arrayformer.core import ops
from arrayformer.core.backend import Backend
from arrayformer.core.params import Params

Array = Any  # NumPy arrays, whose functions have types only in part
Maker = Callable[..., Backend]


@dataclass(frozen=True)
class Wrong:
    """One wrong backend.

    caught_by  the case that names the fault
    says       words its message has
    make       the backend, as a factory
    seconds    how long the case may take, for one that never answers
    """

    name: str
    caught_by: str
    says: str
    make: Maker
    seconds: float = 60.0


WRONG: dict[str, Wrong] = {}


def wrong(caught_by: str, says: str = "", seconds: float = 60.0) -> Callable[[Any], Any]:
    """Register a backend class, or a function giving overrides for NumPy, as a wrong backend."""

    def register(made: Any) -> Any:
        maker = made if isinstance(made, type) else with_functions(made.__name__, made())
        WRONG[made.__name__] = Wrong(made.__name__, caught_by, says, maker, seconds)
        globals()[made.__name__] = maker
        return maker

    return register


def with_functions(name: str, functions: Mapping[str, Callable[..., Any]]) -> type[NumpyBackend]:
    """NumPy with some of the graph's functions replaced."""

    class Changed(NumpyBackend):
        @property
        def overrides(self) -> Mapping[str, Callable[..., Any]]:
            return {**super().overrides, **functions}

    Changed.__name__ = Changed.__qualname__ = name
    return Changed


def with_fault(fault: Fault) -> type[NumpyBackend]:
    """NumPy with a fault."""
    changed = with_functions(fault.name, fault.functions)
    if fault.weights is None:
        return changed
    weights = fault.weights

    class Changed(changed):  # type: ignore[valid-type, misc]
        def place(self, params: Params, *, owned: bool = False) -> Params:
            return super().place(weights(params), owned=owned)  # type: ignore[no-any-return]

    return Changed


# -- faults of the mathematics, as they stand in faults.py: which case names each one

_NAMED = {
    "tf32": ("L1-identity", "TF32"),
    "bfloat16": ("L1-identity", "bfloat16"),
    "float16": ("L1-identity", ""),
    "head_tf32": ("L1-unembed", "TF32"),
    "head_bfloat16": ("L1-unembed", "bfloat16"),
    "attention_tf32": ("L1-attention", "TF32"),
    "attention_bfloat16": ("L1-attention", "bfloat16"),
    "half_probs": ("L1-attention", "float16"),
    "half_activation": ("L1-gelu", "float16"),
    "brain_activation": ("L1-gelu", "bfloat16"),
    "erf_gelu": ("L1-gelu", "erf"),
    "tanh_gelu": ("L1-gelu_erf", "tanh"),
    "sigmoid_gelu": ("L1-gelu", "sigmoid"),
    "relu_for_gelu": ("L1-gelu", "relu"),
    "eps_1e-6": ("L1-layer_norm", "1e-6"),
    "eps_1e-12": ("L1-layer_norm", "epsilon"),
    "eps_outside": ("L1-layer_norm", "epsilon"),
    "unbiased_norm": ("L1-layer_norm", "n - 1"),
    "one_pass_norm": ("L1-layer_norm", "one pass"),
    "no_gain": ("L1-layer_norm", "gain"),
    "no_shift": ("L1-layer_norm", "bias"),
    "no_bias": ("L1-linear", "bias"),
    "mask_sees_next": ("L2-causal", "future"),
    "no_mask": ("L2-causal", "future"),
    "mask_-10": ("L2-causal", "future"),
    "mask_-1e4": ("L2-causal", "future"),
    "mask_is_-10": ("L2-causal", "future"),
    "mask_is_0": ("L2-causal", "future"),
    "mask_hides_self": ("L1-attention", "off by one"),
    "no_scale": ("L1-attention", "sqrt(head_dim)"),
    "scale_d": ("L1-attention", "head_dim"),
    "clamped_ids": ("L1-embed", "last id"),
    "positions_from_1": ("L2-logits", "positions are counted from 1"),
    "no_positions": ("L2-logits", "position embedding"),
    "heads_interleaved": ("L2-logits", "heads"),
    "k_and_v_swapped": ("L2-logits", "keys and values"),
    "norms_swapped": ("L2-logits", "ln_1 and ln_2"),
}
for _name, (_case, _says) in _NAMED.items():
    WRONG[_name] = Wrong(_name, _case, _says, with_fault(FAULTS[_name]))
    globals()[_name.replace("-", "_")] = WRONG[_name].make

# -- faults that show only in some mode

PLAIN_NUMPY = NumpyBackend().overrides


@wrong("L1-embed", "the row of id 7")
def one_id() -> Mapping[str, Any]:
    """Only one id is embedded wrongly."""

    def embed(table: Array, ids: Array) -> Array:
        return ops.embed(table, np.where(ids == 7, 6, ids))

    return {"embed": embed}


@wrong("L1-embed", "50257 is wrong")
def far_ids() -> Mapping[str, Any]:
    """Ids above 32767 wrap, as 16-bit integers do."""
    return {"embed": lambda table, ids: ops.embed(table, np.where(ids > 32767, ids - 32768, ids))}


@wrong("L1-gelu", "gelu")
def gelu_far_out() -> Mapping[str, Any]:
    """GELU is cut off at 8."""
    return {"gelu": lambda x: np.where(np.abs(x) > 8, np.clip(ops.gelu(x), 0, 8), ops.gelu(x)).astype(x.dtype)}


@wrong("L1-gelu", "gelu")
def gelu_near_zero() -> Mapping[str, Any]:
    """GELU is linear close to zero."""
    return {"gelu": lambda x: np.where(np.abs(x) < 0.01, 0.5 * x, ops.gelu(x)).astype(x.dtype)}


@wrong("L3-ragged[5]", "row 1")
def second_row() -> Mapping[str, Any]:
    """Cached attention uses the first row's positions for all rows."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, slot: Array, **how: Any) -> Array:
        if position.ndim == 2 and len(position) > 1:
            position = np.broadcast_to(position[:1], position.shape)
        return ops.causal_attention(q, k, v, position, slot, **how)

    return {"causal_attention": causal_attention}


@wrong("L3-cached[p2]", "length")
def only_cached() -> Mapping[str, Any]:
    """Attention of a single query rounds its probabilities, the way decode kernels in half precision do."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, slot: Array, **how: Any) -> Array:
        if q.shape[-2] == 1 and k.shape[-2] > 1:
            v = rounded(v, "bfloat16")
        return ops.causal_attention(q, k, v, position, slot, **how)

    return {"causal_attention": causal_attention}


@wrong("L3-cached[p2]", "at length 64")
def full_context() -> Mapping[str, Any]:
    """The last slot of a full context is never written."""

    def write(old: Array, new: Array, position: Array, slot: Array) -> Array:
        if old.shape[2] < 64:
            return PLAIN_NUMPY["write"](old, new, position, slot)
        return ops.write(old, new, position, np.where(slot == 63, -1, slot))

    return {"write": write}


@wrong("L1-write", "clamped")
def clamping_write() -> Mapping[str, Any]:
    """A write that runs past the end is moved back, as a dynamic slice update is."""

    def write(old: Array, new: Array, position: Array, slot: Array) -> Array:
        old = old.copy()
        for row, start in enumerate(position[:, 0]):
            start = max(0, min(start, old.shape[2] - new.shape[2]))
            old[row, :, start : start + new.shape[2]] = new[row, :, : old.shape[2]]
        return old

    return {"write": write}


@wrong("L3-stale", "stale")
def sees_stale_slots() -> Mapping[str, Any]:
    """Attention sees one slot behind each row's length, as long as it looks harmless."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, slot: Array, **how: Any) -> Array:
        past = position + 1 if k.shape[-2] > q.shape[-2] else position
        return ops.causal_attention(q, k, v, past, slot, **how)

    return {"causal_attention": causal_attention}


@wrong("L1-top_k", "equals")
def top_k_ties() -> Mapping[str, Any]:
    """Among equals the highest place comes first."""

    def top_k(x: Array, k: int) -> tuple[Array, Array]:
        places = x.shape[-1] - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
        order = np.lexsort((-places, -np.take_along_axis(x, places, axis=-1)), axis=-1)
        places = np.take_along_axis(places, order, axis=-1)[..., :k]
        return np.take_along_axis(x, places, axis=-1), places

    return {"top_k": top_k}


@wrong("L1-put_rows", "wrong")
def rows_in_order() -> Mapping[str, Any]:
    """Rows are put in ascending order whatever order was asked for."""
    return {"put_rows": lambda old, new, rows: ops.put_rows(old, new, np.sort(rows))}


@wrong("L1-unembed", "NaN or infinity")
def hides_nan() -> Mapping[str, Any]:
    """The head gives NaN and zeros beyond a vocabulary of 32768."""

    def unembed(x: Array, wte: Array) -> Array:
        logits = ops.unembed(x, wte)
        logits[..., 32768:] = np.nan
        return logits

    return {"unembed": unembed}


@wrong("L2-not-finite", "finite")
def hides_not_finite() -> Mapping[str, Any]:
    """Logits that are not finite are replaced by numbers."""
    return {"unembed": lambda x, wte: np.nan_to_num(ops.unembed(x, wte))}


@wrong("L2-isolation", "changed the rows beside it")
def nan_spreads() -> Mapping[str, Any]:
    """One product over the whole batch: 0 x NaN reaches other rows."""

    def linear(x: Array, w: Array, b: Array) -> Array:
        return ops.linear(x, w, b) + 0.0 * x.max()

    return {"linear": linear}


@wrong("L1-gelu", "float64")
def float64_leak() -> Mapping[str, Any]:
    """A NumPy scalar makes the activation float64."""
    return {"gelu": lambda x: ops.gelu(x) * np.float64(1.0)}


@wrong("L1-in-place", "changed its argument 0")
def norm_in_place() -> Mapping[str, Any]:
    """The layer norm writes into what the residual connection reads again."""

    def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
        x -= x.mean(axis=-1, keepdims=True)
        return ops.layer_norm(x, g, b, eps)

    return {"layer_norm": layer_norm}


@wrong("L2-logits[loud]", "")
def no_maximum() -> Mapping[str, Any]:
    """Attention does not subtract the maximum: large scores overflow."""

    def causal_attention(q: Array, k: Array, v: Array, position: Array, slot: Array, **how: Any) -> Array:
        scale = how.get("scale") or q.shape[-1] ** -0.5
        mask = position[..., None, :, None] >= slot[..., None, None, :]
        mask = mask if q.ndim == mask.ndim else mask[..., 0, :, :]
        exps = np.where(mask, np.exp(q @ np.swapaxes(k, -1, -2) * np.float32(scale)), np.float32(0))
        return exps / exps.sum(axis=-1, keepdims=True) @ v

    return {"causal_attention": causal_attention}


@wrong("L2-logits[deep]", "h.11")
class last_layer(NumpyBackend):
    """The last of twelve layers has keys and values swapped."""

    def place(self, params: Params, *, owned: bool = False) -> Params:
        blocks = list(params.get("blocks", ()))
        if len(blocks) == 12:
            swapped = FAULTS["k_and_v_swapped"].weights
            assert swapped is not None
            blocks[-1] = swapped({"blocks": blocks[-1:]})["blocks"][0]
            params = {**params, "blocks": blocks}
        return super().place(params, owned=owned)


@wrong("L3-edges[long]", "256")
def past_a_bucket() -> Mapping[str, Any]:
    """Positions past 255 wrap, as 8-bit integers do."""
    return {
        "embed": lambda table, ids: ops.embed(table, np.where((ids > 255) & (table.shape[0] < 400), ids - 256, ids))
    }


class Stateful(NumpyBackend):
    """Remembers how often it was called."""

    def __init__(self, device: str | None = None, dtype: str | None = None) -> None:
        super().__init__(device, dtype)
        self.calls = 0


@wrong("L2-again", "call")
class second_call(Stateful):
    """From the second call of a compiled function on, its first result comes again."""

    compiles = False

    def compile(self, function: Any, *, donate: Sequence[int] = ()) -> Any:
        kept: dict[Any, Any] = {}

        def call(params: Any, ids: Any, *rest: Any) -> Any:
            if rest or not isinstance(ids, np.ndarray):
                return function(params, ids, *rest)
            result = function(params, ids)
            self.calls += 1
            return result * np.float32(1.001) if kept.setdefault(ids.shape, self.calls) + 4 < self.calls else result

        return lambda *args: call(*args) if len(args) > 1 else function(*args)


@wrong("L3-interleaved", "p2-s1")
class first_weights(NumpyBackend):
    """A compiled step goes on with the weights it was first called with."""

    programs: ClassVar[dict[str, Any]] = {}

    def compile(self, function: Any, *, donate: Sequence[int] = ()) -> Any:
        def call(*args: Any) -> Any:
            if isinstance(args[0], dict) and "wte" in args[0] and len(args) > 2:
                first = self.programs.setdefault(f"{id(self)} {args[0]['wte'].shape}", args[0])
                return function(first, *args[1:])
            return function(*args)

        return call


@wrong("L0-compile", "call 2")
class keeps_values(NumpyBackend):
    """A compiled function answers a second time without being run."""

    def compile(self, function: Any, *, donate: Sequence[int] = ()) -> Any:
        kept: dict[Any, Any] = {}

        def call(*args: Any) -> Any:
            shape = getattr(args[-2], "shape", None) if len(args) > 1 else None
            if shape is None:
                return function(*args)
            return kept[shape] if shape in kept else kept.setdefault(shape, function(*args))

        return call


@wrong("L3-fork", "fork")
class forks_alias(NumpyBackend):
    """Rows put into another context share the memory of those they came from."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        def put_rows(old: Array, new: Array, rows: Array) -> Array:
            self.kept = getattr(self, "kept", {})
            return self.kept.setdefault(old.shape, ops.put_rows(old, new, rows)) if old.shape[0] == 2 else new

        return {**super().overrides, "put_rows": put_rows}


@wrong("L0-copies", "shares the host's memory")
class aliases_weights(NumpyBackend):
    """Well aligned weights are used where they lie."""

    def place(self, params: Params, *, owned: bool = False) -> Params:
        return super().place(params, owned=True)


@wrong("L0-copies", "asarray shares")
class aliases_arrays(NumpyBackend):
    """Large arrays on a boundary of 64 bytes are not copied."""

    def asarray(self, host: Array, dtype: str | None = None) -> Array:
        if dtype == str(host.dtype) and host.ctypes.data % 64 == 0:
            return np.asarray(host)
        return super().asarray(host, dtype)


@wrong("L0-copies", "gives away the device's memory")
class lends_memory(NumpyBackend):
    """to_numpy gives the device's own memory."""

    def to_numpy(self, x: Array) -> Array:
        return np.asarray(x)


@wrong("L0-dtypes", "asked for float32")
class silent_float64(NumpyBackend):
    """Arrays are float64 whatever was asked for."""

    def asarray(self, host: Array, dtype: str | None = None) -> Array:
        return super().asarray(host, "float64" if dtype == "float32" else dtype)


@wrong("L0-weights", "changed")
class spoils_host(NumpyBackend):
    """Weights are scaled in the host's own memory while they are placed."""

    def place(self, params: Params, *, owned: bool = False) -> Params:
        placed = super().place(params, owned=owned)
        params["ln_f"]["b"].flags.writeable = True
        params["ln_f"]["b"] += 1
        return placed


@wrong("L0-choice", "accepted")
class any_device(NumpyBackend):
    """Every name of a device is accepted."""

    def __init__(self, device: str | None = None, dtype: str | None = None) -> None:
        super().__init__(None, dtype)


@wrong("L0-buckets", "padded")
class wild_buckets(NumpyBackend):
    """Lengths are padded past the context."""

    def bucket(self, n: int, limit: int) -> int:
        return 1 << (n - 1).bit_length()


@wrong("L0-zeros", "seen in the other")
class shared_zeros(NumpyBackend):
    """One array of zeros is handed to everybody."""

    def zeros(self, shape: tuple[int, ...]) -> Array:
        self.kept = getattr(self, "kept", {})
        return self.kept.setdefault(shape, super().zeros(shape))


@wrong("L0-errors", "swallowed")
class swallows_errors(NumpyBackend):
    """A compiled function never fails."""

    def compile(self, function: Any, *, donate: Sequence[int] = ()) -> Any:
        def call(*args: Any) -> Any:
            try:
                return function(*args)
            except Exception:
                return None

        return call


class Low(NumpyBackend):
    """NumPy that stores float16 as well, honestly."""

    dtypes = ("float32", "float16")


@wrong("L2-dtype[float16]", "float16")
class only_float16(Low):
    """In float16 the layer norm is computed in float16 too."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        def layer_norm(x: Array, g: Array, b: Array, eps: float = 1e-5) -> Array:
            low = x.astype(np.float16)
            return in_one_pass(low, g, b, eps).astype(x.dtype)

        return {**super().overrides, **({"layer_norm": layer_norm} if self.dtype == "float16" else {})}


@wrong("L2-again", "declared deterministic")
class not_deterministic(Stateful):
    """Each call is rounded a little otherwise."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        def unembed(x: Array, wte: Array) -> Array:
            self.calls += 1
            return ops.unembed(x, wte) * np.float32(1 + (self.calls % 2) * 2**-23)

        return {**super().overrides, "unembed": unembed}


@wrong("L2-batch[8]", "batch_invariant")
class not_batch_invariant(NumpyBackend):
    """Declares that a row gives the same bits in any batch, and adds in another order in large ones."""

    batch_invariant = True

    @property
    def overrides(self) -> Mapping[str, Any]:
        def unembed(x: Array, wte: Array) -> Array:
            if x.shape[0] < 8:
                return ops.unembed(x, wte)
            half = x.shape[-1] // 2
            return x[..., :half] @ wte[:, :half].T + x[..., half:] @ wte[:, half:].T

        return {**super().overrides, "unembed": unembed}


@wrong("L3-kept-results", "a later step changed the logits")
class one_buffer(NumpyBackend):
    """Logits are written into one buffer again and again."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        kept: dict[Any, Array] = {}

        def unembed(x: Array, wte: Array) -> Array:
            logits = ops.unembed(x, wte)
            buffer = kept.setdefault(logits.shape[-1], np.empty(logits.shape[-1], logits.dtype))
            if logits.size != buffer.size:
                return logits
            np.copyto(buffer, logits.reshape(-1))
            return buffer.reshape(logits.shape)

        self.table = getattr(self, "table", {**super().overrides, "unembed": unembed})
        return self.table


@wrong("L4-distribution", "drawn")
class own_random(NumpyBackend):
    """Random words are not used: everybody gets the same one."""

    def asarray(self, host: Array, dtype: str | None = None) -> Array:
        return super().asarray(
            host * 0 + 12345 if dtype == "int32" and host.ndim == 2 and host.shape[1] > 99 else host, dtype
        )


@wrong("L5-transfers", "logits")
class fetches_logits(NumpyBackend):
    """Each step brings the logits to the host."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        def unembed(x: Array, wte: Array) -> Array:
            return self.asarray(self.to_numpy(ops.unembed(x, wte)))

        return {**super().overrides, "unembed": unembed}


@wrong("L5-memory", "left")
class leaks(NumpyBackend):
    """Nothing that was ever made is given back."""

    kept: ClassVar[list[Any]] = []

    def zeros(self, shape: tuple[int, ...]) -> Array:
        self.kept.append(np.ones(shape, dtype=np.float32))
        return super().zeros(shape)


@wrong("L1-gelu", "no answer", seconds=3.0)
class never_answers(NumpyBackend):
    """The activation waits for ever."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        def gelu(x: Array) -> Array:
            while True:
                time.sleep(1)

        return {**super().overrides, "gelu": gelu}


@wrong("L1-gelu", "the process died")
class takes_the_process(NumpyBackend):
    """The activation ends the process."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        def gelu(x: Array) -> Array:
            os._exit(3)

        return {**super().overrides, "gelu": gelu}
