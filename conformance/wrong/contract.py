"""Backends that do not keep what they say of themselves, and such as never answer."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from arrayformer.backends.numpy.backend import NumpyBackend
from arrayformer.conformance.wrong.registry import wrong
from arrayformer.core import ops
from arrayformer.core.params import Params

Array = Any  # NumPy arrays, whose functions have types only in part


@wrong("L0-weights", "changed")
class spoils_host(NumpyBackend):
    """Weights are scaled in the host's own memory while they are placed."""

    def place(self, params: Params, weights: Params, *, owned: bool = False) -> Params:
        placed = super().place(params, weights, owned=owned)
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
