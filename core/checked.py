"""A backend in a run, as the engine asks it: whatever it does wrong becomes one error that names who has to mend it.

What can be judged here is judged from what an array says of itself, so that nothing waits for the device.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from arrayformer.core.array_api import Array, array_namespace
from arrayformer.core.backend import Backend
from arrayformer.core.checks import whole
from arrayformer.core.errors import ArrayformerError, BackendError
from arrayformer.core.ops import Tap
from arrayformer.core.params import Params, is_leaf
from arrayformer.core.plugins.discovery import BACKENDS, list_plugins

P = ParamSpec("P")
T = TypeVar("T")


def fault(backend: Backend, what: str) -> BackendError:
    """The error for what only the backend's author can mend."""
    return BackendError(
        f"backend {backend.name!r} {what}\n"
        f"  provided by: {provider(backend)}\n"
        f"  this is a fault of the backend; run: arrayformer conformance --backend {backend.name}"
    )


def provider(backend: Backend) -> str:
    """The distribution that a backend comes from, with its version; the module of its class where none offers it."""
    module = type(backend).__module__
    for info in list_plugins(BACKENDS):
        if info.name == backend.name and info.value.partition(".")[0] == module.partition(".")[0]:
            return str(info)
    return module


class TapError(Exception):
    """`cause` was raised by whoever taps a step: no fault of the backend."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


def apart(tap: Tap) -> Tap:
    """The same tap, whose own exceptions are told from those of the backend."""

    def call(name: str, x: Array) -> Array:
        try:
            return tap(name, x)
        except BaseException as error:
            raise TapError(error) from error

    return call


class CheckedBackend:
    """What a backend gives and takes, checked. Each method is the one of `Backend` with the same name.

    All raise BackendError for whatever the backend raises itself (but Ctrl-C and this project's own errors), and where
    memory is short.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._kind: type | None = None  # what its arrays are, once the first was seen
        self._namespace: object = None

    def asarray(self, host: np.ndarray, dtype: str | None = None) -> Array:
        """A copy of `host` on the device."""
        x = self.call("putting numbers on the device", self.backend.asarray, host, dtype)
        self.check_array(x, host.shape, "asarray()")
        return x

    def to_numpy(self, x: Array) -> np.ndarray:
        """`x` on the host."""
        host = self.call("fetching numbers from the device", self.backend.to_numpy, x)
        if not isinstance(host, np.ndarray) or host.shape != tuple(x.shape):
            came = f"an array of shape {host.shape}" if isinstance(host, np.ndarray) else f"a {type(host).__name__}"
            raise fault(self.backend, f"gave {came} from to_numpy(); needed is a numpy.ndarray of {tuple(x.shape)}")
        return host

    def bucket(self, n: int, limit: int) -> int:
        """To which length `n` ids are padded."""
        length = self.call("choosing a length", self.backend.bucket, n, limit)
        number = whole(length)
        if number is None or not n <= number <= limit:
            raise fault(self.backend, f"pads {n} ids to {length!r:.60}; needed is a whole number from {n} to {limit}")
        return number

    def cache_arrays(self, n: int, shape: tuple[int, ...]) -> list[Array]:
        """Keys and values of all layers."""
        arrays = self.call("making a cache", self.backend.cache_arrays, n, shape)
        shapes = [tuple(getattr(x, "shape", ())) for x in arrays] if isinstance(arrays, Sequence) else []
        if shapes != [shape] * n:
            raise fault(self.backend, f"made {arrays!r:.60} for a cache; needed are {n} arrays of shape {shape}")
        return list(arrays)

    def compile(self, function: Callable[P, T], *, donate: Sequence[int] = ()) -> Callable[P, T]:
        """`function` made fast. What comes out of it has passed `call`."""
        fast = self.call("compiling", self.backend.compile, function, donate=donate)
        if not callable(fast):
            raise fault(self.backend, f"gave {fast!r:.60} from compile(); needed is a function")
        return self.guarded("a step", fast)

    def guarded(self, doing: str, function: Callable[P, T]) -> Callable[P, T]:
        """`function` through `call`."""

        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            return self.call(doing, function, *args, **kwargs)

        return run

    def call(self, doing: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` of the backend returns. Raises BackendError for what it raises."""
        try:
            return function(*args, **kwargs)
        except TapError as error:
            raise error.cause from error.cause.__cause__
        except (
            KeyboardInterrupt,
            ArrayformerError,
            MemoryError,
        ):  # the user's, ours, and what `enough_memory` explains
            raise
        except BaseException as error:
            cause = " ".join(f"{type(error).__name__}: {error}".split())
            raise fault(self.backend, f"failed in {doing}: {cause:.500}") from error

    def place(self, params: Params, weights: Params, *, owned: bool = False) -> Params:
        """The weights on the device."""
        placed = self.call("placing the weights", self.backend.place, params, weights, owned=owned)
        if not _nested_alike(placed, weights):
            raise fault(self.backend, f"gave {placed!r:.60} from place(); needed are all weights, nested as they were")
        return placed

    def check_array(self, x: Any, shape: tuple[int, ...], came_from: str = "a step") -> None:
        """Raises BackendError unless `x` has this shape, and is of the library that `asarray` makes arrays of."""
        if type(x) is not self._kind:
            self._check_kind(x, came_from)
        if tuple(x.shape) != shape:
            raise fault(self.backend, f"returned an array of shape {tuple(x.shape)} from {came_from}, expected {shape}")

    def _check_kind(self, x: object, came_from: str) -> None:
        try:
            own = array_namespace(x)
        except TypeError:
            own = None
        if self._kind is None and own is not None:
            self._kind, self._namespace = type(x), own
        if own is None or own is not self._namespace:
            kind = f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.")
            needed = "an array" if self._kind is None else f"a {self._kind.__module__}.{self._kind.__name__}"
            raise fault(self.backend, f"gave a {kind} from {came_from}; needed is {needed}")

    def check_logits(self, logits: Any, shape: tuple[int, ...]) -> None:
        """Raises BackendError unless `logits` have this shape, and float32 (float64 where the weights do).

        Asked while the graph runs: a compiler does it once.
        """
        if type(logits) is not self._kind:
            self._check_kind(logits, "a step")
        dtype = "float64" if self.backend.dtype == "float64" else "float32"
        if logits.dtype != self.backend.native(dtype) or tuple(logits.shape) != shape:
            came = f"logits of dtype {logits.dtype} and shape {tuple(logits.shape)}"
            raise fault(self.backend, f"returned {came}; expected {dtype} and {shape}")


def _nested_alike(placed: object, weights: Any) -> bool:
    """Whether there is something in `placed` for each of `weights`."""
    if is_leaf(weights):
        return placed is not None
    if isinstance(weights, dict):
        return isinstance(placed, dict) and all(_nested_alike(placed.get(name), w) for name, w in weights.items())
    if not isinstance(placed, list | tuple) or len(placed) != len(weights):
        return False
    return all(map(_nested_alike, placed, weights))
