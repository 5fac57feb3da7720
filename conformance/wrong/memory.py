"""Faults of what is kept: between calls, between models, between contexts, between host and device."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.wrong.registry import wrong
from arrayformer.core import ops
from arrayformer.core.params import Params

Array = Any  # NumPy arrays, whose functions have types only in part


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

    def place(self, params: Params, weights: Params, *, owned: bool = False) -> Params:
        return super().place(params, weights, owned=True)


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


@wrong("L0-zeros", "seen in the other")
class shared_zeros(NumpyBackend):
    """One array of zeros is handed to everybody."""

    def zeros(self, shape: tuple[int, ...]) -> Array:
        self.kept = getattr(self, "kept", {})
        return self.kept.setdefault(shape, super().zeros(shape))


@wrong("L2-again", "declared deterministic")
class not_deterministic(Stateful):
    """Each call is rounded a little otherwise."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        def unembed(x: Array, wte: Array) -> Array:
            self.calls += 1
            return ops.unembed(x, wte) * np.float32(1 + (self.calls % 2) * 2**-23)

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


@wrong("L5-memory", "left")
class leaks(NumpyBackend):
    """Nothing that was ever made is given back."""

    kept: ClassVar[list[Any]] = []

    def zeros(self, shape: tuple[int, ...]) -> Array:
        self.kept.append(np.ones(shape, dtype=np.float32))
        return super().zeros(shape)


@wrong("L0-copies", "asarray of ids shares")
class aliases_ids(NumpyBackend):
    """Ids are not copied: the step reads what the host wrote in the meantime."""

    def asarray(self, host: Array, dtype: str | None = None) -> Array:
        return np.asarray(host) if dtype is None and host.dtype == np.int64 else super().asarray(host, dtype)
