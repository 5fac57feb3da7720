"""Notes with which sizes each function was called while cases run."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

from arrayformer.core import array_api
from arrayformer.core.backend import Backend
from arrayformer.core.ops import OPS, PLAIN
from arrayformer.core.packed import Packed

Array = Any
Visits = dict[tuple[str, str], set[Any]]
"""(function, axis) -> what was seen there: numbers, or words."""


def rows_of(x: Array) -> int:
    """How many rows [..., n] has."""
    return math.prod(x.shape[:-1])


def attention_kind(q: Array, k: Array) -> str:
    """A step of one query, a whole prompt, or a piece of one behind a cache: libraries have a kernel for each."""
    if q.shape[-2] == 1 and k.shape[-2] > 1:
        return "causal_attention, one query"
    return "causal_attention, prompt" if q.shape[-2] == k.shape[-2] else "causal_attention, piece"


def attention_sizes(q: Array, k: Array, *_: Any, **__: Any) -> dict[str, Any]:
    """Sizes of one attention."""
    width = q.shape[-1]
    return {
        "rows": q.shape[0] if len(q.shape) == 4 else 1, "heads": q.shape[-3], "heads of keys": k.shape[-3],
        "heads that share keys": q.shape[-3] // k.shape[-3], "queries": q.shape[-2], "keys": k.shape[-2],
        "head_dim": width, f"keys, head_dim {width}": k.shape[-2], f"queries, head_dim {width}": q.shape[-2],
        "scores": math.prod(q.shape[:-1]) * k.shape[-2],
    }  # fmt: skip


def norm_sizes(x: Array, *_: Any, **__: Any) -> dict[str, Any]:
    """Sizes of a norm."""
    return {"rows": rows_of(x), "width": x.shape[-1]}


def product_sizes(x: Array, n_in: int, n_out: int) -> dict[str, Any]:
    """Sizes of a matrix product."""
    rows = rows_of(x)
    one = {"K x N of one row": f"{n_in} x {n_out}"} if rows == 1 else {"K x N of some rows": f"{n_in} x {n_out}"}
    return {"rows": rows, "K": n_in, "N": n_out, "multiplications": rows * n_in * n_out, "results": rows * n_out} | one


SIZES: Mapping[str, Callable[..., dict[str, Any]]] = {
    "linear": lambda x, w, b=None: product_sizes(x, *w.shape) | {"bias": "none" if b is None else "with"},
    "unembed": lambda x, wte: product_sizes(x, wte.shape[1], wte.shape[0]),
    "causal_attention": attention_sizes,
    "layer_norm": norm_sizes,
    "rms_norm": norm_sizes,
    "rotate": lambda x, cos, sin: {
        "heads": x.shape[-3], "queries": x.shape[-2], "head_dim": x.shape[-1], "rotated": 2 * cos.shape[-1],
    },
    "embed": lambda table, ids: {
        "ids": math.prod(ids.shape), "ids there are": table.shape[0], "width": table.shape[1],
        "numbers in the table": math.prod(table.shape),
    },
    "write": lambda old, new, *_: {
        "rows": old.shape[0], "heads of keys": old.shape[1], "capacity": old.shape[2], "ids": new.shape[2],
        "head_dim": old.shape[3],
    },
    "put_rows": lambda old, new, rows: {"rows": old.shape[0], "rows put": rows.shape[0]},
    "top_k": lambda x, k: {"rows": rows_of(x), "n": x.shape[-1], "k": k},
    **dict.fromkeys(("gelu", "gelu_erf", "relu", "silu", "gated"), lambda x, *_, **__: {"numbers": math.prod(x.shape)}),
}  # fmt: skip


class Recorder:
    """What was called with which sizes.

    threads  how many threads the library has while it is called: "one" or "as many as it likes"
    """

    def __init__(self) -> None:
        self.visits: Visits = defaultdict(set)
        self.threads = "one"

    def note(self, function: str, sizes: Mapping[str, Any]) -> None:
        """Note one call."""
        for axis, size in sizes.items():
            self.visits[function, axis].add(size)

    def call(self, name: str, backend: Backend, args: tuple[Any, ...], how: Mapping[str, Any]) -> None:
        """Note one call of a function of the contract."""
        if any(isinstance(arg, Packed) for arg in (*args, *how.values())):
            return  # the sizes of packed weights are those of what they stand for, and are noted there
        known = {key: value for key, value in how.items() if key != "tap"}
        sizes = SIZES[name](*args, **(known if name != "causal_attention" else {}))
        label = attention_kind(*args[:2]) if name == "causal_attention" else name
        self.note(label, sizes | {
            "threads": self.threads, "run": "compiled" if backend.compiles else "as written",
            "dtype": str(args[0].dtype),
        })  # fmt: skip
        if (layout := layout_of(args[0])) is not None:
            self.visits[label, "layout"].add(layout)
        if how.get("window") is not None:
            self.visits[label, "window"].add(how["window"])

    def on(self, make: Callable[..., Backend]) -> Callable[..., Backend]:
        """The same factory, of backends whose functions are noted."""

        def made(**options: Any) -> Backend:
            return self._watched(make(**options))

        return made

    def _watched(self, inner: Backend) -> Backend:
        recorder, kind = self, type(inner)

        class Watched(kind):  # type: ignore[valid-type, misc]
            @property
            def overrides(self) -> Mapping[str, Callable[..., Any]]:
                own = super().overrides
                return {name: recorder._noted(name, own.get(name, getattr(PLAIN, name)), self) for name in OPS}

        Watched.__name__, Watched.__qualname__ = kind.__name__, kind.__qualname__
        watched: Backend = object.__new__(Watched)
        vars(watched).update(vars(inner))
        return watched

    def _noted(self, name: str, function: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **how: Any) -> Any:
            self.call(name, backend, args, how)
            return function(*args, **how)

        return call

    @contextmanager
    def standard(self, x: Array) -> Iterator[None]:
        """While this lasts, the functions of the standard are noted for arrays of the type of `x`."""
        kind, inner = type(x), array_api.array_namespace(x)
        array_api.register_namespace(kind, Noting(inner, self))
        try:
            yield
        finally:
            array_api.register_namespace(kind, inner)


class Noting:
    """A namespace that notes the sizes each function of the standard is called with."""

    def __init__(self, inner: Any, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder
        self._wanted = frozenset(array_api.functions())

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._wanted or not callable(found) or isinstance(found, type):
            return found

        @wraps(found)
        def call(*args: Any, **how: Any) -> Any:
            shape = getattr(args[0], "shape", None) if args else None
            if shape:
                self._recorder.note(name, {"n": shape[-1], "numbers": math.prod(shape)})
            elif name == "arange":
                self._recorder.note(name, {"n": args[0]})
            return found(*args, **how)

        # Looked up once: the graph asks for the same few again and again.
        setattr(self, name, call)
        return call


def layout_of(x: Array) -> str | None:
    """Whether an array lies in memory as it is read; None where the library does not say."""
    flags = getattr(x, "flags", None)
    whole = getattr(flags, "c_contiguous", None)
    return None if whole is None else "in order" if whole else "a view"
